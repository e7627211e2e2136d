/** The demo page: the visitor draws or uploads a digit; the page converts it to the model's format and submits it. */

import { CalpowError, powFetch } from "./calpow.js";

/**
 * @typedef {import("./calpow.js").Puzzle} Puzzle
 * @typedef {import("./calpow.js").Progress} Progress
 * @typedef {{x: number, y: number}} Point
 * @typedef {Point[]} Stroke
 */

const SIZE = 8; // width of the model's pictures, in pixels
const BITMAP_SIZE = 32; // width of the bitmaps behind them: a pixel is the mean ink of 4 x 4 pixels of a bitmap
const BITMAP_PEN = 5.5; // width of a stroke in a bitmap
const BOARD_PEN = 26; // width of a stroke on the board
const KEY_STEP = 16; // distance that an arrow key moves the pen

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
function elementOf(id, type) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`this page has no ${type.name} ${id}`);
  return element;
}

/** @type {(canvas: HTMLCanvasElement) => CanvasRenderingContext2D} */
function contextOf(canvas) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (context === null) throw new Error("this browser cannot draw");
  return context;
}

const page = {
  form: elementOf("form", HTMLFormElement),
  board: elementOf("board", HTMLCanvasElement),
  sent: elementOf("sent", HTMLCanvasElement),
  clear: elementOf("clear", HTMLButtonElement),
  ask: elementOf("ask", HTMLButtonElement),
  cancel: elementOf("cancel", HTMLButtonElement),
  file: elementOf("file", HTMLInputElement),
  url: elementOf("url", HTMLInputElement),
  key: elementOf("key", HTMLInputElement),
  where: elementOf("where", HTMLDetailsElement),
  progress: elementOf("progress", HTMLProgressElement),
  stage: elementOf("stage", HTMLLabelElement),
  message: elementOf("message", HTMLParagraphElement),
  answer: elementOf("answer", HTMLOutputElement),
  probabilities: elementOf("probabilities", HTMLTableElement),
  work: elementOf("work", HTMLDListElement),
  received: elementOf("received", HTMLElement),
};
const board = page.board;
const boardContext = contextOf(board);
const sentContext = contextOf(page.sent);

/** @type {Stroke[]} */
let strokes = [];
/** @type {ImageBitmap | null} */
let picture = null;
let pen = { x: board.width / 2, y: board.height / 4, down: false, shown: false };
/** @type {AbortController | null} */
let running = null;

// ---- Drawing ----------------------------------------------------------------------------------------------------

function redraw() {
  boardContext.fillStyle = "#000";
  boardContext.fillRect(0, 0, board.width, board.height);
  if (picture) drawWithin(boardContext, picture, board.width);
  drawStrokes(boardContext, strokes, BOARD_PEN);
  if (pen.shown) {
    boardContext.strokeStyle = pen.down ? "#f80" : "#5af";
    boardContext.lineWidth = 3;
    boardContext.beginPath();
    boardContext.arc(pen.x, pen.y, BOARD_PEN / 2, 0, 7);
    boardContext.stroke();
  }
}

/** @type {(context: CanvasRenderingContext2D, lines: Stroke[], width: number) => void} */
function drawStrokes(context, lines, width) {
  Object.assign(context, { strokeStyle: "#fff", lineWidth: width, lineCap: "round", lineJoin: "round" });
  for (const line of lines) {
    context.beginPath();
    context.moveTo(line[0].x, line[0].y);
    for (const { x, y } of line) context.lineTo(x, y);
    context.stroke();
  }
}

/** @type {(context: CanvasRenderingContext2D, image: ImageBitmap, size: number) => void} */
function drawWithin(context, image, size) {
  const scale = size / Math.max(image.width, image.height);
  const [width, height] = [image.width * scale, image.height * scale];
  context.drawImage(image, (size - width) / 2, (size - height) / 2, width, height);
}

function beginStroke(/** @type {Point} */ point) {
  showMessage("");
  picture = null;
  strokes.push([point]);
  redraw();
}

function extendStroke(/** @type {Point} */ point) {
  strokes.at(-1)?.push(point);
  redraw();
}

function pointOf(/** @type {PointerEvent} */ event) {
  const box = board.getBoundingClientRect();
  const scale = board.width / box.width;
  return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
}

board.addEventListener("pointerdown", (event) => {
  if (!event.isPrimary || event.button !== 0) return;
  board.setPointerCapture(event.pointerId);
  pen.shown = false;
  beginStroke(pointOf(event));
});
board.addEventListener("pointermove", (event) => {
  if (!board.hasPointerCapture(event.pointerId)) return;
  for (const coalesced of event.getCoalescedEvents?.() ?? [event]) extendStroke(pointOf(coalesced));
});

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

board.addEventListener("keydown", (event) => {
  const [x, y] = ARROWS[event.key] ?? [0, 0];
  if (event.key !== " " && !x && !y) return;
  event.preventDefault();
  const within = (/** @type {number} */ value) => Math.min(Math.max(value, KEY_STEP), board.width - KEY_STEP);
  const point = { x: within(pen.x + x * KEY_STEP), y: within(pen.y + y * KEY_STEP) };
  pen = { ...point, down: pen.down !== (event.key === " "), shown: true };
  if (event.key === " " && pen.down) beginStroke(point);
  else if (pen.down) extendStroke(point);
  else redraw();
});
board.addEventListener("blur", () => {
  pen.shown = pen.down = false;
  redraw();
});

page.clear.addEventListener("click", () => {
  [strokes, picture] = [[], null];
  showMessage("");
  redraw();
});
page.file.addEventListener("change", async () => {
  const file = page.file.files?.[0];
  page.file.value = "";
  if (!file) return;
  try {
    picture = await createImageBitmap(file);
    strokes = [];
    redraw();
    showMessage("");
  } catch {
    showMessage("This browser cannot read that file as a picture.", true);
  }
});

// ---- Converting to the model's format ---------------------------------------------------------------------------

/** Return the context of a new, black, square canvas. */
function newContext(/** @type {number} */ size) {
  const context = contextOf(Object.assign(document.createElement("canvas"), { width: size, height: size }));
  context.fillRect(0, 0, size, size);
  return context;
}

/** Return a bitmap that the drawing fills, whatever its size on the board, with strokes of the usual width. */
function bitmapOfStrokes() {
  const points = strokes.flat();
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => y)];
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = (BITMAP_SIZE - BITMAP_PEN) / Math.max(right - left, bottom - top, BOARD_PEN);
  const bitmap = newContext(BITMAP_SIZE);
  bitmap.translate(BITMAP_SIZE / 2, BITMAP_SIZE / 2);
  bitmap.scale(scale, scale);
  bitmap.translate(-(left + right) / 2, -(top + bottom) / 2);
  drawStrokes(bitmap, strokes, BITMAP_PEN / scale);
  return bitmap;
}

/** Return a bitmap that the ink of a picture fills, light on dark. */
function bitmapOfPicture(/** @type {ImageBitmap} */ image) {
  const size = 256;
  const context = newContext(size);
  const scale = size / Math.max(image.width, image.height);
  context.fillStyle = "#fff";
  const [width, height] = [Math.ceil(image.width * scale), Math.ceil(image.height * scale)];
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height);
  const box = inkBox(pixels);
  context.putImageData(pixels, 0, 0);
  const bitmap = newContext(BITMAP_SIZE);
  const [inkWidth, inkHeight] = [box.right - box.left + 1, box.bottom - box.top + 1];
  if (inkWidth < 1) return bitmap;
  const shrink = BITMAP_SIZE / Math.max(inkWidth, inkHeight);
  const [toWidth, toHeight] = [inkWidth * shrink, inkHeight * shrink];
  const [x, y] = [(BITMAP_SIZE - toWidth) / 2, (BITMAP_SIZE - toHeight) / 2];
  bitmap.imageSmoothingQuality = "high";
  bitmap.drawImage(context.canvas, box.left, box.top, inkWidth, inkHeight, x, y, toWidth, toHeight);
  return bitmap;
}

/** Turn pixels into ink, in grey on black with full contrast, and return the box around it. */
function inkBox(/** @type {ImageData} */ pixels) {
  const { width, height, data } = pixels;
  const grey = Float32Array.from({ length: width * height }, (_, i) => greyAt(data, i));
  const isEdge = (/** @type {number} */ x, /** @type {number} */ y) => x % (width - 1) === 0 || y % (height - 1) === 0;
  const edge = grey.filter((_, i) => isEdge(i % width, Math.floor(i / width)));
  const isDarkOnLight = edge.reduce((sum, value) => sum + value, 0) / edge.length > 127;
  const inkAt = (/** @type {number} */ value) => (isDarkOnLight ? 255 - value : value);
  const most = grey.reduce((best, value) => Math.max(best, inkAt(value)), 1);
  const box = { left: width, right: -1, top: height, bottom: -1 };
  grey.forEach((value, i) => {
    const ink = Math.min(255, (inkAt(value) * 255) / most);
    data.set([ink, ink, ink, 255], 4 * i);
    if (ink < 80) return;
    const [x, y] = [i % width, Math.floor(i / width)];
    Object.assign(box, { left: Math.min(box.left, x), right: Math.max(box.right, x) });
    Object.assign(box, { top: Math.min(box.top, y), bottom: Math.max(box.bottom, y) });
  });
  return box;
}

function greyAt(/** @type {Uint8ClampedArray} */ data, /** @type {number} */ index) {
  const [red, green, blue] = data.subarray(4 * index, 4 * index + 3);
  return 0.299 * red + 0.587 * green + 0.114 * blue;
}

/** Reduce a bitmap to 8 x 8 grey pixels, each the mean ink of 4 x 4 of its own, in the canvas of the sent picture. */
function reduce(/** @type {CanvasRenderingContext2D} */ bitmap) {
  const source = bitmap.getImageData(0, 0, BITMAP_SIZE, BITMAP_SIZE).data;
  const small = sentContext.createImageData(SIZE, SIZE);
  const block = BITMAP_SIZE / SIZE;
  for (let i = 0; i < SIZE * SIZE; i++) {
    let ink = 0;
    for (let k = 0; k < block * block; k++) {
      const [x, y] = [(i % SIZE) * block + (k % block), Math.floor(i / SIZE) * block + Math.floor(k / block)];
      ink += source[4 * (y * BITMAP_SIZE + x)];
    }
    const grey = ink / block ** 2;
    small.data.set([grey, grey, grey, 255], 4 * i);
  }
  sentContext.putImageData(small, 0, 0);
}

/**
 * Return the drawing or the uploaded picture as a PNG file for the model.
 *
 * @returns {Promise<Blob>}
 */
async function createPayload() {
  if (picture && picture.width === SIZE && picture.height === SIZE) {
    sentContext.drawImage(picture, 0, 0);
  } else {
    reduce(picture ? bitmapOfPicture(picture) : bitmapOfStrokes());
  }
  return new Promise((resolve, reject) => {
    const settle = (/** @type {Blob | null} */ blob) =>
      blob ? resolve(blob) : reject(new Error("the picture cannot be encoded"));
    page.sent.toBlob(settle, "image/png");
  });
}

// ---- Asking the model -------------------------------------------------------------------------------------------

function showMessage(/** @type {string} */ text, isError = false) {
  page.message.textContent = text;
  page.message.hidden = text === "";
  page.message.classList.toggle("wrong", isError);
}

function showProgress(/** @type {Progress} */ { found, count, secondsLeft }) {
  page.progress.value = found / count;
  const left = secondsLeft === null || found === count ? "" : `, about ${formatSeconds(secondsLeft)} left`;
  page.stage.textContent = `Working: ${found} of ${count} stamps${left}`;
}

function formatSeconds(/** @type {number} */ value) {
  return value < 0.1 ? `${(1000 * value).toFixed(0)} ms` : `${value.toFixed(1)} s`;
}

/** Show the last progress of each puzzle: an answer may take more than one, or none if its work was done before. */
function showWork(/** @type {Progress[]} */ solved, /** @type {number} */ total) {
  const rows = [["Answered after", formatSeconds(total)]];
  if (solved.length > 0) {
    const sizes = solved.map(({ puzzle: { bits, count } }) => `${count} stamps of ${bits} bits`);
    const sum = (/** @type {"hashes" | "seconds"} */ name) => solved.reduce((all, progress) => all + progress[name], 0);
    rows.unshift(
      ["Work", `${sizes.join(", then ")} (${solved[0].puzzle.algorithm})`],
      ["Digests", sum("hashes").toLocaleString("en")],
      ["Worked for", formatSeconds(sum("seconds"))],
    );
  } else {
    rows.unshift(["Work", "none while you waited"]);
  }
  const cell = (/** @type {string} */ tag, /** @type {string} */ text) =>
    Object.assign(document.createElement(tag), { textContent: text });
  page.work.replaceChildren(...rows.flatMap(([name, value]) => [cell("dt", name), cell("dd", value)]));
  page.work.hidden = false;
}

function showAnswer(/** @type {any} */ answer) {
  const { digit, probabilities } = answer ?? {};
  if (!Number.isInteger(digit) || !Array.isArray(probabilities) || !probabilities.every(Number.isFinite)) {
    throw new Error("it is no digit and its probabilities. Is this the model of the demo?");
  }
  page.answer.textContent = String(digit);
  page.answer.hidden = false;
  page.probabilities.tBodies[0].replaceChildren(...probabilities.map(probabilityRow));
  page.probabilities.hidden = false;
}

function probabilityRow(/** @type {number} */ probability, /** @type {number} */ digit) {
  const row = document.createElement("tr");
  const name = Object.assign(document.createElement("th"), { scope: "row", textContent: String(digit) });
  const [bar, share] = [document.createElement("td"), document.createElement("td")];
  bar.append(Object.assign(document.createElement("meter"), { value: probability, ariaLabel: `sure of ${digit}` }));
  share.textContent = `${(100 * probability).toFixed(1)} %`;
  row.append(name, bar, share);
  return row;
}

/** Return the status of a refusal and the reason in its problem document (RFC 9457). */
async function reasonOf(/** @type {Response} */ response) {
  const problem = await response.json().catch(() => ({}));
  return `${response.status}: ${problem?.detail ?? problem?.message ?? "the model gave no reason"}`;
}

function describeError(/** @type {any} */ error) {
  if (error.name === "AbortError") return "Cancelled.";
  if (error instanceof CalpowError) return `${error.name}: ${error.message}.`;
  if (error instanceof TypeError) {
    return "The model cannot be reached. Is the URL right, is it running, does it allow this page's origin (CORS)?";
  }
  return `The answer could not be read: ${error.message}`;
}

async function ask() {
  for (const element of [page.answer, page.probabilities, page.work, page.received]) element.hidden = true;
  showMessage("");
  if (!picture && strokes.length === 0) return showMessage("Draw a digit first, or upload a picture.", true);
  running = new AbortController();
  [page.ask.disabled, page.cancel.disabled] = [true, false];
  page.progress.removeAttribute("value");
  page.stage.textContent = "Asking…";
  try {
    await submit(running.signal);
  } catch (error) {
    showMessage(describeError(error), true);
  } finally {
    running = null;
    [page.ask.disabled, page.cancel.disabled] = [false, true];
    page.progress.value = page.answer.hidden ? 0 : 1;
    page.stage.textContent = page.answer.hidden ? "Not answered." : "Answered.";
  }
}

async function submit(/** @type {AbortSignal} */ signal) {
  /** @type {Map<Puzzle, Progress>} */
  const solved = new Map();
  const onProgress = (/** @type {Progress} */ progress) => {
    solved.set(progress.puzzle, progress);
    showProgress(progress);
  };
  const startedAt = performance.now();
  const body = await createPayload();
  page.received.hidden = false;
  const key = page.key.value.trim() || undefined;
  const response = await powFetch(page.url.value, { method: "POST", body, key, signal, onProgress });
  if (!response.ok) return showMessage(await reasonOf(response), true);
  showAnswer(await response.json());
  showWork([...solved.values()], (performance.now() - startedAt) / 1000);
}

page.form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
page.cancel.addEventListener("click", () => running?.abort());

/** Fill in the model's URL and the visitor's key if the site of this page provides them. */
async function fillIn() {
  const response = await fetch("demo.json", { cache: "no-store" });
  if (!response.ok) return;
  const { url, key } = await response.json();
  page.url.value ||= url;
  page.key.value ||= key;
  page.where.open = false;
}

redraw();
fillIn().catch(() => {});

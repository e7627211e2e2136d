/** The demo page: a digit is drawn or uploaded, brought into the form of the model's data, and asked about. */

import { CalpowError, powFetch } from "./calpow.js";

const SIZE = 8; // the model's pictures
const FINE = 32; // the bitmaps its data were made of: each pixel is the ink in 4 x 4 of theirs
const PEN = 5.5; // how thick a stroke is in them
const BOARD_PEN = 26;
const STEP = 16; // an arrow key

const at = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const board = at("board");
const paper = board.getContext("2d", { willReadFrequently: true });

/** @type {{x: number, y: number}[][]} */
let strokes = [];
/** @type {ImageBitmap | null} */
let picture = null;
let pen = { x: board.width / 2, y: board.height / 4, down: false, shown: false };
/** @type {AbortController | null} */
let running = null;

// ---- Drawing ----------------------------------------------------------------------------------------------------

function redraw() {
  paper.fillStyle = "#000";
  paper.fillRect(0, 0, board.width, board.height);
  if (picture) drawWithin(paper, picture, board.width);
  drawStrokes(paper, strokes, BOARD_PEN);
  if (pen.shown) {
    paper.strokeStyle = pen.down ? "#f80" : "#5af";
    paper.lineWidth = 3;
    paper.beginPath();
    paper.arc(pen.x, pen.y, BOARD_PEN / 2, 0, 7);
    paper.stroke();
  }
}

function drawStrokes(context, lines, width) {
  Object.assign(context, { strokeStyle: "#fff", lineWidth: width, lineCap: "round", lineJoin: "round" });
  for (const line of lines) {
    context.beginPath();
    context.moveTo(line[0].x, line[0].y);
    for (const { x, y } of line) context.lineTo(x, y);
    context.stroke();
  }
}

function drawWithin(context, image, size) {
  const scale = size / Math.max(image.width, image.height);
  const [width, height] = [image.width * scale, image.height * scale];
  context.drawImage(image, (size - width) / 2, (size - height) / 2, width, height);
}

function begin(point) {
  picture = null;
  strokes.push([point]);
  redraw();
}

function extend(point) {
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
  begin(pointOf(event));
});
board.addEventListener("pointermove", (event) => {
  if (!board.hasPointerCapture(event.pointerId)) return;
  for (const each of event.getCoalescedEvents?.() ?? [event]) extend(pointOf(each));
});

board.addEventListener("keydown", (event) => {
  const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
  if (event.key !== " " && !x && !y) return;
  event.preventDefault();
  const within = (/** @type {number} */ value) => Math.min(Math.max(value, STEP), board.width - STEP);
  const point = { x: within(pen.x + x * STEP), y: within(pen.y + y * STEP) };
  pen = { ...point, down: pen.down !== (event.key === " "), shown: true };
  if (event.key === " " && pen.down) begin(point);
  else if (pen.down) extend(point);
  else redraw();
});
board.addEventListener("blur", () => {
  pen.shown = pen.down = false;
  redraw();
});

at("clear").addEventListener("click", () => {
  [strokes, picture] = [[], null];
  redraw();
});
at("file").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  event.target.value = "";
  if (!file) return;
  try {
    picture = await createImageBitmap(file);
    strokes = [];
    redraw();
  } catch {
    say("This browser cannot read that file as a picture.", true);
  }
});

// ---- The form of the model's data -------------------------------------------------------------------------------

/** A square canvas. */
function canvasOf(/** @type {number} */ size) {
  const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.fillRect(0, 0, size, size);
  return { canvas, context };
}

/** What was drawn, moved and scaled so that it fills a bitmap, whatever its size on the board, with the same pen. */
function bitmapOfStrokes() {
  const all = strokes.flat();
  const [xs, ys] = [all.map(({ x }) => x), all.map(({ y }) => y)];
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = (FINE - PEN) / Math.max(right - left, bottom - top, BOARD_PEN);
  const fine = canvasOf(FINE);
  fine.context.translate(FINE / 2, FINE / 2);
  fine.context.scale(scale, scale);
  fine.context.translate(-(left + right) / 2, -(top + bottom) / 2);
  drawStrokes(fine.context, strokes, PEN / scale);
  return fine;
}

/** A picture's ink, light on dark, in the middle of a bitmap that it fills. */
function bitmapOfPicture(/** @type {ImageBitmap} */ image) {
  const size = 256;
  const { canvas, context } = canvasOf(size);
  const scale = size / Math.max(image.width, image.height);
  context.fillStyle = "#fff";
  const [width, height] = [Math.ceil(image.width * scale), Math.ceil(image.height * scale)];
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height);
  const grey = Float32Array.from({ length: width * height }, (_, i) => greyAt(pixels.data, i));
  const isEdge = (/** @type {number} */ x, /** @type {number} */ y) => x % (width - 1) === 0 || y % (height - 1) === 0;
  const edge = grey.filter((_, i) => isEdge(i % width, Math.floor(i / width)));
  const inverted = edge.reduce((sum, each) => sum + each, 0) / edge.length > 127;
  const box = { left: width, right: -1, top: height, bottom: -1 };
  const most = grey.reduce((best, each) => Math.max(best, inverted ? 255 - each : each), 1);
  grey.forEach((value, i) => {
    const ink = Math.min(255, ((inverted ? 255 - value : value) * 255) / most);
    pixels.data.set([ink, ink, ink, 255], 4 * i);
    if (ink < 80) return;
    const [x, y] = [i % width, Math.floor(i / width)];
    Object.assign(box, { left: Math.min(box.left, x), right: Math.max(box.right, x) });
    Object.assign(box, { top: Math.min(box.top, y), bottom: Math.max(box.bottom, y) });
  });
  context.putImageData(pixels, 0, 0);
  const fine = canvasOf(FINE);
  const [inkWidth, inkHeight] = [box.right - box.left + 1, box.bottom - box.top + 1];
  if (inkWidth < 1) return fine;
  const shrink = FINE / Math.max(inkWidth, inkHeight);
  const [x, y] = [(FINE - inkWidth * shrink) / 2, (FINE - inkHeight * shrink) / 2];
  fine.context.imageSmoothingQuality = "high";
  fine.context.drawImage(canvas, box.left, box.top, inkWidth, inkHeight, x, y, inkWidth * shrink, inkHeight * shrink);
  return fine;
}

function greyAt(/** @type {Uint8ClampedArray} */ data, /** @type {number} */ index) {
  const [red, green, blue] = data.subarray(4 * index, 4 * index + 3);
  return 0.299 * red + 0.587 * green + 0.114 * blue;
}

/** 8 x 8 grey pixels, each the ink in 4 x 4 of the bitmap's, in the canvas that shows what is sent. */
function reduce(/** @type {CanvasRenderingContext2D} */ fine) {
  const from = fine.getImageData(0, 0, FINE, FINE).data;
  const context = at("sent").getContext("2d");
  const small = context.createImageData(SIZE, SIZE);
  const part = FINE / SIZE;
  for (let i = 0; i < SIZE * SIZE; i++) {
    let ink = 0;
    for (let k = 0; k < part * part; k++) {
      const [x, y] = [(i % SIZE) * part + (k % part), Math.floor(i / SIZE) * part + Math.floor(k / part)];
      ink += from[4 * (y * FINE + x)];
    }
    const grey = ink / part ** 2;
    small.data.set([grey, grey, grey, 255], 4 * i);
  }
  context.putImageData(small, 0, 0);
}

/** @returns {Promise<Blob>} a PNG file as the model takes it */
async function payload() {
  if (picture && picture.width === SIZE && picture.height === SIZE) {
    at("sent").getContext("2d").drawImage(picture, 0, 0);
  } else {
    reduce((picture ? bitmapOfPicture(picture) : bitmapOfStrokes()).context);
  }
  return new Promise((resolve) => at("sent").toBlob(resolve, "image/png"));
}

// ---- Asking -----------------------------------------------------------------------------------------------------

function say(/** @type {string} */ text, wrong = false) {
  at("message").textContent = text;
  at("message").hidden = text === "";
  at("message").classList.toggle("wrong", wrong);
}

function showProgress(/** @type {import("./calpow.js").Progress} */ { found, count, secondsLeft }) {
  at("progress").value = found / count;
  const left = secondsLeft === null || found === count ? "" : `, about ${seconds(secondsLeft)} left`;
  at("stage").textContent = `Working: ${found} of ${count} stamps${left}`;
}

function seconds(/** @type {number} */ value) {
  return value < 0.1 ? `${(1000 * value).toFixed(0)} ms` : `${value.toFixed(1)} s`;
}

/** The last progress of each challenge: the answer may have taken more than one. */
function showWork(/** @type {import("./calpow.js").Progress[]} */ solved, /** @type {number} */ total) {
  const rows = [["Answered after", seconds(total)]];
  if (solved.length > 0) {
    const sizes = solved.map(({ challenge: { bits, count } }) => `${count} stamps of ${bits} bits`);
    const sum = (/** @type {"hashes" | "seconds"} */ name) => solved.reduce((all, each) => all + each[name], 0);
    rows.unshift(
      ["Work", `${sizes.join(", then ")} (${solved[0].challenge.algorithm})`],
      ["Digests", sum("hashes").toLocaleString("en")],
      ["Worked for", seconds(sum("seconds"))],
    );
  }
  const cell = (/** @type {string} */ tag, /** @type {string} */ text) =>
    Object.assign(document.createElement(tag), { textContent: text });
  at("work").replaceChildren(...rows.flatMap(([name, value]) => [cell("dt", name), cell("dd", value)]));
  at("work").hidden = false;
}

function showAnswer(/** @type {any} */ answer) {
  const { digit, probabilities } = answer ?? {};
  if (!Number.isInteger(digit) || !Array.isArray(probabilities) || !probabilities.every(Number.isFinite)) {
    throw new Error("it is no digit and its probabilities. Is this the model of the demo?");
  }
  at("answer").textContent = String(digit);
  at("answer").hidden = false;
  const rows = probabilities.map((probability, index) => {
    const row = document.createElement("tr");
    const name = Object.assign(document.createElement("th"), { scope: "row", textContent: String(index) });
    const [bar, share] = [document.createElement("td"), document.createElement("td")];
    bar.append(Object.assign(document.createElement("meter"), { value: probability, ariaLabel: `sure of ${index}` }));
    share.textContent = `${(100 * probability).toFixed(1)} %`;
    row.append(name, bar, share);
    return row;
  });
  at("probabilities").tBodies[0].replaceChildren(...rows);
  at("probabilities").hidden = false;
}

/** What a refusal says of itself (RFC 9457), or its status. */
async function reasonOf(/** @type {Response} */ response) {
  const problem = await response.json().catch(() => ({}));
  return `${response.status}: ${problem?.detail ?? problem?.message ?? "the model gave no reason"}`;
}

function excuse(/** @type {any} */ error) {
  if (error.name === "AbortError") return "Cancelled.";
  if (error instanceof CalpowError) return `${error.name}: ${error.message}.`;
  if (error instanceof TypeError) {
    return "The model cannot be reached. Is the URL right, is it running, does it allow this page's origin (CORS)?";
  }
  return `The answer could not be read: ${error.message}`;
}

async function ask() {
  for (const id of ["answer", "probabilities", "work", "seen"]) at(id).hidden = true;
  say("");
  if (!picture && strokes.length === 0) return say("Draw a digit first, or upload a picture.", true);
  running = new AbortController();
  [at("ask").disabled, at("cancel").disabled] = [true, false];
  at("progress").removeAttribute("value");
  at("stage").textContent = "Asking…";
  /** @type {Map<import("./calpow.js").Challenge, import("./calpow.js").Progress>} */
  const solved = new Map();
  const onProgress = (/** @type {import("./calpow.js").Progress} */ progress) => {
    solved.set(progress.challenge, progress);
    showProgress(progress);
  };
  const began = performance.now();
  try {
    const body = await payload();
    at("seen").hidden = false;
    const key = at("key").value.trim() || undefined;
    const response = await powFetch(at("url").value, { method: "POST", body, key, signal: running.signal, onProgress });
    if (!response.ok) return say(await reasonOf(response), true);
    showAnswer(await response.json());
    showWork([...solved.values()], (performance.now() - began) / 1000);
  } catch (error) {
    say(excuse(error), true);
  } finally {
    running = null;
    [at("ask").disabled, at("cancel").disabled] = [false, true];
    at("progress").value = at("answer").hidden ? 0 : 1;
    at("stage").textContent = at("answer").hidden ? "Not answered." : "Answered.";
  }
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
at("cancel").addEventListener("click", () => running?.abort());

/** The site that has this page may know a model and give each visitor a key. */
async function fillIn() {
  const response = await fetch("demo.json", { cache: "no-store" });
  if (!response.ok) return;
  const { url, key } = await response.json();
  at("url").value ||= url;
  at("key").value ||= key;
  at("where").open = false;
}

redraw();
fillIn().catch(() => {});

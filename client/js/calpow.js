/**
 * Calpow in the browser: `powFetch` is `fetch` for models that require a proof of work before they answer.
 *
 *     import { powFetch } from "./calpow.js";
 *     const answer = await powFetch(url, { method: "POST", body, key, signal, onProgress });
 *
 * It has no dependencies and needs no build step: serve this file, which is also the script of its workers, with
 * mint.js and vectors.js beside it (see docs/decisions/0032). The protocol is described in docs/protocol.md. A key in a
 * page is known to everyone who can open the page, so give each visitor a key of their own.
 *
 * @typedef {import("./mint.js").Job} Job
 * @typedef {import("./mint.js").Slice} Slice
 * @typedef {import("./mint.js").ScryptCost} ScryptCost
 *
 * @typedef {object} Challenge   the challenge of a 402, after it was checked
 * @property {string} token
 * @property {string} id         the resource of its stamps
 * @property {string} algorithm  "hashcash-sha1", "hashcash-sha256" or "scrypt"
 * @property {number} bits       leading zero bits of each stamp's digest
 * @property {number} count      number of stamps
 * @property {number} expires    in milliseconds since 1970, by the server's clock
 * @property {ScryptCost | null} cost  the parameters of scrypt; null for the other algorithms
 * @property {number} expectedHashes   the mean number of digests that a solution takes
 *
 * @typedef {object} Progress
 * @property {number} found      stamps found
 * @property {number} count      stamps in all
 * @property {number} seconds    time spent
 * @property {number | null} secondsLeft  expected time left; null before the first digest
 * @property {number} hashes     digests taken
 * @property {Challenge} challenge
 *
 * @typedef {object} SolveOptions
 * @property {AbortSignal | null} [signal]  ends the work at once, with the signal's reason (an AbortError), as in fetch
 * @property {(progress: Progress) => void} [onProgress]  called at the start and then several times a second; if it
 *                                     throws, the work ends with that error
 * @property {number} [maxSeconds]     SolvingTooLong is thrown if the work takes longer, or is going to. The default of
 *                                     powFetch is 120 for all work of one answer; the round trip of a refused solution
 *                                     counts, as one second at most. The default of solve is no limit
 * @property {number} [workers]        number of Web Workers, by default one per core; 0 solves in the calling thread
 *
 * @typedef {object} PowOptions
 * @property {string | null} [key]     sent in the header X-Api-Key, and nowhere else
 * @property {number} [maxHashes]      the most digests that all work of one answer may be expected to take; the default
 *                                     is 2^32
 */

import { ALGORITHMS, searchSlice } from "./mint.js";

/** The root of the errors that powFetch and solve throw. */
export class CalpowError extends Error {
  name = this.constructor.name;
  /** @type {Response | undefined} the last response of the server, if there is one */
  response;
}
/** The key cannot stand in a header. The message does not contain it. */
export class UnusableKey extends CalpowError {}
/** The body can be sent only once, and a request with a challenge is sent twice. Nothing was sent. */
export class BodyNotRewindable extends CalpowError {}
/** The challenge cannot be read, or asks for something absurd. No work was done. */
export class MalformedChallenge extends CalpowError {}
/** This version cannot solve puzzles of this algorithm. No work was done. */
export class UnknownAlgorithm extends CalpowError {}
/** The challenge has expired, or will expire before it is solved. */
export class ChallengeExpired extends CalpowError {}
/** The answer takes more digests than maxHashes. No work was done for the last challenge. */
export class WorkLimitExceeded extends CalpowError {}
/** The work takes more seconds than maxSeconds. */
export class SolvingTooLong extends CalpowError {}
/** Something between the page and the server drops the header PoW-Solution. */
export class HeadersDropped extends CalpowError {}

const MAX_TOKEN_LENGTH = 5120;
const DEFAULT_MAX_HASHES = 2 ** 32;
const DEFAULT_MAX_SECONDS = 120;
const MAX_BITS = 40;
const MAX_COUNT = 64;
const MAX_SCRYPT_MEMORY = 64 << 20;
const WORKER_NAME = "calpow-solver";
// Milliseconds. Half a frame, so that a page which solves by itself stays responsive.
const PAGE_SLICE = 6;
const WORKER_SLICE = 40;
// A puzzle that the page solves in less time is not worth starting workers for.
const PAGE_ONLY_TIME = 25;
// From this n r p on, one digest of scrypt takes longer than a slice: it is left to workers if there are any.
const MAX_SCRYPT_ON_PAGE = 2 ** 14;

/**
 * Fetch like `fetch`, and do the work that the server asks for (status 402 with a challenge).
 *
 * If a solution is refused, its response has a new challenge, and one for the rest if the work was too little; these
 * are solved as well, within maxHashes and maxSeconds. Every other response is returned as it is, including a 402
 * without a challenge. So are 429 and 503: a page of another origin can read Retry-After only if the server exposes it.
 * Redirects are errors unless `redirect` is given, because fetch would send the key along to wherever they lead.
 *
 * @param {string | URL | Request} input  a Request must not have a body
 * @param {RequestInit & PowOptions & SolveOptions} [options]
 * @returns {Promise<Response>}
 */
export async function powFetch(input, options = {}) {
  const { key, workers, onProgress, maxHashes, maxSeconds, ...init } = options;
  checkBody(input, init.body);
  const headers = new Headers(init.headers ?? (input instanceof Request ? input.headers : undefined));
  if (key != null) headers.set("X-Api-Key", checkKey(key));
  const signal = init.signal ?? (input instanceof Request ? input.signal : undefined);
  const payer = new Payer({ signal, onProgress, workers, maxHashes, maxSeconds });
  const send = () => fetch(input, { redirect: "error", ...init, headers });
  let response = await send();
  for (;;) {
    const problem = await readProblem(response);
    if (problem?.challenge === undefined) return response;
    try {
      const solution = await payer.solve(problem, response, headers.has("PoW-Solution"));
      headers.set("PoW-Solution", solution);
    } catch (error) {
      if (error instanceof CalpowError) error.response = response;
      throw error;
    }
    const sentAt = performance.now();
    response = await send();
    payer.countRoundTrip((performance.now() - sentAt) / 1000);
  }
}

/** Solver of the challenges of one answer, with limits that hold for all of them together. */
class Payer {
  hashes = 0;
  seconds = 0;
  sawExpired = false;

  /** @param {SolveOptions & PowOptions} options */
  constructor({ maxHashes = DEFAULT_MAX_HASHES, maxSeconds = DEFAULT_MAX_SECONDS, ...options }) {
    this.maxHashes = maxHashes;
    this.maxSeconds = maxSeconds;
    this.options = options;
  }

  /**
   * Solve the challenge of a 402 and return the value of the header PoW-Solution.
   *
   * @param {Problem} problem
   * @param {Response} response
   * @param {boolean} refused  whether the request had a solution already
   */
  async solve(problem, response, refused) {
    const challenge = readChallenge(problem.challenge);
    if (refused && problem.type === "urn:calpow:problem:pow-required") {
      throw new HeadersDropped("the server asks for work that was done: something drops the header PoW-Solution");
    }
    const refusal = refused ? ` (the last solution was refused: ${reasonOf(problem)})` : "";
    this.countWork(challenge, refusal);
    const expiresAfter = this.secondsToSolve(challenge, response);
    const search = new Search(challenge, { ...this.options, maxSeconds: this.maxSeconds - this.seconds, expiresAfter });
    const stamps = await search.run().catch((error) => {
      throw refused && error instanceof SolvingTooLong ? this.tooLong(refusal) : error;
    });
    this.seconds += search.seconds;
    return [challenge.token, ...stamps].join(" ");
  }

  countRoundTrip(/** @type {number} */ seconds) {
    this.seconds += Math.min(seconds, 1);
  }

  countWork(/** @type {Challenge} */ challenge, /** @type {string} */ refusal) {
    this.hashes += challenge.expectedHashes;
    if (this.hashes > this.maxHashes) {
      const excess = `the answer takes about ${this.hashes} hashes, more than the limit of ${this.maxHashes}`;
      throw new WorkLimitExceeded(excess + refusal);
    }
    if (this.seconds >= this.maxSeconds) throw this.tooLong(refusal);
  }

  tooLong(/** @type {string} */ refusal) {
    return new SolvingTooLong(`the answer takes more than ${this.maxSeconds} s${refusal}`);
  }

  /**
   * Return the seconds until the challenge expires, or Infinity if only the page's clock is known.
   *
   * That clock may be wrong by hours, so a challenge that has expired by it alone is tried once (decision 0029).
   */
  secondsToSolve(/** @type {Challenge} */ challenge, /** @type {Response} */ response) {
    const serverTime = Date.parse(response.headers.get("Date") ?? "");
    const isServerTime = !Number.isNaN(serverTime);
    const seconds = (challenge.expires - (isServerTime ? serverTime : Date.now())) / 1000;
    if (seconds <= 0 && (isServerTime || this.sawExpired)) {
      throw new ChallengeExpired("the challenge had expired when it came: ask again, or set this machine's clock");
    }
    this.sawExpired ||= seconds <= 0;
    return isServerTime ? seconds : Infinity;
  }
}

/**
 * Mint the stamps of a challenge, in order, on all cores. Takes `expectedHashes` digests on average.
 *
 * @param {Challenge | object} challenge  the result of `readChallenge`, or the "challenge" member of a 402's body
 * @param {SolveOptions} [options]
 * @returns {Promise<string[]>}
 */
export async function solve(challenge, options = {}) {
  return new Search(isChecked(challenge) ? challenge : readChallenge(challenge), options).run();
}

/** The results of readChallenge. */
const checked = new WeakSet();

/**
 * @param {object} challenge
 * @returns {challenge is Challenge}
 */
function isChecked(challenge) {
  return checked.has(challenge);
}

/**
 * Check the "challenge" member of a 402's body. Throws MalformedChallenge or UnknownAlgorithm.
 *
 * @param {any} document
 * @returns {Readonly<Challenge>}
 */
export function readChallenge(document) {
  check(typeof document === "object" && document !== null, "document is not a JSON object");
  const { token, id, algorithm, bits, count, expires } = document;
  check(isMatch(token, /^[\w-]+\.[\w-]+\.[\w-]+$/) && token.length <= MAX_TOKEN_LENGTH, "token is not a JWT");
  check(typeof algorithm === "string", "algorithm is not a string");
  if (!ALGORITHMS.includes(algorithm)) {
    throw new UnknownAlgorithm(`puzzle algorithm ${JSON.stringify(algorithm.slice(0, 40))} is not known here`);
  }
  check(isMatch(id, /^[!-9;-~]{1,128}$/), "id is not 1 to 128 printable characters without space and colon");
  check(isWithin(bits, 1, MAX_BITS), `bits are not between 1 and ${MAX_BITS}`);
  check(isWithin(count, 1, MAX_COUNT), `count is not between 1 and ${MAX_COUNT}`);
  const challenge = {
    ...{ token, id, algorithm, bits, count },
    expires: readTime(expires),
    cost: algorithm === "scrypt" ? readCost(document) : null,
    expectedHashes: count * 2 ** bits,
  };
  checked.add(challenge);
  return Object.freeze(challenge);
}

function readTime(/** @type {unknown} */ text) {
  const fault = "expiry is not a time in UTC";
  check(isMatch(text, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/), fault);
  const time = Date.parse(text);
  // Date.parse may read February 31 as March 3.
  check(time >= 0 && new Date(time).toISOString() === text.replace("Z", ".000Z"), fault);
  return time;
}

/** @returns {ScryptCost} */
function readCost(/** @type {Record<string, any>} */ { n, r, p }) {
  const isCost = isWithin(n, 2, 2 ** 30) && (n & (n - 1)) === 0 && isWithin(r, 1, 2 ** 20) && isWithin(p, 1, 16);
  check(isCost && n < 2 ** (16 * r), "scrypt cost is absurd");
  check(128 * r * Math.max(n + p, n * p) <= MAX_SCRYPT_MEMORY, "scrypt takes more than 64 MiB");
  return { n, r, p };
}

/**
 * @param {boolean} isSound
 * @param {string} fault
 * @returns {asserts isSound}
 */
function check(isSound, fault) {
  if (!isSound) throw new MalformedChallenge(`the challenge's ${fault}: ask for a new one`);
}

/**
 * @param {unknown} value
 * @param {RegExp} pattern
 * @returns {value is string}
 */
function isMatch(value, pattern) {
  return typeof value === "string" && pattern.test(value);
}

function isWithin(/** @type {unknown} */ value, /** @type {number} */ least, /** @type {number} */ most) {
  return typeof value === "number" && Number.isInteger(value) && value >= least && value <= most;
}

function checkKey(/** @type {string} */ key) {
  if (/^[!-~](?:[ -~]*[!-~])?$/.test(key)) return key;
  throw new UnusableKey("the API key is empty or not printable ASCII");
}

function checkBody(/** @type {string | URL | Request} */ input, /** @type {unknown} */ body) {
  const kinds = [Blob, ArrayBuffer, FormData, URLSearchParams];
  const isRepeatable =
    typeof body === "string" || ArrayBuffer.isView(body) || kinds.some((kind) => body instanceof kind);
  // The body of a Request is a stream, whatever it was made from.
  const isStream = input instanceof Request && !["GET", "HEAD"].includes(input.method);
  if (body == null ? isStream : !isRepeatable) {
    throw new BodyNotRewindable(
      "a challenged request is sent twice: give the URL, and as body a string, Blob, ArrayBuffer, FormData or the like",
    );
  }
}

/**
 * @typedef {{type?: unknown, detail?: unknown, challenge?: unknown}} Problem  a problem document (RFC 9457)
 *
 * Return the problem document of a 402, or null.
 *
 * @param {Response} response
 * @returns {Promise<Problem | null>}
 */
async function readProblem(response) {
  if (response.status !== 402) return null;
  try {
    return await response.clone().json();
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

function reasonOf(/** @type {Problem} */ problem) {
  const text = typeof problem.detail === "string" ? problem.detail : "no reason given";
  return text.replace(/[^\x20-\x7e]+/g, " ").slice(0, 200);
}

// ---- Solving on the page and in workers -------------------------------------------------------------------------

/**
 * A puzzle that is being solved, by this thread and by workers.
 *
 * This thread starts, in slices, and goes on until a worker has returned its first result. Tries are independent, so a
 * searcher needs to know only the stamp to search for: before each slice, it takes the open stamp with the fewest
 * searchers.
 */
class Search {
  hashes = 0;
  workersStarted = false;
  workersTookOver = false;
  estimated = false;
  isOver = false;
  startedAt = performance.now();
  date = new Date().toISOString().replace(/\D/g, "").slice(2, 14);
  /** @type {Set<Worker>} */
  workers = new Set();
  finish = () => {};
  /** @type {(reason: unknown) => void} */
  fail = () => {};

  /**
   * @param {Readonly<Challenge>} challenge
   * @param {SolveOptions & {expiresAfter?: number}} options
   */
  constructor(challenge, { signal, onProgress, maxSeconds = Infinity, workers, expiresAfter = Infinity }) {
    this.challenge = challenge;
    this.signal = signal;
    this.onProgress = onProgress;
    this.maxSeconds = maxSeconds;
    this.expiresAfter = expiresAfter;
    this.maxWorkers = Math.min(workers ?? globalThis.navigator?.hardwareConcurrency ?? 1, challenge.count);
    this.left = challenge.count;
    /** @type {(string | null)[]} */
    this.stamps = new Array(challenge.count).fill(null);
    /** @type {number[]} */
    this.searchers = new Array(challenge.count).fill(0);
    /** @type {Promise<void>} */
    this.ended = new Promise((resolve, reject) => {
      this.finish = resolve;
      this.fail = reject;
    });
    this.ended.catch(() => {}); // not awaited if onProgress throws before the search has started
  }

  get seconds() {
    return (performance.now() - this.startedAt) / 1000;
  }

  /** @returns {Promise<string[]>} */
  async run() {
    const { signal } = this;
    signal?.throwIfAborted();
    const cancel = () => this.fail(signal?.reason);
    signal?.addEventListener("abort", cancel);
    try {
      this.report();
      if (isSlow(this.challenge.cost)) this.startWorkers();
      this.workersTookOver = this.workers.size > 0;
      this.searchOnPage().catch(this.fail);
      await this.ended;
    } finally {
      this.isOver = true;
      signal?.removeEventListener("abort", cancel);
      for (const worker of this.workers) worker.terminate();
    }
    return /** @type {string[]} */ (this.stamps);
  }

  report() {
    const { left, hashes, challenge, seconds } = this;
    const { bits, count } = challenge;
    const secondsLeft = hashes ? (seconds / hashes) * left * 2 ** bits : null;
    if (left) this.checkTime(seconds, secondsLeft ?? 0);
    this.onProgress?.({ found: count - left, count, seconds, secondsLeft, hashes, challenge });
  }

  checkTime(/** @type {number} */ seconds, /** @type {number} */ secondsLeft) {
    // The speed of the first moments is not representative.
    const isFirstEstimate = !this.estimated && seconds > 1;
    this.estimated ||= isFirstEstimate;
    const expected = isFirstEstimate ? seconds + secondsLeft : seconds;
    const takes = `the puzzle takes about ${expected.toFixed(1)} s here`;
    if (expected > this.expiresAfter) throw new ChallengeExpired(`${takes}: the challenge expires before it is solved`);
    if (expected > this.maxSeconds) {
      throw new SolvingTooLong(`${takes}, more than the ${+this.maxSeconds.toFixed(1)} s allowed`);
    }
  }

  /** @param {(job: Job) => Slice | Promise<Slice>} searcher */
  async searchOnce(searcher) {
    const { stamps, searchers } = this;
    const open = [...stamps.keys()].filter((ext) => stamps[ext] === null);
    const ext = open.reduce((best, other) => (searchers[other] < searchers[best] ? other : best));
    searchers[ext]++;
    try {
      const slice = await searcher(this.jobFor(ext));
      if (!this.isOver) this.record(ext, slice);
    } finally {
      searchers[ext]--;
    }
  }

  /** @returns {Job} */
  jobFor(/** @type {number} */ ext) {
    const { algorithm, bits, cost, id } = this.challenge;
    return { algorithm, bits, cost, fields: `1:${bits}:${this.date}:${id}:${ext}:` };
  }

  record(/** @type {number} */ ext, /** @type {Slice} */ { stamp, hashes }) {
    this.hashes += hashes;
    if (stamp !== null && this.stamps[ext] === null) {
      this.stamps[ext] = stamp;
      this.left--;
    }
    this.report();
    if (this.left === 0) this.finish();
  }

  async searchOnPage() {
    while (!this.isOver && !this.workersTookOver && this.left) {
      await this.searchOnce((job) => searchSlice(job, PAGE_SLICE));
      const isWorthWorkers = performance.now() - this.startedAt > PAGE_ONLY_TIME;
      if (!this.workersStarted && this.left && isWorthWorkers) this.startWorkers();
      await nextTask();
    }
  }

  async searchInWorker(/** @type {Worker} */ worker) {
    try {
      while (!this.isOver && this.left) {
        await this.searchOnce((job) => runInWorker(worker, job));
        this.workersTookOver = true;
      }
    } catch (error) {
      if (!(error instanceof WorkerLost)) throw error;
      this.workers.delete(worker);
      if (this.workers.size > 0 || !this.workersTookOver) return;
      this.workersTookOver = false;
      await this.searchOnPage();
    }
  }

  startWorkers() {
    this.workersStarted = true;
    for (let index = 0; index < this.maxWorkers; index++) {
      const worker = startWorker();
      if (worker === null) return;
      this.workers.add(worker);
      this.searchInWorker(worker).catch(this.fail);
    }
  }
}

/** Return whether one digest would delay the page's next frame. */
function isSlow(/** @type {ScryptCost | null} */ cost) {
  return cost !== null && cost.n * cost.r * cost.p > MAX_SCRYPT_ON_PAGE;
}

/** Let the page handle its events. A timer would wait for 4 ms, and for a second in a tab in the background. */
function nextTask() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => resolve(port1.close());
    port2.postMessage(null);
  });
}

class WorkerLost extends Error {}

/** @type {string | undefined} */
let workerScript;

/** Return the URL of the worker's script. It has to be of the page's origin; modules that it imports do not. */
function scriptForWorkers() {
  const here = import.meta.url;
  if (new URL(here).origin === globalThis.location.origin) return here;
  return URL.createObjectURL(new Blob([`import ${JSON.stringify(here)};`], { type: "text/javascript" }));
}

/** Start a worker that runs this file, or return null if there can be none. */
function startWorker() {
  if (typeof Worker === "undefined") return null;
  try {
    workerScript ??= scriptForWorkers();
    return new Worker(workerScript, { type: "module", name: WORKER_NAME });
  } catch {
    return null; // forbidden by the page's Content-Security-Policy
  }
}

/** @returns {Promise<Slice>} */
function runInWorker(/** @type {Worker} */ worker, /** @type {Job} */ job) {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => {
      event.preventDefault();
      worker.terminate();
      reject(new WorkerLost(event.message));
    };
    worker.postMessage(job);
  });
}

if ("WorkerGlobalScope" in globalThis && self.name === WORKER_NAME) {
  self.onmessage = ({ data }) => self.postMessage(searchSlice(data, WORKER_SLICE));
}

/**
 * Calpow in the browser: `powFetch` is `fetch` for models that ask for a proof of work before they answer.
 *
 *     import { powFetch } from "./calpow.js";
 *     const answer = await powFetch(url, { method: "POST", body, key, signal, onProgress });
 *
 * Without dependencies and without a build step: this file, which is its own worker script, with mint.js and vectors.js
 * beside it. The protocol is in docs/protocol.md. Whoever sees a page has the key in it: give each visitor his own.
 *
 * @typedef {import("./mint.js").Job} Job
 * @typedef {import("./mint.js").Slice} Slice
 * @typedef {import("./mint.js").ScryptCost} ScryptCost
 * @typedef {object} Challenge   a 402's challenge that has been checked
 * @property {string} token
 * @property {string} id         the resource of its stamps
 * @property {string} algorithm  "hashcash-sha1", "hashcash-sha256" or "scrypt"
 * @property {number} bits       leading zero bits of each stamp's digest
 * @property {number} count      stamps asked for
 * @property {number} expires    milliseconds since 1970, by the server's clock
 * @property {ScryptCost | null} cost  scrypt's, else null
 * @property {number} expectedHashes   the mean number of digests it takes
 *
 * @typedef {object} Progress
 * @property {number} found      stamps found
 * @property {number} count      of so many
 * @property {number} seconds    spent
 * @property {number | null} secondsLeft  expected; null before the first digest
 * @property {number} hashes     digests taken
 * @property {Challenge} challenge
 *
 * @typedef {object} SolveOptions
 * @property {AbortSignal} [signal]    ends the work at once, with the signal's reason (an AbortError), as in fetch
 * @property {(progress: Progress) => void} [onProgress]  called at the start and several times a second; what it
 *                                     throws ends the work
 * @property {number} [maxSeconds]     SolvingTooLong when the work takes more, or will; powFetch allows 120 for one
 *                                     answer if not given, of which the round trip of a refused solution counts, as one
 *                                     second at most; solve any
 * @property {number} [workers]        how many Web Workers; one a core if not given; 0 keeps to this thread
 *
 * @typedef {object} PowOptions
 * @property {string} [key]            sent as X-Api-Key; nowhere else does it go
 * @property {number} [maxHashes]      the most expected digests one answer may cost in all; 2^32 if not given
 */

import { ALGORITHMS, searchSlice } from "./mint.js";

export class CalpowError extends Error {
  name = this.constructor.name;
  /** @type {Response | undefined} the server's last word, where there is one */
  response;
}
/** The key cannot stand in a header; the text does not repeat it. */
export class UnusableKey extends CalpowError {}
/** The body could be sent once only, and a challenged request is sent twice; nothing was sent. */
export class BodyNotRewindable extends CalpowError {}
/** The challenge cannot be read, or asks for something absurd; nothing was solved. */
export class MalformedChallenge extends CalpowError {}
/** This version cannot solve such puzzles; nothing was solved. */
export class UnknownAlgorithm extends CalpowError {}
/** The challenge had expired when it came, or before it was solved, or will have. */
export class ChallengeExpired extends CalpowError {}
/** The answer takes more digests than maxHashes; nothing was solved for it. */
export class WorkLimitExceeded extends CalpowError {}
/** The work takes more seconds than maxSeconds. */
export class SolvingTooLong extends CalpowError {}
/** Something between page and server drops the header PoW-Solution. */
export class HeadersDropped extends CalpowError {}

const MAX_TOKEN_LENGTH = 5120;
const DEFAULT_MAX_HASHES = 2 ** 32;
const DEFAULT_MAX_SECONDS = 120;
const MAX_BITS = 40;
const MAX_COUNT = 64;
const MOST_SCRYPT_BYTES = 64 << 20;
const WORKER_NAME = "calpow-solver";
// Half a frame: the page stays alive while it solves by itself.
const PAGE_SLICE = 6;
const WORKER_SLICE = 40;
// What is solved sooner than this is not worth starting workers for.
const ALONE_FOR = 25;
// n r p of a scrypt whose digests take longer than a slice: where there are workers, no page tries it.
const MOST_ON_PAGE = 2 ** 14;

/**
 * Ask as `fetch` does, and do the work when the server wants it (status 402 with a challenge).
 *
 * A solution that is refused brings a new challenge, and one that is too little a challenge for the rest; both are
 * solved as well, until maxHashes or maxSeconds ends it. Every other status, a 402 without a challenge among them, is
 * returned as it came; so are 429 and 503, whose Retry-After a page of another origin can read only where the server
 * exposes it. Redirects are errors unless `redirect` says otherwise: fetch would carry the key along to wherever they
 * lead.
 *
 * @param {string | URL | Request} input  a Request only without a body
 * @param {RequestInit & PowOptions & SolveOptions} [options]
 * @returns {Promise<Response>}
 */
export async function powFetch(input, options = {}) {
  const { key, workers, onProgress, ...others } = options;
  const { maxHashes = DEFAULT_MAX_HASHES, maxSeconds = DEFAULT_MAX_SECONDS, ...init } = others;
  checkBody(input, init.body);
  const headers = new Headers(init.headers ?? (input instanceof Request ? input.headers : undefined));
  if (key != null) {
    if (!/^[!-~](?:[ -~]*[!-~])?$/.test(key)) throw new UnusableKey("the API key is empty or not printable ASCII");
    headers.set("X-Api-Key", key);
  }
  const signal = init.signal ?? (input instanceof Request ? input.signal : undefined);
  const send = () => fetch(input, { redirect: "error", ...init, headers });
  let response = await send();
  let [cost, spent] = [0, 0];
  let doubted = false;
  for (;;) {
    const problem = await problemIn(response);
    if (problem?.challenge === undefined) return response;
    try {
      const challenge = readChallenge(problem.challenge);
      const refusal = headers.has("PoW-Solution") ? ` (the last solution was refused: ${reasonIn(problem)})` : "";
      if (refusal && problem.type === "urn:calpow:problem:pow-required") {
        throw new HeadersDropped("the server asks for work that was done: something drops the header PoW-Solution");
      }
      cost += challenge.expectedHashes;
      if (cost > maxHashes) {
        const much = `the answer takes about ${cost} hashes, more than the limit of ${maxHashes}`;
        throw new WorkLimitExceeded(much + refusal);
      }
      if (spent >= maxSeconds) throw new SolvingTooLong(`the answer takes more than ${maxSeconds} s${refusal}`);
      const lifetime = secondsLeft(challenge, response);
      // A page's clock may be wrong by hours: what only it says has expired is tried once.
      if (lifetime.seconds <= 0 && (lifetime.byServer || doubted)) {
        throw new ChallengeExpired("the challenge had expired when it came: ask again, or set this machine's clock");
      }
      doubted ||= lifetime.seconds <= 0;
      const limits = lifetime.byServer ? { expiresAfter: lifetime.seconds } : {};
      const search = new Search(challenge, { signal, onProgress, maxSeconds: maxSeconds - spent, workers, ...limits });
      const stamps = await search.run();
      spent += (performance.now() - search.began) / 1000;
      headers.set("PoW-Solution", [challenge.token, ...stamps].join(" "));
    } catch (error) {
      if (error instanceof CalpowError) error.response = response;
      throw error;
    }
    const sent = performance.now();
    response = await send();
    spent += Math.min((performance.now() - sent) / 1000, 1);
  }
}

/**
 * Mint the stamps of a challenge, in order, on all cores. Takes `expectedHashes` digests on average.
 *
 * @param {Challenge | object} challenge  what `readChallenge` returned, or the "challenge" member of a 402's body
 * @param {SolveOptions} [options]
 * @returns {Promise<string[]>}
 */
export async function solve(challenge, options = {}) {
  return new Search(checked.has(challenge) ? challenge : readChallenge(challenge), options).run();
}

/** What readChallenge has let pass. */
const checked = new WeakSet();

/**
 * Check the "challenge" member of a 402's body. Throws MalformedChallenge or UnknownAlgorithm.
 *
 * @param {any} document
 * @returns {Readonly<Challenge>}
 */
export function readChallenge(document) {
  const must = (/** @type {boolean} */ right, /** @type {string} */ what) => {
    if (!right) throw new MalformedChallenge(`the challenge's ${what}: ask for a new one`);
  };
  const within = (/** @type {any} */ value, /** @type {number} */ least, /** @type {number} */ most) =>
    Number.isInteger(value) && value >= least && value <= most;
  must(typeof document === "object" && document !== null, "document is not a JSON object");
  const { token, id, algorithm, bits, count, expires, n, r, p } = document;
  must(isMatch(token, /^[\w-]+\.[\w-]+\.[\w-]+$/) && token.length <= MAX_TOKEN_LENGTH, "token is not a JWT");
  must(typeof algorithm === "string", "algorithm is not a string");
  if (!ALGORITHMS.includes(algorithm)) {
    throw new UnknownAlgorithm(`puzzle algorithm ${JSON.stringify(algorithm.slice(0, 40))} is not known here`);
  }
  must(isMatch(id, /^[!-9;-~]{1,128}$/), "id is not 1 to 128 printable characters without space and colon");
  must(within(bits, 1, MAX_BITS), `bits are not between 1 and ${MAX_BITS}`);
  must(within(count, 1, MAX_COUNT), `count is not between 1 and ${MAX_COUNT}`);
  const time = isMatch(expires, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/) ? Date.parse(expires) : NaN;
  must(time >= 0 && new Date(time).toISOString() === expires.replace("Z", ".000Z"), "expiry is not a time in UTC");
  if (algorithm === "scrypt") {
    const whole = within(n, 2, 2 ** 30) && (n & (n - 1)) === 0 && within(r, 1, 2 ** 20) && within(p, 1, 16);
    must(whole && n < 2 ** (16 * r), "scrypt cost is absurd");
    must(128 * r * Math.max(n + p, n * p) <= MOST_SCRYPT_BYTES, "scrypt takes more than 64 MiB");
  }
  const cost = algorithm === "scrypt" ? { n, r, p } : null;
  const challenge = { token, id, algorithm, bits, count, expires: time, cost, expectedHashes: count * 2 ** bits };
  checked.add(challenge);
  return Object.freeze(challenge);
}

function isMatch(/** @type {any} */ value, /** @type {RegExp} */ pattern) {
  return typeof value === "string" && pattern.test(value);
}

function checkBody(/** @type {any} */ input, /** @type {any} */ body) {
  const kinds = [Blob, ArrayBuffer, FormData, URLSearchParams];
  const again = typeof body === "string" || ArrayBuffer.isView(body) || kinds.some((kind) => body instanceof kind);
  // The body of a Request is a stream, whatever it was made of.
  const streams = input instanceof Request && !["GET", "HEAD"].includes(input.method);
  if (body == null ? streams : !again) {
    throw new BodyNotRewindable(
      "a challenged request is sent twice: give the URL, and as body a string, Blob, ArrayBuffer, FormData or the like",
    );
  }
}

/** The problem document of a 402, else null. */
async function problemIn(/** @type {Response} */ response) {
  if (response.status !== 402) return null;
  try {
    return await response.clone().json();
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

function reasonIn(/** @type {any} */ problem) {
  const text = typeof problem.detail === "string" ? problem.detail : "no reason given";
  return text.replace(/[^\x20-\x7e]+/g, " ").slice(0, 200);
}

function secondsLeft(/** @type {Challenge} */ challenge, /** @type {Response} */ response) {
  const now = Date.parse(response.headers.get("Date") ?? "");
  const byServer = !Number.isNaN(now);
  return { byServer, seconds: (challenge.expires - (byServer ? now : Date.now())) / 1000 };
}

// ---- Sharing the work out ---------------------------------------------------------------------------------------

/**
 * One puzzle being solved. This thread begins, in slices, and goes on until a worker has shown that it works. Tries are
 * memoryless, so a searcher has to know nothing but which stamp it is at: each takes, for a slice, the one with the
 * fewest searchers.
 */
class Search {
  hashes = 0;
  hired = false; // workers were started
  relieved = false; // and have taken over
  estimated = false;
  over = false;
  began = performance.now();
  date = new Date().toISOString().replace(/\D/g, "").slice(2, 14);
  /** @type {Set<Worker>} */
  team = new Set();

  /**
   * @param {Readonly<Challenge>} challenge
   * @param {SolveOptions & {expiresAfter?: number}} options
   */
  constructor(challenge, { signal, onProgress, maxSeconds = Infinity, workers, expiresAfter = Infinity }) {
    Object.assign(this, { challenge, signal, onProgress, maxSeconds, expiresAfter });
    this.mostWorkers = Math.min(workers ?? globalThis.navigator?.hardwareConcurrency ?? 1, challenge.count);
    this.left = challenge.count;
    this.stamps = new Array(challenge.count).fill(null);
    this.searchers = new Array(challenge.count).fill(0);
    this.ended = new Promise((finish, fail) => Object.assign(this, { finish, fail }));
    this.ended.catch(() => {}); // where onProgress aborts and throws, nobody waits for it
  }

  /** @returns {Promise<string[]>} */
  async run() {
    const { signal } = this;
    signal?.throwIfAborted();
    const cancel = () => this.fail(signal.reason);
    signal?.addEventListener("abort", cancel);
    try {
      this.report();
      if (isSlow(this.challenge.cost)) this.hire();
      this.relieved = this.team.size > 0;
      this.searchHere().catch(this.fail);
      await this.ended;
    } finally {
      this.over = true;
      signal?.removeEventListener("abort", cancel);
      for (const worker of this.team) worker.terminate();
    }
    return this.stamps;
  }

  report() {
    const { left, hashes, challenge } = this;
    const { bits, count } = challenge;
    const seconds = (performance.now() - this.began) / 1000;
    const secondsLeft = hashes ? (seconds / hashes) * left * 2 ** bits : null;
    if (left) this.checkTime(seconds, secondsLeft ?? 0);
    this.onProgress?.({ found: count - left, count, seconds, secondsLeft, hashes, challenge });
  }

  checkTime(/** @type {number} */ seconds, /** @type {number} */ secondsLeft) {
    // What the first moments say of a speed is not to be trusted.
    const estimate = !this.estimated && seconds > 1;
    this.estimated ||= estimate;
    const expected = estimate ? seconds + secondsLeft : seconds;
    const takes = `the puzzle takes about ${expected.toFixed(1)} s here`;
    if (expected > this.expiresAfter) throw new ChallengeExpired(`${takes}: the challenge expires before it is solved`);
    if (expected > this.maxSeconds) throw new SolvingTooLong(`${takes}, more than the ${+this.maxSeconds.toFixed(1)} s allowed`);
  }

  /** @param {(job: Job) => Slice | Promise<Slice>} searcher */
  async searchOnce(searcher) {
    const { stamps, searchers } = this;
    const open = [...stamps.keys()].filter((ext) => stamps[ext] === null);
    const ext = open.reduce((best, each) => (searchers[each] < searchers[best] ? each : best));
    searchers[ext]++;
    try {
      const slice = await searcher(this.jobOf(ext));
      if (!this.over) this.take(ext, slice);
    } finally {
      searchers[ext]--;
    }
  }

  /** @returns {Job} */
  jobOf(/** @type {number} */ ext) {
    const { algorithm, bits, cost, id } = this.challenge;
    return { algorithm, bits, cost, fields: `1:${bits}:${this.date}:${id}:${ext}:` };
  }

  take(/** @type {number} */ ext, /** @type {Slice} */ { stamp, hashes }) {
    this.hashes += hashes;
    if (stamp !== null && this.stamps[ext] === null) {
      this.stamps[ext] = stamp;
      this.left--;
    }
    this.report();
    if (this.left === 0) this.finish();
  }

  async searchHere() {
    while (!this.over && !this.relieved && this.left) {
      await this.searchOnce((job) => searchSlice(job, PAGE_SLICE));
      if (!this.hired && this.left && performance.now() - this.began > ALONE_FOR) this.hire();
      await pause();
    }
  }

  async searchThere(/** @type {Worker} */ worker) {
    try {
      while (!this.over && this.left) {
        await this.searchOnce((job) => ask(worker, job));
        this.relieved = true;
      }
    } catch (error) {
      if (!(error instanceof WorkerLost)) throw error;
      this.team.delete(worker);
      if (this.team.size > 0 || !this.relieved) return;
      this.relieved = false;
      await this.searchHere();
    }
  }

  hire() {
    this.hired = true;
    for (let index = 0; index < this.mostWorkers; index++) {
      const worker = startWorker();
      if (worker === null) return;
      this.team.add(worker);
      this.searchThere(worker).catch(this.fail);
    }
  }
}

/** Whether one digest would keep the page from its next frame. */
function isSlow(/** @type {ScryptCost | null} */ cost) {
  return cost !== null && cost.n * cost.r * cost.p > MOST_ON_PAGE;
}

/** Lets the page breathe: a timer would wait 4 ms, and a second where the tab is not seen. */
function pause() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => resolve(port1.close());
    port2.postMessage(null);
  });
}

class WorkerLost extends Error {}

/** @type {string | undefined} */
let workerScript;

/** A worker's script has to be of the page's origin; what it imports need not be. */
function scriptForWorkers() {
  const here = import.meta.url;
  if (new URL(here).origin === globalThis.location.origin) return here;
  return URL.createObjectURL(new Blob([`import ${JSON.stringify(here)};`], { type: "text/javascript" }));
}

/** A worker that runs this file; null where there are none. */
function startWorker() {
  if (typeof Worker === "undefined") return null;
  try {
    workerScript ??= scriptForWorkers();
    return new Worker(workerScript, { type: "module", name: WORKER_NAME });
  } catch {
    return null; // the page's Content-Security-Policy has no place for it
  }
}

/** @returns {Promise<Slice>} */
function ask(/** @type {Worker} */ worker, /** @type {Job} */ job) {
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

if (typeof WorkerGlobalScope !== "undefined" && self instanceof WorkerGlobalScope && self.name === WORKER_NAME) {
  self.onmessage = ({ data }) => self.postMessage(searchSlice(data, WORKER_SLICE));
}

/**
 * Solves puzzles: on the page itself, between its frames, and in workers where a puzzle is worth starting them.
 *
 * @typedef {import("./challenge.js").Puzzle} Puzzle
 * @typedef {import("./mint.js").Job} Job
 * @typedef {import("./mint.js").Slice} Slice
 * @typedef {import("./mint.js").ScryptCost} ScryptCost
 * @typedef {import("./workers.js").SearchWorker} SearchWorker
 *
 * @typedef {object} Progress
 * @property {number} found      stamps found
 * @property {number} count      stamps in all
 * @property {number} seconds    time spent
 * @property {number | null} secondsLeft  expected time left; null before the first digest
 * @property {number} hashes     digests taken
 * @property {Readonly<Puzzle>} puzzle  the server's challenge, or the puzzle of stamps that are paid beforehand
 *
 * @typedef {object} SolveOptions
 * @property {AbortSignal | null} [signal]  ends the work at once, with the signal's reason (an AbortError), as in fetch
 * @property {(progress: Progress) => void} [onProgress]  called at the start and then several times a second; if it
 *                                     throws, the work ends with that error
 * @property {number} [maxSeconds]     SolvingTooLong is thrown if the work takes longer, or is going to. The default of
 *                                     powFetch is 120 for all work of one answer; the round trip of a refused solution
 *                                     counts, as one second at most. The default of solve is no limit
 * @property {number} [workers]        number of workers, by default one per core; 0 solves in the calling thread, and
 *                                     mints nothing in the background
 */

import { ChallengeExpired, SolvingTooLong } from "./errors.js";
import { searchSlice } from "./mint.js";
import { WorkerLost, coreCount, startWorker } from "./workers.js";

// Milliseconds. Half a frame, so that a page which solves by itself stays responsive.
const PAGE_SLICE = 6;
const WORKER_SLICE = 40;
// A puzzle that the page solves in less time is not worth starting workers for.
const PAGE_ONLY_TIME = 25;
// From this n r p on, one digest of scrypt takes longer than a slice: it is left to workers if there are any.
const MAX_SCRYPT_ON_PAGE = 2 ** 14;

/**
 * A puzzle that is being solved, by this thread and by workers.
 *
 * This thread starts, in slices, and goes on until a worker has returned its first result. Tries are independent, so a
 * searcher needs to know only the stamp to search for: before each slice, it takes the open stamp with the fewest
 * searchers.
 */
export class Search {
  hashes = 0;
  workersStarted = false;
  workersTookOver = false;
  estimated = false;
  isOver = false;
  startedAt = performance.now();
  /** @type {Set<SearchWorker>} */
  workers = new Set();
  finish = () => {};
  /** @type {(reason: unknown) => void} */
  fail = () => {};

  /**
   * @param {Readonly<Puzzle>} puzzle
   * @param {SolveOptions & {expiresAfter?: number, date?: string}} options  `expiresAfter` in seconds; `date` is the
   *   field of the stamps, by default the time now
   */
  constructor(puzzle, { signal, onProgress, maxSeconds = Infinity, workers, expiresAfter = Infinity, date }) {
    this.puzzle = puzzle;
    this.date = date ?? stampDate(Date.now());
    this.signal = signal;
    this.onProgress = onProgress;
    this.maxSeconds = maxSeconds;
    this.expiresAfter = expiresAfter;
    this.maxWorkers = Math.min(workers ?? coreCount(), puzzle.count);
    this.left = puzzle.count;
    /** @type {(string | null)[]} */
    this.stamps = new Array(puzzle.count).fill(null);
    /** @type {number[]} */
    this.searchers = new Array(puzzle.count).fill(0);
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
      if (isSlow(this.puzzle.cost)) this.startWorkers();
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
    const { left, hashes, puzzle, seconds } = this;
    const { bits, count } = puzzle;
    const secondsLeft = hashes ? (seconds / hashes) * left * 2 ** bits : null;
    if (left) this.checkTime(seconds, secondsLeft ?? 0);
    this.onProgress?.({ found: count - left, count, seconds, secondsLeft, hashes, puzzle });
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
    return jobOf(this.puzzle, this.date, ext);
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

  async searchInWorker(/** @type {SearchWorker} */ worker) {
    try {
      while (!this.isOver && this.left) {
        await this.searchOnce((job) => worker.search(job, WORKER_SLICE));
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
      const worker = startWorker({ inBackground: false });
      if (worker === null) return;
      this.workers.add(worker);
      this.searchInWorker(worker).catch(this.fail);
    }
  }
}

/** Return a time, in milliseconds since 1970, as the date of a stamp: to the second, in UTC. */
export function stampDate(/** @type {number} */ time) {
  return new Date(time).toISOString().replace(/\D/g, "").slice(2, 14);
}

/**
 * Return the search for the stamp `ext` of a puzzle.
 *
 * @type {(puzzle: Readonly<Puzzle>, date: string, ext: number) => Job}
 */
export function jobOf({ algorithm, bits, cost, id }, date, ext) {
  return { algorithm, bits, cost, fields: `1:${bits}:${date}:${id}:${ext}:` };
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

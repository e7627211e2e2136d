/** The background: stamps for the next request are minted in one worker while the page waits for nothing. */

import { staleTime } from "./prepaid.js";
import { jobOf, stampDate } from "./solver.js";
import { WorkerLost, startWorker } from "./workers.js";

/** @typedef {import("./prepaid.js").Endpoint} Endpoint */

// Milliseconds.
const MAX_MINTING_TIME = 5000;
const SLICE = 10; // so little that stopping takes effect at once
// Starting a worker takes tens of milliseconds.
const IDLE_TIME = 10000;

/** Fills the stock of one endpoint at a time. Where there can be no worker, nothing is minted beforehand. */
export class Minter {
  /** @type {import("./workers.js").SearchWorker | null} */
  #worker = null;
  /** @type {{endpoint: Endpoint, isStopped: boolean} | null} */
  #job = null;
  #lastRun = Promise.resolve();
  #isForbidden = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** Begin to mint what the stock lacks of the price, instead of what is being minted for another endpoint. */
  begin(/** @type {Endpoint} */ endpoint, /** @type {number} */ maxHashes) {
    if (this.#isForbidden || !endpoint.canMint(maxHashes) || endpoint.shortfall() === null) return;
    if (this.#job?.endpoint === endpoint) return;
    this.stop();
    const job = { endpoint, isStopped: false };
    this.#job = job;
    this.#lastRun = this.#lastRun.then(() => this.#run(job));
  }

  /** Leave the machine to work that a caller waits for. */
  stop() {
    if (this.#job !== null) this.#job.isStopped = true;
    this.#job = null;
  }

  async #run(/** @type {{endpoint: Endpoint, isStopped: boolean}} */ job) {
    clearTimeout(this.#timer);
    try {
      await this.#fillStock(job);
    } catch (error) {
      if (!(error instanceof WorkerLost)) throw error;
      [this.#worker, this.#isForbidden] = [null, true];
    }
    if (this.#job === job) this.#job = null;
    this.#timer = setTimeout(() => this.#endWorker(), IDLE_TIME);
    /** @type {any} */ (this.#timer).unref?.(); // Node: the timer does not keep the program running
  }

  async #fillStock(/** @type {{endpoint: Endpoint, isStopped: boolean}} */ job) {
    const { endpoint } = job;
    const until = performance.now() + MAX_MINTING_TIME;
    for (let puzzle; !job.isStopped && (puzzle = endpoint.shortfall()); ) {
      this.#worker ??= startWorker({ inBackground: true });
      if (this.#worker === null) throw new WorkerLost("there can be no worker");
      const { terms } = endpoint;
      const stamp = { hashes: 2 ** puzzle.bits, staleAt: staleTime() };
      const search = jobOf(puzzle, stampDate(endpoint.serverTime), 0);
      let text = null;
      while (text === null) {
        text = (await this.#worker.search(search, SLICE)).stamp;
        if (text === null && job.isStopped) return;
        if (text === null && performance.now() > until) {
          endpoint.tooSlowFrom = endpoint.nextHashes;
          return;
        }
      }
      // A stamp is good even if it comes after the work was stopped.
      endpoint.deposit(terms, [{ text, ...stamp }]);
    }
  }

  #endWorker() {
    this.#worker?.terminate();
    this.#worker = null;
  }
}

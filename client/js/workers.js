/**
 * Workers that search for stamps: Web Workers in a page, worker threads in Node.
 *
 * @typedef {import("./mint.js").Job} Job
 * @typedef {import("./mint.js").Slice} Slice
 */

/** A worker has died, or could not load its script. */
export class WorkerLost extends Error {}

/** A worker that searches for one stamp at a time. */
export class SearchWorker {
  /** @type {{resolve: (slice: Slice) => void, reject: (error: Error) => void} | null} */
  #pending = null;
  /** @type {WorkerLost | null} */
  #lost = null;

  /** @param {{postMessage: (message: object) => void, terminate: () => unknown}} thread */
  constructor(thread) {
    this.thread = thread;
  }

  /**
   * Search as searchSlice of mint.js does. Rejects with WorkerLost; a search that `terminate` interrupts never ends.
   *
   * @type {(job: Job, milliseconds: number) => Promise<Slice>}
   */
  search(job, milliseconds) {
    return new Promise((resolve, reject) => {
      if (this.#lost) return reject(this.#lost);
      this.#pending = { resolve, reject };
      this.thread.postMessage({ job, milliseconds });
    });
  }

  terminate() {
    this.thread.terminate();
  }

  finish(/** @type {Slice} */ slice) {
    this.#pending?.resolve(slice);
  }

  lose(/** @type {string} */ message) {
    this.#lost = new WorkerLost(message);
    this.#pending?.reject(this.#lost);
  }
}

const SCRIPT = new URL("./worker.js", import.meta.url);
const { process } = /** @type {any} */ (globalThis);
/** @type {(name: string) => any} */
const nodeModule = (name) => process?.getBuiltinModule?.(name);

/** Return the number of cores that workers can use. */
export function coreCount() {
  return globalThis.navigator?.hardwareConcurrency ?? nodeModule("node:os")?.availableParallelism() ?? 1;
}

/**
 * Start a worker, or return null if there can be none.
 *
 * @param {{inBackground: boolean}} options  in Node, a worker in the background does not keep the program running
 * @returns {SearchWorker | null}
 */
export function startWorker({ inBackground }) {
  try {
    return typeof Worker === "undefined" ? startThread(inBackground) : startWebWorker();
  } catch {
    return null; // forbidden by the page's Content-Security-Policy, or by Node's permissions
  }
}

function startWebWorker() {
  const worker = new Worker(scriptForWorkers(), { type: "module", name: "calpow-solver" });
  const searcher = new SearchWorker(worker);
  worker.onmessage = ({ data }) => searcher.finish(data);
  worker.onerror = (event) => {
    event.preventDefault();
    worker.terminate();
    searcher.lose(event.message);
  };
  return searcher;
}

/** @type {string | undefined} */
let webScript;

/** Return the URL of the worker's script. It has to be of the page's origin; modules that it imports do not. */
function scriptForWorkers() {
  const isOurs = SCRIPT.origin === globalThis.location.origin;
  const wrapped = () => new Blob([`import ${JSON.stringify(SCRIPT.href)};`], { type: "text/javascript" });
  webScript ??= isOurs ? SCRIPT.href : URL.createObjectURL(wrapped());
  return webScript;
}

function startThread(/** @type {boolean} */ inBackground) {
  const threads = nodeModule("node:worker_threads");
  if (threads === undefined) return null;
  const thread = new threads.Worker(SCRIPT, { execArgv: [] }); // the options of the program may not suit a file
  const searcher = new SearchWorker(thread);
  thread.on("message", (/** @type {Slice} */ slice) => searcher.finish(slice));
  thread.on("error", (/** @type {Error} */ error) => searcher.lose(error.message));
  if (inBackground) thread.unref(); // after the listeners, each of which keeps the program running
  return searcher;
}

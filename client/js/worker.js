/** The script of a worker: it searches for a stamp at each message, and replies with the result. */

import { searchSlice } from "./mint.js";

const scope = /** @type {any} */ (globalThis);
const port = "WorkerGlobalScope" in scope ? scope : scope.process.getBuiltinModule("node:worker_threads").parentPort;

port.onmessage = (/** @type {MessageEvent} */ { data: { job, milliseconds } }) => {
  port.postMessage(searchSlice(job, milliseconds));
};

/**
 * Calpow in the browser: `powFetch` is `fetch` for models that require a proof of work before they answer.
 *
 *     import { powFetch } from "./calpow.js";
 *     const answer = await powFetch(url, { method: "POST", body, key, signal, onProgress });
 *
 * It has no dependencies and needs no build step: serve the files of this folder as they are. Node runs them, too. The
 * protocol is described in docs/protocol.md, the use in docs/consuming.md. A key in a page is known to everyone who can
 * open the page, so give each visitor a key of their own.
 *
 * From the second request to a URL on, stamps for the next one are minted in a worker while the page is idle, so that
 * an answer takes one round trip. A page of another origin can do so only where the server exposes the headers PoW-Next
 * and WWW-Authenticate to it (Access-Control-Expose-Headers), PoW-Subject for accounts without a key, and Date if the
 * page's clock may be wrong. Calpow's gate does; otherwise each request waits for its challenge.
 *
 * @typedef {import("./challenge.js").Challenge} Challenge
 * @typedef {import("./challenge.js").Puzzle} Puzzle
 * @typedef {import("./prepaid.js").Endpoint} Endpoint
 * @typedef {import("./solver.js").Progress} Progress
 * @typedef {import("./solver.js").SolveOptions} SolveOptions
 *
 * @typedef {object} PowOptions
 * @property {string | null} [key]     sent in the header X-Api-Key, and nowhere else
 * @property {string | (() => string | Promise<string>)} [token]  instead of a key, a token of an identity provider, or
 *                                     a function that returns a fresh one, which is called before each sending; sent in
 *                                     the header PoW-Identity, and nowhere else
 * @property {number} [maxHashes]      the most digests that all work of one answer may be expected to take; the default
 *                                     is 2^32
 * @property {boolean} [prepay]        false: no stamps are minted or sent before the server asks for them
 */

import { isChecked, readChallenge } from "./challenge.js";
import {
  BodyNotRewindable,
  CalpowError,
  ChallengeExpired,
  HeadersDropped,
  SolvingTooLong,
  UnusableKey,
  WorkLimitExceeded,
} from "./errors.js";
import { Minter } from "./minter.js";
import { Endpoints, subjectOf, termsOf } from "./prepaid.js";
import { Search, stampDate } from "./solver.js";

export { readChallenge } from "./challenge.js";
export * from "./errors.js";

const DEFAULT_MAX_HASHES = 2 ** 32;
const DEFAULT_MAX_SECONDS = 120;

const endpoints = new Endpoints();
const minter = new Minter();

/**
 * Fetch like `fetch`, and do the work that the server asks for (status 402 with a challenge).
 *
 * Where the price is known, it is paid with the first sending. If a solution is refused, its response has a new
 * challenge, and one for the rest if the work was too little; these are solved as well, within maxHashes and
 * maxSeconds. Every other response is returned as it is, including a 402 without a challenge. So are 429 and 503: a
 * page of another origin can read Retry-After only if the server exposes it. Redirects are errors unless `redirect` is
 * given, because fetch would send the key along to wherever they lead.
 *
 * @param {string | URL | Request} input  a Request must not have a body
 * @param {RequestInit & PowOptions & SolveOptions} [options]
 * @returns {Promise<Response>}
 */
export async function powFetch(input, options = {}) {
  const { key, token, workers, onProgress, maxHashes, maxSeconds, prepay = true, ...init } = options;
  checkBody(input, init.body);
  const headers = new Headers(init.headers ?? (input instanceof Request ? input.headers : undefined));
  if (key != null && token != null) throw new UnusableKey("a key and a token were given: give one of them");
  if (key != null) headers.set("X-Api-Key", checkKey(key));
  const signal = init.signal ?? (input instanceof Request ? input.signal : undefined);
  const account = prepay ? { url: urlOf(input), key: headers.get("X-Api-Key") ?? "" } : null;
  const payer = new Payer(account, { signal, onProgress, workers, maxHashes, maxSeconds });
  const send = async () => {
    if (token != null) headers.set("PoW-Identity", checkKey(typeof token === "function" ? await token() : token));
    return fetch(input, { redirect: "error", ...init, headers });
  };
  const prepaid = headers.has("PoW-Solution") ? null : await payer.prepay();
  if (prepaid !== null) headers.set("PoW-Solution", prepaid);
  for (;;) {
    const sentAt = performance.now();
    const response = await send();
    const problem = await readProblem(response);
    if (problem?.challenge === undefined) {
      payer.learnFromAnswer(response);
      return response;
    }
    const refused = headers.get("PoW-Solution");
    if (refused !== null) payer.countRoundTrip((performance.now() - sentAt) / 1000);
    try {
      headers.set("PoW-Solution", await payer.solve(problem, response, refused));
    } catch (error) {
      if (error instanceof CalpowError) error.response = response;
      throw error;
    }
  }
}

/** Payer for one answer: pays beforehand, and solves challenges, within limits that hold for all work together. */
class Payer {
  hashes = 0;
  seconds = 0;
  sawExpired = false;

  /**
   * @param {{url: string, key: string} | null} account  null to pay for challenges only
   * @param {SolveOptions & PowOptions} options
   */
  constructor(account, { maxHashes = DEFAULT_MAX_HASHES, maxSeconds = DEFAULT_MAX_SECONDS, ...options }) {
    this.account = account;
    this.maxHashes = maxHashes;
    this.maxSeconds = maxSeconds;
    this.options = options;
  }

  /** What is known of the URL, if it has asked for work and may be paid beforehand. */
  get endpoint() {
    return this.account ? endpoints.find(this.account.url, this.account.key) : undefined;
  }

  /**
   * Return the value of the header PoW-Solution for the first sending; null if the request waits for a challenge.
   *
   * @returns {Promise<string | null>}
   */
  async prepay() {
    const { endpoint } = this;
    const { signal } = this.options;
    signal?.throwIfAborted();
    if (endpoint === undefined) return null;
    minter.stop();
    const prepayment = endpoint.withdraw(this.maxHashes);
    if (prepayment === null) return null;
    const { terms } = endpoint;
    const { stamps, puzzle } = prepayment;
    this.hashes += stamps.reduce((sum, { hashes }) => sum + hashes, 0);
    const texts = stamps.map(({ text }) => text);
    try {
      if (puzzle !== null) texts.push(...(await this.search(puzzle, "", Infinity)));
    } catch (error) {
      endpoint.deposit(terms, stamps); // they were not sent
      throw error;
    }
    this.mintInBackground();
    return ["prepaid", ...texts].join(" ");
  }

  /**
   * Solve the challenge of a 402 and return the value of the header PoW-Solution.
   *
   * @param {Problem} problem
   * @param {Response} response
   * @param {string | null} refused  the solution that the request had already
   */
  async solve(problem, response, refused) {
    const challenge = readChallenge(problem.challenge);
    if (refused !== null && problem.type === "urn:calpow:problem:pow-required") {
      throw new HeadersDropped("the server asks for work that was done: something drops the header PoW-Solution");
    }
    this.learnFromChallenge(challenge, problem, response, refused);
    const refusal = refused === null ? "" : ` (the last solution was refused: ${reasonOf(problem)})`;
    const expiresAfter = this.secondsToSolve(challenge, response);
    const stamps = await this.search(challenge, refusal, expiresAfter);
    this.mintInBackground();
    return [challenge.token, ...stamps].join(" ");
  }

  /**
   * Mint the stamps of a puzzle while the caller waits.
   *
   * @param {Readonly<Puzzle>} puzzle
   * @param {string} refusal       the reason for which the last solution was refused, in brackets; may be empty
   * @param {number} expiresAfter  seconds after which the stamps are of no use
   */
  async search(puzzle, refusal, expiresAfter) {
    this.countWork(puzzle, refusal);
    minter.stop();
    const date = stampDate(this.endpoint?.serverTime ?? Date.now());
    const limits = { maxSeconds: this.maxSeconds - this.seconds, expiresAfter };
    const search = new Search(puzzle, { ...this.options, ...limits, date });
    const stamps = await search.run().catch((error) => {
      throw refusal && error instanceof SolvingTooLong ? this.tooLong(refusal) : error;
    });
    this.seconds += search.seconds;
    return stamps;
  }

  /**
   * @param {Challenge} challenge
   * @param {Problem} problem
   * @param {Response} response
   * @param {string | null} refused
   */
  learnFromChallenge(challenge, problem, response, refused) {
    if (this.account === null) return;
    const { url, key } = this.account;
    const terms = termsOf(challenge, response.headers, key);
    const wasPrepaid = refused?.startsWith("prepaid ") ?? false;
    const reply = { problem: problem.type, wasPrepaid, date: dateOf(response) };
    if (terms) endpoints.findOrAdd(url, key, terms).learnFromChallenge(terms, reply);
  }

  /** Take note of the price that an answer announces, and begin to mint for it. */
  learnFromAnswer(/** @type {Response} */ response) {
    const { endpoint } = this;
    const announced = response.headers.get("PoW-Next") ?? "";
    if (endpoint === undefined || !/^\d{1,15}$/.test(announced)) return;
    endpoint.learnFromAnswer(Number(announced), dateOf(response), subjectOf(response.headers));
    this.mintInBackground();
  }

  mintInBackground() {
    const { endpoint } = this;
    if (endpoint !== undefined && this.options.workers !== 0) minter.begin(endpoint, this.maxHashes);
  }

  countRoundTrip(/** @type {number} */ seconds) {
    this.seconds += Math.min(seconds, 1);
  }

  countWork(/** @type {Readonly<Puzzle>} */ puzzle, /** @type {string} */ refusal) {
    this.hashes += puzzle.expectedHashes;
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
    const serverTime = dateOf(response);
    const seconds = (challenge.expires - (serverTime ?? Date.now())) / 1000;
    if (seconds <= 0 && (serverTime !== null || this.sawExpired)) {
      throw new ChallengeExpired("the challenge had expired when it came: ask again, or set this machine's clock");
    }
    this.sawExpired ||= seconds <= 0;
    return serverTime === null ? Infinity : seconds;
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

function checkKey(/** @type {string} */ key) {
  if (/^[!-~](?:[ -~]*[!-~])?$/.test(key)) return key;
  throw new UnusableKey("the API key or token is empty or not printable ASCII");
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

/** Return the URL of a request, with its page's address as base. */
function urlOf(/** @type {string | URL | Request} */ input) {
  if (input instanceof Request) return input.url;
  return new URL(input, globalThis.document?.baseURI ?? globalThis.location?.href).href;
}

/** Return the time of a response by the server's clock, in milliseconds since 1970; null if it cannot be read. */
function dateOf(/** @type {Response} */ response) {
  const time = Date.parse(response.headers.get("Date") ?? "");
  return Number.isNaN(time) ? null : time;
}

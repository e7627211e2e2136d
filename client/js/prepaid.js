/**
 * What is known of the URLs that ask for work: the price of the next answer, and stamps that were minted beforehand.
 *
 * The rules are those of the Python client (see docs/decisions/0030 and 0054, and docs/protocol.md for prepaid stamps).
 * Nothing is kept beyond the page. Stamps are taken and put back without waiting in between, so that no two requests
 * can have the same ones.
 *
 * @typedef {import("./challenge.js").Challenge} Challenge
 * @typedef {import("./challenge.js").Puzzle} Puzzle
 *
 * @typedef {object} Terms  the server's terms for prepaid stamps
 * @property {string} id         their resource
 * @property {string} algorithm
 * @property {Puzzle["cost"]} cost
 * @property {number} maxStamps  the most stamps of a request
 * @property {number} bits       those of the server's own stamps
 *
 * @typedef {object} MintedStamp
 * @property {string} text
 * @property {number} hashes     its expected work
 * @property {number} staleAt    when it can no longer be sent, by Date.now()
 *
 * @typedef {object} Prepayment  payment without a challenge: stamps of the stock, and a puzzle for what they lack
 * @property {MintedStamp[]} stamps
 * @property {Puzzle | null} puzzle
 */

import { MAX_BITS, isResource } from "./challenge.js";
import { digest } from "./mint.js";

// The first request to a URL may be the only one: nothing is minted in the background before the second.
const MINT_FROM_REQUEST = 2;
const MAX_STAMPS = 31;
const FEWEST_STAMPS = 4;
const MAX_ENDPOINTS = 256;
// A stamp is good for ten minutes, of which the last one is left for the way to the server.
const FRESH_MILLISECONDS = (600 - 60) * 1000;

/** A URL that has asked for work, for one key. */
export class Endpoint {
  /** Number of requests sent. */
  requests = 1;
  /** The announced price of the next answer, in expected hashes; 0 before any was announced. */
  nextHashes = 0;
  /** The lowest price whose stamps took too long to mint in the background. */
  tooSlowFrom = Infinity;
  /** Whether the server refused prepaid stamps for a reason that holds for new ones, too. */
  refusesStamps = false;
  /** @type {MintedStamp[]} */
  #stock = [];
  // Milliseconds. The wall clock goes on while the machine sleeps, which performance.now() may not.
  #serverClockAhead = 0;

  /** @param {Terms} terms */
  constructor(terms) {
    this.terms = terms;
  }

  /** The time now, by the server's clock if it is known; in milliseconds since 1970. */
  get serverTime() {
    return Date.now() + this.#serverClockAhead;
  }

  get #usableStock() {
    return this.#stock.filter(({ staleAt }) => Date.now() < staleAt);
  }

  /** Return whether the price is known, at most `maxHashes`, and can be paid with prepaid stamps. */
  canPrepay(/** @type {number} */ maxHashes) {
    return 0 < this.nextHashes && this.nextHashes <= maxHashes && !this.refusesStamps;
  }

  /** Return whether stamps should be minted in the background. */
  canMint(/** @type {number} */ maxHashes) {
    return this.requests >= MINT_FROM_REQUEST && this.canPrepay(maxHashes) && this.nextHashes < this.tooSlowFrom;
  }

  /**
   * Count a request, and take its payment out of the stock; return null if it has to wait for a challenge.
   *
   * @param {number} maxHashes
   * @returns {Prepayment | null}
   */
  withdraw(maxHashes) {
    this.requests++;
    if (!this.canPrepay(maxHashes)) return null;
    const prepayment = this.#prepayment();
    const hashes = workOf(prepayment.stamps) + (prepayment.puzzle?.expectedHashes ?? 0);
    if (hashes < this.nextHashes || hashes > maxHashes) return null;
    this.#stock = [];
    return prepayment;
  }

  /** Add stamps to the stock, unless the terms have changed since they were minted. */
  deposit(/** @type {Terms} */ terms, /** @type {MintedStamp[]} */ stamps) {
    if (isGoodFor(terms, this.terms) && !this.refusesStamps) this.#stock = [...this.#usableStock, ...stamps];
  }

  /** Return the puzzle for what the stock lacks of the price; null if it lacks nothing or the stamps do not fit. */
  shortfall() {
    const stock = this.#usableStock;
    const missing = this.nextHashes - workOf(stock);
    return missing > 0 ? puzzleOf(this.terms, missing, this.terms.maxStamps - stock.length, this.nextHashes) : null;
  }

  /**
   * Take note of a 402.
   *
   * @param {Terms} terms
   * @param {{problem: unknown, wasPrepaid: boolean, date: number | null}} reply  `date` in milliseconds since 1970
   */
  learnFromChallenge(terms, { problem, wasPrepaid, date }) {
    const isRest = problem === "urn:calpow:problem:more-required";
    const isSame = isGoodFor(terms, this.terms);
    if (isSame) {
      // A rest may have fewer and smaller stamps than the server's other challenges.
      const maxStamps = Math.max(terms.maxStamps, this.terms.maxStamps);
      this.terms = { ...terms, maxStamps, bits: isRest ? this.terms.bits : terms.bits };
    } else {
      [this.terms, this.#stock, this.refusesStamps] = [terms, [], false];
    }
    if (wasPrepaid && !isRest && problem !== "urn:calpow:problem:challenge-spent") {
      // The server would refuse the stock as well: it has the same resource, and its dates are of the same clock.
      // Without a Date, a clock that differs cannot be corrected. Stamps of new terms have not been tried.
      this.#stock = [];
      this.refusesStamps = isSame && (problem !== "urn:calpow:problem:challenge-expired" || date === null);
    }
    this.#setClock(date);
  }

  /**
   * Take note of an answer that announced a price, and may have announced another subject.
   *
   * @param {number} nextHashes
   * @param {number | null} date  in milliseconds since 1970
   * @param {string | null} subject
   */
  learnFromAnswer(nextHashes, date, subject) {
    this.nextHashes = nextHashes;
    const id = subject === null ? this.terms.id : this.terms.id.replace(/[^/]*$/, subject);
    if (id !== this.terms.id) [this.terms, this.#stock] = [{ ...this.terms, id }, []];
    this.#setClock(date);
  }

  #setClock(/** @type {number | null} */ date) {
    if (date !== null) this.#serverClockAhead = date - Date.now();
  }

  /** @returns {Prepayment} */
  #prepayment() {
    const stamps = this.#usableStock;
    if (workOf(stamps) >= this.nextHashes) return { stamps, puzzle: null };
    const puzzle = this.shortfall();
    if (puzzle !== null) return { stamps, puzzle };
    return { stamps: [], puzzle: puzzleOf(this.terms, this.nextHashes, this.terms.maxStamps, this.nextHashes) };
  }
}

/** Return when stamps that are minted now go stale, by Date.now(). */
export function staleTime() {
  return Date.now() + FRESH_MILLISECONDS;
}

function workOf(/** @type {MintedStamp[]} */ stamps) {
  return stamps.reduce((sum, { hashes }) => sum + hashes, 0);
}

/** Return whether stamps that were minted for these terms are good for the others. */
function isGoodFor(/** @type {Terms} */ terms, /** @type {Terms} */ others) {
  const text = (/** @type {Terms} */ { id, algorithm, cost }) => [id, algorithm, cost?.n, cost?.r, cost?.p].join(" ");
  return text(terms) === text(others);
}

/**
 * Return the smallest puzzle of at least `hashes`, which are a part of the price, and at most `maxCount` stamps; null
 * if there is none.
 *
 * To begin a stamp takes time, to verify it as well: stamps have the bits of the server's own where that leaves no
 * fewer than FEWEST_STAMPS.
 *
 * @type {(terms: Terms, hashes: number, maxCount: number, price: number) => Puzzle | null}
 */
function puzzleOf({ id, algorithm, cost, bits }, hashes, maxCount, price) {
  if (hashes > maxCount * 2 ** MAX_BITS) return null;
  const large = Math.min(bits, bitsOf(price, 2 * FEWEST_STAMPS - 1), bitsOf(hashes, 1));
  const chosen = Math.max(bitsOf(hashes, maxCount), large);
  const count = Math.ceil(hashes / 2 ** chosen);
  return { id, algorithm, cost, bits: chosen, count, expectedHashes: count * 2 ** chosen };
}

/** Return the bits, at least one, with which `maxCount` stamps are no fewer than `hashes`. */
function bitsOf(/** @type {number} */ hashes, /** @type {number} */ maxCount) {
  let bits = 1;
  while (hashes > maxCount * 2 ** bits) bits++;
  return bits;
}

/**
 * Return the terms that a 402 states, or null if its realm cannot be read.
 *
 * @param {Challenge} challenge
 * @param {Headers} headers
 * @param {string} key
 * @returns {Terms | null}
 */
export function termsOf({ algorithm, cost, count, bits }, headers, key) {
  const wwwAuthenticate = headers.get("WWW-Authenticate") ?? "";
  const realm = /(?:^|[\s,])PoW\s+realm="((?:[^"\\]|\\.)*)"/i.exec(wwwAuthenticate)?.[1].replace(/\\(.)/g, "$1");
  const bytes = digest("hashcash-sha256", new TextEncoder().encode(key)).subarray(0, 8);
  const hash = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const id = `${realm}/${subjectOf(headers) ?? hash}`;
  if (realm === undefined || !isResource(id)) return null;
  // Where a digest is expensive, a server reads no more stamps than its challenges have.
  const maxStamps = cost === null ? MAX_STAMPS : 2 ** (32 - Math.clz32(count)) - 1;
  return { id, algorithm, cost, maxStamps, bits };
}

/** Return the name that prepaid stamps have to bear, as a response announces it; null where they name the key. */
export function subjectOf(/** @type {Headers} */ headers) {
  const subject = headers.get("PoW-Subject") ?? "";
  return /^[\w-]{1,64}$/.test(subject) ? subject : null;
}

/** The endpoints of all requests of the page, in the order of their last use. */
export class Endpoints {
  /** @type {Map<string, Endpoint>} */
  #endpoints = new Map();

  /** Return what is known of a URL, whose query does not matter; undefined if it has not asked for work. */
  find(/** @type {string} */ url, /** @type {string} */ key) {
    return this.#endpoints.get(nameOf(url, key));
  }

  /** Return what is known of a URL, as the most recently used; the least recently used one may be forgotten. */
  findOrAdd(/** @type {string} */ url, /** @type {string} */ key, /** @type {Terms} */ terms) {
    const name = nameOf(url, key);
    const endpoint = this.#endpoints.get(name) ?? new Endpoint(terms);
    this.#endpoints.delete(name);
    this.#endpoints.set(name, endpoint);
    const [oldest] = this.#endpoints.keys();
    if (this.#endpoints.size > MAX_ENDPOINTS) this.#endpoints.delete(oldest);
    return endpoint;
  }
}

function nameOf(/** @type {string} */ url, /** @type {string} */ key) {
  return `${url.split(/[?#]/, 1)[0]} ${key}`;
}

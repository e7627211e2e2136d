/**
 * Puzzles, and the challenges of a server, which are puzzles that it has signed.
 *
 * @typedef {import("./mint.js").ScryptCost} ScryptCost
 *
 * @typedef {object} Puzzle
 * @property {string} id         the resource of its stamps
 * @property {string} algorithm  "hashcash-sha1", "hashcash-sha256" or "scrypt"
 * @property {number} bits       leading zero bits of each stamp's digest
 * @property {number} count      number of stamps
 * @property {ScryptCost | null} cost  the parameters of scrypt; null for the other algorithms
 * @property {number} expectedHashes   the mean number of digests that a solution takes
 *
 * @typedef {Puzzle & {token: string, expires: number}} Challenge  the challenge of a 402, after it was checked;
 *   `expires` is in milliseconds since 1970, by the server's clock
 */

import { MalformedChallenge, UnknownAlgorithm } from "./errors.js";
import { ALGORITHMS } from "./mint.js";

/** The most bits of a stamp. */
export const MAX_BITS = 40;
const MAX_TOKEN_LENGTH = 5120;
const MAX_COUNT = 64;
const MAX_SCRYPT_MEMORY = 64 << 20;

/** The results of readChallenge. */
const checked = new WeakSet();

/**
 * @param {object} challenge
 * @returns {challenge is Challenge}
 */
export function isChecked(challenge) {
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
  check(isResource(id), "id is not 1 to 128 printable characters without space and colon");
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

/**
 * Return whether a value can be the resource of a stamp.
 *
 * @param {unknown} value
 * @returns {value is string}
 */
export function isResource(value) {
  return isMatch(value, /^[!-9;-~]{1,128}$/);
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

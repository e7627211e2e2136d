/**
 * The search for HashCash stamps, one time slice after another.
 *
 * The inner loops are WebAssembly (vectors.js), or plain JavaScript where a page may not run that. See
 * docs/decisions/0032.
 *
 * @typedef {import("./vectors.js").Scan} Scan
 * @typedef {import("./vectors.js").Mixer} Mixer
 * @typedef {{n: number, r: number, p: number}} ScryptCost  the parameters of scrypt (RFC 7914, section 2)
 * @typedef {{algorithm: string, bits: number, cost: ScryptCost | null, fields: string}} Job  a stamp to search for;
 *   `fields` is its beginning, up to the random field
 * @typedef {{stamp: string | null, hashes: number}} Slice  the result of a time slice, with the number of digests taken
 *
 * @typedef {(out: Int32Array, state: Int32Array, block: Int32Array, offset: number) => void} Compress  hashes one
 *   block, 16 words from `offset` on, into `out`, which may be `state`
 * @typedef {{initial: Int32Array, compress: Compress, scan: Scan}} Hash
 * @typedef {(message: ArrayLike<number> & Iterable<number>) => Int32Array} Hmac
 */

import { mixer, scanner } from "./vectors.js";

const MIN_RANDOM_LENGTH = 8; // characters of 6 bits, so that no stamp is minted twice

/** The algorithms of which this module can find stamps. */
export const ALGORITHMS = ["hashcash-sha1", "hashcash-sha256", "scrypt"];

/**
 * Search for a stamp until it is found, or for about `milliseconds`.
 *
 * @param {Job} job
 * @param {number} milliseconds
 * @returns {Slice}
 */
export function searchSlice(job, milliseconds) {
  const until = performance.now() + milliseconds;
  return job.cost === null ? searchHash(job, until) : searchScrypt(job, job.cost, until);
}

/** @type {(job: Job, cost: ScryptCost, until: number) => Slice} */
function searchScrypt({ bits, fields }, cost, until) {
  const prefix = `${fields}${randomText(2 * MIN_RANDOM_LENGTH)}:`;
  for (let hashes = 1; ; hashes++) {
    const stamp = prefix + hashes.toString(36);
    if (leadingZeroBits(scrypt(ascii(stamp), cost)) >= bits) return { stamp, hashes };
    if (performance.now() > until) return { stamp: null, hashes };
  }
}

/**
 * The random field is so long that the counter is bytes 48 to 54 of the last block. So the blocks before are hashed
 * once (the midstate), a try takes one block, and only two words of that change: the second word at every try.
 *
 * @type {(job: Job, until: number) => Slice}
 */
function searchHash({ algorithm, bits, fields }, until) {
  const hash = HASHES[algorithm];
  const size = MIN_RANDOM_LENGTH + ((2 * 64 + 48 - 1 - MIN_RANDOM_LENGTH - (fields.length % 64)) % 64);
  const prefix = `${fields}${randomText(size)}:`;
  const words = padBytes(ascii(`${prefix}AAAAAAA`));
  const start = absorb(hash, hash.initial, words.subarray(0, -16));
  const block = words.slice(-16);
  const mask = -1 << Math.max(0, 32 - bits);
  const out = new Int32Array(start.length);
  for (let high = 0, hashes = 0; ; high++) {
    const counter = LETTERS[high >> 18] + LETTERS[(high >> 12) & 63] + LETTERS[(high >> 6) & 63] + LETTERS[high & 63];
    block[12] = wordsOf(ascii(counter), 1)[0];
    for (let low = 0; low < TAILS.length; ) {
      const hit = hash.scan(start, block, mask, low);
      hashes += hit - low;
      for (low = hit; low < hit + 4 && low < TAILS.length; low++, hashes++) {
        block[13] = TAILS[low];
        hash.compress(out, start, block, 0);
        if (leadingZeroBits(out) >= bits) {
          return { stamp: prefix + counter + `A${LETTERS[low >> 6]}${LETTERS[low & 63]}`, hashes: hashes + 1 };
        }
      }
    }
    if (performance.now() > until) return { stamp: null, hashes };
  }
}

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
// The last words of stamps: three characters of the counter, and the bit that ends the message.
const TAILS = Int32Array.from(
  { length: 4096 },
  (_, low) => padBytes(ascii(`A${LETTERS[low >> 6]}${LETTERS[low & 63]}`))[0],
);

function randomText(/** @type {number} */ size) {
  return [...crypto.getRandomValues(new Uint8Array(size))].map((byte) => LETTERS[byte & 63]).join("");
}

function ascii(/** @type {string} */ text) {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

function leadingZeroBits(/** @type {Int32Array} */ words) {
  const index = words.findIndex((word) => word !== 0);
  return index < 0 ? 32 * words.length : 32 * index + Math.clz32(words[index]);
}

// ---- SHA-1 and SHA-256 (FIPS 180-4) -----------------------------------------------------------------------------

/**
 * Return the digest of bytes, for tests and to check stamps.
 *
 * @param {string} algorithm
 * @param {Uint8Array} bytes
 * @param {ScryptCost} [cost]  the parameters of scrypt
 * @returns {Uint8Array}
 */
export function digest(algorithm, bytes, cost) {
  const words = cost ? scrypt(bytes, cost) : absorb(HASHES[algorithm], HASHES[algorithm].initial, padBytes(bytes));
  return Uint8Array.from({ length: 4 * words.length }, (_, i) => words[i >> 2] >>> (24 - 8 * (i & 3)));
}

/**
 * Return the state after whole blocks.
 *
 * @type {(hash: Hash, start: Int32Array, words: Int32Array) => Int32Array}
 */
function absorb(hash, start, words) {
  const state = start.slice();
  for (let offset = 0; offset < words.length; offset += 16) hash.compress(state, state, words, offset);
  return state;
}

/**
 * Return bytes as big-endian words, followed by zeros.
 *
 * @type {(bytes: Uint8Array | number[], size: number) => Int32Array<ArrayBuffer>}
 */
function wordsOf(bytes, size) {
  const words = new Int32Array(size);
  bytes.forEach((byte, i) => (words[i >> 2] |= byte << (24 - 8 * (i & 3))));
  return words;
}

/**
 * Return a message as whole blocks: the message, the bit that ends it, and its length in bits.
 *
 * @type {(bytes: Uint8Array) => Int32Array<ArrayBuffer>}
 */
function padBytes(bytes) {
  const words = wordsOf([...bytes, 0x80], ((bytes.length + 72) >> 6) * 16);
  words[words.length - 1] = 8 * bytes.length;
  return words;
}

/**
 * Return the rest of a message, given as words, as whole blocks; its first block was hashed already.
 *
 * @type {(message: ArrayLike<number>) => Int32Array<ArrayBuffer>}
 */
function padWords(message) {
  const words = new Int32Array(((message.length + 18) >> 4) * 16);
  words.set(message);
  words[message.length] = 0x80 << 24;
  words[words.length - 1] = 8 * (64 + 4 * message.length);
  return words;
}

// FIPS 180-4, section 4.2.
const SHA1_CONSTANTS = [0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6];
// The fractions of the cube roots of the first 64 primes.
const isPrime = (/** @type {number} */ n) => ![2, 3, 5, 7, 11, 13, 17].some((prime) => prime < n && n % prime === 0);
const PRIMES = Array.from({ length: 310 }, (_, i) => i + 2).filter(isPrime);
const SHA256_CONSTANTS = Int32Array.from(PRIMES, (prime) => (Math.cbrt(prime) % 1) * 2 ** 32);
const w = new Int32Array(80); // the message schedule

/** @type {Compress} */
function compressSha1(out, state, block, offset) {
  for (let t = 0; t < 16; t++) w[t] = block[offset + t];
  for (let t = 16; t < 80; t++) {
    const x = w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16];
    w[t] = (x << 1) | (x >>> 31);
  }
  let a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
  for (let t = 0; t < 80; t++) {
    const f = t < 20 ? d ^ (b & (c ^ d)) : t >= 40 && t < 60 ? (b & c) | (d & (b | c)) : b ^ c ^ d;
    const next = (((a << 5) | (a >>> 27)) + f + e + w[t] + SHA1_CONSTANTS[(t / 20) | 0]) | 0;
    e = d;
    d = c;
    c = (b << 30) | (b >>> 2);
    b = a;
    a = next;
  }
  out[0] = state[0] + a;
  out[1] = state[1] + b;
  out[2] = state[2] + c;
  out[3] = state[3] + d;
  out[4] = state[4] + e;
}

/** @type {Compress} */
function compressSha256(out, state, block, offset) {
  for (let t = 0; t < 16; t++) w[t] = block[offset + t];
  for (let t = 16; t < 64; t++) {
    const x = w[t - 15], y = w[t - 2];
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    w[t] = w[t - 16] + s0 + w[t - 7] + s1;
  }
  let a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
  for (let t = 0; t < 64; t++) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const first = (h + s1 + (g ^ (e & (f ^ g))) + SHA256_CONSTANTS[t] + w[t]) | 0;
    const next = (first + s0 + ((a & b) | (c & (a | b)))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + first) | 0;
    d = c;
    c = b;
    b = a;
    a = next;
  }
  out[0] = state[0] + a;
  out[1] = state[1] + b;
  out[2] = state[2] + c;
  out[3] = state[3] + d;
  out[4] = state[4] + e;
  out[5] = state[5] + f;
  out[6] = state[6] + g;
  out[7] = state[7] + h;
}

/**
 * Create a `Scan` that works without WebAssembly.
 *
 * @param {Compress} compress
 * @param {Int32Array} out  where digests are written
 * @returns {Scan}
 */
function plainScanner(compress, out) {
  return (start, block, mask, low) => {
    for (let tail = low; tail < TAILS.length; tail++) {
      block[13] = TAILS[tail];
      compress(out, start, block, 0);
      if ((out[0] & mask) === 0) return tail & ~3;
    }
    return TAILS.length;
  };
}

/**
 * Return a hash whose `scan` is the fastest that this page may run; it is assembled at its first use.
 *
 * @param {"sha1" | "sha256"} name
 * @param {number[]} initial
 * @param {Compress} compress
 * @param {ArrayLike<number>} constants
 * @returns {Hash}
 */
function createHash(name, initial, compress, constants) {
  /** @type {Hash} */
  const hash = {
    initial: Int32Array.from(initial),
    compress,
    scan(start, block, mask, low) {
      hash.scan = orElse(
        () => scanner(name, constants, TAILS),
        () => plainScanner(compress, new Int32Array(initial.length)),
      );
      return hash.scan(start, block, mask, low);
    },
  };
  return hash;
}

/**
 * Return WebAssembly where it can run: a page's policy may forbid it, and old browsers have no vectors.
 *
 * @template T
 * @param {() => T} createVector
 * @param {() => T} createPlain
 * @returns {T}
 */
function orElse(createVector, createPlain) {
  try {
    return createVector();
  } catch {
    return createPlain();
  }
}

// FIPS 180-4, section 5.3.
const SHA1_INITIAL = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];
const SHA256_INITIAL = PRIMES.slice(0, 8).map((prime) => (Math.sqrt(prime) % 1) * 2 ** 32);
/** @type {Record<string, Hash>} */
const HASHES = {
  "hashcash-sha1": createHash("sha1", SHA1_INITIAL, compressSha1, SHA1_CONSTANTS),
  "hashcash-sha256": createHash("sha256", SHA256_INITIAL, compressSha256, SHA256_CONSTANTS),
};

// ---- scrypt (RFC 7914), with an empty salt and 32 bytes of output ---------------------------------------------------

/** @type {(password: Uint8Array, cost: ScryptCost) => Int32Array} */
function scrypt(password, { n, r, p }) {
  const hmac = hmacOf(password);
  const size = 32 * r;
  const mixed = pbkdf2(hmac, [], size * p).map(swapBytes);
  const romix = romixOf(n, r);
  for (let lane = 0; lane < p; lane++) romix(mixed.subarray(size * lane, size * (lane + 1)));
  return pbkdf2(hmac, mixed.map(swapBytes), 8);
}

function swapBytes(/** @type {number} */ x) {
  return (x << 24) | ((x & 0xff00) << 8) | ((x >>> 8) & 0xff00) | (x >>> 24);
}

/**
 * Return HMAC-SHA-256 (RFC 2104) of words under a key. The two blocks that depend on the key alone are hashed once.
 *
 * @type {(key: Uint8Array) => Hmac}
 */
function hmacOf(key) {
  const hash = HASHES["hashcash-sha256"];
  const short = key.length > 64 ? absorb(hash, hash.initial, padBytes(key)) : wordsOf(key, 16);
  const block = new Int32Array(16);
  block.set(short);
  const padded = (/** @type {number} */ pad) => absorb(hash, hash.initial, block.map((word) => word ^ pad));
  const [inner, outer] = [padded(0x36363636), padded(0x5c5c5c5c)];
  return (message) => absorb(hash, outer, padWords(absorb(hash, inner, padWords(message))));
}

/**
 * Return `size` words, a multiple of eight, of PBKDF2 with one iteration (RFC 8018, section 5.2).
 *
 * @type {(hmac: Hmac, salt: Iterable<number>, size: number) => Int32Array<ArrayBuffer>}
 */
function pbkdf2(hmac, salt, size) {
  const key = new Int32Array(size);
  for (let offset = 0; offset < size; offset += 8) key.set(hmac([...salt, offset / 8 + 1]), offset);
  return key;
}

/** @typedef {(words: Int32Array) => void} Romix  ROMix of 32 r words in place (RFC 7914, section 5) */

/** @type {{n: number, r: number, romix: Romix}} the last one, kept with its memory */
let lastRomix = { n: 0, r: 0, romix: () => {} };

/** @type {(n: number, r: number) => Romix} */
function romixOf(n, r) {
  if (lastRomix.n !== n || lastRomix.r !== r) {
    const fastest = orElse(
      () => mixer(n, r),
      () => plainMixer(n, r),
    );
    lastRomix = { n, r, romix: romixWith(fastest, n, r) };
  }
  return lastRomix.romix;
}

/**
 * Return ROMix with a mixer. Its memory holds the n blocks of the table, a block of zeros, and two blocks to work in.
 *
 * The words of a chunk lie in the memory diagonal by diagonal, in the order in which the rounds of Salsa20 take them.
 *
 * @type {(mixer: Mixer, n: number, r: number) => Romix}
 */
function romixWith({ memory, mix }, n, r) {
  const size = 32 * r;
  const [zeros, one, two] = [n, n + 1, n + 2];
  const place = (/** @type {number} */ i) => (i & ~15) | ((5 * i) & 15);
  return (words) => {
    for (let i = 0; i < size; i++) memory[i] = words[place(i)];
    for (let i = 0; i < n; i++) mix(i, zeros, i + 1 < n ? i + 1 : one);
    for (let i = 0; i < n; i++) {
      const [from, to] = i & 1 ? [two, one] : [one, two];
      mix(from, memory[from * size + size - 16] & (n - 1), to);
    }
    for (let i = 0; i < size; i++) words[place(i)] = memory[one * size + i];
  };
}

/**
 * Create a `Mixer` that works without WebAssembly.
 *
 * @type {(n: number, r: number) => Mixer}
 */
function plainMixer(n, r) {
  const memory = new Int32Array(32 * r * (n + 3));
  const x = new Int32Array(16);
  /** @type {Mixer["mix"]} */
  const mix = (from, other, to) => {
    const [source, second, target] = [from, other, to].map((block) => 32 * r * block);
    for (let k = 0, last = 32 * r - 16; k < 16; k++) x[k] = memory[source + last + k] ^ memory[second + last + k];
    for (let i = 0; i < 2 * r; i++) {
      for (let k = 0; k < 16; k++) x[k] ^= memory[source + 16 * i + k] ^ memory[second + 16 * i + k];
      salsa(x);
      memory.set(x, target + 16 * ((i >> 1) + (i & 1) * r));
    }
  };
  return { memory, mix };
}

/**
 * Salsa20/8 of one chunk, in place.
 *
 * @type {(t: Int32Array) => void}
 */
function salsa(t) {
  let a = t[0], f = t[1], k = t[2], p = t[3], e = t[4], j = t[5], o = t[6], d = t[7];
  let i = t[8], n = t[9], c = t[10], h = t[11], m = t[12], b = t[13], g = t[14], l = t[15];
  for (let round = 0; round < 8; round += 2) {
    e ^= turn(a + m, 7), i ^= turn(e + a, 9), m ^= turn(i + e, 13), a ^= turn(m + i, 18);
    j ^= turn(f + b, 7), n ^= turn(j + f, 9), b ^= turn(n + j, 13), f ^= turn(b + n, 18);
    o ^= turn(k + g, 7), c ^= turn(o + k, 9), g ^= turn(c + o, 13), k ^= turn(g + c, 18);
    d ^= turn(p + l, 7), h ^= turn(d + p, 9), l ^= turn(h + d, 13), p ^= turn(l + h, 18);
    b ^= turn(a + d, 7), c ^= turn(b + a, 9), d ^= turn(c + b, 13), a ^= turn(d + c, 18);
    g ^= turn(f + e, 7), h ^= turn(g + f, 9), e ^= turn(h + g, 13), f ^= turn(e + h, 18);
    l ^= turn(k + j, 7), i ^= turn(l + k, 9), j ^= turn(i + l, 13), k ^= turn(j + i, 18);
    m ^= turn(p + o, 7), n ^= turn(m + p, 9), o ^= turn(n + m, 13), p ^= turn(o + n, 18);
  }
  t[0] += a, t[1] += f, t[2] += k, t[3] += p, t[4] += e, t[5] += j, t[6] += o, t[7] += d;
  t[8] += i, t[9] += n, t[10] += c, t[11] += h, t[12] += m, t[13] += b, t[14] += g, t[15] += l;
}

/** @type {(x: number, left: number) => number} */
function turn(x, left) {
  return (x << left) | (x >>> (32 - left));
}

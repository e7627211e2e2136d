/**
 * Minting: searching for HashCash stamps whose digest begins with zero bits, a slice of time at a time.
 *
 * The inner loops are WebAssembly (vectors.js); where a page's policy forbids that, they are plain JavaScript.
 *
 * @typedef {{n: number, r: number, p: number}} ScryptCost
 * @typedef {{algorithm: string, bits: number, cost: ScryptCost | null, fields: string}} Job  one stamp, up to its ext
 * @typedef {{stamp: string | null, hashes: number}} Slice  what a while of searching has brought
 */

import { mixer, scanner } from "./vectors.js";

const LEAST_RANDOM = 8; // characters of 6 bits: two mints of one stamp differ

/** What this file can search for. */
export const ALGORITHMS = ["hashcash-sha1", "hashcash-sha256", "scrypt"];

/**
 * Search for one stamp for so long.
 *
 * @returns {Slice}
 */
export function searchSlice(/** @type {Job} */ job, /** @type {number} */ milliseconds) {
  const until = performance.now() + milliseconds;
  return job.cost === null ? searchHash(job, until) : searchScrypt(job, job.cost, until);
}

function searchScrypt({ bits, fields }, cost, until) {
  const prefix = `${fields}${randomText(2 * LEAST_RANDOM)}:`;
  for (let hashes = 1; ; hashes++) {
    const stamp = prefix + hashes.toString(36);
    if (leadingZeroBits(scrypt(ascii(stamp), cost)) >= bits) return { stamp, hashes };
    if (performance.now() > until) return { stamp: null, hashes };
  }
}

/**
 * A stamp is filled up so that its counter is characters 48 to 54 of its last block: the blocks before are digested
 * once (the midstate), one try is one block, and only two words of it change, the second with every try.
 */
function searchHash({ algorithm, bits, fields }, until) {
  const hash = HASHES[algorithm];
  const size = LEAST_RANDOM + ((2 * 64 + 48 - 1 - LEAST_RANDOM - (fields.length % 64)) % 64);
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
// The last word of a stamp: three characters of counter, and the bit that ends a message.
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
 * The digest of bytes, for the tests and whoever wants to check a stamp.
 *
 * @param {string} algorithm
 * @param {Uint8Array} bytes
 * @param {ScryptCost} [cost]  scrypt's
 */
export function digest(algorithm, bytes, cost) {
  const words = cost ? scrypt(bytes, cost) : absorb(HASHES[algorithm], HASHES[algorithm].initial, padBytes(bytes));
  return Uint8Array.from({ length: 4 * words.length }, (_, at) => words[at >> 2] >>> (24 - 8 * (at & 3)));
}

/** The state after whole blocks. */
function absorb(hash, start, words) {
  const state = start.slice();
  for (let at = 0; at < words.length; at += 16) hash.compress(state, state, words, at);
  return state;
}

/** Bytes as so many big-endian words, zeros after them. */
function wordsOf(bytes, size) {
  const words = new Int32Array(size);
  bytes.forEach((byte, at) => (words[at >> 2] |= byte << (24 - 8 * (at & 3))));
  return words;
}

/** A message as whole blocks: after it the bit that ends it, and its length in bits. */
function padBytes(bytes) {
  const words = wordsOf([...bytes, 0x80], ((bytes.length + 72) >> 6) * 16);
  words[words.length - 1] = 8 * bytes.length;
  return words;
}

/** The same for words, after one block that is digested already. */
function padWords(message) {
  const words = new Int32Array(((message.length + 18) >> 4) * 16);
  words.set(message);
  words[message.length] = 0x80 << 24;
  words[words.length - 1] = 8 * (64 + 4 * message.length);
  return words;
}

const SHA1_ADDED = [0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6];
// The fractions of the cube roots of the first 64 primes.
const isPrime = (/** @type {number} */ n) => ![2, 3, 5, 7, 11, 13, 17].some((each) => each < n && n % each === 0);
const PRIMES = Array.from({ length: 310 }, (_, at) => at + 2).filter(isPrime);
const SHA256_ADDED = Int32Array.from(PRIMES, (prime) => (Math.cbrt(prime) % 1) * 2 ** 32);
const w = new Int32Array(80);

function compressSha1(out, state, block, at) {
  for (let t = 0; t < 16; t++) w[t] = block[at + t];
  for (let t = 16; t < 80; t++) {
    const x = w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16];
    w[t] = (x << 1) | (x >>> 31);
  }
  let a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
  for (let t = 0; t < 80; t++) {
    const f = t < 20 ? d ^ (b & (c ^ d)) : t >= 40 && t < 60 ? (b & c) | (d & (b | c)) : b ^ c ^ d;
    const next = (((a << 5) | (a >>> 27)) + f + e + w[t] + SHA1_ADDED[(t / 20) | 0]) | 0;
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

function compressSha256(out, state, block, at) {
  for (let t = 0; t < 16; t++) w[t] = block[at + t];
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
    const first = (h + s1 + (g ^ (e & (f ^ g))) + SHA256_ADDED[t] + w[t]) | 0;
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

/** What vectors.js's `scan` finds, without WebAssembly. */
function scanPlainly(compress, out, start, block, mask, low) {
  for (let at = low; at < TAILS.length; at++) {
    block[13] = TAILS[at];
    compress(out, start, block, 0);
    if ((out[0] & mask) === 0) return at & ~3;
  }
  return TAILS.length;
}

/** A hash with the fastest `scan` that this page may run, assembled when it is first needed. */
function hashFrom(name, initial, compress, added) {
  const out = new Int32Array(initial.length);
  const plain = (start, block, mask, low) => scanPlainly(compress, out, start, block, mask, low);
  const hash = {
    initial: Int32Array.from(initial),
    compress,
    scan(start, block, mask, low) {
      hash.scan = orPlain(
        () => scanner(name, added, TAILS),
        () => plain,
      );
      return hash.scan(start, block, mask, low);
    },
  };
  return hash;
}

/** WebAssembly where it runs: a page's policy may forbid it, and old browsers have no vectors. */
function orPlain(make, plain) {
  try {
    return make();
  } catch {
    return plain();
  }
}

const SHA1_INITIAL = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];
const SHA256_INITIAL = PRIMES.slice(0, 8).map((prime) => (Math.sqrt(prime) % 1) * 2 ** 32);
const HASHES = {
  "hashcash-sha1": hashFrom("sha1", SHA1_INITIAL, compressSha1, SHA1_ADDED),
  "hashcash-sha256": hashFrom("sha256", SHA256_INITIAL, compressSha256, SHA256_ADDED),
};

// ---- scrypt (RFC 7914), without salt, 32 bytes ------------------------------------------------------------------

function scrypt(password, { n, r, p }) {
  const hmac = hmacOf(password);
  const size = 32 * r;
  const mixed = pbkdf2(hmac, [], size * p).map(swapBytes);
  const romix = romixOf(n, r);
  for (let lane = 0; lane < p; lane++) romix(mixed.subarray(size * lane, size * (lane + 1)));
  return pbkdf2(hmac, mixed.map(swapBytes), 8);
}

function swapBytes(x) {
  return (x << 24) | ((x & 0xff00) << 8) | ((x >>> 8) & 0xff00) | (x >>> 24);
}

/** HMAC-SHA-256 (RFC 2104) of words, under a key whose two blocks are digested once. */
function hmacOf(key) {
  const hash = HASHES["hashcash-sha256"];
  const short = key.length > 64 ? absorb(hash, hash.initial, padBytes(key)) : wordsOf(key, 16);
  const block = new Int32Array(16);
  block.set(short);
  const padded = (/** @type {number} */ pad) => absorb(hash, hash.initial, block.map((word) => word ^ pad));
  const [inner, outer] = [padded(0x36363636), padded(0x5c5c5c5c)];
  return (message) => absorb(hash, outer, padWords(absorb(hash, inner, padWords(message))));
}

/** PBKDF2 (RFC 8018, section 5.2) of one iteration: so many words, eight at a time. */
function pbkdf2(hmac, salt, size) {
  const key = new Int32Array(size);
  for (let at = 0; at < size; at += 8) key.set(hmac([...salt, at / 8 + 1]), at);
  return key;
}

let made = { n: 0, r: 0, romix: (words) => words };

/** Mixes 32 r words in place; the last one made is kept, with its memory. */
function romixOf(n, r) {
  if (made.n !== n || made.r !== r) {
    const chosen = orPlain(
      () => mixer(n, r),
      () => plainMixer(n, r),
    );
    made = { n, r, romix: romixWith(chosen, n, r) };
  }
  return made.romix;
}

/**
 * The memory holds n + 3 blocks: n that are remembered, zeros, and two to work in. `mix(from, other, to)` takes
 * blocks' numbers. Chunks lie in it diagonal by diagonal, as Salsa20's rounds want them.
 */
function romixWith({ memory, mix }, n, r) {
  const size = 32 * r;
  const [zeros, one, two] = [n, n + 1, n + 2];
  const place = (i) => (i & ~15) | ((5 * i) & 15);
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

/** BlockMix without WebAssembly. */
function plainMixer(n, r) {
  const memory = new Int32Array(32 * r * (n + 3));
  const x = new Int32Array(16);
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

/** Salsa20/8 of one chunk, in place. */
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

function turn(x, left) {
  return (x << left) | (x >>> (32 - left));
}

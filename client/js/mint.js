/**
 * Minting: searching for HashCash stamps whose digest begins with zero bits, a slice of time at a time.
 *
 * SHA-1 and SHA-256 are tried four at a time in WebAssembly that is assembled here, or in plain JavaScript where a page's
 * policy forbids that; scrypt is plain JavaScript.
 *
 * @typedef {{n: number, r: number, p: number}} ScryptCost
 * @typedef {{algorithm: string, bits: number, cost: ScryptCost | null, fields: string}} Job  one stamp, up to its ext
 * @typedef {{stamp: string | null, hashes: number}} Slice  what a while of searching has brought
 */

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
const isPrime = (/** @type {number} */ n) => ![2, 3, 5, 7, 11, 13, 17].some((divisor) => divisor < n && n % divisor === 0);
const SHA256_ADDED = Int32Array.from(
  Array.from({ length: 310 }, (_, at) => at + 2).filter(isPrime).slice(0, 64),
  (prime) => (Math.cbrt(prime) % 1) * 2 ** 32,
);
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

/** Where a page may run no WebAssembly: the first four tails, from `low` on, one of which may fit; else the end. */
function scanPlainly(compress, out, start, block, mask, low) {
  for (let at = low; at < TAILS.length; at++) {
    block[13] = TAILS[at];
    compress(out, start, block, 0);
    if ((out[0] & mask) === 0) return at & ~3;
  }
  return TAILS.length;
}

// ---- Four tries at once (WebAssembly, its 128-bit vectors) ------------------------------------------------------
// An expression is its code, an array of bytes; what it leaves on the stack is its value.

const i32 = (/** @type {number} */ value) => {
  const code = [0x41];
  for (; value > 63; value >>= 7) code.push((value & 127) | 128);
  return [...code, value];
};
const uleb = (/** @type {number} */ value) => (value > 127 ? [(value & 127) | 128, ...uleb(value >> 7)] : [value]);
const get = (local) => [0x20, local];
const set = (local, value) => [...value, 0x21, local];
const vector = (code) => (...operands) => [...operands.flat(), 0xfd, ...uleb(code)];
const [select, xor, or, and] = [0x52, 0x51, 0x50, 0x4e].map(vector);
const [shiftLeft, shiftRight, addTwo, equal, anyTrue, splat] = [0xab, 0xad, 0xae, 0x37, 0x53, 0x11].map(vector);
const add = (...operands) => operands.reduce((sum, each) => addTwo(sum, each));
const rotate = (x, left) => or(shiftLeft(x, i32(left)), shiftRight(x, i32(32 - left)));
const constant = (value) => [0xfd, 0x0c, ...[0, 1, 2, 3].flatMap(() => [value, value >> 8, value >> 16, value >> 24].map((byte) => byte & 255))];
const spread = (address) => [...i32(address), 0xfd, 0x09, 2, 0]; // one word of the memory in all four lanes

// Locals: two numbers, then vectors.
const [MASK, AT] = [0, 1];
const [WORDS, STATE, SAVED, TEMPORARY] = [2, 18, 26, 34];
const word = (t) => WORDS + (t & 15);
// The memory: the midstate, the block, the tails.
const [BLOCK, TABLE] = [64, 1024];

function roundOfSha1(t) {
  const [a, b, c, d, e] = [0, 1, 2, 3, 4].map((i) => STATE + ((i + 80 - t) % 5));
  const [B, C, D] = [get(b), get(c), get(d)];
  const x = get(TEMPORARY);
  const mixed = xor(get(word(t - 3)), xor(get(word(t - 8)), xor(get(word(t - 14)), get(word(t)))));
  const f = t < 20 ? select(C, D, B) : t >= 40 && t < 60 ? select(D, B, xor(B, C)) : xor(xor(B, C), D);
  return [
    ...(t < 16 ? [] : [...set(TEMPORARY, mixed), ...set(word(t), rotate(x, 1))]),
    ...set(e, add(rotate(get(a), 5), f, get(e), get(word(t)), constant(SHA1_ADDED[(t / 20) | 0]))),
    ...set(b, rotate(B, 30)),
  ];
}

function roundOfSha256(t) {
  const [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => STATE + ((i + 64 - t) % 8));
  const mix = (x, ...turns) => turns.map((right) => rotate(get(x), 32 - right)).reduce((one, other) => xor(one, other));
  const sum = (x, one, other, shift) => xor(mix(x, one, other), shiftRight(get(x), i32(shift)));
  const scheduled = add(get(word(t)), get(word(t - 7)), sum(word(t - 15), 7, 18, 3), sum(word(t - 2), 17, 19, 10));
  return [
    ...(t < 16 ? [] : set(word(t), scheduled)),
    ...set(h, add(get(h), mix(e, 6, 11, 25), select(get(f), get(g), get(e)), constant(SHA256_ADDED[t]), get(word(t)))),
    ...set(d, add(get(d), get(h))),
    ...set(h, add(get(h), mix(a, 2, 13, 22), select(get(c), get(a), xor(get(a), get(b))))),
  ];
}

/** scan(mask, at): the address of the first four tails, from `at` on, one of which may fit; else the table's end. */
function assemble(round, rounds, size) {
  const each = (count, make) => Array.from({ length: count }, (_, i) => make(i)).flat();
  const end = TABLE + 4 * TAILS.length;
  const body = [
    // The first 13 rounds are the same for every tail.
    ...each(13, (t) => set(WORDS + t, spread(BLOCK + 4 * t))),
    ...each(size, (i) => set(STATE + i, spread(4 * i))),
    ...each(13, round),
    ...each(size, (i) => set(SAVED + i, get(STATE + i))),
    ...[0x03, 0x40], // loop
    ...each(size, (i) => set(STATE + i, get(SAVED + i))),
    ...each(16, (t) => set(WORDS + t, t === 13 ? [...get(AT), 0xfd, 0x00, 4, 0] : spread(BLOCK + 4 * t))),
    ...each(rounds - 13, (i) => round(13 + i)),
    ...anyTrue(equal(and(add(get(STATE + (-rounds % size + size) % size), spread(0)), splat(get(MASK))), constant(0))),
    ...[0x04, 0x40, ...get(AT), 0x0f, 0x0b], // if: return at
    ...[...get(AT), ...i32(16), 0x6a, 0x22, AT], // at += 16
    ...[...i32(end), 0x49, 0x0d, 0, 0x0b], // at < end: again
    ...[...i32(end), 0x0b],
  ];
  const code = [1, ...uleb(TEMPORARY + 1 - WORDS), 0x7b, ...body];
  const section = (id, content) => [id, ...uleb(content.length), ...content];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 2, 0x7f, 0x7f, 1, 0x7f]), // (i32, i32) -> i32
    ...section(3, [1, 0]),
    ...section(5, [1, 0, 1]), // 64 KiB
    ...section(7, [2, 1, 0x6d, 2, 0, 1, 0x66, 0, 0]), // exported as m and f
    ...section(10, [1, ...uleb(code.length), ...code]),
  ]);
}

/** A hash with the fastest `scan` that this page may run, compiled when it is first needed. */
function hashFrom(initial, compress, round, rounds) {
  const out = new Int32Array(initial.length);
  const hash = {
    initial: Int32Array.from(initial),
    compress,
    scan(start, block, mask, low) {
      hash.scan = scanner();
      return hash.scan(start, block, mask, low);
    },
  };
  function scanner() {
    try {
      const { m, f } = new WebAssembly.Instance(new WebAssembly.Module(assemble(round, rounds, initial.length))).exports;
      const memory = new Int32Array(m.buffer);
      memory.set(TAILS, TABLE / 4);
      return (start, block, mask, low) => {
        memory.set(start, 0);
        memory.set(block, BLOCK / 4);
        return (f(mask, TABLE + 4 * low) - TABLE) / 4;
      };
    } catch {
      return (start, block, mask, low) => scanPlainly(compress, out, start, block, mask, low);
    }
  }
  return hash;
}

const SHA1_INITIAL = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];
const SHA256_INITIAL = [2, 3, 5, 7, 11, 13, 17, 19].map((prime) => (Math.sqrt(prime) % 1) * 2 ** 32);
const HASHES = {
  "hashcash-sha1": hashFrom(SHA1_INITIAL, compressSha1, roundOfSha1, 80),
  "hashcash-sha256": hashFrom(SHA256_INITIAL, compressSha256, roundOfSha256, 64),
};

// ---- scrypt (RFC 7914), without salt, 32 bytes ------------------------------------------------------------------

function scrypt(password, { n, r, p }) {
  const hmac = hmacOf(password);
  const size = 32 * r;
  const mixed = pbkdf2(hmac, [], size * p).map(swapBytes);
  const memory = new Int32Array(size * n);
  for (let lane = 0; lane < p; lane++) romix(mixed.subarray(size * lane, size * (lane + 1)), memory, n, r);
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
  const [inner, outer] = [0x36363636, 0x5c5c5c5c].map((pad) => absorb(hash, hash.initial, block.map((word) => word ^ pad)));
  return (message) => absorb(hash, outer, padWords(absorb(hash, inner, padWords(message))));
}

/** PBKDF2 (RFC 8018, section 5.2) of one iteration: so many words, eight at a time. */
function pbkdf2(hmac, salt, size) {
  const key = new Int32Array(size);
  for (let at = 0; at < size; at += 8) key.set(hmac([...salt, at / 8 + 1]), at);
  return key;
}

function romix(words, memory, n, r) {
  const size = 32 * r;
  let from = words;
  let to = new Int32Array(size);
  for (let i = 0; i < n; i++) {
    memory.set(from, i * size);
    mixBlock(from, to, r);
    [from, to] = [to, from];
  }
  for (let i = 0; i < n; i++) {
    const at = (from[size - 16] & (n - 1)) * size;
    for (let k = 0; k < size; k++) from[k] ^= memory[at + k];
    mixBlock(from, to, r);
    [from, to] = [to, from];
  }
  words.set(from); // n is even, so it is there already
}

/** Salsa20/8 over the chunks of 16 words in turn; the even ones come first in `to`. */
function mixBlock(from, to, r) {
  const last = 32 * r - 16;
  for (let k = 0; k < 16; k++) chunk[k] = from[last + k];
  for (let i = 0; i < 2 * r; i++) {
    salsa(from, 16 * i, to, 16 * ((i >> 1) + (i & 1) * r));
  }
}

const chunk = new Int32Array(16);

function salsa(from, at, to, place) {
  const t = chunk;
  for (let k = 0; k < 16; k++) t[k] ^= from[at + k];
  let a = t[0], b = t[1], c = t[2], d = t[3], e = t[4], f = t[5], g = t[6], h = t[7];
  let i = t[8], j = t[9], k = t[10], l = t[11], m = t[12], n = t[13], o = t[14], p = t[15];
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
  t[0] += a, t[1] += b, t[2] += c, t[3] += d, t[4] += e, t[5] += f, t[6] += g, t[7] += h;
  t[8] += i, t[9] += j, t[10] += k, t[11] += l, t[12] += m, t[13] += n, t[14] += o, t[15] += p;
  for (let q = 0; q < 16; q++) to[place + q] = t[q];
}

function turn(x, left) {
  return (x << left) | (x >>> (32 - left));
}

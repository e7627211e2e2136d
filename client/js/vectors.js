/**
 * The inner loops in WebAssembly, with its vectors of four words, assembled from rounds that read like the standards:
 * four tries at a hash at once, and the mixing of scrypt. Whoever calls has to bear that a page may run none.
 */

// ---- Code: an expression is an array of bytes, and what they leave on the stack its value -----------------------

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
const bytesOf = (value) => [0, 8, 16, 24].map((shift) => (value >> shift) & 255);
const constant = (value) => [0xfd, 0x0c, ...each(4, () => bytesOf(value))];
const each = (count, make) => Array.from({ length: count }, (_, i) => make(i)).flat();
const load = (base, offset) => [...get(base), 0xfd, 0x00, 4, ...uleb(offset)];
const store = (base, offset, value) => [...get(base), ...value, 0xfd, 0x0b, 4, ...uleb(offset)];
const advance = (local, by) => [...get(local), ...i32(by), 0x6a, 0x21, local];
const spread = (address) => [...i32(address), 0xfd, 0x09, 2, 0]; // one word of the memory in all four lanes

/** A module of one function f over a memory m: of so many numbers as parameters, so many vectors besides. */
function assemble(body, { parameters, results, counters = 0, vectors, bytes }) {
  const numbers = (count) => [count, ...Array(count).fill(0x7f)];
  const code = [counters ? 2 : 1, ...(counters ? [counters, 0x7f] : []), ...uleb(vectors), 0x7b, ...body, 0x0b];
  const section = (id, content) => [id, ...uleb(content.length), ...content];
  const module = Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, ...numbers(parameters), ...numbers(results)]),
    ...section(3, [1, 0]),
    ...section(5, [1, 0, ...uleb(Math.ceil(bytes / 65536))]),
    ...section(7, [2, 1, 0x6d, 2, 0, 1, 0x66, 0, 0]),
    ...section(10, [1, ...uleb(code.length), ...code]),
  ]);
  const { m, f } = new WebAssembly.Instance(new WebAssembly.Module(module)).exports;
  return { memory: new Int32Array(m.buffer), run: f };
}

// ---- Hashes -----------------------------------------------------------------------------------------------------

// Locals: two numbers, then vectors.
const [MASK, AT] = [0, 1];
const [WORDS, STATE, SAVED, TEMPORARY] = [2, 18, 26, 34];
const word = (t) => WORDS + (t & 15);
// The memory: the midstate, the block, the tails.
const [BLOCK, TABLE] = [64, 1024];

/** A round of SHA-1 (FIPS 180-4, section 6.1), with its word of the schedule. */
function roundOfSha1(t, added) {
  const [a, b, c, d, e] = [0, 1, 2, 3, 4].map((i) => STATE + ((i + 80 - t) % 5));
  const [B, C, D] = [get(b), get(c), get(d)];
  const x = get(TEMPORARY);
  const mixed = xor(get(word(t - 3)), xor(get(word(t - 8)), xor(get(word(t - 14)), get(word(t)))));
  const f = t < 20 ? select(C, D, B) : t >= 40 && t < 60 ? select(D, B, xor(B, C)) : xor(xor(B, C), D);
  return [
    ...(t < 16 ? [] : [...set(TEMPORARY, mixed), ...set(word(t), rotate(x, 1))]),
    ...set(e, add(rotate(get(a), 5), f, get(e), get(word(t)), constant(added[(t / 20) | 0]))),
    ...set(b, rotate(B, 30)),
  ];
}

/** A round of SHA-256 (FIPS 180-4, section 6.2), with its word of the schedule. */
function roundOfSha256(t, added) {
  const [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => STATE + ((i + 64 - t) % 8));
  const mix = (x, ...turns) => turns.map((right) => rotate(get(x), 32 - right)).reduce((one, other) => xor(one, other));
  const sum = (x, one, other, shift) => xor(mix(x, one, other), shiftRight(get(x), i32(shift)));
  const scheduled = add(get(word(t)), get(word(t - 7)), sum(word(t - 15), 7, 18, 3), sum(word(t - 2), 17, 19, 10));
  return [
    ...(t < 16 ? [] : set(word(t), scheduled)),
    ...set(h, add(get(h), mix(e, 6, 11, 25), select(get(f), get(g), get(e)), constant(added[t]), get(word(t)))),
    ...set(d, add(get(d), get(h))),
    ...set(h, add(get(h), mix(a, 2, 13, 22), select(get(c), get(a), xor(get(a), get(b))))),
  ];
}

/**
 * `scan(start, block, mask, low)`: the first four tails, from `low` on, one of which as word 13 of the block makes a
 * digest whose first word has no bit in common with the mask; else the number of tails.
 *
 * @param {"sha1" | "sha256"} name
 * @param {ArrayLike<number>} added  the constants of the rounds
 * @param {Int32Array} tails  a multiple of four
 */
export function scanner(name, added, tails) {
  const [rounds, size, roundOf] = name === "sha1" ? [80, 5, roundOfSha1] : [64, 8, roundOfSha256];
  const round = (/** @type {number} */ t) => roundOf(t, added);
  const end = TABLE + 4 * tails.length;
  const first = STATE + ((size - (rounds % size)) % size);
  const body = [
    // The first 13 rounds are the same for every tail.
    ...each(13, (t) => set(WORDS + t, spread(BLOCK + 4 * t))),
    ...each(size, (i) => set(STATE + i, spread(4 * i))),
    ...each(13, round),
    ...each(size, (i) => set(SAVED + i, get(STATE + i))),
    ...[0x03, 0x40], // loop
    ...each(size, (i) => set(STATE + i, get(SAVED + i))),
    ...each(16, (t) => set(WORDS + t, t === 13 ? load(AT, 0) : spread(BLOCK + 4 * t))),
    ...each(rounds - 13, (i) => round(13 + i)),
    ...anyTrue(equal(and(add(get(first), spread(0)), splat(get(MASK))), constant(0))),
    ...[0x04, 0x40, ...get(AT), 0x0f, 0x0b], // if: return at
    ...advance(AT, 16),
    ...[...get(AT), ...i32(end), 0x49, 0x0d, 0, 0x0b], // again while at < end
    ...i32(end),
  ];
  const vectors = TEMPORARY + 1 - WORDS;
  const { memory, run } = assemble(body, { parameters: 2, results: 1, vectors, bytes: end });
  memory.set(tails, TABLE / 4);
  return (start, block, mask, low) => {
    memory.set(start, 0);
    memory.set(block, BLOCK / 4);
    return (run(mask, TABLE + 4 * low) - TABLE) / 4;
  };
}

// ---- scrypt -----------------------------------------------------------------------------------------------------

/**
 * A memory of n + 3 blocks of 32 r words, and `mix(from, other, to)`, BlockMix with Salsa20/8 (RFC 7914, section 4) of
 * `from` ^ `other`. Chunks of 16 words lie in it diagonal by diagonal.
 */
export function mixer(n, r) {
  const [FROM, OTHER, TO, LEFT] = [0, 1, 2, 3];
  const X = [4, 5, 6, 7];
  const KEPT = 8;
  const SUM = 12;
  const turned = (x, lanes) => [...x, ...x, 0xfd, 0x0d, ...lanes.flatMap((lane) => each(4, (k) => [4 * lane + k]))];
  const quarter = (to, a, b, turn) => [
    ...set(SUM, add(get(a), get(b))),
    ...set(to, xor(get(to), rotate(get(SUM), turn))),
  ];
  const half = (a, b, c, d) => [
    ...[...quarter(b, a, d, 7), ...quarter(c, b, a, 9), ...quarter(d, c, b, 13), ...quarter(a, d, c, 18)],
    ...set(b, turned(get(b), [3, 0, 1, 2])),
    ...set(c, turned(get(c), [2, 3, 0, 1])),
    ...set(d, turned(get(d), [1, 2, 3, 0])),
  ];
  const both = (at) => (k) => xor(load(FROM, at + 16 * k), load(OTHER, at + 16 * k));
  const chunk = (at, place) => [
    ...each(4, (k) => [...set(X[k], xor(get(X[k]), both(at)(k))), ...set(KEPT + k, get(X[k]))]),
    ...each(4, () => [...half(X[0], X[1], X[2], X[3]), ...half(X[0], X[3], X[2], X[1])]),
    ...each(4, (k) => [...set(X[k], add(get(X[k]), get(KEPT + k))), ...store(TO, place + 16 * k, get(X[k]))]),
  ];
  const body = [
    ...each(4, (k) => set(X[k], both(128 * r - 64)(k))),
    ...set(LEFT, i32(r)),
    ...[0x03, 0x40, ...chunk(0, 0), ...chunk(64, 64 * r)], // loop
    ...[...advance(FROM, 128), ...advance(OTHER, 128), ...advance(TO, 64)],
    ...[...get(LEFT), 0x41, 0x7f, 0x6a, 0x22, LEFT, 0x0d, 0, 0x0b], // again while --left
  ];
  const bytes = 128 * r * (n + 3);
  const { memory, run } = assemble(body, { parameters: 3, results: 0, counters: 1, vectors: 9, bytes });
  return { memory, mix: (from, other, to) => run(128 * r * from, 128 * r * other, 128 * r * to) };
}

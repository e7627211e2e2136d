/**
 * The inner loops in WebAssembly with 128-bit vectors: four tries of a hash at once, and the mixing of scrypt.
 *
 * The modules are assembled here, from rounds that are written as in the standards (see docs/decisions/0032). Every
 * export throws where a page may not run WebAssembly, or where the browser has no vectors.
 */

// ---- Assembler: the code of an expression leaves its value on the stack --------------------------------------------

/** @typedef {number[]} Code  bytes of WebAssembly */

/** @type {(value: number) => Code} */
const i32 = (value) => {
  const code = [0x41];
  for (; value > 63; value >>= 7) code.push((value & 127) | 128);
  return [...code, value];
};
/** @type {(value: number) => Code} */
const uleb = (value) => (value > 127 ? [(value & 127) | 128, ...uleb(value >> 7)] : [value]);
/** @type {(local: number) => Code} */
const get = (local) => [0x20, local];
/** @type {(local: number, value: Code) => Code} */
const set = (local, value) => [...value, 0x21, local];
/** @type {(opcode: number) => (...operands: Code[]) => Code} */
const vector = (opcode) => (...operands) => [...operands.flat(), 0xfd, ...uleb(opcode)];
const [select, xor, or, and] = [0x52, 0x51, 0x50, 0x4e].map(vector);
const [shiftLeft, shiftRight, addTwo, equal, anyTrue, splat] = [0xab, 0xad, 0xae, 0x37, 0x53, 0x11].map(vector);
/** @type {(...operands: Code[]) => Code} */
const add = (...operands) => operands.reduce((sum, operand) => addTwo(sum, operand));
/** @type {(x: Code, left: number) => Code} */
const rotate = (x, left) => or(shiftLeft(x, i32(left)), shiftRight(x, i32(32 - left)));
/** @type {(value: number) => Code} */
const bytesOf = (value) => [0, 8, 16, 24].map((shift) => (value >> shift) & 255);
/** @type {(count: number, emit: (index: number) => Code) => Code} */
const repeat = (count, emit) => Array.from({ length: count }, (_, index) => emit(index)).flat();
/** @type {(value: number) => Code} */
const constant = (value) => [0xfd, 0x0c, ...repeat(4, () => bytesOf(value))];
/** @type {(base: number, offset: number) => Code} */
const load = (base, offset) => [...get(base), 0xfd, 0x00, 4, ...uleb(offset)];
/** @type {(base: number, offset: number, value: Code) => Code} */
const store = (base, offset, value) => [...get(base), ...value, 0xfd, 0x0b, 4, ...uleb(offset)];
/** @type {(local: number, by: number) => Code} */
const advance = (local, by) => [...get(local), ...i32(by), 0x6a, 0x21, local];
/** @type {(address: number) => Code} */
const spread = (address) => [...i32(address), 0xfd, 0x09, 2, 0]; // one word of the memory in all four lanes

/**
 * Instantiate a module that has one function and one memory.
 *
 * @param {Code} body
 * @param {object} signature
 * @param {number} signature.parameters  number of 32-bit parameters
 * @param {number} signature.results     number of 32-bit results
 * @param {number} [signature.counters]  number of 32-bit locals
 * @param {number} signature.vectors     number of vector locals
 * @param {number} signature.bytes       size of the memory
 */
function assemble(body, { parameters, results, counters = 0, vectors, bytes }) {
  /** @type {(count: number) => Code} */
  const numbers = (count) => [count, ...Array(count).fill(0x7f)];
  const code = [counters ? 2 : 1, ...(counters ? [counters, 0x7f] : []), ...uleb(vectors), 0x7b, ...body, 0x0b];
  /** @type {(id: number, content: Code) => Code} */
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
  const memory = new Int32Array(/** @type {WebAssembly.Memory} */ (m).buffer);
  return { memory, run: /** @type {(...parameters: number[]) => number} */ (f) };
}

// ---- Hashes -----------------------------------------------------------------------------------------------------

// Locals: two parameters, then vectors.
const [MASK, AT] = [0, 1];
const [WORDS, STATE, SAVED, TEMPORARY] = [2, 18, 26, 34];
/** @type {(t: number) => number} */
const word = (t) => WORDS + (t & 15);
// Addresses in the memory, after the midstate at 0.
const [BLOCK, TABLE] = [64, 1024];

/**
 * Emit a round of SHA-1 (FIPS 180-4, section 6.1) and its step of the message schedule.
 *
 * @type {(t: number, constants: ArrayLike<number>) => Code}
 */
function roundOfSha1(t, constants) {
  const [a, b, c, d, e] = [0, 1, 2, 3, 4].map((i) => STATE + ((i + 80 - t) % 5));
  const [B, C, D] = [get(b), get(c), get(d)];
  const x = get(TEMPORARY);
  const mixed = xor(get(word(t - 3)), xor(get(word(t - 8)), xor(get(word(t - 14)), get(word(t)))));
  const f = t < 20 ? select(C, D, B) : t >= 40 && t < 60 ? select(D, B, xor(B, C)) : xor(xor(B, C), D);
  return [
    ...(t < 16 ? [] : [...set(TEMPORARY, mixed), ...set(word(t), rotate(x, 1))]),
    ...set(e, add(rotate(get(a), 5), f, get(e), get(word(t)), constant(constants[(t / 20) | 0]))),
    ...set(b, rotate(B, 30)),
  ];
}

/**
 * Emit a round of SHA-256 (FIPS 180-4, section 6.2) and its step of the message schedule.
 *
 * @type {(t: number, constants: ArrayLike<number>) => Code}
 */
function roundOfSha256(t, constants) {
  const [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => STATE + ((i + 64 - t) % 8));
  /** @type {(x: number, ...turns: number[]) => Code} */
  const mix = (x, ...turns) => turns.map((right) => rotate(get(x), 32 - right)).reduce((all, other) => xor(all, other));
  /** @type {(x: number, turn1: number, turn2: number, shift: number) => Code} */
  const sigma = (x, turn1, turn2, shift) => xor(mix(x, turn1, turn2), shiftRight(get(x), i32(shift)));
  const scheduled = add(get(word(t)), get(word(t - 7)), sigma(word(t - 15), 7, 18, 3), sigma(word(t - 2), 17, 19, 10));
  return [
    ...(t < 16 ? [] : set(word(t), scheduled)),
    ...set(h, add(get(h), mix(e, 6, 11, 25), select(get(f), get(g), get(e)), constant(constants[t]), get(word(t)))),
    ...set(d, add(get(d), get(h))),
    ...set(h, add(get(h), mix(a, 2, 13, 22), select(get(c), get(a), xor(get(a), get(b))))),
  ];
}

/**
 * @typedef {(start: Int32Array, block: Int32Array, mask: number, low: number) => number} Scan
 *   returns the first of four tails, from tail `low` on, one of which as word 13 of the block makes a digest whose
 *   first word has no bit in common with the mask; if there is none, the number of tails
 */

/**
 * Create a `Scan` of four tails at once.
 *
 * @param {"sha1" | "sha256"} name
 * @param {ArrayLike<number>} constants  of the rounds
 * @param {Int32Array} tails  their number is a multiple of four
 * @returns {Scan}
 */
export function scanner(name, constants, tails) {
  /** @type {[number, number, typeof roundOfSha1]} */
  const [rounds, size, roundOf] = name === "sha1" ? [80, 5, roundOfSha1] : [64, 8, roundOfSha256];
  /** @type {(t: number) => Code} */
  const round = (t) => roundOf(t, constants);
  const end = TABLE + 4 * tails.length;
  const first = STATE + ((size - (rounds % size)) % size);
  const body = [
    // The first 13 rounds are the same for every tail.
    ...repeat(13, (t) => set(WORDS + t, spread(BLOCK + 4 * t))),
    ...repeat(size, (i) => set(STATE + i, spread(4 * i))),
    ...repeat(13, round),
    ...repeat(size, (i) => set(SAVED + i, get(STATE + i))),
    ...[0x03, 0x40], // loop
    ...repeat(size, (i) => set(STATE + i, get(SAVED + i))),
    ...repeat(16, (t) => set(WORDS + t, t === 13 ? load(AT, 0) : spread(BLOCK + 4 * t))),
    ...repeat(rounds - 13, (i) => round(13 + i)),
    ...anyTrue(equal(and(add(get(first), spread(0)), splat(get(MASK))), constant(0))),
    ...[0x04, 0x40, ...get(AT), 0x0f, 0x0b], // if: return at
    ...advance(AT, 16),
    ...[...get(AT), ...i32(end), 0x49, 0x0d, 0, 0x0b], // repeat while at < end
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
 * @typedef {object} Mixer
 * @property {Int32Array} memory  n + 3 blocks of 32 r words. The 16 words of a chunk lie in it diagonal by diagonal
 * @property {(from: number, other: number, to: number) => void} mix  BlockMix with Salsa20/8 (RFC 7914, section 4) of
 *                               block `from` ^ block `other`, written to block `to`
 */

/**
 * Create a `Mixer` that works on vectors.
 *
 * @param {number} n
 * @param {number} r
 * @returns {Mixer}
 */
export function mixer(n, r) {
  const [FROM, OTHER, TO, LEFT] = [0, 1, 2, 3];
  const X = [4, 5, 6, 7];
  const SAVED_X = 8;
  const SUM = 12;
  /** @type {(x: Code, lanes: number[]) => Code} */
  const shuffled = (x, lanes) => [...x, ...x, 0xfd, 0x0d, ...lanes.flatMap((lane) => repeat(4, (k) => [4 * lane + k]))];
  /** @type {(to: number, a: number, b: number, turn: number) => Code} */
  const quarter = (to, a, b, turn) => [
    ...set(SUM, add(get(a), get(b))),
    ...set(to, xor(get(to), rotate(get(SUM), turn))),
  ];
  /** @type {(a: number, b: number, c: number, d: number) => Code} */
  const half = (a, b, c, d) => [
    ...[...quarter(b, a, d, 7), ...quarter(c, b, a, 9), ...quarter(d, c, b, 13), ...quarter(a, d, c, 18)],
    ...set(b, shuffled(get(b), [3, 0, 1, 2])),
    ...set(c, shuffled(get(c), [2, 3, 0, 1])),
    ...set(d, shuffled(get(d), [1, 2, 3, 0])),
  ];
  /** @type {(offset: number) => (k: number) => Code} */
  const input = (offset) => (k) => xor(load(FROM, offset + 16 * k), load(OTHER, offset + 16 * k));
  /** @type {(offset: number, target: number) => Code} */
  const chunk = (offset, target) => [
    ...repeat(4, (k) => [...set(X[k], xor(get(X[k]), input(offset)(k))), ...set(SAVED_X + k, get(X[k]))]),
    ...repeat(4, () => [...half(X[0], X[1], X[2], X[3]), ...half(X[0], X[3], X[2], X[1])]),
    ...repeat(4, (k) => [...set(X[k], add(get(X[k]), get(SAVED_X + k))), ...store(TO, target + 16 * k, get(X[k]))]),
  ];
  const body = [
    ...repeat(4, (k) => set(X[k], input(128 * r - 64)(k))),
    ...set(LEFT, i32(r)),
    ...[0x03, 0x40, ...chunk(0, 0), ...chunk(64, 64 * r)], // loop
    ...[...advance(FROM, 128), ...advance(OTHER, 128), ...advance(TO, 64)],
    ...[...get(LEFT), 0x41, 0x7f, 0x6a, 0x22, LEFT, 0x0d, 0, 0x0b], // repeat while --left
  ];
  const bytes = 128 * r * (n + 3);
  const { memory, run } = assemble(body, { parameters: 3, results: 0, counters: 1, vectors: 9, bytes });
  return { memory, mix: (from, other, to) => void run(128 * r * from, 128 * r * other, 128 * r * to) };
}

// SPDX-License-Identifier: MIT
// Whether the bytes of a .tow are those that were written: the hash of csrc/FORMAT.md, for load(..., { check: true }).
import { fail } from './errors.js';

// 64-bit words are pairs of 32-bit ones, low first.
const START = Uint32Array.of(
  0xf3bcc908, 0x6a09e667, 0x84caa73b, 0xbb67ae85, 0xfe94f82b, 0x3c6ef372, 0x5f1d36f1, 0xa54ff53a,
  0xade682d1, 0x510e527f, 0x2b3e6c1f, 0x9b05688c, 0xfb41bd6b, 0x1f83d9ab, 0x137e2179, 0x5be0cd19,
);
const ORDERS = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4], [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13], [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11], [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5], [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];
const MIXED = [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15], [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]];

// One of the eight mixes of a round; rotations by 32, 24, 16 and 63 bits.
function mix(v, a, b, c, d, x, xHigh, y, yHigh) {
  let aLow = v[a], aHigh = v[a + 1], bLow = v[b], bHigh = v[b + 1], cLow = v[c], cHigh = v[c + 1], low, high, sum;
  sum = aLow + bLow + x;
  aHigh = (aHigh + bHigh + xHigh + (sum > 0x1ffffffff ? 2 : sum > 0xffffffff ? 1 : 0)) >>> 0;
  aLow = sum >>> 0;
  let dLow = v[d + 1] ^ aHigh, dHigh = v[d] ^ aLow;
  sum = cLow + (dLow >>> 0);
  cHigh = (cHigh + dHigh + (sum > 0xffffffff ? 1 : 0)) >>> 0;
  cLow = sum >>> 0;
  (low = bLow ^ cLow), (high = bHigh ^ cHigh);
  (bLow = ((low >>> 24) | (high << 8)) >>> 0), (bHigh = ((high >>> 24) | (low << 8)) >>> 0);
  sum = aLow + bLow + y;
  aHigh = (aHigh + bHigh + yHigh + (sum > 0x1ffffffff ? 2 : sum > 0xffffffff ? 1 : 0)) >>> 0;
  aLow = sum >>> 0;
  (low = dLow ^ aLow), (high = dHigh ^ aHigh);
  (dLow = ((low >>> 16) | (high << 16)) >>> 0), (dHigh = (high >>> 16) | (low << 16));
  sum = cLow + dLow;
  cHigh = (cHigh + dHigh + (sum > 0xffffffff ? 1 : 0)) >>> 0;
  cLow = sum >>> 0;
  (low = bLow ^ cLow), (high = bHigh ^ cHigh);
  (v[a] = aLow), (v[a + 1] = aHigh), (v[c] = cLow), (v[c + 1] = cHigh), (v[d] = dLow), (v[d + 1] = dHigh);
  (v[b] = (high >>> 31) | (low << 1)), (v[b + 1] = (low >>> 31) | (high << 1));
}

/** BLAKE2b of `size` bytes over all bytes of `parts`, in hexadecimal. */
export function blake2b(size, ...parts) {
  const h = START.slice(), v = new Uint32Array(32), m = new Uint32Array(32), block = new Uint8Array(128);
  h[0] ^= 0x01010000 ^ size;
  let counted = 0, n = 0;
  const compress = (isLast) => {
    for (let i = 0; i < 32; ++i) m[i] = block[4 * i] | (block[4 * i + 1] << 8) | (block[4 * i + 2] << 16) | (block[4 * i + 3] << 24);
    v.set(h);
    v.set(START, 16);
    v[24] ^= counted;
    v[25] ^= Math.floor(counted / 2 ** 32);
    if (isLast) (v[28] = ~v[28]), (v[29] = ~v[29]);
    for (let round = 0; round < 12; ++round) {
      const order = ORDERS[round % 10];
      for (let i = 0; i < 8; ++i) {
        const a = 2 * MIXED[i][0], b = 2 * MIXED[i][1], c = 2 * MIXED[i][2], d = 2 * MIXED[i][3], x = 2 * order[2 * i], y = 2 * order[2 * i + 1];
        mix(v, a, b, c, d, m[x], m[x + 1], m[y], m[y + 1]);
      }
    }
    for (let i = 0; i < 16; ++i) h[i] ^= v[i] ^ v[i + 16];
  };
  for (const part of parts)
    for (let at = 0; at < part.length; ) {
      if (n === 128) (counted += 128), compress(false), (n = 0);
      const some = Math.min(128 - n, part.length - at);
      block.set(part.subarray(at, at + some), n);
      n += some;
      at += some;
    }
  block.fill(0, n);
  counted += n;
  compress(true);
  return Array.from({ length: size }, (_, i) => ((h[i >> 2] >>> (8 * (i & 3))) & 255).toString(16).padStart(2, '0')).join('');
}

const HEADER = 64, HASH_AT = 32, MAGIC = [0x89, 0x54, 0x4f, 0x57, 0x50, 0x46, 0x0d, 0x0a];
const ITEM_BYTES = [4, 4, 2, 2, 1, 1, 1, 1, 2, 1]; // of the dtypes of tensors
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

// Where the model ends and its proof begins, in a file that the engine has accepted.
function endOfModel(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), word = (at) => view.getUint32(at, true);
  const wide = (at) => word(at) + word(at + 4) * 2 ** 32, nTensors = word(HEADER), last = HEADER + 48 + 24 * (nTensors - 1);
  const end = nTensors ? wide(last + 8) + wide(last + 16) * ITEM_BYTES[word(last)] : HEADER + word(24);
  const at = Math.ceil(end / 64) * 64;
  return MAGIC.every((byte, i) => bytes[at + i] === byte) ? at : bytes.length;
}

/** Throws UT_E_FORMAT where a file that the engine has accepted is not the one that was written. */
export function checkHash(bytes) {
  const end = endOfModel(bytes), stored = hex(bytes.subarray(HASH_AT, HASH_AT + 16));
  const computed = blake2b(64, bytes.subarray(HEADER, end)).slice(0, 32);
  if (stored !== computed)
    throw fail('UT_E_FORMAT', `load: the file is damaged: the hash of its metadata and weights is ${computed}, its header says ${stored}; fetch or convert it again`);
  if (end === bytes.length) return;
  const proof = bytes.subarray(end), zeros = proof.subarray(48, 64);
  const says = blake2b(16, bytes.subarray(HASH_AT, HASH_AT + 16), proof.subarray(0, 32), proof.subarray(64));
  if (says !== hex(proof.subarray(32, 48)) || zeros.some((byte) => byte !== 0))
    throw fail('UT_E_FORMAT', 'load: the proof in the file is damaged, or of another model; fetch or convert it again');
}

// SPDX-License-Identifier: MIT
// Prints the hashes of vectors.cpp: node vectors.mjs MODULE THOUSANDS; nothing where this node does not know the instructions.
import fs from 'node:fs';

const bytes = fs.readFileSync(process.argv[2]);
if (WebAssembly.validate(bytes)) {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
  const hashes = new BigUint64Array(exports.memory.buffer, exports.run(Number(process.argv[3])), 9 * 10);
  for (const hash of hashes) console.log(hash.toString(16).padStart(16, '0'));
}

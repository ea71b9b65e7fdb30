// SPDX-License-Identifier: MIT
// Runs the program as a WebAssembly module: node run.mjs FILE [STEPS]
import fs from 'node:fs';

const [, , file, steps = '16'] = process.argv;
let memory;
const text = (at) => {
  const bytes = new Uint8Array(memory.buffer, at);
  return Buffer.from(bytes.subarray(0, bytes.indexOf(0))).toString();
};
const env = {
  put: (at) => process.stdout.write(text(at)),
  quit: (status) => {
    throw new Error(`quit ${status}`);
  },
};
const { instance } = await WebAssembly.instantiate(fs.readFileSync(file), { env });
memory = instance.exports.memory;
process.exit(instance.exports.run(Number(steps)));

// SPDX-License-Identifier: MIT
// What load(..., { check: true }) accepts and refuses: node damaged.mjs WHOLE.tow ... Every file is whole; then one bit of it
// is turned, in every place or in 100 that are spread over it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { engine, loadSync, UndertowError } from '../../src/js/index.js';

const module = await engine();
let passed = 0;
for (const path of process.argv.slice(2)) {
  const bytes = new Uint8Array(fs.readFileSync(path)), step = Math.max(1, Math.floor(bytes.length / 100));
  loadSync(bytes, module, { check: true });
  for (let at = 0; at < bytes.length; at += step) {
    bytes[at] ^= 1 << (at % 8);
    assert.throws(() => loadSync(bytes, module, { check: true }), (error) => error instanceof UndertowError, `${path}: byte ${at}`);
    try {
      loadSync(bytes, module);
      ++passed;
    } catch {} // the checksum found it
    bytes[at] ^= 1 << (at % 8);
  }
}
console.log(passed > 0);

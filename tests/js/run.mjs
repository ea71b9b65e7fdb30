// SPDX-License-Identifier: MIT
// Runs frames of a file through a model, as one run and step by step: node run.mjs MODEL FRAMES ISA N. Prints JSON, arrays in base64.
import fs from 'node:fs';
import * as ut from '../../src/js/index.js';

const [, , path, x, isa] = process.argv, n = Number(process.argv[5]);
const model = await ut.load(path, { isa });
const inputs = Object.values(model.inputs), outputs = Object.values(model.outputs);
const bytes = fs.readFileSync(x), X = {};
let at = bytes.byteOffset;
for (const t of inputs) {
  X[t.name] = new (t.dtype === 'int32' ? Int32Array : Float32Array)(bytes.buffer.slice(at, (at += 4 * n * t.size)));
}
const frame = (t) => Object.fromEntries(inputs.map((i) => [i.name, X[i.name].subarray(t * i.size, (t + 1) * i.size)]));
const coded = (a) => Buffer.from(a.buffer, a.byteOffset, a.byteLength).toString('base64');
const of = (result, t) => (outputs.length === 1 ? result : result[t.name]);

const stream = model.stream(), whole = stream.run(X, n), states = Object.values(stream.state).map(coded);
stream.reset();
const steps = outputs.map((t) => new Float32Array(n * t.size));
for (let t = 0; t < n; ++t) {
  const y = stream.step(frame(t));
  outputs.forEach((o, i) => steps[i].set(of(y, o), t * o.size));
}
const runs = outputs.map((t) => coded(of(whole, t)));
console.log(JSON.stringify({ isa: model.info.isa, runs, steps: steps.map(coded), states, snapshot: coded(stream.snapshot()) }));

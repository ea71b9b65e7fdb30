// SPDX-License-Identifier: MIT
// A model of whole sequences: node whole.mjs MODEL
import * as ut from '../../src/js/index.js';

const model = await ut.load(process.argv[2]);
try {
  model.stream();
} catch (error) {
  console.log(error.status, error.message);
}
const zeros = (t) => new (t.dtype === 'int32' ? Int32Array : Float32Array)(5 * t.size);
const y = model.run(Object.fromEntries(Object.values(model.inputs).map((t) => [t.name, zeros(t)])), 5);
const outputs = Object.values(model.outputs);
for (const t of outputs) console.log(t.name, (outputs.length === 1 ? y : y[t.name]).length === (t.once ? 1 : 5) * t.size);

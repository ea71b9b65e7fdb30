// SPDX-License-Identifier: MIT
// Times single steps of models: node --experimental-wasm-relaxed-simd src/js/bench.mjs MODEL.tow ...
// Frames are random numbers. The smallest and the median time of a step, for every module that runs here.
import { load, runnable } from './index.js';

const N = 400, ROUNDS = 4;
for (const path of process.argv.slice(2))
  for (const isa of runnable()) {
    const model = await load(path, { isa }), stream = model.stream({ block: 1 });
    const inputs = Object.values(model.inputs), outputs = Object.values(model.outputs);
    let seed = 1;
    const random = () => ((seed = (Math.imul(seed, 1664525) + 1013904223) | 0) >> 8) / 2 ** 23;
    const frames = Array.from({ length: N }, () =>
      Object.fromEntries(inputs.map((t) => [t.name, t.dtype === 'int32'
        ? Int32Array.from({ length: t.size }, () => Math.floor(Math.abs(random()) * t.nIds))
        : Float32Array.from({ length: t.size }, random)])));
    const out = Object.fromEntries(outputs.map((t) => [t.name, new Float32Array(t.size)])), times = [];
    for (let round = 0; round < ROUNDS; ++round)
      for (const frame of frames) {
        const begin = performance.now();
        stream.step(frame, out);
        if (round) times.push(performance.now() - begin); // the first round is for the compiler
      }
    times.sort((a, b) => a - b);
    const us = (t) => `${(1000 * t).toFixed(1)} us`;
    console.log(`${model.name} ${isa.padEnd(11)} least ${us(times[0])}, median ${us(times[times.length >> 1])}`);
  }

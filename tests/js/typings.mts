// SPDX-License-Identifier: MIT
// Calls that index.d.ts must allow, and, marked, some that it must not: tsc --noEmit --strict
import { engine, load, loadSync, runnable, UndertowError } from '../../src/js/index.js';
import type { Model, Outputs, Stream } from '../../src/js/index.js';

const model: Model = await load('x.tow', { isa: 'wasm' });
const stream: Stream = model.stream({ block: 1 });
const y: Outputs = stream.step(new Float32Array(3));
const [p] = y, other: Float32Array = y.other;
const sum: number = p + y[0] + other.length + model.inputs.x.shape[0];
stream.run({ a: new Float32Array(3), ids: new Int32Array(3) }, 1, { y: other });
stream.run(new Float32Array(3), other);
stream.step({ a: new Float32Array(3), id: 3 });
await load(new Blob([]), { check: true, signal: null });
loadSync(new SharedArrayBuffer(3), await engine(), { check: true });
const refusal: Error = new UndertowError('FETCH', 'no', 0, { cause: 5 });
stream.state.h = stream.state['h'];
stream.stateView('h')[0] = sum;
stream.restore(stream.fork().snapshot());
loadSync(new Uint8Array(3), await engine());
try {
  if (runnable()[0] === 'scalar') stream.close();
} catch (error) {
  if (error instanceof UndertowError && error.status === 'UT_E_FORMAT') console.log(error.offset, model.info.isa);
}
// @ts-expect-error: nothing is converted in silence
stream.step(new Float64Array(3));
// @ts-expect-error: several frames are an array
stream.run(3, 1);
// @ts-expect-error: read only
stream.position = 3;
// @ts-expect-error: no such instruction set
await load('x.tow', { isa: 'avx2' });

// SPDX-License-Identifier: MIT
// Everything that is refused is an UndertowError: node refused.mjs digits.tow ids.tow several.tow FOLDER
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import * as ut from '../../src/js/index.js';

const [, , digits, idsPath, severalPath, folder] = process.argv, bytes = new Uint8Array(fs.readFileSync(digits));
const is = (status, message, cause) => (error) => {
  assert.ok(error instanceof ut.UndertowError, `${error?.stack}`);
  assert.equal(error.status, status, error.message);
  assert.match(error.message, message);
  if (cause) assert.ok(error.cause instanceof cause, 'the error behind it is kept');
  return true;
};
const refused = (f, message, status = 'UT_E_ARGUMENT') => assert.throws(f, is(status, message));
const fails = (promise, status, message, cause) => assert.rejects(promise, is(status, message, cause));

// --- what does not come ------------------------------------------------------------------------------------------------

const server = http.createServer((request, response) => {
  if (request.url !== '/cut') return response.end(bytes);
  response.writeHead(200, { 'content-length': bytes.length });
  response.write(bytes.subarray(0, 3000), () => setTimeout(() => response.destroy(), 20));
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const at = `http://127.0.0.1:${server.address().port}`;
assert.equal((await ut.load(`${at}/digits.tow`)).name, 'digits');
await fails(ut.load(`${at}/cut`), 'FETCH', /\/cut broke off/, TypeError);
await fails(fetch(`${at}/cut`).then((response) => ut.load(response)), 'FETCH', /could not be read/, TypeError);
const read = await fetch(at);
await read.arrayBuffer();
await fails(ut.load(read), 'UT_E_ARGUMENT', /was read before/);
for (const reason of [undefined, new Error('my own')]) {
  const signal = AbortSignal.abort(reason);
  for (const source of [at, digits])
    await assert.rejects(ut.load(source, { signal }), (error) => !(error instanceof ut.UndertowError) && (error === reason || error.name === 'AbortError'));
}
await new Promise((done) => (server.close(done), server.closeAllConnections()));
await fails(ut.load(at), 'FETCH', /ECONNREFUSED/, TypeError);
await fails(ut.load(`${folder}/none.tow`), 'FETCH', /ENOENT/, Error);
await fails(ut.load(new URL(`file://${folder}/none.tow`)), 'FETCH', /ENOENT/, Error);
await fails(ut.load(folder), 'FETCH', /EISDIR/, Error);
await fails(ut.load({ arrayBuffer: async () => { throw new RangeError('Array buffer allocation failed'); } }), 'UT_E_MEMORY', /more than there is memory/, RangeError);

// --- arguments of loading ----------------------------------------------------------------------------------------------

assert.equal((await ut.load(new Blob([bytes]), { check: true })).name, 'digits');
const shared = new SharedArrayBuffer(bytes.length);
new Uint8Array(shared).set(bytes);
assert.equal((await ut.load(shared)).name, 'digits');
const made = await ut.engine();
await fails(ut.load(bytes, null), 'UT_E_ARGUMENT', /options must be an object.*got null/);
await fails(ut.load(bytes, { chek: true }), 'UT_E_ARGUMENT', /no option "chek"; there are: isa, module, signal, check/);
await fails(ut.load(bytes, { check: 1 }), 'UT_E_ARGUMENT', /check must be true or false, got number 1/);
await fails(ut.load(bytes, { signal: 5 }), 'UT_E_ARGUMENT', /AbortSignal/);
await fails(ut.load(bytes, { isa: 'scalar', module: made }), 'UT_E_ARGUMENT', /both given/);
await fails(ut.engine(null), 'UT_E_ARGUMENT', /options/);
refused(() => ut.loadSync(bytes, made, null), /options/);
refused(() => ut.loadSync('digits.tow', made), /the bytes of a .tow, got string "digits.tow"/);
refused(() => ut.loadSync(bytes, new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0))), /not the engine/);
const view = bytes.slice(), gone = view.buffer;
structuredClone(gone, { transfer: [gone] });
await fails(ut.load(gone), 'UT_E_ARGUMENT', /given away/);
await fails(ut.load(view), 'UT_E_FORMAT', /not a .tow/);

// --- arguments of calls ------------------------------------------------------------------------------------------------

const model = await ut.load(bytes), stream = model.stream(), x = new Float32Array(8), out = new Float32Array(10);
refused(() => model.stream(null), /options/);
refused(() => model.stream({ blocks: 1 }), /no option "blocks"; there are: block/);
refused(() => model.stream({ block: '1' }), /block is string "1"/);
for (const n of ['2', null, NaN, 1.5, -1, true]) {
  refused(() => stream.run(x, n), /nFrames must be a whole number, 0 or more, got (string "2"|null|number|boolean true)/);
  refused(() => model.run(x, n), /nFrames must be a whole number/);
}
refused(() => stream.run(x, out, 1), /run\(x, nFrames, out\)/);
assert.equal(stream.run(x, out), out);
for (const wrong of [5, null, 'y']) {
  const said = new RegExp(`out for "output" must be a Float32Array.*got ${wrong === null ? 'null' : typeof wrong}`);
  refused(() => stream.step(x, wrong), said);
  refused(() => stream.run(x, 1, wrong), said);
}
refused(() => stream.step(x, {}), /output "output" is missing/);
refused(() => stream.step(x, { output: out, other: out }), /no output "other"; there are: output/);
refused(() => stream.run(3, 1), /got number 3/);
refused(() => stream.state.nope, /no state "nope"; there are: memory.h/);
refused(() => { stream.state.nope = x; }, /no state "nope"/);
refused(() => { stream.state['memory.h'] = x; }, /must have 48 elements/);
refused(() => stream.stateView(Symbol('h')), /no state/);
assert.equal(await Promise.resolve(stream.state), stream.state);
assert.deepEqual(Object.keys(JSON.parse(JSON.stringify(stream.state))), ['memory.h']);
stream.step(x);
const { position } = stream;
for (const [object, name] of [[stream, 'position'], [stream, 'state'], [stream, 'model'], [model, 'name'], [model, 'inputs'], [model, 'info']]) {
  const value = object[name];
  assert.throws(() => { object[name] = 5; }, TypeError);
  assert.equal(object[name], value);
}
assert.equal(stream.position, position);

// Ids are never rounded, cut or wrapped.
const ids = await ut.load(idsPath), reader = ids.stream(), [{ nIds }] = Object.values(ids.inputs);
const bits = (a) => [...new Uint32Array(a.slice().buffer)];
assert.deepEqual(bits(reader.fork().step(1)), bits(reader.step(Int32Array.of(1))));
for (const id of [NaN, 1.9, -1, nIds, 2 ** 32 + 1, Infinity]) {
  refused(() => reader.step(id), new RegExp(`holds ids of 0 to ${nIds - 1}, got ${id}`));
  refused(() => reader.propose({ [Object.keys(ids.inputs)[0]]: id }), /holds ids/);
}
refused(() => reader.step('1'), /must be an Int32Array.*got string "1"/);
assert.equal(reader.position, 1);
const several = (await ut.load(severalPath)).stream(), frame = { x: new Float32Array(3), id: 0 };
several.step(frame);
refused(() => several.step({ ...frame, id: 1.5 }), /"id" holds ids/);
refused(() => several.step(frame, 5), /2 outputs \(y, last\): pass an object of arrays by name, got number 5/);
refused(() => several.step(frame, {}), /output "y" is missing/);

// --- where WebAssembly does not run ------------------------------------------------------------------------------------

const { Instance, Module } = WebAssembly;
WebAssembly.Instance = function () { throw new RangeError('WebAssembly.Instance(): Out of memory: Cannot allocate Wasm memory'); };
await fails(ut.load(bytes, { module: made }), 'UT_E_MEMORY', /Out of memory/, RangeError);
WebAssembly.Instance = Instance;
WebAssembly.Module = function () { throw new WebAssembly.CompileError('Refused to compile'); };
assert.deepEqual(ut.runnable(), []);
await fails(ut.load(bytes), 'UT_E_ISA', /wasm-unsafe-eval/, WebAssembly.CompileError);
WebAssembly.Module = Module;
delete globalThis.WebAssembly;
assert.deepEqual(ut.runnable(), []);
await fails(ut.load(bytes), 'UT_E_ISA', /no WebAssembly/);
refused(() => ut.loadSync(bytes, made), /no WebAssembly/, 'UT_E_ISA');

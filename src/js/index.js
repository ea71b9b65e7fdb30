// SPDX-License-Identifier: MIT
// Streaming inference for recurrent networks: the engine of undertow as WebAssembly. README.md shows how it is used,
// index.d.ts says what everything takes and gives.
import { bytesOf, kindOf, moduleOf, runnable } from './features.js';
import { Memory, UndertowError } from './memory.js';

export { UndertowError, runnable };

const fail = (status, message) => new UndertowError(status, message);
const ARRAYS = { float32: Float32Array, int32: Int32Array };

/** The compiled engine for this browser, as `{isa, module}`: what `load` uses, and what a worklet is sent. */
export async function engine({ isa } = {}) {
  const names = runnable();
  if (isa !== undefined && !names.includes(isa))
    throw fail('UT_E_ISA', `isa ${JSON.stringify(isa)} cannot run here; available: ${names.join(', ')}`);
  let last;
  for (const name of isa === undefined ? names : [isa]) {
    try {
      return { isa: name, module: await moduleOf(name, import.meta.url) };
    } catch (error) {
      last = error; // not built, or not served: the next one gives the same bits
    }
  }
  throw new UndertowError('UT_E_ISA', `no module of the engine could be loaded (${last.message}); src/js/build.sh makes them, dist/ holds them`, 0, { cause: last });
}

/** Loads a .tow: see index.d.ts. */
export async function load(source, { isa, module, signal } = {}) {
  const [bytes, code] = await Promise.all([bytesOf(source, signal, fail), module ?? engine({ isa })]);
  return loadSync(bytes, code.module ?? code);
}

/** The same of bytes and a compiled module, without waiting: for an AudioWorklet. */
export function loadSync(bytes, module) {
  if (module?.module instanceof WebAssembly.Module) module = module.module;
  if (!(module instanceof WebAssembly.Module)) throw fail('UT_E_ARGUMENT', `loadSync: expected a WebAssembly.Module, as engine() gives it, got ${kindOf(module)}`);
  if (bytes instanceof ArrayBuffer || (typeof SharedArrayBuffer !== 'undefined' && bytes instanceof SharedArrayBuffer)) bytes = new Uint8Array(bytes);
  if (!ArrayBuffer.isView(bytes)) throw fail('UT_E_ARGUMENT', `loadSync: expected the bytes of a .tow, got ${kindOf(bytes)}`);
  return new Model(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength), module);
}

// An instance of its own: what a model took goes with it, for the memory of an instance never shrinks.
class Model {
  constructor(bytes, module) {
    const m = new Memory(module), { ut } = m;
    const blob = m.alloc(bytes.length);
    m.bytes(blob, bytes.length).set(bytes);
    let info;
    try {
      info = m.readInfo(ut.ut_probe, blob, bytes.length, 0);
    } catch (error) {
      if (error.status === 'UT_E_FORMAT' && bytes[0] === 60 /* < */) error.message += '; it begins with "<": is it a web page?';
      throw error;
    }
    const memory = m.alloc(info.modelBytes);
    m.check(ut.ut_model_init(memory, info.modelBytes, blob, bytes.length, 0, m.scratch + 216, m.scratch), 'load');
    this._memory = m;
    this._model = m.words(m.scratch + 216, 1)[0];
    this.name = m.string(ut.ut_model_name, this._model);
    this.source = m.string(ut.ut_model_source, this._model);
    this.inputs = m.readTensors(ut.ut_input, this._model, info.nInputs);
    this.outputs = m.readTensors(ut.ut_output, this._model, info.nOutputs);
    this.states = m.readTensors(ut.ut_state, this._model, info.nStates);
    this.info = Object.freeze({ ...info, fileBytes: bytes.length });
  }

  get _ut() {
    if (!this._memory) throw fail('UT_E_ARGUMENT', `model ${JSON.stringify(this.name)} is closed`);
    return this._memory.ut;
  }

  stream({ block } = {}) {
    const most = this.info.block;
    if (block !== undefined && !(Number.isInteger(block) && block >= 1 && block <= most))
      throw fail('UT_E_ARGUMENT', `stream: block is ${block}, expected a whole number from 1 to ${most}`);
    return new Stream(this, block ?? most);
  }

  run(x, nFrames) {
    const ut = this._ut, m = this._memory;
    const taken = framesOf('run', this.inputs, x, nFrames), n = taken.n;
    const memory = [], take = (bytes) => (memory.push(m.alloc(bytes)), memory.at(-1));
    try {
      const inputs = Object.values(this.inputs), outputs = Object.values(this.outputs);
      const bytes = ut.ut_sequence_bytes(this._model, n) >>> 0;
      if (!bytes) throw fail('UT_E_MEMORY', `run: ${n} frames are more than WebAssembly has memory for`);
      const rows = (t) => (t.once ? 1 : n);
      const xs = inputs.map((t) => take(4 * n * t.size)), ys = outputs.map((t) => take(4 * rows(t) * t.size));
      const work = take(bytes), table = take(4 * (xs.length + ys.length));
      m.words(table, xs.length + ys.length).set([...xs, ...ys]);
      inputs.forEach((t, i) => new ARRAYS[t.dtype](ut.memory.buffer, xs[i], n * t.size).set(taken.arrays[i]));
      m.words(m.scratch, 54).fill(0);
      m.check(ut.ut_sequence_run(work, bytes, this._model, n, n, 0, table, table + 4 * xs.length, 0), 'run');
      return named(outputs, outputs.map((t, i) => new Float32Array(ut.memory.buffer, ys[i], rows(t) * t.size).slice()));
    } finally {
      memory.forEach((at) => ut.release(at));
    }
  }

  close() {
    this._memory = null;
  }
}

const leftStreams = typeof FinalizationRegistry === 'undefined' ? null
  : new FinalizationRegistry(({ ut, at }) => at.forEach((p) => ut.release(p)));

class Stream {
  constructor(model, block) {
    const ut = model._ut, m = model._memory;
    this.model = model;
    this._m = m;
    this._ut = ut;
    this._block = block;
    this._inputs = Object.values(model.inputs);
    this._outputs = Object.values(model.outputs);
    this._isSingle = this._inputs.length === 1 && this._outputs.length === 1;
    const at = [], take = (bytes) => (at.push(m.alloc(bytes)), at.at(-1));
    try {
      const bytes = ut.ut_stream_bytes(model._model, block), memory = take(bytes);
      m.words(m.scratch, 54).fill(0);
      const status = ut.ut_stream_init(memory, bytes, model._model, m.scratch + 216);
      if (status === -9) throw fail('UT_E_WHOLE', `model ${JSON.stringify(model.name)} needs whole sequences and cannot be streamed: use model.run(x)`);
      m.check(status, 'stream');
      this._stream = m.words(m.scratch + 216, 1)[0];
      this._xAt = this._inputs.map((t) => take(4 * block * t.size));
      this._yAt = this._outputs.map((t) => take(4 * block * t.size));
      this._table = take(4 * (this._xAt.length + this._yAt.length));
      m.words(this._table, this._xAt.length + this._yAt.length).set([...this._xAt, ...this._yAt]);
    } catch (error) {
      at.forEach((p) => ut.release(p));
      throw error;
    }
    this._taken = { ut, at };
    leftStreams?.register(this, this._taken, this);
    this._proposed = false;
    this.position = 0;
    this.state = statesOf(this);
  }

  // Views of the memory end when it grows, which another stream may have made it do.
  _views(what) {
    if (!this._taken || !this.model._memory) throw fail('UT_E_ARGUMENT', `${what}: the stream is closed, or its model`);
    if (this._x && this._x[0].length !== 0) return;
    const { buffer } = this._ut.memory;
    this._x = this._inputs.map((t, i) => new ARRAYS[t.dtype](buffer, this._xAt[i], this._block * t.size));
    this._y = this._outputs.map((t, i) => new Float32Array(buffer, this._yAt[i], this._block * t.size));
    this._y1 = this._outputs.map((t, i) => new Float32Array(buffer, this._yAt[i], t.size));
  }
  _settled(what) {
    this._views(what);
    if (this._proposed) throw fail('UT_E_STATE', `${what}: a proposal is pending; commit() or rollback() it first`);
  }

  _one(what, x, out, f) {
    this._views(what);
    if (this._isSingle) {
      const t = this._inputs[0];
      if (t.nIds || !(x instanceof ARRAYS[t.dtype]) || x.length !== t.size) x = frame(what, t, x, this._inputs);
      let to = out;
      if (out !== undefined && !(out instanceof Float32Array && out.length === this._outputs[0].size))
        [to] = outsOf(what, this._outputs, out, 1);
      this._x[0].set(x);
      f(this);
      if (out === undefined) return this._y1[0].slice();
      to.set(this._y1[0]);
      return out;
    }
    const given = this._inputs.map((t) => frame(what, t, x, this._inputs));
    const results = outsOf(what, this._outputs, out, 1);
    given.forEach((array, i) => this._x[i].set(array));
    f(this);
    results.forEach((array, i) => array.set(this._y1[i]));
    return out ?? named(this._outputs, results);
  }

  step(x, out) {
    if (this._proposed) this._settled('step');
    return this._one('step', x, out, runOne);
  }

  propose(x, out) {
    this._settled('propose');
    return this._one('propose', x, out, proposeOne);
  }
  commit() {
    this._settle('commit');
    this._ut.ut_commit(this._stream);
  }
  rollback() {
    this._settle('rollback');
    this._ut.ut_rollback(this._stream);
    --this.position;
  }
  _settle(what) {
    this._views(what);
    if (!this._proposed) throw fail('UT_E_STATE', `${what}: there is no proposal; propose(x) makes one`);
    this._proposed = false;
  }

  run(x, nFrames, out) {
    this._settled('run');
    if (nFrames !== undefined && typeof nFrames !== 'number') [nFrames, out] = [undefined, nFrames];
    const { n, arrays } = framesOf('run', this.model.inputs, x, nFrames);
    const results = outsOf('run', this._outputs, out, n);
    for (let done = 0; done < n; ) {
      const some = Math.min(this._block, n - done);
      this._inputs.forEach((t, i) => this._x[i].set(arrays[i].subarray(done * t.size, (done + some) * t.size)));
      this._ut.ut_run(this._stream, some, this._table, this._table + 4 * this._inputs.length);
      this._outputs.forEach((t, i) => results[i].set(this._y[i].subarray(0, some * t.size), done * t.size));
      done += some;
      this.position += some;
    }
    return out ?? named(this._outputs, results);
  }

  flush(out) {
    this._settled('flush');
    const n = this.model.info.latency, results = outsOf('flush', this._outputs, out, n);
    for (let done = 0; done < n; ) {
      const some = Math.min(this._block, n - done);
      this._ut.ut_run(this._stream, some, 0, this._table + 4 * this._inputs.length);
      this._outputs.forEach((t, i) => results[i].set(this._y[i].subarray(0, some * t.size), done * t.size));
      done += some;
    }
    return out ?? named(this._outputs, results);
  }

  reset() {
    this._settled('reset');
    this._ut.ut_stream_reset(this._stream);
    this.position = 0;
  }

  snapshot() {
    this._settled('snapshot');
    const n = this.model.info.snapshotBytes, at = this._m.alloc(n);
    this._ut.ut_snapshot_save(this._stream, at);
    const bytes = this._m.bytes(at, n).slice();
    this._ut.release(at);
    return bytes;
  }

  restore(bytes) {
    this._settled('restore');
    if (bytes instanceof ArrayBuffer) bytes = new Uint8Array(bytes);
    if (!(bytes instanceof Uint8Array)) throw fail('UT_E_ARGUMENT', `restore: expected the Uint8Array of a snapshot, got ${kindOf(bytes)}`);
    const at = this._m.alloc(bytes.length);
    try {
      this._m.bytes(at, bytes.length).set(bytes);
      this._m.check(this._ut.ut_snapshot_load(this._stream, at, bytes.length, this._m.scratch), 'restore');
    } finally {
      this._ut.release(at);
    }
    this.position = 0;
  }

  fork() {
    this._settled('fork');
    const other = new Stream(this.model, this._block);
    this._ut.ut_stream_copy(other._stream, this._stream);
    other.position = this.position;
    return other;
  }

  stateView(name) {
    this._settled('stateView');
    const t = stateNamed(this.model, name);
    return new Float32Array(this._ut.memory.buffer, this._ut.ut_stream_state(this._stream, t.index), t.size);
  }

  close() {
    if (!this._taken) return;
    this._taken.at.forEach((p) => this._ut.release(p));
    leftStreams?.unregister(this);
    this._taken = this._x = null;
  }
}
if (Symbol.dispose) Model.prototype[Symbol.dispose] = Model.prototype.close;
if (Symbol.dispose) Stream.prototype[Symbol.dispose] = Stream.prototype.close;

function runOne(s) {
  if (s._isSingle) s._ut.ut_step(s._stream, s._xAt[0], s._yAt[0]);
  else s._ut.ut_run(s._stream, 1, s._table, s._table + 4 * s._inputs.length);
  ++s.position;
}
function proposeOne(s) {
  s._ut.ut_propose(s._stream, s._table, s._table + 4 * s._inputs.length);
  s._proposed = true;
  ++s.position;
}

function stateNamed(model, name) {
  const t = model.states[name];
  if (!t) throw fail('UT_E_ARGUMENT', `no state ${JSON.stringify(name)}; there are: ${Object.keys(model.states).join(', ') || 'none'}`);
  return t;
}

// An object with a property for each field: reading copies, writing sets.
function statesOf(stream) {
  const states = Object.create(null);
  for (const [name, t] of Object.entries(stream.model.states))
    Object.defineProperty(states, name, {
      enumerable: true,
      get() {
        stream._settled('state');
        const at = stream._m.alloc(4 * t.size);
        stream._ut.ut_stream_get(stream._stream, t.index, at);
        const copy = new Float32Array(stream._ut.memory.buffer, at, t.size).slice();
        stream._ut.release(at);
        return copy;
      },
      set(values) {
        stream._settled('state');
        fits('state', t, values, t.size, 'state');
        const at = stream._m.alloc(4 * t.size);
        new Float32Array(stream._ut.memory.buffer, at, t.size).set(values);
        stream._ut.ut_stream_set(stream._stream, t.index, at);
        stream._ut.release(at);
      },
    });
  return Object.seal(states);
}

const named = (tensors, arrays) => (arrays.length === 1 ? arrays[0] : Object.fromEntries(tensors.map((t, i) => [t.name, arrays[i]])));
const shapeOf = (t) => `shape [${t.shape.join(', ')}]`;

// One frame for input t out of x: the array itself, a number where one will do, or a property.
function frame(what, t, x, inputs) {
  x = pick(what, t, x, inputs);
  if (typeof x === 'number' && t.size === 1) x = ARRAYS[t.dtype].of(x);
  fits(what, t, x, t.size);
  if (t.nIds) checkIds(what, t, x);
  return x;
}

function pick(what, t, x, inputs) {
  const isNamed = x !== null && typeof x === 'object' && !ArrayBuffer.isView(x) && !Array.isArray(x) && !(x instanceof ArrayBuffer);
  if (!isNamed) {
    if (inputs.length === 1) return x;
    throw fail('UT_E_ARGUMENT', `${what}: the model has ${inputs.length} inputs (${inputs.map((i) => i.name).join(', ')}): pass an object of arrays by name, got ${kindOf(x)}`);
  }
  const names = inputs.map((i) => i.name), unknown = Object.keys(x).find((name) => !names.includes(name));
  if (unknown !== undefined) throw fail('UT_E_ARGUMENT', `${what}: no input ${JSON.stringify(unknown)}; there are: ${names.join(', ')}`);
  if (!Object.hasOwn(x, t.name)) throw fail('UT_E_ARGUMENT', `${what}: input ${JSON.stringify(t.name)} is missing`);
  return x[t.name];
}

function fits(what, t, array, size, role = t.nIds || what === 'step' || what === 'propose' ? 'frame of' : 'array of') {
  const type = ARRAYS[t.dtype];
  if (!(array instanceof type))
    throw fail('UT_E_ARGUMENT', `${what}: ${role} ${JSON.stringify(t.name)} must be a${t.dtype === 'int32' ? 'n' : ''} ${type.name} (${shapeOf(t)}), got ${kindOf(array)}; nothing is converted in silence`);
  if (array.length !== size)
    throw fail('UT_E_ARGUMENT', `${what}: ${role} ${JSON.stringify(t.name)} must have ${size} elements (${shapeOf(t)}), got ${array.length}`);
}

function checkIds(what, t, ids) {
  for (const id of ids)
    if (!(id >= 0 && id < t.nIds)) throw fail('UT_E_ARGUMENT', `${what}: ${JSON.stringify(t.name)} holds ids of 0 to ${t.nIds - 1}, got ${id}`);
}

// Arrays of n frames for every input, in order; n from the first array where it is not given.
function framesOf(what, tensors, x, nFrames) {
  const inputs = Object.values(tensors), arrays = inputs.map((t) => pick(what, t, x, inputs));
  const first = arrays[0];
  if (nFrames === undefined && ArrayBuffer.isView(first)) {
    nFrames = first.length / inputs[0].size;
    if (!Number.isInteger(nFrames))
      throw fail('UT_E_ARGUMENT', `${what}: ${JSON.stringify(inputs[0].name)} must have whole frames of ${inputs[0].size} elements (${shapeOf(inputs[0])}), got ${first.length} elements`);
  }
  if (!Number.isInteger(nFrames) || nFrames < 0) throw fail('UT_E_ARGUMENT', `${what}: expected an array and a number of frames, got ${kindOf(first)} and ${nFrames}`);
  inputs.forEach((t, i) => {
    fits(what, t, arrays[i], nFrames * t.size, `${nFrames} frames of`);
    if (t.nIds) checkIds(what, t, arrays[i]);
  });
  return { n: nFrames, arrays };
}

// Where results go: what the caller gave, once all of it fits, or new arrays.
function outsOf(what, outputs, out, n) {
  if (out === undefined) return outputs.map((t) => new Float32Array(n * t.size));
  const arrays = outputs.length === 1 && ArrayBuffer.isView(out) ? [out] : outputs.map((t) => out?.[t.name]);
  outputs.forEach((t, i) => fits(what, t, arrays[i], n * t.size, 'out for'));
  return arrays;
}

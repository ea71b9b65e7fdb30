// SPDX-License-Identifier: MIT
// Streaming inference for recurrent networks: the engine of undertow as WebAssembly. README.md shows how it is used,
// index.d.ts says what everything takes and gives.
import { checkHash } from './check.js';
import { bytesFrom, fail, kindOf, optionsOf, UndertowError } from './errors.js';
import { bytesOf, moduleOf, runnable, whyNone } from './features.js';
import { Memory } from './memory.js';

export { UndertowError, runnable };

const ARRAYS = { float32: Float32Array, int32: Int32Array };

/** The compiled engine for this browser, as `{isa, module}`: what `load` uses, and what a worklet is sent. */
export async function engine(options) {
  const { isa } = optionsOf('engine', options, ['isa']), none = whyNone();
  if (none) throw none;
  const names = runnable();
  if (isa !== undefined && !names.includes(isa))
    throw fail('UT_E_ISA', `isa ${typeof isa === 'string' ? JSON.stringify(isa) : kindOf(isa)} cannot run here; available: ${names.join(', ')}`);
  let last;
  for (const name of isa === undefined ? names : [isa]) {
    try {
      return { isa: name, module: await moduleOf(name, import.meta.url) };
    } catch (error) {
      last = error; // not built, or not served: the next one gives the same bits
    }
  }
  throw fail(last.status, `no module of the engine could be loaded (${last.message}); src/js/build.sh makes them, dist/ holds them`, last);
}

/** Loads a .tow: see index.d.ts. */
export async function load(source, options) {
  const { isa, module, signal, check } = optionsOf('load', options, ['isa', 'module', 'signal', 'check']);
  if (isa !== undefined && module !== undefined) throw fail('UT_E_ARGUMENT', 'load: isa and module are both given: engine({ isa }) gives the module of an isa');
  const [bytes, code] = await Promise.all([bytesOf(source, signal), module ?? engine({ isa })]);
  return loadSync(bytes, code, { check });
}

/** The same of bytes and a compiled module, without waiting: for an AudioWorklet. */
export function loadSync(bytes, module, options) {
  const { check = false } = optionsOf('loadSync', options, ['check']);
  if (typeof check !== 'boolean') throw fail('UT_E_ARGUMENT', `load: check must be true or false, got ${kindOf(check)}`);
  if (typeof WebAssembly !== 'object') throw whyNone();
  if (module?.module instanceof WebAssembly.Module) module = module.module;
  if (!(module instanceof WebAssembly.Module)) throw fail('UT_E_ARGUMENT', `loadSync: expected a WebAssembly.Module, as engine() gives it, got ${kindOf(module)}`);
  return new Model(bytesFrom('load', bytes, 'the bytes of a .tow'), module, check);
}

// Properties that nobody can write to.
function fix(object, properties) {
  for (const [name, value] of Object.entries(properties)) Object.defineProperty(object, name, { value, enumerable: true });
}

// An instance of its own: what a model took goes with it, for the memory of an instance never shrinks.
class Model {
  constructor(bytes, module, isChecked) {
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
    if (isChecked) checkHash(bytes);
    const memory = m.alloc(info.modelBytes);
    m.check(ut.ut_model_init(memory, info.modelBytes, blob, bytes.length, 0, m.scratch + 216, m.scratch), 'load');
    this._memory = m;
    this._model = m.words(m.scratch + 216, 1)[0];
    fix(this, {
      name: m.string(ut.ut_model_name, this._model),
      source: m.string(ut.ut_model_source, this._model),
      inputs: m.readTensors(ut.ut_input, this._model, info.nInputs),
      outputs: m.readTensors(ut.ut_output, this._model, info.nOutputs),
      states: m.readTensors(ut.ut_state, this._model, info.nStates),
      info: Object.freeze({ ...info, fileBytes: bytes.length }),
    });
  }

  get _ut() {
    if (!this._memory) throw fail('UT_E_ARGUMENT', `model ${JSON.stringify(this.name)} is closed`);
    return this._memory.ut;
  }

  stream(options) {
    const { block } = optionsOf('stream', options, ['block']), most = this.info.block;
    if (block !== undefined && !(Number.isInteger(block) && block >= 1 && block <= most))
      throw fail('UT_E_ARGUMENT', `stream: block is ${kindOf(block)}, expected a whole number from 1 to ${most}`);
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
    fix(this, { model });
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
    this._position = 0;
    fix(this, { state: statesOf(this) });
  }
  get position() {
    return this._position;
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
    --this._position;
  }
  _settle(what) {
    this._views(what);
    if (!this._proposed) throw fail('UT_E_STATE', `${what}: there is no proposal; propose(x) makes one`);
    this._proposed = false;
  }

  run(x, nFrames, out) {
    this._settled('run');
    if (nFrames !== null && typeof nFrames === 'object') {
      if (out !== undefined) throw fail('UT_E_ARGUMENT', `run: expected run(x, nFrames, out), got ${kindOf(nFrames)} for nFrames`);
      [nFrames, out] = [undefined, nFrames];
    }
    const { n, arrays } = framesOf('run', this.model.inputs, x, nFrames);
    const results = outsOf('run', this._outputs, out, n);
    for (let done = 0; done < n; ) {
      const some = Math.min(this._block, n - done);
      this._inputs.forEach((t, i) => this._x[i].set(arrays[i].subarray(done * t.size, (done + some) * t.size)));
      this._ut.ut_run(this._stream, some, this._table, this._table + 4 * this._inputs.length);
      this._outputs.forEach((t, i) => results[i].set(this._y[i].subarray(0, some * t.size), done * t.size));
      done += some;
      this._position += some;
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
    this._position = 0;
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
    if (!(bytes instanceof ArrayBuffer || bytes instanceof Uint8Array)) throw fail('UT_E_ARGUMENT', `restore: expected the Uint8Array of a snapshot, got ${kindOf(bytes)}`);
    bytes = bytesFrom('restore', bytes);
    const at = this._m.alloc(bytes.length);
    try {
      this._m.bytes(at, bytes.length).set(bytes);
      this._m.check(this._ut.ut_snapshot_load(this._stream, at, bytes.length, this._m.scratch), 'restore');
    } finally {
      this._ut.release(at);
    }
    this._position = 0;
  }

  fork() {
    this._settled('fork');
    const other = new Stream(this.model, this._block);
    this._ut.ut_stream_copy(other._stream, this._stream);
    other._position = this._position;
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
  ++s._position;
}
function proposeOne(s) {
  s._ut.ut_propose(s._stream, s._table, s._table + 4 * s._inputs.length);
  s._proposed = true;
  ++s._position;
}

function stateNamed(model, name) {
  const t = model.states[name];
  if (!t) throw fail('UT_E_ARGUMENT', `no state ${typeof name === 'string' ? JSON.stringify(name) : kindOf(name)}; there are: ${Object.keys(model.states).join(', ') || 'none'}`);
  return t;
}

// What promises, JSON and texts ask any object for.
const ASKED = new Set(['then', 'toJSON', 'constructor', 'toString', 'valueOf']);

// An object with a property for each field: reading copies, writing sets; others are refused.
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
  const known = (name) => name in states || stateNamed(stream.model, name);
  return new Proxy(Object.seal(states), {
    get: (_, name) => (typeof name === 'symbol' || (!(name in states) && ASKED.has(name)) ? undefined : known(name) && states[name]),
    set: (_, name, values) => (known(name), (states[name] = values), true),
  });
}

const named = (tensors, arrays) => (arrays.length === 1 ? arrays[0] : Object.fromEntries(tensors.map((t, i) => [t.name, arrays[i]])));
const shapeOf = (t) => `shape [${t.shape.join(', ')}]`;

// One frame for input t out of x: the array itself, a number where one will do, or a property.
function frame(what, t, x, inputs) {
  x = pick(what, 'input', t, x, inputs);
  if (typeof x === 'number' && t.size === 1) {
    if (t.nIds) checkIds(what, t, [x]);
    return ARRAYS[t.dtype].of(x);
  }
  fits(what, t, x, t.size);
  if (t.nIds) checkIds(what, t, x);
  return x;
}

const isNamed = (x) => x !== null && typeof x === 'object' && !ArrayBuffer.isView(x) && !Array.isArray(x) && !(x instanceof ArrayBuffer);

// What x has for t, one of `tensors` (inputs or outputs: `role`): x itself where t is the only one, or a property.
function pick(what, role, t, x, tensors) {
  const names = () => tensors.map((i) => i.name).join(', ');
  if (!isNamed(x)) {
    if (tensors.length === 1) return x;
    throw fail('UT_E_ARGUMENT', `${what}: the model has ${tensors.length} ${role}s (${names()}): pass an object of arrays by name, got ${kindOf(x)}`);
  }
  for (const name in x)
    if (!tensors.some((i) => i.name === name)) throw fail('UT_E_ARGUMENT', `${what}: no ${role} ${JSON.stringify(name)}; there are: ${names()}`);
  if (!Object.hasOwn(x, t.name)) throw fail('UT_E_ARGUMENT', `${what}: ${role} ${JSON.stringify(t.name)} is missing`);
  return x[t.name];
}

const roleOf = (what, t) => (t.nIds || what === 'step' || what === 'propose' ? 'frame of' : 'array of');

function isOf(what, t, array, role) {
  const type = ARRAYS[t.dtype];
  if (!(array instanceof type))
    throw fail('UT_E_ARGUMENT', `${what}: ${role} ${JSON.stringify(t.name)} must be a${t.dtype === 'int32' ? 'n' : ''} ${type.name} (${shapeOf(t)}), got ${kindOf(array)}; nothing is converted in silence`);
}

function fits(what, t, array, size, role = roleOf(what, t)) {
  isOf(what, t, array, role);
  if (array.length !== size)
    throw fail('UT_E_ARGUMENT', `${what}: ${role} ${JSON.stringify(t.name)} must have ${size} elements (${shapeOf(t)}), got ${array.length}`);
}

function checkIds(what, t, ids) {
  for (const id of ids)
    if (!(Number.isInteger(id) && id >= 0 && id < t.nIds)) throw fail('UT_E_ARGUMENT', `${what}: ${JSON.stringify(t.name)} holds ids of 0 to ${t.nIds - 1}, got ${id}`);
}

// Arrays of n frames for every input, in order; n from the first array where it is not given.
function framesOf(what, tensors, x, nFrames) {
  const inputs = Object.values(tensors), arrays = inputs.map((t) => pick(what, 'input', t, x, inputs));
  if (nFrames === undefined) {
    const [t] = inputs, [first] = arrays;
    isOf(what, t, first, 'array of');
    nFrames = first.length / t.size;
    if (!Number.isInteger(nFrames))
      throw fail('UT_E_ARGUMENT', `${what}: ${JSON.stringify(t.name)} must have whole frames of ${t.size} elements (${shapeOf(t)}), got ${first.length} elements`);
  }
  if (!Number.isInteger(nFrames) || nFrames < 0) throw fail('UT_E_ARGUMENT', `${what}: nFrames must be a whole number, 0 or more, got ${kindOf(nFrames)}`);
  inputs.forEach((t, i) => {
    fits(what, t, arrays[i], nFrames * t.size, `${nFrames} frames of`);
    if (t.nIds) checkIds(what, t, arrays[i]);
  });
  return { n: nFrames, arrays };
}

// Where results go: what the caller gave, once all of it fits, or new arrays.
function outsOf(what, outputs, out, n) {
  if (out === undefined) return outputs.map((t) => floats(what, n * t.size));
  return outputs.map((t) => {
    const array = pick(what, 'output', t, out, outputs);
    fits(what, t, array, n * t.size, 'out for');
    return array;
  });
}

function floats(what, n) {
  try {
    return new Float32Array(n);
  } catch (error) {
    throw fail('UT_E_MEMORY', `${what}: no memory for ${n} numbers of the output (${error.message})`, error);
  }
}

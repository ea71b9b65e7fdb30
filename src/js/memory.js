// SPDX-License-Identifier: MIT
// The memory of one instance of the engine: records of undertow.h read by word (glue.cpp asserts the layout), texts, and
// blocks that are given back.
import { fail, UndertowError } from './errors.js';

const STATUS = [
  'UT_OK', 'UT_E_ARGUMENT', 'UT_E_ALIGN', 'UT_E_MEMORY', 'UT_E_FORMAT', 'UT_E_VERSION', 'UT_E_UNSUPPORTED', 'UT_E_ISA',
  'UT_E_STATE', 'UT_E_WHOLE', 'UT_E_STOPPED',
];
const NAMES = `probe model_init model_info model_name model_source input output state stream_bytes stream_init stream_reset
  step run flush propose commit rollback stream_get stream_set stream_state snapshot_save snapshot_load stream_copy
  sequence_bytes sequence_run`; // what build.sh exports
const EXPORTS = ['memory', 'alloc', 'release', ...NAMES.split(/\s+/).map((name) => `ut_${name}`)];
const MOST_BYTES = 0xfff00000; // WebAssembly takes sizes modulo 2^32
const INFO_BYTES = 112, TENSOR_BYTES = 60, ERROR_BYTES = 216;

export class Memory {
  constructor(module) {
    const names = WebAssembly.Module.exports(module).map((e) => e.name), missing = EXPORTS.find((name) => !names.includes(name));
    if (missing !== undefined)
      throw fail('UT_E_ARGUMENT', `load: the module is not the engine of this version of undertow: it has no ${JSON.stringify(missing)}; engine() gives the one`);
    try {
      this.ut = new WebAssembly.Instance(module, {}).exports;
    } catch (error) {
      if (error instanceof RangeError) throw fail('UT_E_MEMORY', `load: no memory for an instance of the engine (${error.message}): close models, or load fewer`, error);
      throw fail('UT_E_ISA', `load: the module of the engine does not run here (${error.message})`, error);
    }
    this.scratch = this.alloc(ERROR_BYTES + INFO_BYTES); // records on their way
  }

  alloc(bytes) {
    const at = bytes > MOST_BYTES ? 0 : this.ut.alloc(bytes);
    if (!at) throw fail('UT_E_MEMORY', `no memory for ${bytes} more bytes: WebAssembly has at most 4 GB, and this page perhaps less`);
    return at >>> 0;
  }
  words(at, n) {
    return new Uint32Array(this.ut.memory.buffer, at, n);
  }
  bytes(at, n) {
    return new Uint8Array(this.ut.memory.buffer, at, n);
  }

  // An AudioWorklet has no TextDecoder.
  text(at, n) {
    let escaped = '';
    for (const byte of this.bytes(at, n)) escaped += `%${byte.toString(16).padStart(2, '0')}`;
    return decodeURIComponent(escaped);
  }
  textUntilNul(at) {
    const bytes = new Uint8Array(this.ut.memory.buffer, at);
    return this.text(at, bytes.indexOf(0));
  }
  /** What a function that returns a ut_string says. */
  string(f, ...args) {
    f(this.scratch, ...args);
    return this.text(...this.words(this.scratch, 2));
  }

  /** Throws what a call says that was given `this.scratch` for its ut_error. */
  check(status, where) {
    if (status === 0) return;
    const name = STATUS[-status] ?? `status ${status}`;
    const detail = this.textUntilNul(this.scratch + 8);
    throw new UndertowError(name, `${where}: ${detail || name}`, this.words(this.scratch, 2)[1]);
  }

  readInfo(f, ...args) {
    const at = this.scratch + ERROR_BYTES;
    const status = f(...args, at, this.scratch);
    if (typeof status === 'number') this.check(status, 'load');
    const w = this.words(at, INFO_BYTES / 4), wide = (i) => w[i] + w[i + 1] * 2 ** 32;
    return {
      modelBytes: w[0], streamBytes: w[2], stepBytes: w[3], stateBytes: w[4], scratchBytes: w[5], snapshotBytes: w[6],
      nInputs: w[7], nOutputs: w[8], nStates: w[9], streamable: w[10] !== 0, latency: w[11], block: w[12],
      hash: Array.from(this.bytes(at + 56, 16), (byte) => byte.toString(16).padStart(2, '0')).join(''),
      isa: this.textUntilNul(w[18]), multiplyAdds: wide(20), bytesPerStep: wide(22), version: w[24],
      framesIn: w[25], framesOut: w[26], sampleRate: w[27] || null,
    };
  }

  /** What ut_input, ut_output or ut_state say of number i, by name. */
  readTensors(f, model, n) {
    const tensors = Object.create(null);
    for (let i = 0; i < n; ++i) {
      f(this.scratch, model, i);
      const w = this.words(this.scratch, TENSOR_BYTES / 4), name = this.text(w[0], w[1]);
      tensors[name] = Object.freeze({
        name, index: i, dtype: w[2] ? 'int32' : 'float32', once: w[3] !== 0, nIds: w[4],
        shape: Object.freeze(Array.from(w.subarray(6, 6 + w[5]))), size: w[14],
      });
    }
    return Object.freeze(tensors);
  }
}

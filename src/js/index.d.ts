// SPDX-License-Identifier: MIT

/** The names of the engine's modules, best first where all run: relaxed SIMD, SIMD, and neither. All give the same bits. */
export type Isa = 'wasmrelaxed' | 'wasm' | 'scalar';

/** Name of a ut_status of undertow.h; "FETCH": bytes did not come: an error of the server, of the network or of the file system. */
export type Status =
  | 'UT_E_ARGUMENT' | 'UT_E_MEMORY' | 'UT_E_FORMAT' | 'UT_E_VERSION' | 'UT_E_UNSUPPORTED' | 'UT_E_ISA' | 'UT_E_STATE' | 'UT_E_WHOLE' | 'FETCH';

/**
 * What undertow refuses: arguments that do not fit, files that are damaged or newer, states of another model, downloads that
 * fail. `cause` is the error behind it, where there is one. An AbortError of your own `signal` stays what it is.
 */
export class UndertowError extends Error {
  constructor(status: Status, message: string, offset?: number, options?: { cause?: unknown });
  readonly name: 'UndertowError';
  /** Which of these it is. */
  readonly status: Status;
  /** The byte of the file that is wrong, or 0. */
  readonly offset: number;
}

/** One input, output or state field. Shapes are those of one timestep. */
export interface Tensor {
  readonly name: string;
  readonly index: number;
  readonly dtype: 'float32' | 'int32';
  readonly shape: readonly number[];
  /** Elements: the product of the shape. */
  readonly size: number;
  /** Of int32: valid ids are 0 to nIds - 1. */
  readonly nIds: number;
  /** Outputs of models that need whole sequences: one frame for each sequence. */
  readonly once: boolean;
}

export interface Info {
  /** The instruction set in use. */
  readonly isa: Isa;
  readonly streamable: boolean;
  /** Frames by which the outputs of a stream come later; see `Stream.flush`. */
  readonly latency: number;
  /** Frames that `Stream.run` works on at a time. */
  readonly block: number;
  /** Timesteps of the inputs in one frame, and of the outputs. */
  readonly framesIn: number;
  readonly framesOut: number;
  /** Samples per second of the sound that it hears, where the file says so. */
  readonly sampleRate: number | null;
  /** 16 bytes in hexadecimal that identify graph and weights. */
  readonly hash: string;
  /** Of the file's format. */
  readonly version: number;
  readonly fileBytes: number;
  readonly modelBytes: number;
  readonly streamBytes: number;
  /** The same of a stream that only steps. */
  readonly stepBytes: number;
  readonly stateBytes: number;
  readonly scratchBytes: number;
  readonly snapshotBytes: number;
  readonly multiplyAdds: number;
  readonly bytesPerStep: number;
}

type Named<T> = { readonly [name: string]: T };
/** One frame: Float32Array, or Int32Array of ids; a number where a frame is one; by name where there are several inputs. */
export type Frame = Float32Array | Int32Array | number | { [name: string]: Float32Array | Int32Array | number };
/** Several frames, one after the other: arrays, by name where there are several inputs. */
export type Frames = Float32Array | Int32Array | { [name: string]: Float32Array | Int32Array };
/** Of one output its array; of several an object of them by name. */
export type Outputs = Float32Array & Named<Float32Array>;
export type Out = Float32Array | { [name: string]: Float32Array };

export interface LoadOptions {
  /** Forces an instruction set. UT_E_ISA where it does not run here. */
  isa?: Isa;
  /** A compiled module, or what `engine` gave, in place of those of dist/. */
  module?: WebAssembly.Module | Engine;
  /** Ends the download. */
  signal?: AbortSignal | null;
  /** Compares the hash of metadata and weights with that in the file: some 100 ms for each MB. Default: false. */
  check?: boolean;
}

/**
 * Loads a .tow. Damage in its header and metadata is always found, in its weights with `check: true`.
 *
 * @param source its bytes (copied), a URL, a Response, a Blob, or in node the path of a file
 * @throws {UndertowError} FETCH: it could not be read, or not to its end; UT_E_FORMAT: truncated, damaged or no .tow;
 *   UT_E_VERSION: of another format version; UT_E_UNSUPPORTED: with ops that this build does not have; UT_E_ISA: WebAssembly
 *   does not run here (a Content-Security-Policy without 'wasm-unsafe-eval', say); UT_E_MEMORY
 * @example
 * const model = await load('detector.tow');
 * const stream = model.stream();
 * const [probability] = stream.step(new Float32Array(576));
 */
export function load(source: string | URL | Response | Blob | ArrayBuffer | SharedArrayBuffer | ArrayBufferView, options?: LoadOptions): Promise<Model>;

/** The same of bytes that are here and a compiled module, without waiting: for an AudioWorklet. */
export function loadSync(bytes: ArrayBuffer | SharedArrayBuffer | ArrayBufferView, module: WebAssembly.Module | Engine, options?: { check?: boolean }): Model;

export interface Engine {
  readonly isa: Isa;
  readonly module: WebAssembly.Module;
}
/** The compiled engine for this browser; it can be sent to workers and worklets. UT_E_ISA: WebAssembly does not run here; FETCH: dist/ is not there. */
export function engine(options?: { isa?: Isa }): Promise<Engine>;
/** Instruction sets that run here, best first; none where WebAssembly does not. */
export function runnable(): Isa[];

/** A recurrent network, ready to run; it never changes. Made by `load`. */
export interface Model {
  readonly name: string;
  /** Where the model came from and what the importer did. */
  readonly source: string;
  readonly inputs: Named<Tensor>;
  readonly outputs: Named<Tensor>;
  readonly states: Named<Tensor>;
  readonly info: Info;
  /**
   * Starts a stream.
   *
   * @param options.block frames that `run` works on at a time, 1 to info.block (the default); 1 saves memory where only `step` is called
   * @throws {UndertowError} UT_E_WHOLE: the model needs whole sequences
   */
  stream(options?: { block?: number }): Stream;
  /** A whole sequence at once, from the initial state: outputs of nFrames frames, or one where `Tensor.once`. */
  run(x: Frames, nFrames?: number): Outputs;
  /** Gives the model's memory back, and that of its streams, which end with it. */
  close(): void;
}

/** One sequence in flight. What it remembers is all that it holds. Made by `Model.stream`. */
export interface Stream {
  readonly model: Model;
  /** Frames that the stream has taken since it was made, reset or restored. */
  readonly position: number;
  /** The hidden state by name: reading gives a copy, writing sets it. UT_E_ARGUMENT: no such name, wrong type or size. */
  readonly state: { [name: string]: Float32Array };
  /**
   * Advances one timestep.
   *
   * @param x one frame, with as many elements as `Model.inputs` says
   * @param out arrays to write to; then nothing is allocated
   * @returns the output frame (`out` if given)
   * @throws {UndertowError} UT_E_ARGUMENT: wrong type or size; UT_E_STATE: a proposal is pending
   */
  step(x: Frame, out?: Out): Outputs;
  /** Advances nFrames timesteps (default: as many as x holds): equal, to the bit, to as many calls of `step`. */
  run(x: Frames, nFrames?: number, out?: Out): Outputs;
  run(x: Frames, out: Out): Outputs;
  /** Ends the sequence: the last info.latency output frames of a model that looks ahead. */
  flush(out?: Out): Outputs;
  /** Back to the model's initial state. */
  reset(): void;
  /** The whole state as bytes, for `restore`, here or on another machine, in Python too. */
  snapshot(): Uint8Array;
  /**
   * Continues from a snapshot. UT_E_STATE: no snapshot, of another size, or of another model; the stream stays as it was. The
   * numbers in it are taken as they are: a snapshot has no checksum.
   */
  restore(snapshot: Uint8Array | ArrayBuffer): void;
  /** A new stream that continues from here. */
  fork(): Stream;
  /** One timestep that may be undone; then `commit` or `rollback` must follow. */
  propose(x: Frame, out?: Out): Outputs;
  commit(): void;
  rollback(): void;
  /** A view of a state field where it lies, to read and write between calls; it ends when the memory of the model grows or the stream is closed. */
  stateView(name: string): Float32Array;
  /** Gives the stream's memory back. Streams that nobody holds do so themselves, some time later. */
  close(): void;
}

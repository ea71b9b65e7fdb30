// SPDX-License-Identifier: MIT
// Which of the modules this engine of WebAssembly runs, found by validating tiny ones; and how they come here.
import { fail, isBuffer, kindOf, UndertowError } from './errors.js';

const HEADER = [0, 97, 115, 109, 1, 0, 0, 0];

// () -> v128: i8x16.popcnt(i8x16.splat(0)), which came with the final SIMD proposal.
const SIMD = new Uint8Array([...HEADER, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11]);

// (a, b, c) -> lane 0 of f32x4.relaxed_madd(splat a, splat b, splat c), exported as "f".
const RELAXED = new Uint8Array([
  ...HEADER, 1, 8, 1, 96, 3, 125, 125, 125, 1, 125, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0,
  10, 22, 1, 20, 0, 32, 0, 253, 19, 32, 1, 253, 19, 32, 2, 253, 19, 253, 133, 2, 253, 31, 0, 11,
]);

/** The names of the modules that run here, best first: of "wasmrelaxed", "wasm" and "scalar". */
export function runnable() {
  if (whyNone()) return [];
  const names = ['scalar'];
  if (WebAssembly.validate(SIMD)) names.unshift('wasm');
  if (isFused()) names.unshift('wasmrelaxed');
  return names;
}

/** An error that says why no WebAssembly runs here, or null. */
export function whyNone() {
  if (typeof WebAssembly !== 'object') return fail('UT_E_ISA', 'this engine of JavaScript has no WebAssembly, or it is switched off');
  try {
    new WebAssembly.Module(new Uint8Array(HEADER));
  } catch (error) {
    return notCompiled(error);
  }
  return null;
}

const notCompiled = (error) =>
  error instanceof RangeError ? fail('UT_E_MEMORY', `no memory to compile the engine (${error.message})`, error)
    : fail('UT_E_ISA', `WebAssembly does not compile here (${error.message}); a page with a Content-Security-Policy needs 'wasm-unsafe-eval' in its script-src`, error);

// relaxed_madd may round once or twice, as the CPU has it; undertow's numbers are those of one rounding.
function isFused() {
  if (!WebAssembly.validate(RELAXED)) return false;
  try {
    const { f } = new WebAssembly.Instance(new WebAssembly.Module(RELAXED)).exports;
    const a = 1 + 2 ** -12;
    return f(a, a, -(1 + 2 ** -11)) === 2 ** -24;
  } catch {
    return false;
  }
}

/** What `load` reads: the bytes of a URL, a Response, a Blob, a buffer; of a path too in node. */
export async function bytesOf(source, signal) {
  if (signal !== undefined && signal !== null && typeof signal.aborted !== 'boolean')
    throw fail('UT_E_ARGUMENT', `load: signal must be an AbortSignal, got ${kindOf(signal)}`);
  if (isBuffer(source) || ArrayBuffer.isView(source)) return source;
  const isAddress = typeof source === 'string' || source instanceof URL;
  const from = isAddress ? String(source) : source?.url || `the ${kindOf(source)}`;
  let answer = source;
  try {
    if (isAddress) {
      const scheme = /^[a-z][a-z0-9+.-]+:/i.exec(from)?.[0];
      if (scheme === 'file:' || (!scheme && isNode())) {
        const fs = await import('node:fs/promises');
        return await fs.readFile(scheme ? new URL(from) : from, { signal });
      }
      answer = await fetch(from, { signal });
    }
    if (typeof answer?.arrayBuffer !== 'function')
      throw fail('UT_E_ARGUMENT', `load: expected a URL, a Response, a Blob or bytes (Uint8Array, ArrayBuffer), got ${kindOf(source)}`);
    if (answer.bodyUsed) throw fail('UT_E_ARGUMENT', `load: the body of ${from} was read before: pass response.clone(), or the bytes`);
    if (answer.ok === false) throw fail('FETCH', `load: ${answer.url || 'the server'} answered ${answer.status} ${answer.statusText || ''}`.trimEnd());
    return await answer.arrayBuffer();
  } catch (error) {
    throw notRead(`load: ${from}`, error, signal, answer === source ? 'could not be read' : 'broke off');
  }
}

// The caller's own abort stays what it is.
function notRead(what, error, signal, how) {
  if (error instanceof UndertowError || signal?.aborted || error?.name === 'AbortError') return error;
  if (error instanceof RangeError) return fail('UT_E_MEMORY', `${what} is more than there is memory for (${error.message})`, error);
  const why = [error?.message ?? String(error), error?.cause?.message].filter(Boolean).join(': ');
  const asks = error instanceof TypeError && !isNode() && how !== 'broke off' ? '; is the server there, and does it allow this page to read it (CORS)?' : '';
  return fail('FETCH', `${what} ${how} (${why})${asks}`, error);
}

export const isNode = () => typeof process !== 'undefined' && !!process.versions?.node && typeof window === 'undefined';

const compiled = new Map();

/** The compiled module of a name, one for all models. */
export function moduleOf(name, base) {
  if (!compiled.has(name)) {
    const promise = compile(new URL(`./dist/undertow-${name}.wasm`, base));
    promise.catch(() => compiled.delete(name)); // the next load tries again
    compiled.set(name, promise);
  }
  return compiled.get(name);
}

async function compile(url) {
  const bytes = await bytesOf(url); // compileStreaming wants a MIME type that not every server knows
  try {
    return await WebAssembly.compile(bytes);
  } catch (error) {
    throw notCompiled(error);
  }
}

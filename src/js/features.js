// SPDX-License-Identifier: MIT
// Which of the modules this engine of WebAssembly runs, found by validating tiny ones; and how they come here.

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
  const names = ['scalar'];
  if (WebAssembly.validate(SIMD)) names.unshift('wasm');
  if (isFused()) names.unshift('wasmrelaxed');
  return names;
}

// relaxed_madd may round once or twice, as the CPU has it; undertow's numbers are those of one rounding.
function isFused() {
  if (!WebAssembly.validate(RELAXED)) return false;
  const { f } = new WebAssembly.Instance(new WebAssembly.Module(RELAXED)).exports;
  const a = 1 + 2 ** -12;
  return f(a, a, -(1 + 2 ** -11)) === 2 ** -24;
}

/** What `load` reads: the bytes of a URL, a Response, a buffer; of a path too in node. Rejects with what `fail` makes. */
export async function bytesOf(source, signal, fail) {
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return source;
  if (typeof source === 'string' || source instanceof URL) {
    const url = String(source), scheme = /^[a-z][a-z0-9+.-]+:/i.exec(url)?.[0];
    if (scheme === 'file:' || (!scheme && isNode())) {
      const fs = await import('node:fs/promises');
      return fs.readFile(scheme ? new URL(url) : url, { signal });
    }
    source = await fetch(url, { signal });
  }
  if (typeof source?.arrayBuffer !== 'function')
    throw fail('UT_E_ARGUMENT', `load: expected a URL, a Response or bytes (Uint8Array, ArrayBuffer), got ${kindOf(source)}`);
  if (source.ok === false)
    throw fail('FETCH', `load: ${source.url || 'the server'} answered ${source.status} ${source.statusText || ''}`.trimEnd());
  return source.arrayBuffer();
}

export const isNode = () => typeof process !== 'undefined' && !!process.versions?.node && typeof window === 'undefined';
export const kindOf = (x) =>
  x === null || x === undefined ? String(x) : (ArrayBuffer.isView(x) || Array.isArray(x) ? `${x.constructor.name} of ${x.length ?? x.byteLength}` : typeof x === 'object' ? x.constructor?.name ?? 'object' : `${typeof x} ${x}`);

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
  if (url.protocol === 'file:' && isNode()) {
    const fs = await import('node:fs/promises');
    return WebAssembly.compile(await fs.readFile(url));
  }
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} answered ${response.status}`);
  return WebAssembly.compile(await response.arrayBuffer()); // compileStreaming wants a MIME type that not every server knows
}

// SPDX-License-Identifier: MIT
// What is refused, and the looks at arguments that all files share.

/** What undertow refuses. `status`: the name of a ut_status, or "FETCH"; `offset`: the byte of the file, or 0. */
export class UndertowError extends Error {
  constructor(status, message, offset = 0, options) {
    super(message, options);
    this.name = 'UndertowError';
    this.status = status;
    this.offset = offset;
  }
}

export const fail = (status, message, cause) => new UndertowError(status, message, 0, cause === undefined ? undefined : { cause });

export function kindOf(x) {
  if (x === null || x === undefined) return String(x);
  if (ArrayBuffer.isView(x) || Array.isArray(x)) return `${x.constructor.name} of ${x.length ?? x.byteLength}`;
  if (typeof x === 'object') return x.constructor?.name ?? 'object';
  return `${typeof x} ${typeof x === 'string' ? JSON.stringify(x) : String(x)}`;
}

/** Options of a call: an object with some of `names`, or nothing. */
export function optionsOf(what, options, names) {
  if (options === undefined) return {};
  if (options === null || typeof options !== 'object' || ArrayBuffer.isView(options))
    throw fail('UT_E_ARGUMENT', `${what}: options must be an object with some of ${names.join(', ')}, got ${kindOf(options)}`);
  const unknown = Object.keys(options).find((name) => !names.includes(name));
  if (unknown !== undefined) throw fail('UT_E_ARGUMENT', `${what}: no option ${JSON.stringify(unknown)}; there are: ${names.join(', ')}`);
  return options;
}

export const isBuffer = (x) =>
  x instanceof ArrayBuffer || (typeof SharedArrayBuffer !== 'undefined' && x instanceof SharedArrayBuffer);

/** The bytes of a buffer or a view, where they lie. */
export function bytesFrom(what, x, expected) {
  if (ArrayBuffer.isView(x)) return x.byteLength ? new Uint8Array(x.buffer, x.byteOffset, x.byteLength) : new Uint8Array(0);
  if (!isBuffer(x)) throw fail('UT_E_ARGUMENT', `${what}: expected ${expected}, got ${kindOf(x)}`);
  try {
    return new Uint8Array(x);
  } catch (error) {
    throw fail('UT_E_ARGUMENT', `${what}: the ArrayBuffer was given away (transferred), and holds nothing now`, error);
  }
}

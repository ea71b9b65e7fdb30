// SPDX-License-Identifier: MIT
// From sound to the frames of a model, and back: what manifest.json names as `kind`.

/** In place, radix 2, of `re` and `im` with a length that is a power of two. */
export function fft(re, im, inverse = false) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; ++i) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [re[i], re[j], im[i], im[j]] = [re[j], re[i], im[j], im[i]];
  }
  for (let length = 2; length <= n; length <<= 1) {
    const angle = ((inverse ? 2 : -2) * Math.PI) / length;
    for (let k = 0; k < length / 2; ++k) {
      const c = Math.cos(angle * k), s = Math.sin(angle * k);
      for (let i = k; i < n; i += length) {
        const j = i + length / 2, x = re[j] * c - im[j] * s, y = re[j] * s + im[j] * c;
        re[j] = re[i] - x;
        im[j] = im[i] - y;
        re[i] += x;
        im[i] += y;
      }
    }
  }
}

/** Frames of raw samples: `context` that were heard before, then `hop` new ones. */
class Samples {
  constructor({ context, hop }) {
    this.hop = hop;
    this.frame = new Float32Array(context + hop);
  }
  next(samples) {
    this.frame.copyWithin(0, this.hop);
    this.frame.set(samples, this.frame.length - this.hop);
    return this.frame;
  }
}

class Spectrum {
  constructor({ size, hop, window }) {
    this.hop = hop;
    this.window = window;
    this.heard = new Float32Array(size);
    this.re = new Float64Array(size);
    this.im = new Float64Array(size);
  }
  transform(samples) {
    this.heard.copyWithin(0, this.hop);
    this.heard.set(samples, this.heard.length - this.hop);
    for (let i = 0; i < this.heard.length; ++i) this.re[i] = this.heard[i] * this.window[i];
    this.im.fill(0);
    fft(this.re, this.im);
  }
}

/** The logarithm of the energy in some bands. */
class Bands extends Spectrum {
  constructor(about) {
    super(about);
    this.bands = about.bands; // [bin][band]
    this.frame = new Float32Array(about.bands[0].length);
  }
  next(samples) {
    this.transform(samples);
    for (let b = 0; b < this.frame.length; ++b) {
      let energy = 0;
      for (let k = 0; k < this.bands.length; ++k) energy += this.bands[k][b] * (this.re[k] ** 2 + this.im[k] ** 2);
      this.frame[b] = Math.log10(energy + 1e-6);
    }
    return this.frame;
  }
}

/** Real and imaginary parts of the bins; `back` adds what the model made of them to the sound that is due. */
class Bins extends Spectrum {
  constructor(about) {
    super(about);
    this.frame = new Float32Array((about.size / 2 + 1) * 2);
    this.sum = new Float64Array(about.size);
    this.sound = new Float32Array(about.hop);
  }
  next(samples) {
    this.transform(samples);
    for (let k = 0; 2 * k < this.frame.length; ++k) {
      this.frame[2 * k] = this.re[k];
      this.frame[2 * k + 1] = this.im[k];
    }
    return this.frame;
  }
  back(bins) {
    const n = this.re.length;
    for (let k = 0; k <= n / 2; ++k) {
      const isReal = k === 0 || 2 * k === n;
      this.re[k] = bins[2 * k];
      this.im[k] = isReal ? 0 : bins[2 * k + 1];
      if (!isReal) [this.re[n - k], this.im[n - k]] = [this.re[k], -this.im[k]];
    }
    fft(this.re, this.im, true);
    for (let i = 0; i < n; ++i) this.sum[i] += (this.re[i] / n) * this.window[i];
    this.sound.set(this.sum.subarray(0, this.hop));
    this.sum.copyWithin(0, this.hop);
    this.sum.fill(0, n - this.hop);
    return this.sound;
  }
}

const KINDS = { samples: Samples, bands: Bands, bins: Bins };
export const frames = (about) => new KINDS[about.kind](about);

/** A model that hears sound in pieces of any length: calls f(output, frame, heard) for each frame of `hop` samples. */
export class Listener {
  constructor(model, about, f) {
    this.stream = model.stream({ block: 1 });
    this.output = new Float32Array(Object.values(model.outputs)[0].size);
    this.frames = frames(about);
    this.hop = about.hop;
    this.waiting = new Float32Array(about.hop);
    this.n = 0;
    this.f = f;
  }
  hear(samples) {
    for (let at = 0; at < samples.length; ) {
      const some = Math.min(this.hop - this.n, samples.length - at);
      this.waiting.set(samples.subarray(at, at + some), this.n);
      this.n += some;
      at += some;
      if (this.n < this.hop) return;
      this.n = 0;
      const frame = this.frames.next(this.waiting);
      this.f(this.stream.step(frame, this.output), frame, this.waiting);
    }
  }
  close() {
    this.stream.close();
  }
}

// SPDX-License-Identifier: MIT
// Hands what the microphone hears to the page, 1024 samples at a time.
class Samples extends AudioWorkletProcessor {
  constructor() {
    super();
    this.samples = new Float32Array(1024);
    this.n = 0;
  }
  process([[channel]]) {
    if (!channel) return true;
    this.samples.set(channel, this.n);
    this.n += channel.length;
    if (this.n + channel.length > this.samples.length) {
      this.port.postMessage(this.samples.slice(0, this.n));
      this.n = 0;
    }
    return true;
  }
}
registerProcessor('samples', Samples);

// SPDX-License-Identifier: MIT
// A model inside the audio thread: an AudioWorklet cannot wait, so the page compiles the engine and sends it, with the bytes
// of the model, and the processor makes both into a stream at once. A step allocates nothing.
import { loadSync } from '../../index.js';

class Detector extends AudioWorkletProcessor {
  constructor({ processorOptions: { engine, bytes } }) {
    super();
    try {
      this.model = loadSync(bytes, engine);
      this.stream = this.model.stream({ block: 1 });
    } catch ({ status, message }) {
      this.port.postMessage({ error: { status, message } }); // a copy of the error would lose its status
      return;
    }
    this.x = new Float32Array(Object.values(this.model.inputs)[0].size);
    this.y = new Float32Array(Object.values(this.model.outputs)[0].size);
    this.n = 0;
    this.port.onmessage = ({ data }) => this.port.postMessage({ isa: this.model.info.isa, y: this.stream.step(data, this.y) });
    this.port.postMessage({ isa: this.model.info.isa });
  }

  // 128 samples at a time; a frame of the model is full after some of them.
  process([[channel]]) {
    if (!this.stream) return false;
    if (!channel) return true;
    for (let i = 0; i < channel.length; ++i) {
      this.x[this.n++] = channel[i];
      if (this.n < this.x.length) continue;
      this.n = 0;
      this.stream.step(this.x, this.y);
      this.port.postMessage({ y: this.y });
    }
    return true;
  }
}
registerProcessor('detector', Detector);

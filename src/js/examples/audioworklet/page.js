// SPDX-License-Identifier: MIT
// The page's side: connects a model to `source`, an AudioNode, and calls heard(output) after each frame.
import { engine } from '../../index.js';

export async function detect(context, url, heard) {
  const [{ isa, module }, bytes] = await Promise.all([
    engine(),
    fetch(url).then((response) => response.arrayBuffer()),
    context.audioWorklet.addModule(new URL('./detector.js', import.meta.url)),
  ]);
  const node = new AudioWorkletNode(context, 'detector', { numberOfOutputs: 0, processorOptions: { engine: { isa, module }, bytes } });
  node.port.onmessage = ({ data }) => heard(data);
  node.onprocessorerror = () => heard({ error: 'the processor could not be made: see the console' });
  return node; // source.connect(node)
}

// SPDX-License-Identifier: MIT
// The page's side: connects a model to `source`, an AudioNode, and calls heard(output) after each frame, or
// heard({ error: { status, message } }) where the processor refuses the model. Rejects where the model cannot be fetched.
import { engine, UndertowError } from '../../index.js';

async function bytesOf(url) {
  let response;
  try {
    response = await fetch(url);
    if (response.ok) return await response.arrayBuffer();
  } catch (cause) {
    throw new UndertowError('FETCH', `${url} did not come: ${cause.message}`, 0, { cause });
  }
  throw new UndertowError('FETCH', `${url}: the server answered ${response.status} ${response.statusText}`);
}

export async function detect(context, url, heard) {
  const [{ isa, module }, bytes] = await Promise.all([
    engine(),
    bytesOf(url),
    context.audioWorklet.addModule(new URL('./detector.js', import.meta.url)),
  ]);
  const node = new AudioWorkletNode(context, 'detector', { numberOfOutputs: 0, processorOptions: { engine: { isa, module }, bytes } });
  node.port.onmessage = ({ data }) => heard(data);
  node.onprocessorerror = () => heard({ error: { message: 'the processor ended: see the console' } });
  return node; // source.connect(node)
}

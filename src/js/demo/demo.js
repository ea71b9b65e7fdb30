// SPDX-License-Identifier: MIT
import { load, UndertowError } from './undertow/index.js';
import { Listener } from './sound.js';

const $ = (id) => document.getElementById(id);
const accent = () => getComputedStyle($('wave')).color; // as canvas takes it
const clock = (t) => `${Math.floor(t / 60)}:${(t % 60).toFixed(1).padStart(4, '0')}`;

// --- pictures: columns of what was heard, drawn as they come ----------------------------------------------------------

class Picture {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext('2d');
    this.clear();
  }
  clear() {
    const { canvas } = this;
    canvas.width = Math.max(300, canvas.clientWidth) * (window.devicePixelRatio || 1);
    this.context.clearRect(0, 0, canvas.width, canvas.height);
  }
  place(t, seconds) {
    return Math.round((t / seconds) * this.canvas.width);
  }
  wave(samples, from, to, ink) {
    const { context: c, canvas } = this, middle = canvas.height / 2;
    let low = 0, high = 0;
    for (const x of samples) (low = Math.min(low, x)), (high = Math.max(high, x));
    c.fillStyle = ink;
    c.fillRect(from, middle - high * middle, Math.max(1, to - from), Math.max(1, (high - low) * middle));
  }
}

// --- one run: what hears, and what it has drawn -------------------------------------------------------------------------

class Run {
  constructor({ detector, denoiser, manifest }, seconds) {
    this.seconds = seconds;
    this.t = 0;
    this.wave = new Picture($('wave'));
    this.state = new Picture($('state'));
    this.field = Object.keys(detector.states).find((name) => name.endsWith('.h')) ?? Object.keys(detector.states)[0];
    this.probabilities = [];
    this.inputs = [];
    this.segments = [];
    this.took = 0;
    $('segments').replaceChildren();
    this.listener = new Listener(detector, manifest.detector, (output, frame, heard) => this.heard(output[0], frame, heard));
    if (denoiser) {
      this.clean = new Picture($('clean'));
      this.cleaned = [];
      this.cleaner = new Listener(denoiser, manifest.denoiser, (output) => this.left(output));
      this.cleanT = 0;
    }
    this.rate = manifest.rate;
  }
  hear(samples) {
    const begin = performance.now();
    this.listener.hear(samples);
    this.cleaner?.hear(samples);
    this.took += performance.now() - begin;
  }
  heard(p, frame, sound) {
    const step = sound.length / this.rate, { wave, state } = this;
    if (this.t + step > this.seconds) this.wrap();
    const from = wave.place(this.t, this.seconds), to = wave.place(this.t + step, this.seconds), { height } = wave.canvas;
    if (p > 0.5) {
      wave.context.fillStyle = accent();
      wave.context.globalAlpha = 0.16;
      wave.context.fillRect(from, 0, to - from, height);
      wave.context.globalAlpha = 1;
    }
    wave.wave(sound, from, to, '#8895a3');
    wave.context.strokeStyle = accent();
    wave.context.lineWidth = 2;
    wave.context.beginPath();
    const before = this.probabilities.at(-1) ?? p;
    wave.context.moveTo(from, (1 - before) * (height - 4) + 2);
    wave.context.lineTo(to, (1 - p) * (height - 4) + 2);
    wave.context.stroke();
    const h = this.listener.stream.stateView(this.field), unit = state.canvas.height / h.length;
    for (let i = 0; i < h.length; ++i) {
      const strength = Math.min(1, Math.abs(h[i]));
      state.context.fillStyle = h[i] < 0 ? `rgba(20 110 210 / ${strength})` : `rgba(230 120 10 / ${strength})`;
      state.context.fillRect(from, i * unit, to - from + 0.5, unit + 0.5);
    }
    this.segment(p > 0.5, this.probabilities.length * step, step);
    this.probabilities.push(p);
    if (this.inputs) this.inputs.push(frame.slice());
    this.t += step;
  }
  left(bins) {
    const sound = this.cleaner.frames.back(bins), step = sound.length / this.rate;
    if (this.cleanT + step > this.seconds) (this.cleanT = 0), this.clean.clear();
    this.clean.wave(sound, this.clean.place(this.cleanT, this.seconds), this.clean.place(this.cleanT + step, this.seconds), accent());
    this.cleanT += step;
    if (this.cleaned) this.cleaned.push(sound.slice());
  }
  segment(speaks, t, step) {
    const last = this.segments.at(-1);
    if (speaks && last && t - last.end < 0.1) last.end = t + step;
    else if (speaks) this.segments.push({ begin: t, end: t + step, item: $('segments').appendChild(document.createElement('li')) });
    else return;
    const now = this.segments.at(-1);
    now.item.textContent = `${clock(now.begin)} to ${clock(now.end)}`;
  }
  wrap() {
    this.t = 0;
    this.wave.clear();
    this.state.clear();
  }
  close() {
    this.listener.close();
    this.cleaner?.close();
  }
}

// --- the page -----------------------------------------------------------------------------------------------------------

const page = { running: null, audio: null };

function tell(text) {
  $('error').hidden = false;
  if (!$('error').textContent.includes(text)) $('error').textContent += `${$('error').textContent && '\n'}${text}`;
}
const wordsOf = (error) => `${error.status ? `${error.status}: ` : ''}${error.message ?? error}`;

function failed(error) {
  tell(wordsOf(error));
  $('said').textContent = 'The page cannot go on.';
  window.undertowDemo = { error: String(error.message ?? error) };
}

// What the page can do without: says what it lacks, and gives null.
const without = (what) => (error) => (tell(`Without ${what}. ${wordsOf(error)}`), null);

const MICROPHONE = {
  NotFoundError: 'There is no microphone at this computer.',
  NotAllowedError: 'The microphone is not allowed: the browser or the system has the setting, for this page.',
  NotReadableError: 'The microphone cannot be read: another program may have it.',
};
function unheard(error) {
  tell(MICROPHONE[error.name] ?? `The microphone cannot be used. ${wordsOf(error)}`);
  $('said').textContent = 'Not listening.';
}

// What build.py wrote, as 'json' or 'arrayBuffer'.
async function read(file, kind) {
  let response;
  try {
    response = await fetch(file);
    if (response.ok) return await response[kind]();
  } catch (cause) {
    throw new UndertowError('FETCH', `${file} could not be read (${cause.message}): src/js/demo/build.py makes it`, 0, { cause });
  }
  throw new UndertowError('FETCH', `${file}: the server answered ${response.status}; src/js/demo/build.py makes it`);
}

async function readSound(file) {
  const pcm = await read(file, 'arrayBuffer');
  if (pcm.byteLength % 2) throw new UndertowError('FETCH', `${file} has ${pcm.byteLength} bytes, expected samples of 2: it is cut`);
  return Float32Array.from(new Int16Array(pcm), (x) => x / 32768);
}

async function start() {
  const manifest = await read('manifest.json', 'json');
  const [detector, denoiser, sound] = await Promise.all([
    load(manifest.detector.file),
    manifest.denoiser ? load(manifest.denoiser.file).catch(without('the denoiser')) : null,
    readSound(manifest.sound).catch(without('the recording')),
  ]);
  Object.assign(page, { manifest, detector, denoiser, sound });
  $('clean-figure').hidden = $('denoise-label').hidden = !denoiser;
  const frame = manifest.detector.hop / manifest.rate;
  $('about').textContent =
    `${manifest.detector.name}, ${detector.info.isa}: ${detector.info.fileBytes.toLocaleString('en')} bytes, a frame of ${(frame * 1000).toFixed(0)} ms; ` +
    `${manifest.about}`;

  if (sound) await hearAll();
  else $('said').textContent = 'Ready to listen.';
  $('play').disabled = !sound;
  $('microphone').disabled = false;
  if (!navigator.mediaDevices?.getUserMedia) $('microphone').disabled = true;
}

// All of the recording, as fast as it goes, a few milliseconds at a time so that it is drawn meanwhile.
async function hearAll() {
  const { sound, manifest, detector } = page, run = new Run(page, sound.length / manifest.rate);
  for (let at = 0; at < sound.length; ) {
    for (const end = performance.now() + 12; performance.now() < end && at < sound.length; at += 1024) run.hear(sound.subarray(at, at + 1024));
    await new Promise(requestAnimationFrame);
  }
  page.cleaned = run.cleaned;
  const seconds = sound.length / manifest.rate, n = run.probabilities.length;
  $('said').textContent =
    `${seconds.toFixed(1)} s of sound heard, ${run.segments.length} segment${run.segments.length === 1 ? '' : 's'} of speech. ` +
    `Computed and drawn in ${(run.took / 1000).toFixed(2)} s.`;
  window.undertowDemo = {
    isa: detector.info.isa, frames: n, probabilities: Float32Array.from(run.probabilities), inputs: run.inputs,
    segments: run.segments.map(({ begin, end }) => ({ begin, end })), cleaned: run.cleaned, seconds,
    stepMicroseconds: time(detector, run.inputs),
  };
  run.close();
}

// The median of single steps, without pictures.
function time(model, inputs) {
  const stream = model.stream({ block: 1 }), out = new Float32Array(Object.values(model.outputs)[0].size), times = [];
  for (let round = 0; round < 8; ++round)
    for (let i = 0; i < inputs.length; i += 20) {
      const some = Math.min(20, inputs.length - i), begin = performance.now();
      for (let k = 0; k < some; ++k) stream.step(inputs[i + k], out);
      times.push((performance.now() - begin) / some);
    }
  stream.close();
  return 1000 * times.sort((a, b) => a - b)[times.length >> 1];
}

// Where something changes, and once a second: whoever has it read aloud wants no more.
function say(run) {
  const p = run.probabilities.at(-1) ?? 0, now = performance.now();
  if (run.said === p > 0.5 && now - run.saidAt < 1000) return;
  run.said = p > 0.5;
  run.saidAt = now;
  $('said').textContent = `${clock((run.probabilities.length * page.manifest.detector.hop) / page.manifest.rate)}  ${p > 0.5 ? 'speech' : 'no speech'} (${p.toFixed(2)})`;
}

async function play() {
  await stop();
  const { sound, manifest } = page, context = new AudioContext({ sampleRate: manifest.rate });
  const heard = $('denoise').checked && page.cleaned ? concatenated(page.cleaned) : sound;
  const buffer = context.createBuffer(1, heard.length, manifest.rate), source = context.createBufferSource();
  buffer.copyToChannel(heard, 0);
  source.buffer = buffer;
  source.connect(context.destination);
  const run = new Run(page, sound.length / manifest.rate);
  run.inputs = run.cleaned = null;
  page.running = { close: () => (source.stop(), context.close(), run.close()) };
  $('stop').disabled = false;
  source.start();
  const begin = context.currentTime, mine = page.running;
  for (let at = 0; at < sound.length && page.running === mine; ) {
    await new Promise(requestAnimationFrame);
    const until = Math.min(sound.length, Math.floor((context.currentTime - begin) * manifest.rate));
    if (page.running === mine && until > at) run.hear(sound.subarray(at, until)), (at = until), say(run);
  }
  if (page.running === mine) await stop();
}

async function listen() {
  await stop();
  const media = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, noiseSuppression: false, echoCancellation: false } });
  const context = new AudioContext({ sampleRate: page.manifest.rate });
  await context.audioWorklet.addModule('microphone.js');
  const source = context.createMediaStreamSource(media), node = new AudioWorkletNode(context, 'samples', { numberOfOutputs: 0 });
  source.connect(node);
  const run = new Run(page, 10);
  run.inputs = run.cleaned = null;
  node.port.onmessage = ({ data }) => (run.hear(data), say(run));
  page.running = { close: () => ((node.port.onmessage = null), media.getTracks().forEach((t) => t.stop()), context.close(), run.close()) };
  $('stop').disabled = false;
}

async function stop() {
  page.running?.close();
  page.running = null;
  $('stop').disabled = true;
}

function concatenated(pieces) {
  const all = new Float32Array(pieces.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of pieces) all.set(p, at), (at += p.length);
  return all;
}

$('play').onclick = () => play().catch(failed);
$('microphone').onclick = () => listen().catch(unheard);
$('stop').onclick = () => stop();
start().catch(failed);

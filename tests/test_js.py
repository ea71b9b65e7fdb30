# SPDX-License-Identifier: MIT
"""The JavaScript package and its demo page: the bits are those of this machine, in node and in a browser."""

import base64
import json
import os
import platform
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

import undertow

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src/js"
NODE = shutil.which("node")
CLANG = next((name for n in range(30, 15, -1) if shutil.which(name := f"clang-{n}")), None)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_node = pytest.mark.skipif(not NODE, reason="needs node: apt-get install nodejs")
pytestmark = [
    pytest.mark.skipif(not (PACKAGE / "build.sh").exists(), reason="needs the source tree"),
    pytest.mark.skipif(
        not list(PACKAGE.glob("dist/*.wasm")) and not CLANG,
        reason="needs src/js/dist, or to build it clang and lld 16 or newer, cmake and ninja: apt-get install clang-19 lld-19",
    ),
    needs_node,
]


def node_flags():
    """Of a node that has relaxed SIMD behind a flag."""
    known = subprocess.run([NODE, "--v8-options"], capture_output=True, text=True).stdout
    return ["--experimental-wasm-relaxed-simd"] if "--experimental-wasm-relaxed-simd" in known else []


@pytest.fixture(scope="session")
def dist(tmp_path_factory):
    """The modules, built where they are not."""
    if not list(PACKAGE.glob("dist/*.wasm")):
        subprocess.run([str(PACKAGE / "build.sh"), str(tmp_path_factory.mktemp("js"))], check=True)
    return PACKAGE / "dist"


def node(script, *arguments):
    done = subprocess.run(
        [NODE, *node_flags(), "--input-type=module", "-", *map(str, arguments)],
        input=f"import * as ut from {json.dumps((PACKAGE / 'index.js').as_uri())};\n{script}",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


RUN = """
import fs from 'node:fs';
const [, , path, x, isa] = process.argv;
const model = await ut.load(path, { isa });
const bytes = fs.readFileSync(x), inputs = {};
let at = 0;
const n = Number(process.argv[5]);
for (const t of Object.values(model.inputs)) {
  const array = t.dtype === 'int32' ? Int32Array : Float32Array;
  inputs[t.name] = new array(bytes.buffer.slice(bytes.byteOffset + at, bytes.byteOffset + at + 4 * n * t.size));
  at += 4 * n * t.size;
}
const frame = (t) => Object.fromEntries(Object.values(model.inputs).map((i) => [i.name, inputs[i.name].subarray(t * i.size, (t + 1) * i.size)]));
const outputs = Object.values(model.outputs), hex = (a) => Buffer.from(a.buffer, a.byteOffset, a.byteLength).toString('base64');
const of = (result, t) => (outputs.length === 1 ? result : result[t.name]);
const stream = model.stream(), whole = stream.run(inputs, n), states = Object.values(stream.state).map(hex);
stream.reset();
const steps = outputs.map((t) => new Float32Array(n * t.size));
for (let t = 0; t < n; ++t) {
  const y = stream.step(frame(t));
  outputs.forEach((o, i) => steps[i].set(of(y, o), t * o.size));
}
console.log(JSON.stringify({ isa: model.info.isa, runs: outputs.map((t) => hex(of(whole, t))), steps: steps.map(hex), states }));
"""


def same(coded, array):
    got = np.frombuffer(base64.b64decode(coded), np.uint32)
    expected = np.ascontiguousarray(array, np.float32).ravel()
    nan = np.isnan(expected)
    return np.array_equal(np.isnan(got.view(np.float32)), nan) and np.array_equal(got[~nan], expected.view(np.uint32)[~nan])


def isas():
    return json.loads(node("console.log(JSON.stringify(ut.runnable()))"))


MODELS = ["rnn", "lstm", "text", "every_op", "int8", "int16", "sparse", "framed", "ahead", "float16", "smoothed_int8"]


@pytest.mark.parametrize("name", MODELS)
def test_bits_are_those_of_python(name, tmp_path, dist):
    path, n = ROOT / f"tests/data/tow/{name}.tow", 60
    model = undertow.load(path)
    rng = np.random.default_rng(5)
    x = {}
    for key, value in model.inputs.items():
        shape = (n, *value.shape)
        ids = value.dtype == "int32"
        x[key] = rng.integers(0, value.n_ids, shape).astype(np.int32) if ids else rng.normal(size=shape).astype(np.float32)
    (tmp_path / "x").write_bytes(b"".join(array.tobytes() for array in x.values()))
    stream = model.stream()
    y = stream.run(x)
    y = list(y.values()) if isinstance(y, dict) else [y]
    states = [stream._get_state(i) for i in range(len(model.states))]
    for isa in isas():
        got = json.loads(node(RUN, path, tmp_path / "x", isa, n))
        assert got["isa"] == isa
        for coded, array in zip(got["runs"] + got["steps"], y + y, strict=True):
            assert same(coded, array), f"{name}, {isa}"
        for coded, array in zip(got["states"], states, strict=True):
            assert same(coded, array), f"{name}, {isa}: state"


@pytest.mark.parametrize("scale", [0.0, 1e-45, 1e-38, 1e-30, 1e-12, 1.0, 1e20, 1e38, float("inf"), float("nan")])
def test_bits_of_sound_that_is_very_quiet_or_loud(scale, tmp_path, dist):
    rng = np.random.default_rng(6)
    W = rng.normal(size=(20, 24)).astype(np.float32)
    W[rng.random(W.shape) < 0.1] *= np.float32(1e-38)  # of which some are subnormal
    with np.errstate(all="ignore"):
        b = (rng.normal(size=20) * np.nan_to_num(scale, posinf=0.0)).astype(np.float32)
    models = {"dense": undertow.Sequential([undertow.Dense(W, b)]), "lstm": undertow.load(ROOT / "tests/data/tow/lstm.tow")}
    for name, model in models.items():
        value = next(iter(model.inputs.values()))
        x = rng.normal(size=(40, *value.shape)).astype(np.float32)
        with np.errstate(all="ignore"):
            x[10:30] *= np.float32(scale)
        model.save(tmp_path / f"{name}.tow")
        (tmp_path / "x").write_bytes(x.tobytes())
        y = model.stream().run(x)
        y = next(iter(y.values())) if isinstance(y, dict) else y
        for isa in isas():
            got = json.loads(node(RUN, tmp_path / f"{name}.tow", tmp_path / "x", isa, 40))
            assert same(got["runs"][0], y) and same(got["steps"][0], y), f"{name}, {isa}"


CALLS = """
import assert from 'node:assert/strict';
const model = await ut.load(process.argv[2]), stream = model.stream(), x = new Float32Array(8).fill(0.5);
const equal = (a, b) => assert.deepEqual([...new Uint32Array(a.buffer, a.byteOffset, a.length)], [...new Uint32Array(b.buffer, b.byteOffset, b.length)]);
const first = stream.step(x), out = new Float32Array(10);
assert.equal(stream.position, 1);
const snapshot = stream.snapshot(), other = stream.fork();
const second = stream.step(x);
assert.equal(stream.step(x, out), out);
stream.restore(snapshot);
equal(stream.step(x), second);
equal(other.step({ input: x }), second);
stream.restore(snapshot);
equal(stream.propose(x), second);
assert.throws(() => stream.step(x), { status: 'UT_E_STATE', message: /pending/ });
stream.rollback();
equal(stream.propose(x), second);
stream.commit();
assert.throws(() => stream.commit(), { status: 'UT_E_STATE' });
stream.reset();
equal(stream.step(x), first);
const h = stream.state['memory.h'], view = stream.stateView('memory.h');
equal(h, view);
view[3] = 0.25;
assert.equal(stream.state['memory.h'][3], 0.25);
stream.state['memory.h'] = h;
equal(stream.stateView('memory.h'), h);
assert.equal(stream.flush().length, 0);
const many = Array.from({ length: 40 }, () => model.stream()); // the memory grows, and what was there stays
equal(many[39].step(x), first);
many.forEach((s) => s.close());
stream.reset();
equal(stream.step(x), first);
const X = new Float32Array(800).fill(0.5);
equal(model.run(X), model.stream().run(X, 100));
equal(model.run(X), model.stream({ block: 7 }).run(X));
const refused = (f, status, message) => assert.throws(f, (e) => e instanceof ut.UndertowError && e.status === status && message.test(e.message));
refused(() => stream.step(new Float32Array(3)), 'UT_E_ARGUMENT', /"input" must have 8 elements \\(shape \\[8\\]\\), got 3/);
refused(() => stream.step(new Float64Array(8)), 'UT_E_ARGUMENT', /must be a Float32Array.*got Float64Array of 8/);
refused(() => stream.step({ other: x }), 'UT_E_ARGUMENT', /no input "other"; there are: input/);
refused(() => stream.step({}), 'UT_E_ARGUMENT', /"input" is missing/);
refused(() => stream.step(x, new Float32Array(9)), 'UT_E_ARGUMENT', /must have 10 elements/);
refused(() => stream.run(x, 3), 'UT_E_ARGUMENT', /24 elements/);
refused(() => stream.run(new Float32Array(12)), 'UT_E_ARGUMENT', /whole frames of 8/);
refused(() => stream.restore(snapshot.subarray(4)), 'UT_E_STATE', /snapshot/);
refused(() => stream.stateView('nobody'), 'UT_E_ARGUMENT', /there are: memory.h/);
refused(() => model.stream({ block: 0 }), 'UT_E_ARGUMENT', /block/);
refused(() => ut.loadSync(new Uint8Array(8), 5), 'UT_E_ARGUMENT', /WebAssembly.Module/);
stream.close();
refused(() => stream.step(x), 'UT_E_ARGUMENT', /closed/);
model.close();
refused(() => model.stream(), 'UT_E_ARGUMENT', /closed/);
const { module } = await ut.engine(), fs = await import('node:fs');
const bytes = fs.readFileSync(process.argv[2]);
equal(ut.loadSync(bytes, module).stream().step(x), first);
const fails = async (source, status, message, options) => {
  await assert.rejects(ut.load(source, options), (e) => e instanceof ut.UndertowError && e.status === status && message.test(e.message) || assert.fail(`${e.status}: ${e.message}`));
};
await fails(bytes.subarray(0, bytes.length - 64), 'UT_E_FORMAT', /truncated/);
await fails(new TextEncoder().encode('<!doctype html>' + ' '.repeat(200)), 'UT_E_FORMAT', /web page/);
const newer = Uint8Array.from(bytes);
newer[8] = 99;
await fails(newer, 'UT_E_VERSION', /99/);
await fails(5, 'UT_E_ARGUMENT', /expected a URL/);
await fails(bytes, 'UT_E_ISA', /available:.*scalar/, { isa: 'mmx' });
await fails({ ok: false, status: 404, statusText: 'Not Found', url: 'http://x/y.tow', arrayBuffer() {} }, 'FETCH', /http:\\/\\/x\\/y.tow answered 404/);
assert.equal((await ut.load(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length), { isa: 'scalar' })).info.isa, 'scalar');
"""


def test_calls_and_what_they_refuse(dist):
    node(CALLS, undertow.example("digits"))


def test_a_model_of_whole_sequences(dist):
    script = """
    const model = await ut.load(process.argv[2]);
    try { model.stream(); } catch (e) { console.log(e.status, e.message); }
    const x = Object.fromEntries(Object.values(model.inputs).map((t) => [t.name, new (t.dtype === 'int32' ? Int32Array : Float32Array)(5 * t.size)]));
    const y = model.run(x, 5);
    console.log(JSON.stringify([y].flat().length));
    """
    said = node(script, ROOT / "tests/data/tow/whole.tow")
    assert said.startswith("UT_E_WHOLE") and "model.run" in said


def test_the_modules_are_small(dist):
    import gzip

    for path in dist.glob("*.wasm"):
        limit = 80_000 if "scalar" in path.name else 70_000
        assert len(gzip.compress(path.read_bytes(), 9)) < limit, path.name


def test_typings_name_what_there_is():
    text, script = (PACKAGE / "index.d.ts").read_text(), (PACKAGE / "index.js").read_text()
    for name in ("step", "run", "flush", "reset", "snapshot", "restore", "fork", "propose", "commit", "rollback", "stateView", "close"):
        assert f"  {name}(" in text and f"  {name}(" in script, name


OPERATIONS = ("fma(a, b, c)", "a + c", "a - c", "a b", "a / b", "sqrt a", "a < b", "max", "min", "copysign")


@pytest.mark.skipif(not CLANG, reason="needs clang and lld 16 or newer: apt-get install clang-19 lld-19")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="compares with what x86 computes")
@pytest.mark.parametrize("flags", ["-msimd128", "-msimd128 -mrelaxed-simd"])
def test_vectors_compute_what_this_machine_does(flags, tmp_path):
    source, includes = ROOT / "tests/js/vectors.cpp", [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'tests/cpp'}"]
    clang = CLANG.replace("clang", "clang++")
    common = [clang, "-std=c++17", "-O2", "-ffp-contract=off", "-fno-exceptions", "-fno-rtti", *includes, str(source)]
    host = ["-mfma", "-fno-builtin", str(ROOT / "csrc/cpu.cpp"), "-lm", "-o", str(tmp_path / "host")]
    subprocess.run([*common, *host], check=True)
    wasm = ["--target=wasm32", "-nostdlib", "-ffreestanding", *flags.split(), "-isystem", str(ROOT / "tests/targets/wasm")]
    subprocess.run([*common, *wasm, "-c", "-o", str(tmp_path / "vectors.o")], check=True)
    link = [CLANG.replace("clang", "wasm-ld"), "--no-entry", str(tmp_path / "vectors.o")]
    subprocess.run([*link, "-o", str(tmp_path / "vectors.wasm")], check=True)
    thousands = os.environ.get("UNDERTOW_TEST_VECTORS", "200")
    expected = subprocess.run([str(tmp_path / "host"), thousands], capture_output=True, text=True, check=True).stdout.split()
    script = """
    import fs from 'node:fs';
    const bytes = fs.readFileSync(process.argv[2]);
    if (!WebAssembly.validate(bytes)) console.log('none');
    else {
      const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
      const at = exports.run(Number(process.argv[3]));
      for (const hash of new BigUint64Array(exports.memory.buffer, at, 90)) console.log(hash.toString(16).padStart(16, '0'));
    }"""
    got = node(script, tmp_path / "vectors.wasm", thousands).split()
    if got == ["none"] or ("relaxed" in flags and "wasmrelaxed" not in isas()):
        pytest.skip("this node has no relaxed SIMD, or no fused multiply-add for it")
    wrong = [f"kind {i // 10}, {OPERATIONS[i % 10]}" for i, (a, b) in enumerate(zip(got, expected, strict=True)) if a != b]
    assert not wrong, wrong


# --- in a browser -------------------------------------------------------------------------------------------------------

needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")


def in_browser(folder, page, expression):
    script = ROOT / "tests/js/browser.mjs"
    flags = ["--experimental-websocket"] if int(subprocess.run([NODE, "-p", "process.versions.node.split('.')[0]"], capture_output=True, text=True).stdout) < 22 else []
    done = subprocess.run([NODE, *flags, str(script), CHROMIUM, str(folder), page, expression], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


PAGE = """window.undertowDemo && (undertowDemo.error ? { error: undertowDemo.error } : (() => {
  const code = (a) => { const b = new Uint8Array(a.buffer, a.byteOffset, a.byteLength); let s = ''; for (const x of b) s += String.fromCharCode(x); return btoa(s); };
  const all = new Float32Array(undertowDemo.inputs.length * undertowDemo.inputs[0].length);
  undertowDemo.inputs.forEach((x, i) => all.set(x, i * x.length));
  return { isa: undertowDemo.isa, segments: undertowDemo.segments, probabilities: code(undertowDemo.probabilities), inputs: code(all),
    cleaned: undertowDemo.cleaned ? code(Float32Array.from(undertowDemo.cleaned.flatMap((x) => [...x]))) : null,
    focusable: document.querySelectorAll('button, input').length, said: document.getElementById('said').textContent };
})())"""


@needs_chromium
@pytest.mark.parametrize("models", ["examples", "UNDERTOW_MODELS"])
def test_the_demo_page_in_a_browser(models, tmp_path, dist, monkeypatch):
    if models == "examples":
        monkeypatch.delenv("UNDERTOW_MODELS", raising=False)
    elif not os.environ.get("UNDERTOW_MODELS"):
        pytest.skip("UNDERTOW_MODELS is not set: the folder of real models")
    subprocess.run([os.sys.executable, str(PACKAGE / "demo/build.py"), "--out", str(tmp_path / "page")], check=True)
    assert sum(p.stat().st_size for p in (tmp_path / "page").rglob("*") if p.is_file()) < 3_000_000
    got = in_browser(tmp_path / "page", "index.html", PAGE)
    assert "error" not in got, got
    model = undertow.load(tmp_path / "page/detector.tow")
    inputs = np.frombuffer(base64.b64decode(got["inputs"]), np.float32).reshape(-1, *next(iter(model.inputs.values())).shape)
    expected = model.stream().run(inputs)
    assert same(got["probabilities"], expected)  # in the browser, of the same frames
    manifest = json.loads((tmp_path / "page/manifest.json").read_text())
    frame = manifest["detector"]["hop"] / manifest["rate"]
    speaks = expected.ravel() > 0.5
    found = np.zeros(len(speaks), bool)
    times = (np.arange(len(speaks)) + 0.5) * frame
    for segment in got["segments"]:
        found |= (times > segment["begin"]) & (times < segment["end"])
    assert np.all(found[speaks]) and found.mean() < speaks.mean() + 0.1
    if manifest.get("truth"):
        truth = np.zeros(len(speaks), bool)
        for begin, end in manifest["truth"]:
            truth |= (times > begin) & (times < end)
        assert (truth == found).mean() > 0.9
    if got["cleaned"]:
        cleaned = np.frombuffer(base64.b64decode(got["cleaned"]), np.float32)
        sound = np.frombuffer((tmp_path / "page/sound.s16").read_bytes(), "<i2") / 32768
        quiet, loud = slice(0, 6000), slice(16000, 40000)
        assert np.square(cleaned[quiet]).mean() < 0.02 * np.square(sound[quiet]).mean()
        assert np.square(cleaned[loud]).mean() > 0.2 * np.square(sound[loud]).mean()


@needs_chromium
def test_an_audio_worklet(tmp_path, dist):
    shutil.copytree(PACKAGE, tmp_path / "page", ignore=shutil.ignore_patterns("demo"))
    shutil.copy(undertow.example("digits"), tmp_path / "page/examples/audioworklet/model.tow")
    got = in_browser(tmp_path / "page", "examples/audioworklet/test.html", "window.result")
    x = np.fromiter((np.sin(np.float64(i)) for i in range(8)), np.float32)
    expected = undertow.load(undertow.example("digits")).stream().step(x)
    assert struct.pack("<10f", *got["y"]) == expected.tobytes(), got
    assert got["isa"] in ("scalar", "wasm", "wasmrelaxed")

# SPDX-License-Identifier: MIT
"""The JavaScript package and its demo page: the bits are those of this machine, in node and in a browser."""

import base64
import functools
import gzip
import http.server
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import undertow

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, SCRIPTS = ROOT / "src/js", ROOT / "tests/js"
NODE = shutil.which("node")
CLANG = next((name for n in range(30, 15, -1) if shutil.which(name := f"clang-{n}")), None)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
TO_BUILD = "clang and lld 16 or newer, cmake and ninja: apt-get install clang-19 lld-19 cmake ninja-build"
MODULES = list(PACKAGE.glob("dist/*.wasm"))
pytestmark = [
    pytest.mark.skipif(not (PACKAGE / "build.sh").exists(), reason="needs the source tree"),
    pytest.mark.skipif(not MODULES and not CLANG, reason=f"needs src/js/dist, or to build it {TO_BUILD}"),
    pytest.mark.skipif(not NODE, reason="needs node: apt-get install nodejs"),
]


def node_flags():
    """For a node that has relaxed SIMD, or WebSocket, behind a flag."""
    flags = subprocess.run([NODE, "--v8-options"], capture_output=True, text=True).stdout
    version = subprocess.run([NODE, "--version"], capture_output=True, text=True).stdout
    relaxed = ["--experimental-wasm-relaxed-simd"] if "--experimental-wasm-relaxed-simd" in flags else []
    return relaxed + (["--experimental-websocket"] if re.match(r"v2[01]\.", version) else [])


def node(script, *arguments):
    """What a script of tests/js prints."""
    command = [NODE, *node_flags(), str(SCRIPTS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def isas():
    """What runs here, best first."""
    return json.loads(node("isas.mjs"))


@pytest.fixture(scope="session")
def dist(tmp_path_factory):
    """The folder of the modules, built where there are none."""
    if not list(PACKAGE.glob("dist/*.wasm")):
        subprocess.run([str(PACKAGE / "build.sh"), str(tmp_path_factory.mktemp("js"))], check=True)
    return PACKAGE / "dist"


def numbers(coded):
    return np.frombuffer(base64.b64decode(coded), np.float32)


def same(coded, array):
    """Whether they have the same bits; NaN is NaN."""
    got, expected = numbers(coded), np.ascontiguousarray(array, np.float32).ravel()
    nan = np.isnan(expected)
    bits_agree = np.array_equal(got[~nan].view(np.uint32), expected[~nan].view(np.uint32))
    return bits_agree and np.array_equal(np.isnan(got), nan)


def holds_in_node(model, x, folder):
    """Compares outputs for some frames, and the states behind them, with those of every module that runs here."""
    model.save(folder / "model.tow")
    (folder / "x").write_bytes(b"".join(array.tobytes() for array in x.values()))
    n = len(next(iter(x.values())))
    stream = model.stream()
    y = stream.run(x)
    y = list(y.values()) if isinstance(y, dict) else [y]
    for isa in isas():
        got = json.loads(node("run.mjs", folder / "model.tow", folder / "x", isa, n))
        assert got["isa"] == isa
        for coded, array in zip(got["runs"] + got["steps"], y + y, strict=True):
            assert same(coded, array), f"{model.name}, {isa}"
        for coded, name in zip(got["states"], model.states, strict=True):
            assert same(coded, stream.state[name]), f"{model.name}, {isa}: {name}"
        assert base64.b64decode(got["snapshot"]) == stream.snapshot(), f"{model.name}, {isa}"


@pytest.mark.parametrize(
    "name",
    [
        "rnn",
        "lstm",
        "text",
        "every_op",
        "int8",
        "int16",
        "sparse",
        "framed",
        "ahead",
        "float16",
        "smoothed_int8",
        "fixed8",
        "expressions",
    ],
)
def test_bits_are_those_of_python(name, tmp_path, dist):
    model = undertow.load(ROOT / f"tests/data/tow/{name}.tow")
    rng, x = np.random.default_rng(5), {}
    for key, value in model.inputs.items():
        shape = (60, *value.shape)
        floats, ids = rng.normal(size=shape).astype(np.float32), rng.integers(0, value.n_ids or 1, shape)
        x[key] = ids.astype(np.int32) if value.dtype == "int32" else floats
    holds_in_node(model, x, tmp_path)


@pytest.mark.parametrize("scale", [0.0, 1e-45, 1e-38, 1e-30, 1e-12, 1.0, 1e20, 1e38, np.inf, np.nan])
def test_bits_of_frames_that_are_very_quiet_or_loud(scale, tmp_path, dist):
    rng = np.random.default_rng(6)
    W = rng.normal(size=(20, 24)).astype(np.float32)
    W[rng.random(W.shape) < 0.1] *= np.float32(1e-38)  # of which some are subnormal
    b = rng.normal(size=20) * min(np.nan_to_num(scale), 1e37)
    for model in (undertow.Sequential([undertow.Dense(W, b)]), undertow.load(ROOT / "tests/data/tow/lstm.tow")):
        value = next(iter(model.inputs.values()))
        x = rng.normal(size=(40, *value.shape)).astype(np.float32)
        with np.errstate(all="ignore"):
            x[10:30] *= np.float32(scale)
        holds_in_node(model, {value.name: x}, tmp_path)


@pytest.mark.parametrize("exponent", [-60, -79, -80, -81, -100, -118, -125, -130])
def test_bits_of_products_that_cancel_near_the_smallest_float(exponent, tmp_path, dist):
    """Weights of 2^e, frames of 2^(exponent - e): from -80 on no sum is subnormal (csrc/plan.cpp, find_least)."""
    rng = np.random.default_rng(exponent + 200)
    for e in (-30, -100, 20):
        W = (rng.uniform(1, 2, (33, 40)) * 2.0**e * rng.choice([-1, 1], (33, 40))).astype(np.float32)
        W[:, 1::2] = W[:, ::2]  # pairs that nearly cancel
        W[rng.random(W.shape) < 0.2] = 0
        x = (rng.uniform(1, 2, (50, 40)) * 2.0 ** (exponent - e)).astype(np.float32)
        x[:, 1::2] = -x[:, ::2] * np.float32(1 + 2**-23)
        x[rng.random(x.shape) < 0.1] = 0
        x[::7] *= np.float32(0.25)
        b = None if e == 20 else rng.choice([0, 2.0**-103, 2.0**-103 if e == -30 else 2.0**-110], 33)
        model = undertow.Sequential([undertow.Dense(W, b)])
        holds_in_node(model, {next(iter(model.inputs)): x}, tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_bits_of_sums_that_lie_halfway_between_two_floats(seed, tmp_path, dist):
    """Few bits behind few others: many sums are halfway, or miss it by less than a double holds."""
    rng = np.random.default_rng(seed)
    mantissas = np.array([1, 3, 5, 1 + 2**-23, 1 - 2**-24, 1.5 + 2**-23], np.float32)[: 3 if seed == 0 else 6]

    def few(shape, lowest, highest):
        signs, exponents = rng.choice([-1, 0, 1], shape, p=[0.45, 0.1, 0.45]), rng.integers(lowest, highest, shape)
        return (rng.choice(mantissas, shape) * signs * 2.0**exponents).astype(np.float32)

    dense = undertow.Sequential([undertow.Dense(few((40, 45), -26, 1), few(40, -3, 3))])
    lstm = undertow.Sequential([undertow.LSTM(few((64, 13), -26, 1), few((64, 16), -26, 1), few(64, -3, 3))])
    for model in (dense, dense.with_weights("bfloat16"), dense.with_weights("float16"), lstm):
        value = next(iter(model.inputs.values()))
        holds_in_node(model, {value.name: few((60, *value.shape), -3, 1)}, tmp_path)


@pytest.mark.parametrize("of_x", [2.0**59, 2.0**61, 2.0**90])
@pytest.mark.parametrize("of_w", [2.0**38, 2.0**41, 2.0**66])
def test_bits_of_sums_beyond_the_largest_float(of_w, of_x, tmp_path, dist):
    rng = np.random.default_rng(7)
    W, x = rng.normal(size=(24, 33)) * of_w, rng.normal(size=(40, 33)) * of_x
    x[::3] *= 2.0**-80
    for b in (None, rng.normal(size=24) * 2.0**20, rng.choice([-1, 1], 24) * 1.5 * 2.0**127):
        model = undertow.Sequential([undertow.Dense(W.astype(np.float32), b)])
        holds_in_node(model, {next(iter(model.inputs)): x.astype(np.float32)}, tmp_path)


def test_calls_and_what_they_refuse(dist, tmp_path):
    node("calls.mjs", undertow.example("digits"))
    data = ROOT / "tests/data/tow"
    node("refused.mjs", undertow.example("digits"), data / "int8.tow", data / "every_op.tow", tmp_path)


def test_a_package_without_modules_says_who_makes_them(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "js", ignore=shutil.ignore_patterns("demo", "dist"))
    script = tmp_path / "js/asks.mjs"
    script.write_text("import { engine } from './index.js';\nengine().catch((e) => console.log(e.status, e.message));")
    assert re.match(r"FETCH no module of the engine .*src/js/build.sh makes them", node(script))


def test_a_checked_load_finds_any_bit_that_was_turned(dist):
    data = ROOT / "tests/data"
    assert node("damaged.mjs", data / "proof.tow", *sorted(data.glob("tow/*.tow"))).strip() == "true"


def test_the_package_is_whole():
    package = json.loads((PACKAGE / "package.json").read_text())
    assert (PACKAGE / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    scripts = {path.name for path in PACKAGE.glob("*.js")}
    assert scripts <= set(package["files"]), "package.json leaves files out"
    exported = re.search(r'^exports="([^"]*)"', (PACKAGE / "build.sh").read_text(), re.M)[1].split()
    assert exported == re.search(r"NAMES = `([^`]*)`", (PACKAGE / "memory.js").read_text())[1].split()


def test_a_model_of_whole_sequences(dist):
    said = node("whole.mjs", ROOT / "tests/data/tow/whole.tow")
    assert said.startswith("UT_E_WHOLE") and "model.run" in said
    assert "false" not in said


def test_the_modules_are_small(dist):
    for path in dist.glob("*.wasm"):
        assert len(gzip.compress(path.read_bytes(), 9)) < 72 * 1024, path.name


def test_typings_name_what_there_is():
    typings, script = (PACKAGE / "index.d.ts").read_text(), (PACKAGE / "index.js").read_text()
    for word in re.findall(r"^  (\w+)\(", typings, re.M):
        assert f"  {word}(" in script, word
    for word in re.findall(r"^export (?:async )?function (\w+)", script, re.M):
        assert f"export function {word}(" in typings, word


@pytest.mark.skipif(not shutil.which("tsc"), reason="needs tsc: apt-get install node-typescript")
def test_typings_allow_what_works():
    modern = ["--strict", "--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext"]
    command = ["tsc", "--noEmit", *modern, "--lib", "es2022,dom", str(SCRIPTS / "typings.mts")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


OPERATIONS = ("fma(a, b, c)", "a + c", "a - c", "a b", "a / b", "sqrt a", "a < b", "max", "min", "copysign")


@pytest.mark.skipif(not CLANG, reason=f"needs {TO_BUILD}")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="compares with what x86 computes")
@pytest.mark.parametrize("flags", ["-msimd128", "-msimd128 -mrelaxed-simd"])
def test_vectors_compute_what_this_machine_does(flags, tmp_path):
    includes = [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'tests/cpp'}"]
    compiler = [
        CLANG.replace("clang", "clang++"),
        "-std=c++17",
        "-O2",
        "-ffp-contract=off",
        "-fno-exceptions",
        "-fno-rtti",
    ]
    compiler += [*includes, str(SCRIPTS / "vectors.cpp")]
    host, module = str(tmp_path / "host"), str(tmp_path / "vectors.wasm")
    subprocess.run([*compiler, "-mfma", "-fno-builtin", str(ROOT / "csrc/cpu.cpp"), "-lm", "-o", host], check=True)
    bare = ["--target=wasm32", "-ffreestanding", *flags.split(), "-isystem", str(ROOT / "tests/targets/wasm")]
    subprocess.run([*compiler, *bare, "-c", "-o", f"{module}.o"], check=True)
    subprocess.run([CLANG.replace("clang", "wasm-ld"), "--no-entry", f"{module}.o", "-o", module], check=True)
    thousands = os.environ.get("UNDERTOW_TEST_VECTORS", "200")
    got = node("vectors.mjs", module, thousands).split()
    if not got or ("relaxed" in flags and "wasmrelaxed" not in isas()):
        pytest.skip("this node has no relaxed SIMD, or this CPU no fused multiply-add for it")
    expected = subprocess.run([host, thousands], capture_output=True, text=True, check=True).stdout.split()
    pairs = enumerate(zip(got, expected, strict=True))
    wrong = [f"kind {i // 10}, {OPERATIONS[i % 10]}" for i, (a, b) in pairs if a != b]
    assert not wrong, wrong


# --- in a browser -----------------------------------------------------------------------------------------------------

needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")


def page_files(folder):
    """The files of docs/browser.md's section on AudioWorklets, and what it says to copy."""
    text = (ROOT / "docs/browser.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"<!-- file: (\S+) -->\n```js\n(.*?)```", text, re.S))
    for name in ("page.js", "processor.js"):
        (folder / name).write_text(files[name])
    shutil.copytree(PACKAGE, folder / "undertow", ignore=shutil.ignore_patterns("demo"))


def in_browser(folder, page, expression):
    return json.loads(node("browser.mjs", CHROMIUM, folder, page, expression))


@needs_chromium
@pytest.mark.parametrize("models", ["examples", "UNDERTOW_MODELS"])
def test_the_demo_page_in_a_browser(models, tmp_path, dist, monkeypatch):
    if models == "examples":
        monkeypatch.delenv("UNDERTOW_MODELS", raising=False)
    elif not os.environ.get("UNDERTOW_MODELS"):
        pytest.skip("UNDERTOW_MODELS is not set: the folder of real models")
    page = tmp_path / "page"
    subprocess.run([sys.executable, str(PACKAGE / "demo/build.py"), "--out", str(page)], check=True)
    assert sum(p.stat().st_size for p in page.rglob("*") if p.is_file()) < 3_000_000
    got = in_browser(page, "index.html", (SCRIPTS / "page.js").read_text())
    assert "error" not in got, got
    assert got["unnamed"] == 0

    model = undertow.load(page / "detector.tow")
    inputs = numbers(got["inputs"]).reshape(-1, *next(iter(model.inputs.values())).shape)
    expected = model.stream().run(inputs)
    assert same(got["probabilities"], expected)

    manifest = json.loads((page / "manifest.json").read_text())
    speaks = expected.ravel() > 0.5
    times = (np.arange(len(speaks)) + 0.5) * manifest["detector"]["hop"] / manifest["rate"]

    def within(segments):
        return np.any([(times > begin) & (times < end) for begin, end in segments], axis=0)

    shown = within([(s["begin"], s["end"]) for s in got["segments"]])
    assert np.all(shown[speaks]) and shown.mean() < speaks.mean() + 0.1
    if manifest.get("truth"):
        assert (within(manifest["truth"]) == shown).mean() > 0.9
    if got["cleaned"]:
        cleaned, sound = numbers(got["cleaned"]), np.frombuffer((page / "sound.s16").read_bytes(), "<i2") / 32768
        quiet, loud = slice(0, 6000), slice(16000, 40000)  # before anybody speaks, and while somebody does
        assert np.square(cleaned[quiet]).mean() < 0.02 * np.square(sound[quiet]).mean()
        assert np.square(cleaned[loud]).mean() > 0.2 * np.square(sound[loud]).mean()


SAID = """(async () => {
  const words = (id) => document.getElementById(id).textContent;
  if (/^Loading/.test(words('said'))) return null;
  if (%s) {
    if (document.getElementById('microphone').disabled) return null;
    const none = new DOMException('Requested device not found', 'NotFoundError');
    navigator.mediaDevices.getUserMedia = () => Promise.reject(none);
    document.getElementById('microphone').click();
    while (words('said') !== 'Not listening.') await new Promise((done) => setTimeout(done, 20));
  }
  const listens = !document.getElementById('microphone').disabled, plays = !document.getElementById('play').disabled;
  return { error: words('error'), said: words('said'), about: words('about'), listens, plays };
})()"""


@needs_chromium
def test_the_demo_page_says_what_it_lacks(tmp_path, dist, monkeypatch):
    monkeypatch.delenv("UNDERTOW_MODELS", raising=False)
    page = tmp_path / "page"
    subprocess.run([sys.executable, str(PACKAGE / "demo/build.py"), "--out", str(page)], check=True)
    assert 'rel="icon" href="data:' in (page / "index.html").read_text()
    whole = json.loads((page / "manifest.json").read_text())
    denoised = {**whole, "denoiser": {"file": "none.tow", "kind": "bins", "size": 512, "hop": 256, "window": []}}
    (page / "manifest.json").write_text(json.dumps(denoised))
    got = in_browser(page, "index.html", SAID % "true")
    assert "Without the denoiser. FETCH" in got["error"] and "There is no microphone" in got["error"], got
    assert got["listens"] and got["plays"] and got["about"].startswith("speech, "), got

    (page / "manifest.json").write_text(json.dumps(whole))
    sound = (page / "sound.s16").read_bytes()
    for cut, words in ((sound[:1001], "1001 bytes"), (None, "404")):
        if cut is None:
            (page / "sound.s16").unlink()
        else:
            (page / "sound.s16").write_bytes(cut)
        got = in_browser(page, "index.html", SAID % "true")
        assert "Without the recording. FETCH: sound.s16" in got["error"] and words in got["error"], got
        assert not got["plays"] and "Not listening" in got["said"], got
    for text in (None, "<html>"):
        if text is None:
            (page / "manifest.json").unlink()
        else:
            (page / "manifest.json").write_text(text)
        got = in_browser(page, "index.html", SAID % "false")
        assert got["error"].startswith("FETCH: manifest.json") and "build.py" in got["error"] and not got["listens"], (
            got
        )


@needs_chromium
def test_an_audio_worklet(tmp_path, dist):
    shutil.copytree(PACKAGE, tmp_path / "page", ignore=shutil.ignore_patterns("demo"))
    shutil.copy(undertow.example("digits"), tmp_path / "page/examples/audioworklet/model.tow")
    got = in_browser(tmp_path / "page", "examples/audioworklet/test.html", "window.result")
    x = np.array([-1, -0.5, 0.25, 0, 3, 0.125, 1, 2], np.float32)
    expected = undertow.load(undertow.example("digits")).stream().step(x)
    assert struct.pack("<10f", *got["y"]) == expected.tobytes(), got
    assert got["isa"] in ("scalar", "wasm", "wasmrelaxed")

    (tmp_path / "page/examples/audioworklet/cut.tow").write_bytes(undertow.example("digits").read_bytes()[:3000])
    for model, status, words in (("cut.tow", "UT_E_FORMAT", "truncated"), ("none.tow", "FETCH", "404")):
        got = in_browser(tmp_path / "page", f"examples/audioworklet/test.html?model={model}", "window.result")
        assert got["error"]["status"] == status and words in got["error"]["message"], got


LISTENING = """<!doctype html>
<script type="module">
  import { connect } from './page.js';
  const context = new OfflineAudioContext(1, 128, 16000), buffer = context.createBuffer(1, 128, 16000);
  buffer.copyToChannel(Float32Array.from({ length: 128 }, (_, i) => (i * 37 % 128) / 128 - 0.5), 0);
  const source = context.createBufferSource(), heard = [];
  source.buffer = buffer;
  try {
    await connect(context, source, (data) => {
      if (data.error) window.result = data;
      else if (heard.push([...data.y]) === 16) window.result = heard;
    });
    source.start();
    await context.startRendering();
  } catch (error) {
    window.result = String(error);
  }
</script>
"""


@needs_chromium
def test_the_audio_worklet_of_the_page_of_documentation(tmp_path, dist):
    page_files(tmp_path)
    (tmp_path / "index.html").write_text(LISTENING)
    assert "404" in in_browser(tmp_path, "index.html", "window.result")
    digits = undertow.example("digits").read_bytes()
    (tmp_path / "model.tow").write_bytes(digits)
    x = ((np.arange(128) * 37 % 128) / 128 - 0.5).astype(np.float32).reshape(16, 8)
    got = np.float32(in_browser(tmp_path, "index.html", "window.result"))
    assert got.tobytes() == undertow.load(digits).stream().run(x).tobytes()
    (tmp_path / "model.tow").write_bytes(digits[:3000])
    assert in_browser(tmp_path, "index.html", "window.result")["error"]["status"] == "UT_E_FORMAT"


REFUSED = """
import { load, runnable, UndertowError } from './undertow/index.js';
const said = {};
const cases = CASES;
const words = (e) => (e instanceof UndertowError ? [e.status, e.message, e.cause?.name] : String(e));
for (const [name, source] of Object.entries(cases)) said[name] = await load(source).then(() => 'loaded', words);
window.result = { said, runs: runnable() };
"""


class Cut(http.server.BaseHTTPRequestHandler):
    """Says 6464 bytes and sends 3000; lets any page read them at /allowed."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "6464")
        if self.path == "/allowed":
            self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        self.wfile.write(bytes(3000))

    def log_message(self, *_):
        pass


@needs_chromium
@pytest.mark.parametrize("policy", ["", "script-src 'self'"])
def test_what_does_not_come_or_may_not_run_in_a_browser(policy, tmp_path, dist):
    shutil.copytree(PACKAGE, tmp_path / "undertow", ignore=shutil.ignore_patterns("demo"))
    shutil.copy(undertow.example("digits"), tmp_path / "model.tow")
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">' if policy else ""
    (tmp_path / "index.html").write_text(f'<!doctype html>{meta}<script type="module" src="refused.js"></script>')
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cut)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        at = f"http://127.0.0.1:{server.server_port}"
        cases = {"whole": "model.tow", "cut": f"{at}/allowed", "forbidden": f"{at}/", "nobody": "http://127.0.0.1:1/"}
        (tmp_path / "refused.js").write_text(REFUSED.replace("CASES", json.dumps(cases)))
        got = in_browser(tmp_path, "index.html", "window.result")
    finally:
        server.shutdown()
        server.server_close()
    if policy:
        assert got["runs"] == [] and "wasm-unsafe-eval" in got["said"]["whole"][1], got
        assert got["said"]["whole"][0] == "UT_E_ISA" and got["said"]["whole"][2] == "CompileError", got
        return
    assert got["said"].pop("whole") == "loaded", got
    assert [said[0] for said in got["said"].values()] == ["FETCH"] * 3, got
    assert all(said[2] == "TypeError" for said in got["said"].values()), got
    assert "broke off" in got["said"]["cut"][1] and "CORS" in got["said"]["forbidden"][1], got

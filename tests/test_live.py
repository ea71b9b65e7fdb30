# SPDX-License-Identifier: MIT
"""undertow run --live, with a sound card that is made of Python: what it hears, plays, reports, and how it ends."""

import json
import os
import signal
import sys
import threading
import time
import types
from importlib.util import find_spec

import numpy as np
import pytest

import undertow
from sounds import detect, detector, failed, noise, written_out
from test_sound import mirror
from test_sound_pipes import loudness
from tolerances import FLOAT32_MODEL
from undertow import audio
from undertow.cli import _live
from undertow.cli._live import Ring

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

needs_soxr = pytest.mark.skipif(find_spec("soxr") is None, reason="needs soxr: pip install soxr")


class PortAudioError(Exception):
    pass


class Card:
    """A sound card that has said `sound` (T, channels) at `rate`, and what was played on it."""

    def __init__(self, sound, rate, block=50, at_end=None):
        self.sound, self.rate, self.block = sound.reshape(len(sound), -1), rate, block
        self.at_end = at_end  # called when all was said
        self.overflow_at = None
        self.blocks_played = None  # how many a loudspeaker plays until it stops
        self.refuses = ()  # streams that do not open
        self.devices = 2
        self.closes = lambda: None
        self.played, self.opened, self.closed = [], [], 0

    def module(self):
        module = types.ModuleType("sounddevice")
        card = self

        def query_devices(device=None, kind=None):
            devices = [
                {"name": "mic\x1b[2J one", "max_input_channels": card.sound.shape[1], "max_output_channels": 0},
                {"name": "box", "max_input_channels": 0, "max_output_channels": 2},
            ]
            devices = devices[: card.devices]
            if kind is not None and not devices:
                raise PortAudioError("Error querying device -1")
            for entry in devices:
                entry["default_samplerate"] = float(card.rate)
            if kind is None:
                return devices
            if device not in (None, 0, 1, "mic", "box"):
                raise ValueError(f"No {kind} device matching {device!r}")
            return devices[{0: 0, 1: 1, "mic": 0, "box": 1}.get(device, kind == "output")]

        def check(device=None, channels=None, dtype=None, samplerate=None):
            assert dtype == "float32"
            if samplerate != card.rate:
                raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")

        class Stream:
            latency = 0.01

            def __init__(self, device, channels, samplerate, dtype, latency, callback):
                if type(self).__name__ in card.refuses:
                    raise PortAudioError("Device unavailable [PaErrorCode -9985]")
                card.opened.append((type(self).__name__, device, channels, samplerate))
                self.channels, self.callback, self.running = channels, callback, False
                self.thread = threading.Thread(target=self.work, daemon=True)

            def start(self):
                self.running = True
                self.thread.start()

            def stop(self):
                self.running = False
                if self.thread.is_alive() and threading.current_thread() is not self.thread:
                    self.thread.join()

            def close(self):
                card.closes()
                self.stop()
                card.closed += 1

            def __enter__(self):
                self.start()
                return self

            def __exit__(self, *_):
                self.close()

        class InputStream(Stream):
            def work(self):
                for at in range(0, len(card.sound), card.block):
                    if not self.running:
                        return
                    data = card.sound[at : at + card.block, : self.channels].copy()
                    overflow = card.overflow_at is not None and at <= card.overflow_at < at + card.block
                    self.callback(data, len(data), None, types.SimpleNamespace(input_overflow=overflow))
                    data[:] = np.nan  # whoever keeps the array of a callback hears what comes next
                    time.sleep(0.0005)
                if card.at_end is not None:
                    card.at_end()

        class OutputStream(Stream):
            def work(self):
                while self.running and len(card.played) != card.blocks_played:
                    out = np.full((card.block, self.channels), np.nan, np.float32)
                    self.callback(out, len(out), None, types.SimpleNamespace(output_underflow=False))
                    card.played.append(out)
                    time.sleep(0.0005)

        module.query_devices, module.PortAudioError = query_devices, PortAudioError
        module.check_input_settings = module.check_output_settings = check
        module.InputStream, module.OutputStream = InputStream, OutputStream
        return module


@pytest.fixture
def card(monkeypatch):
    def plug(sound, rate=8000, **options):
        made_up = Card(sound, rate, **options)
        monkeypatch.setitem(sys.modules, "sounddevice", made_up.module())
        return made_up

    return plug


def rows(text):
    return np.array([[np.float32(v) for v in line.split(",")] for line in text.splitlines()], np.float32)


def test_a_microphone_is_heard(cli, card, tmp_path):
    x = noise(800)
    plugged = card(x)
    code, out, err = cli("run", detector(tmp_path), "--live", "--rate", 8000, "--frame", 8, "--seconds", 0.1)
    assert code == 0, err
    assert np.abs(rows(out) - detect(written_out(x, 8, 4, 8, True))[0]).max() < FLOAT32_MODEL
    said, report = err.splitlines()
    assert "hearing mic\\x1b[2J one at 8000 Hz" in said, "names of devices are shown, not obeyed"
    assert "an answer every 1 ms, 11 ms after the sound" in said, "10 ms of the device, and a frame"
    assert report.startswith("undertow: 0.1 s heard, 100 frames; answering took ")
    assert plugged.opened == [("InputStream", None, 1, 8000)] and plugged.closed == 1


def test_seconds_end_in_the_middle_of_a_block(cli, card, tmp_path):
    x = noise(800)
    card(x, block=77)
    given = [detector(tmp_path), "--live", "--rate", 8000, "--frame", 8, "-o", tmp_path / "y.npy"]
    assert cli("run", *given, "--seconds", 333 / 8000)[0] == 0
    expected = detect(written_out(x[:333], 8, 4, 8, True))[0]
    assert np.abs(np.load(tmp_path / "y.npy") - expected).max() < FLOAT32_MODEL


def test_ctrl_c_ends_it_and_keeps_what_came(cli, card, tmp_path):
    x = noise(700) / 4
    card(x, at_end=lambda: (time.sleep(0.3), os.kill(os.getpid(), signal.SIGINT)))
    before = signal.getsignal(signal.SIGINT)
    given = ["--live", "--rate", 8000, "--stft", "8,4", "-o", tmp_path / "y.wav"]
    code, _, err = cli("run", mirror(tmp_path, (5, 2)), *given)
    assert code == 0 and "0.1 s heard, 176 frames" in err
    y, rate = audio.read(tmp_path / "y.wav")
    assert rate == 8000 and len(y) == 700 and np.abs(y[:, 0] - x).max() < 2 / 32768
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_ends_it_and_keeps_what_came(cli, card, tmp_path):
    card(noise(700) / 4, at_end=lambda: (time.sleep(0.1), os.kill(os.getpid(), signal.SIGTERM)))
    given = [mirror(tmp_path, (1,)), "--live", "--rate", 8000, "-o", tmp_path / "y.wav", "--json"]
    code, out, err = cli("run", *given)
    assert code == 143 and "ended by SIGTERM; what came before it is in" in err
    assert json.loads(out)["ended_by"] == "SIGTERM" and json.loads(out)["frames"] == 700
    assert len(audio.read(tmp_path / "y.wav")[0]) == 700


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(_live, "_STOPPED", 0.2)
    monkeypatch.setattr(_live, "_STARTING", 0.2)


def test_a_microphone_that_stops_ends_it_and_what_came_is_kept(cli, card, tmp_path, impatient):
    x = noise(800) / 4
    plugged = card(x)
    given = [mirror(tmp_path, (1,)), "--live", "--rate", 8000, "--seconds", 60, "-o", tmp_path / "y.wav"]
    result = cli("run", *given)
    failed((result[0], result[1], result[2].splitlines()[-1]), 3, "microphone: mic", "has stopped", "y.wav")
    assert np.abs(audio.read(tmp_path / "y.wav")[0][:, 0] - x).max() < 2 / 32768 and plugged.closed == 1
    before = (tmp_path / "y.wav").read_bytes()
    plugged.sound = plugged.sound[:0]
    code, _, err = cli("run", *given)
    assert code == 3 and "does not begin" in err and "y.wav" not in err
    assert (tmp_path / "y.wav").read_bytes() == before, "nothing was heard that could replace it"


def test_a_driver_that_hangs_is_not_waited_for(cli, card, tmp_path, impatient, monkeypatch):
    monkeypatch.setattr(_live, "_CLOSING", 0.1)
    at_exit, hung = [], threading.Event()
    monkeypatch.setattr(_live.atexit, "register", at_exit.append)
    plugged = card(noise(800) / 4)
    plugged.closes = hung.wait
    given = [mirror(tmp_path, (1,)), "--live", "--rate", 8000, "-o", tmp_path / "y.wav"]
    code, _, err = cli("run", *given)
    hung.set()
    assert code == 3 and "mic\\x1b[2J one does not close, its driver hangs" in err and "has stopped" in err
    assert len(audio.read(tmp_path / "y.wav")[0]) == 800 and at_exit == [_live._leave]


def test_a_loudspeaker_that_stops_ends_it(cli, card, tmp_path, impatient):
    plugged = card(noise(8000) / 4, block=5)
    plugged.blocks_played = 3
    given = [mirror(tmp_path, (1,)), "--live", "--play", "--rate", 8000, "-o", tmp_path / "y.wav"]
    code, _, err = cli("run", *given)
    assert code == 3 and "loudspeaker: box has stopped" in err and plugged.closed == 2
    assert len(audio.read(tmp_path / "y.wav")[0]) > 5


def test_a_pause_of_the_program_is_none_of_the_device(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pulse = _live.Pulse()
    pulse.n_calls = 1
    now[0] += 3600  # as of a laptop that was closed
    assert not pulse.fault()
    now[0] += 3600
    assert not pulse.fault()
    for _ in range(12):
        now[0] += 0.1
        fault = pulse.fault()
    assert "has stopped" in fault
    pulse.n_calls = 2
    assert not pulse.fault()


def test_devices_that_do_not_open(cli, card, tmp_path):
    given = ["run", mirror(tmp_path, (1,)), "--live", "--play", "--rate", 8000]
    plugged = card(noise(80))
    for kind, option in (("InputStream", "--live: mic"), ("OutputStream", "--play: box")):
        plugged.refuses = (kind,)
        failed(cli(*given), 3, option, "does not open: Device unavailable", "--list-devices")
    failed(cli(*given, "--device", "box"), 2, "--device box: box has no input channels", "--list-devices")
    failed(cli(*given, "--device", "mic,mic"), 2, "--device mic: mic", "has no output channels")
    plugged.devices = 0
    failed(cli(*given), 3, "--live needs a microphone", "no sound device")
    code, out, err = cli("run", "--list-devices")
    assert (code, out) == (0, "") and "PortAudio sees no sound device" in err


def test_sound_is_played(cli, card, tmp_path):
    x = noise(2000) / 4
    plugged = card(x)
    given = ["--live", "--play", "--rate", 8000, "--stft", "8,4", "--seconds", 0.25, "--device", "mic,box"]
    code, out, err = cli("run", mirror(tmp_path, (5, 2)), *given)
    assert (code, out) == (0, ""), err
    played = np.concatenate(plugged.played)[:, 0]
    assert np.isfinite(played).all(), "all of each block is filled"
    heard = played[played != 0]  # a busy machine may be late, and silence stands between then
    assert len(heard) == 2000 and np.abs(heard - x).max() < 1e-5
    assert sorted(plugged.opened) == [("InputStream", "mic", 1, 8000), ("OutputStream", "box", 1, 8000)]
    assert plugged.closed == 2


@needs_soxr
def test_a_device_at_another_rate_is_resampled(cli, card, tmp_path):
    x = noise(4410) / 4
    plugged = card(x, rate=44100)
    model = mirror(tmp_path, (4,), rate=16000)
    given = ["--live", "--play", "--frame", 4, "--seconds", 0.1, "-o", tmp_path / "y.wav"]
    code, _, err = cli("run", model, *given)
    assert code == 0 and "microphone: resampled from 44100 Hz to 16000 Hz" in err and "at 44100 Hz" in err
    y, rate = audio.read(tmp_path / "y.wav")
    expected = audio.resample(x, 44100, 16000)
    assert rate == 16000 and len(y) == len(expected)
    assert np.abs(y[:, 0] - expected.clip(-1, 1)).max() < 1 / 32768
    assert {entry[3] for entry in plugged.opened} == {44100}


def test_channels_of_a_device(cli, card, tmp_path):
    x = noise(80, 3)
    given = [mirror(tmp_path, (1,)), "--live", "--rate", 8000, "--seconds", 0.01]
    for channel, expected, n in ((0, x[:, 0], 1), (2, x[:, 2], 3), ("mix", x.mean(1, dtype=np.float64), 3)):
        plugged = card(x)
        code, out, err = cli("run", *given, "--channel", channel)
        assert code == 0, err
        assert np.abs(rows(out)[:, 0] - expected).max() < 1e-7 and plugged.opened[0][2] == n
    failed(cli("run", *given, "--channel", 3), 2, "--channel 3", "3 channels")


def test_segments_and_pictures_of_what_is_heard(cli, card, tmp_path):
    x = np.zeros(16000, np.float32)
    x[3000:9000] = 0.9
    card(x, rate=16000, block=400)
    given = ["--live", "--seconds", 1, "--frame", 4, "--segments", "-", "--speech-pad", 0]
    if find_spec("matplotlib"):
        given += ["--plot", tmp_path / "y.png"]
    code, out, err = cli("run", loudness(tmp_path), *given)
    assert (code, out) == (0, "0.188 0.562\n"), err
    assert not find_spec("matplotlib") or (tmp_path / "y.png").stat().st_size > 5000


def test_what_was_lost_is_told(cli, card, tmp_path):
    plugged = card(noise(800))
    plugged.overflow_at = 300
    code, _, err = cli("run", detector(tmp_path), "--live", "--rate", 8000, "--frame", 8, "--seconds", 0.1)
    assert code == 0 and "microphone: 1 overruns of the device, and 0 s lost" in err


def test_a_ring_keeps_what_there_is_room_for():
    ring, said, heard = Ring(10, 2), [], []
    rng, n_said = np.random.default_rng(3), 0
    for _ in range(500):
        n = int(rng.integers(0, 15))
        x = np.arange(n_said, n_said + n, dtype=np.float32)[:, None] * [1, -1]
        room = 10 - len(ring)
        ring.write(x.astype(np.float32))
        said.append(x[:room])
        n_said += n
        heard.append(ring.read(int(rng.integers(0, 12))))
    heard.append(ring.read(10))
    assert len(ring) == 0 and np.array_equal(np.concatenate(said), np.concatenate(heard))
    assert ring.n_lost == n_said - len(np.concatenate(said)) and ring.n_missing == 0
    ring.write(np.ones((3, 2), np.float32))
    out = np.full((5, 2), np.nan, np.float32)
    ring.read_into(out)
    assert out[:, 0].tolist() == [1, 1, 1, 0, 0] and ring.n_missing == 2


def test_devices_are_listed(cli, card):
    card(noise(8, 2), rate=48000)
    code, out, _ = cli("run", "--list-devices")
    assert code == 0
    assert out.splitlines() == ["  0  mic\\x1b[2J one  2 in, 0 out, 48000 Hz", "  1  box  0 in, 2 out, 48000 Hz"]
    devices = json.loads(cli("run", "--list-devices", "--json")[1])["devices"]
    assert devices[1] == {"number": 1, "name": "box", "inputs": 0, "outputs": 2, "rate": 48000}


def test_options_of_live_sound(cli, card, tmp_path, monkeypatch):
    card(noise(80))
    model = detector(tmp_path)
    live = [model, "--live", "--rate", 8000, "--frame", 8]
    for argv, *words in (
        ([model, "--play"], "--play is for --live"),
        ([model, "--device", "1"], "--device is for --live"),
        ([model, "--seconds", "1"], "--seconds is for --live"),
        ([model, "x.wav", "--live"], "x.wav", "leave one of them out"),
        ([detector(tmp_path, rate=None), "--live", "--frame", 8], "does not state the rate", "--rate HZ"),
        ([*live, "--raw", "s16le"], "--raw is for -o -"),
        ([*live, "--device", "usb"], "--device usb", "--list-devices"),
        ([*live, "--device", "0,1,2"], "IN,OUT"),
        ([loudness(tmp_path), "--live", "--rate", 8000], "16000 Hz"),
        ([loudness(tmp_path), "--live", "--play", "--frame", 4, "--channel", 9], "--channel 9"),
    ):
        failed(cli("run", *argv), 2, *words)
    code, _, err = cli("run", mirror(tmp_path, (4,)), "--live", "--rate", 8000, "--frame", 2, "--context", 2, "--play")
    assert code == 2 and "frames overlap" in err
    assert cli("run", *live, "--seconds", 0)[0] == 2
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    failed(cli("run", *live), 3, 'pip install "undertow[live]"')
    code, _, err = cli("run", "--list-devices")
    assert code == 2 and 'pip install "undertow[live]"' in err

    class Finder:
        def find_spec(self, name, *_):
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    failed(cli("run", *live), 3, "libportaudio2", "PortAudio library not found")


def test_a_denoiser_hears_and_plays(models_dir, cli, card, tmp_path):
    folder = models_dir / "stage2" / "gtcrn"
    mixed = audio.load(folder / "mix.wav", 16000)[:16000]
    card(mixed, rate=16000, block=160)
    given = ["--live", "--play", "--rate", 16000, "--stft", "512,256", "--seconds", 1, "-o", tmp_path / "y.wav"]
    assert cli("run", folder / "gtcrn_simple.onnx", *given)[0] == 0
    model = undertow.load(folder / "gtcrn_simple.onnx")
    expected = audio.istft(model.run(audio.stft(mixed)))[:16000]
    assert np.abs(audio.read(tmp_path / "y.wav")[0][:, 0] - expected).max() < 1 / 32768

# SPDX-License-Identifier: MIT
"""--live: a microphone as the source of frames, and a loudspeaker as the place of what a model gives as sound."""

from __future__ import annotations

import argparse
import atexit
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np

from .. import audio
from .._text import shown
from ..errors import Error
from ..inspect import machine
from ._common import Answer, UsageError, positive_float, say, warn
from ._hearing import Hearing, hearing_of
from ._outputs import SoundSink
from ._signals import Stop
from ._sources import Pieces, Source

#: Seconds that a ring holds: so long may a pause of this program be.
_HELD = 4.0
#: Seconds between two looks at a ring where nothing wakes us.
_LOOK = 0.05
#: Seconds without a call from a device after which it has stopped; until its first call, some take longer.
_STOPPED, _STARTING = 1.0, 3.0
#: Seconds that a device may take to close.
_CLOSING = 2.0


class DeviceError(Error):
    """A sound device does not do what it was opened for."""


class Pulse:
    """Whether a device still calls us.

    Attributes:
        n_calls: calls so far; only the device's thread counts.
    """

    def __init__(self) -> None:
        self.n_calls = self._n_seen = 0
        self._quiet, self._looked = 0.0, time.monotonic()

    def fault(self) -> str:
        """What is wrong, where it has been quiet for too long, or "". To be asked again and again."""
        now = time.monotonic()
        if self.n_calls != self._n_seen:
            self._n_seen, self._quiet = self.n_calls, 0.0
        # A program that was at work or held up between two looks cannot say that the device was quiet meanwhile.
        self._quiet += min(now - self._looked, 2 * _LOOK)
        self._looked = now
        if self._quiet <= (_STOPPED if self._n_seen else _STARTING):
            return ""
        if not self._n_seen:
            return f"does not begin: no call from it in {_STARTING:g} s"
        return f"has stopped, as if it was unplugged: no call from it in {_STOPPED:g} s"


class Ring:
    """Samples between a callback of the sound system, which may not wait nor ask for memory, and the program.

    One thread writes and one reads; each moves its own count alone.

    Attributes:
        n_lost: samples that found no room. n_missing: samples that were asked for and not there.
    """

    def __init__(self, n: int, channels: int) -> None:
        self._samples = np.zeros((n, channels), np.float32)
        self._n_written = self._n_read = 0
        self.n_lost = self.n_missing = 0

    def __len__(self) -> int:
        return self._n_written - self._n_read

    def write(self, samples: np.ndarray) -> None:
        """Take samples (T, channels), those that there is room for."""
        n = min(len(samples), len(self._samples) - len(self))
        self.n_lost += len(samples) - n
        at = self._n_written % len(self._samples)
        first = min(n, len(self._samples) - at)
        self._samples[at : at + first] = samples[:first]
        self._samples[: n - first] = samples[first:n]
        self._n_written += n

    def read(self, n: int) -> np.ndarray:
        """At most n samples, those that are there."""
        samples = np.zeros((min(n, len(self)), self._samples.shape[1]), np.float32)
        self.read_into(samples)
        return samples

    def read_into(self, out: np.ndarray) -> None:
        """Fill `out` (T, channels), with zeros behind what is there."""
        n = min(len(out), len(self))
        self.n_missing += len(out) - n
        at = self._n_read % len(self._samples)
        first = min(n, len(self._samples) - at)
        out[:first] = self._samples[at : at + first]
        out[first:n] = self._samples[: n - first]
        out[n:] = 0.0
        self._n_read += n


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --live, --play, --seconds, --device and --list-devices."""
    add = parser.add_argument_group("live sound", 'With undertow[live]: pip install "undertow[live]".').add_argument
    add("--live", action="store_true", help="hear a microphone in place of INPUT; Ctrl-C ends it")
    add("--play", action="store_true", help="with --live: play what the model gives as sound (use headphones)")
    add("--seconds", type=positive_float, metavar="S", help="with --live: end after so many seconds")
    add(
        "--device",
        metavar="IN[,OUT]",
        help="with --live: microphone and loudspeaker, by number or a part of their name (default: the system's)",
    )
    add("--list-devices", action=_List, nargs=0, help="print what --device may be, and stop")


class _List(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        try:
            sd = library()
        except ImportError as error:
            parser.error(str(error))
        try:
            devices = [*sd.query_devices()]
        except sd.PortAudioError as error:
            raise DeviceError(f"--list-devices: PortAudio does not say: {error}") from None
        if not devices:
            say(f"undertow: --list-devices: {_NONE_AT_ALL}", file=sys.stderr)
        rows, facts = [], []
        for n, device in enumerate(devices):
            n_in, n_out, rate = (
                device[key] for key in ("max_input_channels", "max_output_channels", "default_samplerate")
            )
            rows.append(f"{n:3}  {shown(device['name'])}  {n_in} in, {n_out} out, {rate:.0f} Hz")
            facts.append({"number": n, "name": device["name"], "inputs": n_in, "outputs": n_out, "rate": rate})
        raise Answer({"devices": facts}, "\n".join(rows))


#: what PortAudio says in no words
_NONE_AT_ALL = (
    "PortAudio sees no sound device: none is plugged in, or this system (a container, a server) has none, or this user "
    "may not open it"
)


def library() -> Any:
    """The module sounddevice.

    Raises:
        ImportError: it, or the PortAudio that it stands on, is missing.
    """
    try:
        import sounddevice
    except ImportError:
        raise ImportError('--live needs sounddevice: pip install "undertow[live]"') from None
    except OSError as error:
        raise ImportError(f"--live needs PortAudio: {machine.install_line('portaudio')} ({error})") from None
    return sounddevice


def refuse_without(args: argparse.Namespace) -> None:
    """Options of --live mean nothing without it."""
    for name in ("play", "seconds", "device"):
        if not args.live and getattr(args, name):
            raise UsageError(f"--{name} is for --live, which is missing")


def _devices(args: argparse.Namespace) -> tuple[Any, Any]:
    words = [word.strip() or None for word in (args.device or "").split(",")]
    if len(words) > 2:
        raise UsageError(f"--device {args.device}: expected IN or IN,OUT; names with commas by number")
    numbers = [int(word) if word and word.isdecimal() else word for word in words]
    return numbers[0], numbers[-1] if len(numbers) == 2 else None


def _asked(sd: Any, device: Any, kind: str) -> Any:
    what = "a microphone" if kind == "input" else "a loudspeaker"
    given = "" if device is None else f" {device}"
    try:
        info = sd.query_devices(device, kind)
    except (ValueError, sd.PortAudioError) as error:
        if not [*sd.query_devices()]:
            raise DeviceError(f"--live needs {what}: {_NONE_AT_ALL}") from None
        raise UsageError(f"--device{given}: no such {kind}: {error}; --list-devices shows {what}") from None
    if info[f"max_{kind}_channels"] < 1:
        raise UsageError(f"--device{given}: {info['name']} has no {kind} channels; --list-devices shows {what}")
    return info


def _rate_of(sd: Any, kind: str, device: Any, channels: int, wanted: int, info: Any) -> int:
    """The rate that is wanted, where the device has it, or else its own."""
    check = sd.check_input_settings if kind == "input" else sd.check_output_settings
    try:
        check(device=device, channels=channels, dtype="float32", samplerate=wanted)
    except (ValueError, sd.PortAudioError):
        return int(info["default_samplerate"])
    return wanted


def _begun(sd: Any, option: str, name: str, kind: Any, **settings: Any) -> Any:
    """An open stream of a device, of sounddevice's kind."""
    try:
        return kind(**settings)
    except (ValueError, sd.PortAudioError) as error:
        raise _refused(option, name, error) from None


def _start(sd: Any, option: str, name: str, stream: Any) -> None:
    try:
        stream.start()
    except sd.PortAudioError as error:
        raise _refused(option, name, error) from None


def _refused(option: str, name: str, error: Exception) -> DeviceError:
    return DeviceError(
        f"{option}: {shown(name)} does not open: {error}; it was unplugged, or another program has it; "
        "--list-devices shows what --device may be"
    )


@contextmanager
def _closed(stream: Any, name: str) -> Iterator[None]:
    """Close it at the end. A driver that hangs cannot be waited for, neither here nor when PortAudio is left."""

    def close() -> None:
        with suppress(Exception):  # a device that was pulled out
            stream.stop()
        with suppress(Exception):
            stream.close()

    try:
        yield
    finally:
        closing = threading.Thread(target=close, daemon=True)
        closing.start()
        closing.join(_CLOSING)
        if closing.is_alive():
            warn(f"{name} does not close, its driver hangs")
            atexit.register(_leave)


def _leave() -> None:
    """Before the handlers of sounddevice, which would wait for the driver."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(3)


class Microphone:
    """A microphone while it is heard, and how well that goes."""

    def __init__(self, args: argparse.Namespace, model: Any) -> None:
        if args.input != "-":
            raise UsageError(f"--live hears a microphone in place of {args.input}; leave one of them out")
        if args.raw is not None and args.output != "-":
            raise UsageError("--raw: a microphone says itself what it gives; with --live, --raw is for -o - alone")
        wanted = args.rate or model.sample_rate
        if wanted is None:
            raise UsageError("--live: the file of the model does not state the rate that it hears; give it: --rate HZ")
        self._sd, (self._device, _) = library(), _devices(args)
        self._info = _asked(self._sd, self._device, "input")
        n_most = int(self._info["max_input_channels"])
        channel = args.channel
        channels = n_most if channel == "mix" else 1 if channel is None else int(channel) + 1
        if channels > n_most:
            raise UsageError(f"--channel {channel}: {self._info['name']} has {n_most} channels")
        rate = _rate_of(self._sd, "input", self._device, channels, wanted, self._info)
        self.hearing: Hearing = hearing_of("microphone", channels, rate, model, args, live=True)
        self._ring = Ring(int(_HELD * rate), channels)
        self._awake, self.stop = threading.Event(), Stop()
        self._pulse, self.fault = Pulse(), ""
        self.speaker: Speaker | None = None
        self._n_wanted = None if args.seconds is None else round(args.seconds * rate)
        self._n_overruns, self._n_heard, self._n_frames = 0, 0, 0
        self._busy = self._longest = 0.0
        self._late = model.latency * self.hearing.hop / self.hearing.rate

    def _callback(self, samples: np.ndarray, _: int, __: Any, status: Any) -> None:
        if status.input_overflow:
            self._n_overruns += 1
        self._pulse.n_calls += 1
        self._ring.write(samples)
        self._awake.set()

    def pieces(self) -> Pieces:
        """Frames as they come, until a signal, --seconds, or the end of a device."""
        hearing, rate = self.hearing, self.hearing.source_rate
        opened = _begun(
            self._sd, "--live", self._info["name"], self._sd.InputStream,
            device=self._device, channels=self._ring.read(0).shape[1], samplerate=rate, dtype="float32",
            latency="low", callback=self._callback,
        )  # fmt: skip
        with self.stop.watching(), _closed(opened, self._info["name"]):
            _start(self._sd, "--live", self._info["name"], opened)
            late = float(opened.latency) + hearing.latency + self._late
            say(
                f"undertow: hearing {shown(self._info['name'])} at {rate} Hz, an answer every "
                f"{1000 * hearing.hop / hearing.rate:.3g} ms, {1000 * late:.3g} ms after the sound; Ctrl-C ends",
                file=sys.stderr,
            )
            while not self.stop.asked and self._n_heard != self._n_wanted:
                self._awake.wait(_LOOK)
                self._awake.clear()
                samples = self._ring.read(len(self._ring))
                if self._n_wanted is not None:
                    samples = samples[: self._n_wanted - self._n_heard]
                if len(samples):
                    self._n_heard += len(samples)
                    yield from self._answered(hearing.push(samples))
                elif fault := self._pulse.fault():
                    self.fault = f"microphone: {shown(self._info['name'])} {fault}"
                    break
                if self.speaker is not None and (fault := self.speaker.fault()):
                    self.fault = f"loudspeaker: {shown(self.speaker.name)} {fault}"
                    break
        yield from self._answered(hearing.flush())

    def _answered(self, frames: np.ndarray) -> Pieces:
        before = time.perf_counter()
        yield {self.hearing.name: frames}
        spent = time.perf_counter() - before
        self._n_frames += len(frames)
        self._busy += spent
        self._longest = max(self._longest, spent)

    def require_sound(self) -> None:
        """Raises DeviceError: a device has stopped before anything was heard."""
        if self.fault and not self._n_heard:
            raise DeviceError(self.fault)

    def report(self, speaker: Speaker | None) -> None:
        """A line about how it went, and what was lost."""
        seconds = self._n_heard / self.hearing.source_rate
        say(
            f"undertow: {seconds:.1f} s heard, {self._n_frames} frames; answering took "
            f"{self._busy / max(seconds, 1e-9):.1%} of the time, {1000 * self._longest:.3g} ms at the longest",
            file=sys.stderr,
        )
        if self._n_overruns or self._ring.n_lost:
            lost = self._ring.n_lost / self.hearing.source_rate
            warn(
                f"microphone: {self._n_overruns} overruns of the device, and {lost:.3g} s lost while answers took long"
            )
        if speaker is not None and speaker.n_missing:
            warn(f"loudspeaker: {speaker.n_missing / speaker.device_rate:.3g} s of silence where sound came too late")


class Speaker(SoundSink):
    """A loudspeaker."""

    def __init__(self, args: argparse.Namespace, hearing: Hearing, model: Any, stack: ExitStack) -> None:
        if len(model.outputs) > 1:
            raise UsageError(f"--play: the model has {len(model.outputs)} outputs; expected one, of sound")
        super().__init__(hearing, model, args.overlap_add, "leave --play out")
        self._sd, (_, device) = library(), _devices(args)
        info = _asked(self._sd, device, "output")
        self.name = str(info["name"])
        self.device_rate = _rate_of(self._sd, "output", device, self.channels, self.rate, info)
        self._resampler = audio.Resampler(self.rate, self.device_rate, self.channels)
        self._ring = Ring(int(_HELD * self.device_rate), self.channels)
        self._cushion = -(-hearing.hop * self.device_rate // hearing.rate)
        self._ended, self.n_missing = False, 0
        self._stream = _begun(
            self._sd, "--play", self.name, self._sd.OutputStream,
            device=device, channels=self.channels, samplerate=self.device_rate, dtype="float32", latency="low",
            callback=self._callback,
        )  # fmt: skip
        self._started, self._pulse = False, Pulse()
        stack.enter_context(_closed(self._stream, self.name))

    def _callback(self, out: np.ndarray, _: int, __: Any, ___: Any) -> None:
        self._pulse.n_calls += 1
        before = self._ring.n_missing
        self._ring.read_into(out)
        if not self._ended:
            self.n_missing += self._ring.n_missing - before

    def hear(self, samples: np.ndarray) -> None:
        samples = np.clip(np.nan_to_num(samples.astype(np.float32)), -1.0, 1.0)
        flat = samples[:, 0] if self.channels == 1 else samples
        self._put(self._resampler.push(np.ascontiguousarray(flat)))

    def _put(self, samples: np.ndarray) -> None:
        self._ring.write(samples.reshape(-1, self.channels))
        # One frame ahead, so that the next answer finds it playing.
        if len(self._ring) > self._cushion:
            self._begin()

    def _begin(self) -> None:
        if not self._started:
            self._started, self._pulse = True, Pulse()
            _start(self._sd, "--play", self.name, self._stream)

    def fault(self) -> str:
        """Why it plays no more of what it gets, or ""."""
        return self._pulse.fault() if self._started else ""

    def end(self) -> None:
        super().end()
        self._put(self._resampler.flush())
        self._ended = True
        if len(self._ring):
            self._begin()
        until = time.monotonic() + len(self._ring) / self.device_rate + 1.0
        while len(self._ring) and not self.fault() and time.monotonic() < until:
            time.sleep(0.01)


def opened(args: argparse.Namespace, model: Any) -> tuple[Source, Microphone]:
    """A microphone as a source."""
    microphone = Microphone(args, model)
    return Source(microphone.pieces(), microphone.hearing, None, True, microphone.stop), microphone

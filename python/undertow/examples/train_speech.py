# SPDX-License-Identifier: MIT
"""Train the model of the example "speech" and write speech.tow and speech.npz beside this file.

    apt install espeak-ng
    pip install torch soxr
    python train_speech.py [--folder FOLDER]

Data: sentences below, spoken by espeak-ng in nine languages and many voices, and noises made here: hiss, hum, traffic,
tones of music, knocks, and a babble of several voices. espeak-ng is GPL-3.0-or-later; that licence covers the program,
not what it says, so its sound is shipped under the licence of this project, as the sentences are. The recording of the
example is in two languages and two voices that the training has not, and the noise around it is made there.

About five minutes on one core. Versions: espeak-ng 1.51, Python 3.11.7, torch 2.13.0, numpy 2.4.6, soxr 1.1.0; with
these it gives the same bytes again.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
from pathlib import Path

import numpy as np
import torch

import undertow
from undertow import _files, audio

SEED = 3
RATE = 8000
FRAME, HOP = 256, 128  # 32 ms, every 16 ms
BANDS = 18
HIDDEN = 32
CLIP = 8 * RATE
CLIPS, HELD_OUT, EPOCHS, BATCH = 1640, 40, 18, 16

SENTENCES = {
    "en-us": [
        "Please close the door, the rain comes in.",
        "Seven boats left the harbour before noon.",
        "No.",
        "Who has the key?",
    ],
    "en-gb": ["The kettle is on and the bread is fresh.", "Turn left behind the old station.", "Certainly, at once."],
    "de": ["Der Zug nach Hamburg fährt heute später.", "Zwei Kaffee, bitte.", "Morgen wird das Wetter wieder schön."],
    "fr": ["Le marché ouvre à huit heures.", "Nous avons trouvé une petite maison.", "Merci, à demain."],
    "es": ["La ventana está abierta toda la noche.", "¿Dónde está el libro azul?", "Vamos al río."],
    "it": ["Il treno parte dal binario cinque.", "Che bella giornata!", "Il gatto dorme sotto il tavolo."],
    "pl": ["Dzień dobry, proszę o dwa bilety.", "Jutro pójdziemy do lasu."],
    "sv": ["Vi äter frukost klockan sju.", "Båten ligger vid bryggan."],
    "tr": ["Bugün hava çok güzel.", "Kapıyı kapatır mısın?"],
}
VARIANTS = ["", "+m1", "+m2", "+m3", "+m5", "+m7", "+f1", "+f2", "+f4", "+croak", "+whisper"]
#: What the test recording says, who says it, and the silence before it in seconds.
RECORDING = [
    ("nl+f3", "Goedemorgen, hier is het weer voor vandaag.", 0.8),
    ("nl+f3", "In het noorden regent het.", 0.5),
    ("fi+m4", "Hyvää huomenta.", 1.4),
    ("fi+m4", "Juna lähtee kello yhdeksän, laiturilta kolme.", 0.7),
    ("nl+f3", "Ja.", 1.2),
    ("nl+f3", "Dank u wel, tot ziens!", 0.6),
    ("fi+m4", "Kiitos ja näkemiin.", 1.6),
]


def spoken(voice: str, text: str, speed: int = 165, pitch: int = 50) -> np.ndarray:
    """espeak-ng's sound at 8 kHz, peak 1, silence around it cut off."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", text]
    wav = subprocess.run(command, capture_output=True, check=True).stdout
    data = wav[wav.index(b"data") + 8 :]  # the sizes in the header of a pipe say nothing
    sound = audio.resample(np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / 32768, 22050, RATE)
    loud = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max())
    return sound[loud[0] : loud[-1] + 1] / np.abs(sound).max()


def voiced(clean: np.ndarray) -> np.ndarray:
    """Which frames of clean sound hold speech: within 35 dB of the loudest; pauses below 0.2 s belong to it."""
    power = np.square(audio.frames(clean, FRAME, hop=HOP, pad=False)).mean(1)
    speech = power > 3e-4 * power.max()
    edges = np.flatnonzero(np.diff(speech.astype(int), prepend=0, append=0)).reshape(-1, 2)
    for end, start in zip(edges[:-1, 1], edges[1:, 0], strict=True):
        speech[end:start] |= start - end < 0.2 * RATE / HOP
    return speech


def bands() -> np.ndarray:
    """Triangles on the mel scale from 60 Hz to 4 kHz: (129, BANDS)."""
    low_mel, high_mel = 2595 * np.log10(1 + np.array([60.0, RATE / 2]) / 700)
    edges = 700 * (10 ** (np.linspace(low_mel, high_mel, BANDS + 2) / 2595) - 1)
    f = np.linspace(0, RATE / 2, FRAME // 2 + 1)[:, None]
    low, mid, high = edges[:-2], edges[1:-1], edges[2:]
    return np.maximum(0, np.minimum((f - low) / (mid - low), (high - f) / (high - mid))).astype(np.float32)


def features(sound: np.ndarray) -> np.ndarray:
    """Logarithms of the energy in each band, frame by frame: what the network takes."""
    spectra = np.fft.rfft(audio.frames(sound, FRAME, hop=HOP, pad=False) * audio.window(FRAME))
    return np.log10(np.square(np.abs(spectra)) @ bands() + 1e-6).astype(np.float32)


def coloured(rng: np.random.Generator, n: int, slope: float) -> np.ndarray:
    """Noise whose power falls with frequency to the power of `slope`."""
    f = np.fft.rfftfreq(n, 1 / RATE)
    spectrum = np.fft.rfft(rng.normal(size=n)) / np.maximum(f, 30) ** (slope / 2)
    return np.fft.irfft(spectrum, n)


def swells(rng: np.random.Generator, n: int, seconds: float) -> np.ndarray:
    """A loudness that wanders between about 0.3 and 3."""
    knots = rng.normal(0, 0.6, max(3, int(n / RATE / seconds) + 2))
    return np.exp(np.interp(np.linspace(0, len(knots) - 1, n), np.arange(len(knots)), knots))


def harmonics(pitch: np.ndarray, strengths: np.ndarray, stretch: float = 1.0) -> np.ndarray:
    """A tone of changing pitch in Hz. Its partials are multiples of it, or with a `stretch` those of a bell."""
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    multiples = np.arange(1, len(strengths) + 1) ** stretch
    return sum(a * np.sin(k * phase) for k, a in zip(multiples, strengths, strict=True) if k * pitch.max() < RATE / 2)


def noise(rng: np.random.Generator, n: int, voices: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """One of the noises, or two, and the lowest signal-to-noise ratio in dB at which speech is still heard in it."""
    kind = rng.integers(10)
    if kind > 6:
        (one, lowest), (other, limit) = noise(rng, n, voices), noise(rng, n, voices)
        return one / one.std() + rng.uniform(0.2, 1) * other / other.std(), min(max(lowest, limit), 6)
    if kind == 0:
        return coloured(rng, n, rng.uniform(0, 1)), -5
    if kind == 1:
        hum = harmonics(np.full(n, rng.choice([50.0, 60.0, 100.0])), rng.uniform(0, 1, 12))
        return hum + 0.3 * hum.std() * rng.normal(size=n), -5
    if kind == 2:
        road = coloured(rng, n, rng.uniform(1, 2)) * swells(rng, n, 2)
        engine = harmonics(rng.uniform(30, 120) * swells(rng, n, 4) ** 0.3, rng.uniform(0, 1, 8)) * swells(rng, n, 2)
        return road / road.std() + rng.uniform(0, 1) * engine / engine.std(), -5
    if kind == 3:
        tune = np.zeros(n)
        while rng.uniform() < 0.95:
            start, length = rng.integers(n), int(rng.uniform(0.1, 2) * RATE)
            tone = harmonics(
                np.full(length, 110 * 2 ** (rng.integers(36) / 12)),
                rng.uniform(0.3, 0.9) ** np.arange(6),
                rng.choice([1, 1.2]),
            )
            tone = (tone * np.exp(-np.arange(length) / RATE / rng.uniform(0.1, 1)))[: n - start]
            tune[start : start + len(tone)] += tone
        return tune + 1e-3 * rng.normal(size=n), 0
    if kind == 4:
        knocks = np.zeros(n)
        for start in rng.integers(n, size=rng.integers(5, 40)):
            length = min(n - start, int(rng.uniform(0.005, 0.12) * RATE))
            knocks[start : start + length] += rng.normal(size=length) * np.exp(-np.linspace(0, 4, length))
        return knocks + 0.02 * coloured(rng, n, 1) / coloured(rng, n, 1).std(), -3
    if kind == 5:
        babble = np.zeros(n)
        for voice in rng.permutation(len(voices))[:12]:
            babble += np.roll(np.resize(np.pad(voices[voice], (0, RATE // 8)), n), rng.integers(n))
        return babble, 6
    return 1e-4 * rng.normal(size=n), 30


def clip(rng: np.random.Generator, voices: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Eight seconds of some speech in some noise: features, and which frames hold speech."""
    clean, at = np.zeros(CLIP, np.float32), int(rng.uniform(0, 2.5) * RATE)
    while rng.uniform() < 0.9:
        voice = voices[rng.integers(len(voices))]
        if at + len(voice) > CLIP:
            break
        clean[at : at + len(voice)] = voice * rng.uniform(0.5, 1)
        at += len(voice) + int(rng.exponential(0.9) * RATE)
    truth = voiced(clean) if clean.any() else np.zeros((CLIP - FRAME) // HOP + 1, bool)
    around, lowest = noise(rng, CLIP, voices)
    power = np.square(clean[clean != 0]).mean() if clean.any() else 0.02
    decibels = rng.uniform(lowest, 25) if lowest < 25 else lowest
    mixed = clean + around * np.sqrt(power / np.square(around).mean() / 10 ** (decibels / 10))
    mixed *= 10 ** rng.uniform(-1.5, 0) / np.abs(mixed).max()
    return features((mixed + 1e-4 * rng.normal(size=CLIP)).astype(np.float32)), truth


class Detector(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.nn.GRU(BANDS, HIDDEN, batch_first=True)
        self.speech = torch.nn.Linear(HIDDEN, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.speech(self.memory(x)[0])[..., 0]


def train(X: torch.Tensor, Y: torch.Tensor) -> Detector:
    torch.manual_seed(SEED)
    net, n = Detector(), len(X) - HELD_OUT
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=EPOCHS * -(-n // BATCH))
    for epoch in range(EPOCHS):
        for batch in torch.randperm(n).split(BATCH):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(net(X[batch]), Y[batch])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            right = ((net(X[n:]) > 0) == (Y[n:] > 0.5)).float().mean()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, {right:.1%} of the held-out frames right")
    return net.eval()


def mu_law(sound: np.ndarray) -> np.ndarray:
    """Eight bits a sample, as telephones do: sign(x) ln(1 + 255 |x|) / ln 256, to 127 steps on either side."""
    return np.rint(127 * np.sign(sound) * np.log1p(255 * np.abs(sound)) / np.log(256)).astype(np.int8)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the model of the example speech.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where the files are written")
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    rng = np.random.default_rng(SEED)
    voices = [
        spoken(
            language + VARIANTS[rng.integers(len(VARIANTS))],
            text,
            int(rng.integers(115, 230)),
            int(rng.integers(15, 85)),
        )
        for language, texts in SENTENCES.items()
        for text in texts
        for _ in range(8)
    ]
    clips = [clip(rng, voices) for _ in range(CLIPS)]
    X, Y = torch.from_numpy(np.stack([x for x, _ in clips])), torch.from_numpy(np.stack([y for _, y in clips])).float()
    mean, scale = X.mean((0, 1)), X.std((0, 1))
    net = train((X - mean) / scale, Y)

    w = net.state_dict()
    layers = [
        undertow.ScaleShift(1 / scale.numpy(), (-mean / scale).numpy()),
        undertow.GRU.from_torch(w, "memory"),
        undertow.Dense.from_torch(w, "speech", activation="sigmoid"),
    ]
    undertow.Sequential(layers, name="speech").with_weights("float16").save(folder / "speech.tow")

    pieces: list[np.ndarray] = []
    for voice, text, pause in RECORDING:
        pieces += [np.zeros(int(pause * RATE), np.float32), 0.7 * spoken(voice, text)]
    clean = np.concatenate([*pieces, np.zeros(RATE, np.float32)])
    truth = voiced(clean)
    edges = np.flatnonzero(np.diff(truth.astype(int), prepend=0, append=0)).reshape(-1, 2)
    with _files.opened(folder / "speech.npz") as file:
        np.savez_compressed(
            file, mu_law=mu_law(clean), rate=RATE, bands=bands(), segments=np.float32(edges * HOP / RATE)
        )
    ours = undertow.load(folder / "speech.tow").run(features(clean))[:, 0]
    with torch.no_grad():
        theirs = net((torch.from_numpy(features(clean)) - mean) / scale).sigmoid().numpy()
    print(f"the recording without noise: {((ours > 0.5) == truth).mean():.1%} of the frames right")
    print(f"undertow with float16 weights differs from torch by {np.abs(ours - theirs).max():.1e}")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}")


if __name__ == "__main__":
    main()

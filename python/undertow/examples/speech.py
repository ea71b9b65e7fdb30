# SPDX-License-Identifier: MIT
"""Who speaks, and when: a detector of voice
=========================================

A small recurrent network listens to a recording in steps of 16 ms and says after each how
likely it is that somebody speaks. From that come segments, first of a whole recording, then
live, block by block as a microphone gives them.

The recording was made by a synthesiser, espeak-ng, in two languages that the network has
never heard; the street around it is made below. So the truth is known to the frame, and we
can ask how far the network gets as the street grows louder than the voice. Synthetic voices
are more regular than people: for a product, train on people.
"""

import numpy as np

import undertow

model = undertow.load(undertow.example("speech"))
data = dict(np.load(undertow.example("speech").with_suffix(".npz")))
rate, coded = int(data["rate"]), data["mu_law"] / np.float32(127)  # eight bits, as telephones
clean = np.sign(coded) * (256 ** np.abs(coded) - 1) / 255

# %%
# A street
# --------
# A rumble that swells, an engine that passes, a bell that strikes: loud, and no voice.
rng, n = np.random.default_rng(1), len(clean)
t = np.arange(n) / rate
frequency = np.maximum(np.fft.rfftfreq(n, 1 / rate), 40)
rumble = np.fft.irfft(np.fft.rfft(rng.normal(size=n)) / frequency**0.7, n)
rumble *= 1.2 + np.sin(0.9 * t)
phase = 2 * np.pi * np.cumsum(85 + 40 * np.tanh((11 - t) / 2)) / rate
engine = sum(np.sin(k * phase) / k for k in range(1, 9)) * np.exp(-(((t - 11) / 3) ** 2))
strokes = np.exp(-(t % 3.1) * 2) / 3 * (t > 15)
bell = sum(np.sin(2 * np.pi * f * t) for f in (523, 659, 1244, 1568)) * strokes
street = rumble / rumble.std() + engine + bell


def mixed(decibels: float) -> np.ndarray:
    voice = np.square(clean[np.abs(clean) > 0.01]).mean()
    sound = clean + street * np.sqrt(voice / np.square(street).mean() / 10 ** (decibels / 10))
    return (sound / np.abs(sound).max()).astype(np.float32)


# %%
# From sound to probabilities
# ---------------------------
# The network takes the logarithm of the energy in 18 bands of each frame: 32 ms of sound,
# every 16 ms. ``Framer`` cuts sound that comes in pieces of any length; here it gets
# everything at once.
FRAME, HOP = 256, 128


def features(frames: np.ndarray) -> np.ndarray:
    power = np.square(np.abs(np.fft.rfft(frames * undertow.audio.window(FRAME))))
    return np.log10(power @ data["bands"] + 1e-6).astype(np.float32)


frames_at = {}
for decibels in (20, 10, 5, 0, -5):
    frames_at[decibels] = undertow.audio.Framer(FRAME, hop=HOP).push(mixed(decibels))
probabilities = {db: model.run(features(frames))[:, 0] for db, frames in frames_at.items()}
seconds = np.arange(len(frames_at[5])) * HOP / rate
truth = np.any([(a <= seconds) & (seconds < b) for a, b in data["segments"]], axis=0)
n_segments = len(data["segments"])
talk = f"somebody speaks {n_segments} times, for {truth.mean():.0%} of it"
print(f"{n / rate:.1f} s of sound; {talk}. Every 16 ms")
print("the network says how likely that is.")


# %%
# Against a threshold on the loudness
# -----------------------------------
# The rival is told the truth: at each noise it takes, in hindsight, the one threshold that is
# right most often.
def best_threshold(frames: np.ndarray) -> float:
    loudest_first = np.argsort(-np.square(frames).mean(1))
    gain = np.cumsum(np.where(truth, 1, -1)[loudest_first])  # of one more frame above it
    return float((max(0, gain.max()) + (~truth).sum()) / len(truth))


network_right = {db: float(((p > 0.5) == truth).mean()) for db, p in probabilities.items()}
threshold_right = {db: best_threshold(frames) for db, frames in frames_at.items()}
print("\nFrames that are judged right    by the network  by the best limit of loudness")
for db, right in network_right.items():
    by_loudness = threshold_right[db]
    print(f"  voice {db:2d} dB above the street {right:10.0%} {by_loudness:18.0%}")

# %%
# Segments, with hysteresis
# -------------------------
# A probability flickers. So speech begins at a high one and ends only when it has been low
# for a while, and what is too short is dropped, by the rules of silero-vad. A ``Segmenter``
# takes probabilities as they come, one or many, and gives each segment once nothing can
# change it any more.
segmenter = undertow.audio.Segmenter(
    HOP,
    rate,
    threshold=0.6,
    neg_threshold=0.35,
    min_silence_duration_ms=250,
)
whole = segmenter.push(probabilities[5]) + segmenter.flush()
said = np.any([(s.start_s <= seconds) & (seconds < s.end_s) for s in whole], axis=0)
overlap = float((said & truth).sum() / (said | truth).sum())
print(f"\nAt 5 dB it finds {len(whole)} segments, where there are {n_segments}.")
print(f"Of the time in one of these or of those, {overlap:.0%} is in both.")

# %%
# Live, from a microphone
# -----------------------
# The same model as a stream, in a callback as ``sounddevice`` wants it. Its blocks have
# whatever size the sound card likes. A step takes microseconds and allocates nothing; framer,
# features and segmenter touch a few kilobytes.
stream, framer = model.stream(), undertow.audio.Framer(FRAME, hop=HOP)
now, live = np.empty(1, np.float32), []


def callback(indata: np.ndarray, frames: int, time: object, status: object) -> None:
    for x in features(framer.push(indata[:, 0])):
        stream.step(x, out=now)
        for segment in segmenter.push(now):
            live.append(segment)
            print(f"  speech from {segment.start_s:5.2f} s to {segment.end_s:5.2f} s")


# %%
# With a microphone and ``undertow[live]``, this would run it for a minute::
#
#     import sounddevice
#
#     with sounddevice.InputStream(samplerate=rate, channels=1, callback=callback):
#         sounddevice.sleep(60_000)
#
# Here the recording at 5 dB plays the microphone, in blocks of 1 to 700 samples. The segments
# are the same: a stream gives what ``run`` gives, to the bit, however the sound is cut.
print("\nThe same sound live, in small blocks. A segment is said as soon as it is over:")
for block in np.split(mixed(5)[:, None], np.cumsum(rng.integers(1, 700, 1000))):
    callback(block, len(block), None, None)
live += segmenter.flush()
same = "to the bit those" if live == whole else "not those"
print(f"The {len(live)} segments are {same} that were found in the whole recording.")

# %%
# Above, what the network sees at 5 dB; in the middle what it believes, in grey where somebody
# really speaks.
import matplotlib.pyplot as plt

figure, axes = plt.subplots(3, figsize=(10, 7), height_ratios=[3, 2, 2], layout="constrained")
loud, extent = features(frames_at[5]).T, (0, seconds[-1], 0, 18)
axes[0].imshow(loud, cmap="magma", aspect="auto", origin="lower", extent=extent)
axes[0].set(title="log energy in 18 bands, voice 5 dB above the street", yticks=[])
axes[0].set_ylabel("band, low to high")
for a, b in data["segments"]:
    axes[1].axvspan(a, b, color="0.85", lw=0)
axes[1].plot(seconds, probabilities[5], color="tab:blue", lw=1)
for segment in live:
    axes[1].hlines(-0.08, segment.start_s, segment.end_s, color="tab:orange", lw=5)
axes[1].set(title="probability of speech, segments (orange), truth (grey)", xlabel="seconds")
axes[1].set_xlim(0, seconds[-1])
axes[2].plot(*zip(*network_right.items(), strict=True), "o-", label="the network")
axes[2].plot(*zip(*threshold_right.items(), strict=True), "s--", label="the best threshold")
axes[2].set(title="part of the frames that are right", xlabel="voice above the street, dB")
axes[2].set_ylim(0.5, 1)
axes[2].legend(loc="lower right")
plt.show()

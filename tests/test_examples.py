# SPDX-License-Identifier: MIT
"""What the examples claim: each runs from an empty folder, and its results are what its prose says of them."""

import ast
import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from example_runs import ran
from undertow.cli import _examples

EXAMPLES = Path(_examples.__file__).parent.parent / "examples"


@pytest.fixture
def run():
    """Gives an example's variables, what it printed, and the folder that it ran in."""
    return ran


# -- digits -----------------------------------------------------------------------------------------------------------


def test_digits_need_their_memory(run):
    digits, printed, _ = run("digits")
    model, frames, labels = digits["model"], digits["frames"], digits["labels"]
    steps = np.stack([[*map(model.stream().step, image)] for image in frames])
    np.testing.assert_array_equal(digits["beliefs"], steps[digits["one"]])
    right = (steps.argmax(-1) == labels[:, None]).mean(0)
    np.testing.assert_allclose(digits["right"], right)
    first = np.stack([[model.run(row[None])[0] for row in image] for image in frames])  # no row but one
    np.testing.assert_allclose(digits["right_of_one_row"], (first.argmax(-1) == labels[:, None]).mean(0))
    assert right[-1] > 0.95 and (digits["right_of_one_row"] < 0.3).all()
    assert f"It says {labels[24]}, and the digit is {labels[24]}." in printed


# -- lesson -----------------------------------------------------------------------------------------------------------


def test_lesson_remembers_what_it_says(run):
    lesson, printed, _ = run("lesson")
    assert lesson["sums"] == [1, 3, 6, 10]
    assert [f"{h:.2f}" for h in lesson["clamped"]] == ["0.80", "2.00", "2.00"]
    squashed, h = [], 0.0
    for _ in range(3):
        h = np.tanh(0.5 + h)
        squashed.append(f"{h:.4f}")
    assert [f"{h:.4f}" for h in lesson["squashed"]] == squashed and squashed[0] == "0.4621"
    words = " ".join(printed.split())
    for said in ("1.00 3.00 6.00 10.00", "0.80 2.00 2.00", "0.4621 0.7452 0.8469", "tanh(0.5 + 0.4621) = 0.7452"):
        assert said in words
    assert f"{np.tanh(0.5 + 0.4621):.4f}" == "0.7452" and f"{0.5 + 0.4621:.4f}" == "0.9621"


def test_lesson_opens_and_shuts_doors(run):
    """The gates that it draws are those that the engine used: with them c and h follow, in float64."""
    lesson, printed, _ = run("lesson")
    c = 0.0
    for order, value, (i, f, o), cell, shown in zip(
        lesson["orders"], lesson["values"], lesson["gates"], lesson["cell"], lesson["shown"], strict=True
    ):
        assert (i > 0.5, f > 0.5, o > 0.5) == (order == "write", order != "erase", order == "read")
        c = f * c + i * np.tanh(value)
        assert cell == pytest.approx(c, abs=1e-6) and shown == pytest.approx(o * np.tanh(c), abs=1e-6)
    cell = dict(zip(range(12), lesson["cell"], strict=True))
    assert cell[5] == pytest.approx(np.tanh(0.9), abs=0.02) and abs(cell[6]) < 0.01  # kept through noise, then erased
    assert cell[11] == pytest.approx(np.tanh(-0.8), abs=0.02)
    rows = [line.split() for line in printed.splitlines() if " shut " in line]
    assert len(rows) == 12
    for order, _, *doors, c, h in rows:  # by a calculator, from what the row shows
        assert float(h) == pytest.approx(np.tanh(float(c)) if doors[2] == "open" else 0, abs=0.0051)
        assert (doors[2] == "open") == (order == "read")


def test_lesson_fades_as_the_formulas_say(run):
    lesson, printed, _ = run("lesson")
    assert [name.split()[-1] for name in lesson["left"]] == ["0.5", "0.9", "0.98", "0.993"]
    for name, h in lesson["left"].items():  # a straight line on the logarithmic axis: tanh bends it by 0.02 %
        factor = float(name.split()[-1])
        np.testing.assert_allclose(h, factor ** np.arange(101), rtol=3e-4)
        said = next(line for line in printed.splitlines() if line.strip().startswith(name)).split()[-4:]
        assert [float(number) for number in said] == [float(f"{factor**t:.2g}") for t in (1, 10, 50, 100)]
    assert f"{0.993**100:.2f} {0.9**10:.2f}" == "0.50 0.35"  # what it says below


# -- spotlight --------------------------------------------------------------------------------------------------------


def test_spotlight_finds_the_coat(run):
    spotlight, _, _ = run("spotlight")
    assert len(spotlight["right"]) > 1500
    assert spotlight["with_light"] > 0.97
    assert spotlight["without"] < spotlight["with_light"] - 0.1
    assert spotlight["on_the_coat"] > 0.8


def test_spotlight_has_light_on_the_past_only(run):
    spotlight, printed, _ = run("spotlight")
    light, truth, what = spotlight["light"], spotlight["truth"], spotlight["what"]
    assert light.shape == (30, 30) and (np.triu(light, 1) == 0).all()
    np.testing.assert_allclose(light.sum(1), 1)
    assert what[13] == "J->1" and what[14] == "J?" and truth[14] == (13, 0)  # "at step 13 J hangs up another coat"
    assert "step 14  J?   98% of the light on step 13, J->1: it says hook 1" in printed


def test_spotlight_asks_for_the_last_coat_only(run):
    """The task is the one that it tells of: the truth is the visitor's last coat, counted here anew."""
    spotlight, _, _ = run("spotlight")
    twice = 0
    for seed in range(30):
        frames, truth = spotlight["evening"](np.random.default_rng(seed))
        hung: dict[int, list[tuple[int, int]]] = {}
        for t, (frame, at) in enumerate(zip(frames, truth, strict=True)):
            visitor, hook, asks = frame[:12], frame[12:20], frame[20]
            assert visitor.sum() == 1 and hook.sum() == 1 - asks
            coats = hung.setdefault(int(visitor.argmax()), [])
            if asks:
                assert at == coats[-1]
                twice += len(coats) > 1
            else:
                assert at is None
                coats.append((t, int(hook.argmax())))
    assert twice > 50


# -- text -------------------------------------------------------------------------------------------------------------


def test_text_predicts_a_book_that_it_has_not_read(run):
    text, _, _ = run("text")
    assert text["bits"] < 2.4 < 4.0 < text["by_letter"]
    ids, model = text["ids"][:500], text["writer"]
    y = model.run(ids).astype(np.float64)
    nats = np.log(np.exp(y).sum(1))[:-1] - y[np.arange(499), ids[1:]]
    np.testing.assert_allclose(text["nats"][:499], nats, rtol=1e-3)


def test_text_writes_words(run):
    """At a low temperature nearly all words that it writes are words of the passage; letters by chance are not."""
    text, _, _ = run("text")
    known = set("".join(c if c.isalpha() else " " for c in text["passage"]).lower().split())
    known |= set(str(text["data"]["words"]).split())

    def part(written):
        words = "".join(c if c.isalpha() else " " for c in written).lower().split()
        return np.mean([word in known for word in words])

    rng = np.random.default_rng(0)
    written = [text["write"]("She was ", 400, temperature, np.random.default_rng(1)) for temperature in (0.4, 1.5)]
    assert all(len(w) == 408 and w.startswith("She was ") for w in written)
    shuffled = "".join(rng.permutation(list(text["passage"][:2000])))
    assert part(written[0]) > 0.85 > part(written[1]) > part(shuffled)


def test_text_has_numbers_that_know_letters_words_and_sentences(run):
    """The questions, by loops over the characters; more right than always the same answer, and than the last letter."""
    text, _, _ = run("text")
    passage, half, hits = text["passage"], text["half"], text["hits"]
    in_word, since, third, near = 0, 0, [], []
    for c in passage:
        in_word, since = (in_word + 1 if c.isalpha() else 0), (0 if c in ".?!" else since + 1)
        third.append(in_word >= 3)
        near.append(since < 50)
    truths = ([c.lower() in "aeiou" for c in passage], third, near)
    ids, first = text["ids"], np.arange(len(passage)) < 50
    for (what, asked), truth, margin in zip(text["questions"].items(), truths, (0.12, 0.15, 0.1), strict=True):
        assert (asked == truth)[~first].all()
        later = np.mean(truth[half:])
        assert text["always"][what] == pytest.approx(max(later, 1 - later), abs=1e-3)
        assert hits[what] > text["always"][what] + margin
        by_letter = {n: np.mean(asked[:half][ids[:half] == n]) > 0.5 for n in set(ids[:half])}
        letter_knows = np.mean([by_letter.get(n, False) == a for n, a in zip(ids[half:], asked[half:], strict=True)])
        assert "vowel" in what or hits[what] > letter_knows + 0.03  # what needs a memory


def test_text_is_as_good_as_its_table_says(run):
    text, _, _ = run("text")
    table = [[cell.strip(" *") for cell in row.split("|")] for row in (EXAMPLES / "README.md").read_text().split("\n")]
    said = {row[1]: row[2] for row in table if len(row) > 3}
    right = {name: f"{numbers[0]:.2f}" for name, numbers in text["right"].items()}
    assert said["bits a character"] == f"{text['bits']:.2f}" and said["capitals, F1"] == right["capitals"]
    assert said["marks (comma, stop, semicolon, ? and !), F1"] == right["marks"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("train_*.py")), ids=lambda path: path.stem)
def test_training_counts_steps(path):
    """What ends by a clock gives other weights each time, and none that anybody could make again."""
    names = {name for node in ast.walk(ast.parse(path.read_text())) for name in imported(node)}
    assert "torch" in names or "numpy" in names
    assert not names & {"time", "datetime", "timeit"}


def imported(node):
    """The modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) else []


def test_text_restores_more_than_a_dictionary(run):
    text, printed, _ = run("text")
    (capitals, by_word), (marks, marks_by_word) = text["right"]["capitals"], text["right"]["marks"]
    assert capitals > 0.65 and capitals > by_word + 0.05
    assert marks > 0.4 and marks > marks_by_word + 0.3
    np.testing.assert_equal(text["f1"](text["data"]["heard_marks"], text["data"]["heard_marks"]), 1)
    assert text["f1"](0 * text["data"]["heard_marks"], text["data"]["heard_marks"]) == 0
    spelled = text["spelled"](text["capital"], text["mark"]).split()[:70]
    for words in (text["heard"][:70], spelled):
        assert " ".join(words) in " ".join(printed.split())


def test_text_is_heard_as_it_stands(run):
    """The passage without capitals and marks is what the tagger reads; and with the true labels, it is spelled so."""
    text, _, _ = run("text")
    plain = "".join(c if c.isalpha() or c == "'" else " " for c in text["passage"]).lower().split()
    assert [word.strip("'") for word in text["heard"]] == [word.strip("'") for word in plain if word.strip("'")]
    truth = text["spelled"](text["data"]["heard_capitals"], text["data"]["heard_marks"])
    words = [
        word.strip("'") for word in "".join(c if c.isalpha() or c == "'" else " " for c in text["passage"]).split()
    ]
    assert sum(word[0].isupper() for word in truth.split()) == sum(word[:1].isupper() for word in words)
    assert truth.count("?") == text["passage"].count("?")


# -- music ------------------------------------------------------------------------------------------------------------


def test_music_is_like_the_book_and_unlike_dice(run):
    music, _, _ = run("music")
    major, over, beat, leap = zip(*music["compared"].values(), strict=True)  # the book, the network, dice, fair dice
    assert major[1] > 0.95 and major[1] - 0.05 > major[3]  # the key: as the book, unlike fair dice
    assert over[1] < 0.02 and over[1] < min(over[2:]) / 4  # bars are filled
    assert abs(beat[1] - beat[0]) < 0.06 and beat[1] > max(beat[2:]) + 0.2
    assert abs(leap[1] - leap[0]) < 0.6 and leap[1] < min(leap[2:]) - 1


def test_music_tunes_end_by_themselves_with_a_part_of_eight_bars(run):
    music, _, _ = run("music")
    lengths = [len(tune) for tune in [music["tune"], *music["played"]]]
    assert max(lengths) < 400 and np.median(lengths) > 40
    bars = [music["length"][tune].sum() / music["bar"] for tune in music["played"]]
    assert np.mean([-bar % 8 <= 0.5 for bar in bars]) > 0.8  # at the end of a part, or short of it by its upbeat


def test_music_writes_what_it_played(run):
    """The .mid read back by the standard's rules, and the .wav by its spectrum."""
    music, _, folder = run("music")
    midi = (folder / "reel.mid").read_bytes()
    kind, size, form, tracks, division = struct.unpack(">4sIHHH", midi[:14])
    assert (kind, size, form, tracks, division) == (b"MThd", 6, 0, 1, 24)
    assert midi[14:18] == b"MTrk" and struct.unpack(">I", midi[18:22])[0] == len(midi) - 22
    notes, at = [], 22

    def number():
        nonlocal at
        value = 0
        while True:
            value, at = value << 7 | midi[at] & 0x7F, at + 1
            if not midi[at - 1] & 0x80:
                return value

    while True:
        wait = number()
        if midi[at] == 0xFF:
            kind, at = midi[at + 1], at + 3 + midi[at + 2]
            if kind == 0x2F:
                break
            continue
        status, pitch, _ = midi[at : at + 3]
        at += 3
        if status == 0x90:
            assert wait == 0
            notes.append([pitch, None])
        else:
            assert status == 0x80 and notes[-1][0] == pitch
            notes[-1][1] = wait
    assert at == len(midi)
    tempo = int.from_bytes(midi[26:29], "big")  # microseconds a quarter note, of 24 ticks: as fast as the sound
    assert midi[22:26] == b"\x00\xff\x51\x03" and tempo == pytest.approx(24 / 55 * 1e6, rel=1e-5)
    assert notes == [[music["pitch"][n], music["length"][n]] for n in music["tune"]]

    with wave.open(str(folder / "reel.wav")) as file:
        rate = file.getframerate()
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
    seconds = music["length"][music["tune"]] / 55
    assert len(sound) / rate == pytest.approx(seconds.sum() + 1.5, abs=0.01)
    starts = np.cumsum(seconds) - seconds
    clear = [i for i in range(1, len(starts)) if seconds[i] > 0.4][:5]
    for i in clear:
        piece = sound[int(rate * (starts[i] + 0.01)) :][: int(0.35 * rate)]
        spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 1 << 16))
        hertz = 440 * 2 ** ((music["pitch"][music["tune"][i]] - 69) / 12)
        near = round(hertz * (1 << 16) / rate)
        assert spectrum[near - 15 : near + 16].max() > 0.5 * spectrum.max()
    assert clear


def test_all_are_small():
    sizes = {path.name: path.stat().st_size for path in _examples.FOLDER.iterdir() if path.is_file()}
    held = {name: n for name, n in sizes.items() if name.endswith((".tow", ".npz"))}
    assert sum(n for name, n in held.items() if name.startswith(("text", "music"))) < 400 * 1024
    assert sum(n for name, n in held.items() if name.startswith(("lesson", "spotlight"))) < 50 * 1024
    others = [name for name in sizes if Path(name).suffix not in (".py", ".md", ".tow", ".npz", ".safetensors")]
    assert others == ["GALLERY_HEADER.txt"]

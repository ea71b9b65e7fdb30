# SPDX-License-Identifier: MIT
"""Runs cases in forked children, so that a crash, a hang or all of the memory is a finding and not the end.

A child takes case after case, each in an empty folder, within bounds of processor time and memory. Its parent waits
for it, but not for ever.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fuzz.cases import Case, Reader
from fuzz.watch import Watch
from undertow._text import MAX_LINE
from undertow.errors import Error, InternalError, ModelWarning

#: of one case: seconds of processor time, seconds of waiting, and bytes above what the process has before
CPU_SECONDS, WALL_SECONDS, MEMORY_BYTES = 60, 120, 2 << 30
#: lines of a message: layers are listed, but not all of thousands
MAX_LINES = 100
#: cases that one child takes, so that what one of them leaves behind does not pile up
CASES_OF_CHILD = 200
#: exit code of a child in which not a reader but the fuzzing itself is at fault
OWN_FAULT = 70


@dataclass
class Outcome:
    """How one case ended: what its reader said of it, or the class of what it raised, and the message.

    `refused` by an error that may be; `found`: something that must not be.
    """

    number: int
    how: str
    end: str
    message: str = ""
    refused: bool = False
    found: bool = False
    seconds: float = 0.0


#: a number to know it by, and what makes it
Numbered = tuple[int, Callable[[], Case]]


def made(name: str, reader: Reader, seeds: Iterable[int]) -> Iterator[Numbered]:
    """The cases of seeds: the same ones wherever and whenever they are made."""
    for seed in seeds:
        yield seed, lambda seed=seed: reader.damage(reader.seeds(), random.Random(f"{name} {seed}"))


def run(reader: Reader, cases: Iterator[Numbered], deadline: float | None = None) -> Iterator[Outcome]:
    """The outcomes of cases in their order, until there are no more of them or the time is over."""
    reader.seeds()  # here, once
    while deadline is None or time.monotonic() < deadline:
        batch = list(itertools.islice(cases, CASES_OF_CHILD))
        if not batch:
            return
        n_done = 0
        for outcome in _of_child(reader, batch, deadline):
            n_done += 1
            yield outcome
        cases = itertools.chain(batch[n_done:], cases)


# -- the parent -------------------------------------------------------------------------------------------------------


def _of_child(reader: Reader, cases: list[Numbered], deadline: float | None) -> Iterator[Outcome]:
    """Outcomes of a new child; the last one is how it died, if it did."""
    reading, writing = os.pipe()
    folder = Path(tempfile.mkdtemp(prefix="undertow-fuzz-"))
    trace = folder / "trace.txt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about forking where there are threads: the child waits for none
        child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            _work(reader, cases, writing, folder, trace, deadline)
            os._exit(0)
        except BaseException:
            trace.write_text(traceback.format_exc())
            os._exit(OWN_FAULT)
    os.close(writing)
    number = cases[0][0]
    try:
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            for line in _lines(pipe):
                table = json.loads(line)
                if "starts" in table:
                    number = table["starts"]
                else:
                    yield Outcome(**table)
        status, child = _ended(child), 0
        if status:
            yield _death(number, status, trace.read_text(errors="replace") if trace.exists() else "")
    finally:
        if child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        shutil.rmtree(folder, ignore_errors=True)


def _lines(pipe: Any) -> Iterator[bytes]:
    """Lines as they come, until the end or until there was none for too long."""
    held = b""
    while select.select([pipe], [], [], WALL_SECONDS)[0] and (data := pipe.read(1 << 16)):
        *lines, held = (held + data).split(b"\n")
        yield from lines


def _ended(child: int) -> int:
    """The status of a child that has ended, or that waits for something: then it is told to say where, and ended."""
    os.kill(child, signal.SIGALRM)
    for _ in range(500):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _death(number: int, status: int, trace: str) -> Outcome:
    killed_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if not killed_by and os.WEXITSTATUS(status) == OWN_FAULT:
        raise RuntimeError(f"case {number} cannot be made or judged:\n{trace}")
    hangs = {signal.SIGPROF: f"more than {CPU_SECONDS} s of work", signal.SIGALRM: f"{WALL_SECONDS} s of waiting"}
    code = signal.Signals(killed_by).name if killed_by else f"exit code {os.WEXITSTATUS(status)}"
    places = re.findall(r'File "(.+?)", line (\d+) in (\S+)', trace)[:6]
    where = " < ".join(f"{Path(file).name}:{line} {function}" for file, line, function in places)
    end = "hang" if killed_by in hangs else "crash"
    return Outcome(number, "", end, f"{hangs.get(killed_by, code)} ({where})", found=True)


# -- the child --------------------------------------------------------------------------------------------------------


def _work(reader: Reader, cases: list[Numbered], pipe: int, folder: Path, trace: Path, deadline: float | None) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    warnings.resetwarnings()
    warnings.simplefilter("error")
    for kind in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning, ImportWarning, ModelWarning):
        warnings.simplefilter("ignore", kind)
    file = open(trace, "w")  # noqa: SIM115 - it stays open for what may come
    faulthandler.enable(file)
    for number in (signal.SIGPROF, signal.SIGALRM):
        faulthandler.register(number, file, chain=True)
    n_pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (n_pages * resource.getpagesize() + MEMORY_BYTES, resource.RLIM_INFINITY))
    for number, make in cases:
        if deadline is not None and time.monotonic() >= deadline:
            return
        _send(pipe, {"starts": number})
        place = folder / str(number)
        place.mkdir()
        os.chdir(place)
        case = make()
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        outcome = judge(reader, case, number, place)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send(pipe, asdict(outcome))
        shutil.rmtree(place, ignore_errors=True)


def _send(pipe: int, table: dict[str, Any]) -> None:
    table = {k: v[:2000] if isinstance(v, str) else v for k, v in table.items()}
    data = json.dumps(table).encode() + b"\n"
    while data:
        data = data[os.write(pipe, data) :]


def judge(reader: Reader, case: Case, number: int, folder: Path) -> Outcome:
    """Write a case to an empty folder, read it, and say what came of it."""
    path = case.write(folder)
    outcome = Outcome(number, case.how, "")
    start = time.process_time()
    with Watch(folder) as watch:
        try:
            outcome.end = reader.read(path)
            outcome.refused = outcome.end == "refused"
        except (Error, *reader.allowed) as error:
            outcome.end, outcome.message = type(error).__name__, str(error)
            outcome.refused, outcome.found = True, _is_bad(error)
        except BaseException as error:
            outcome.end, outcome.message, outcome.found = type(error).__name__, f"{error} ({_where(error)})", True
    outcome.seconds = time.process_time() - start
    if watch.seen or (folder / "owned").exists():
        outcome.end, outcome.message, outcome.found = "escaped", "; ".join(watch.seen) or "code in it was run", True
    outcome.refused = outcome.refused and not outcome.found
    return outcome


def _is_bad(error: Exception) -> bool:
    """Whether an error says nothing, too much, what a terminal would obey, or that undertow itself is at fault."""
    lines = str(error).split("\n")
    fits = len(lines) <= MAX_LINES and all(len(line) <= MAX_LINE and line.isprintable() for line in lines)
    return not fits or not any(lines) or isinstance(error, InternalError)


def _where(error: BaseException) -> str:
    places = reversed(traceback.extract_tb(error.__traceback__)[-4:])
    return " < ".join(f"{Path(place.filename).name}:{place.lineno} {place.name}" for place in places)

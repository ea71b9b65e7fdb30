# SPDX-License-Identifier: MIT
"""Damage of pickles, opcode by opcode: others, missing, repeated and moved ones, other arguments, calls."""

from __future__ import annotations

import itertools
import pickletools
import random
import struct

from fuzz.damage import NUMBERS, flip

#: names that a pickle calls: what reads tensors and arrays, and what must never be called
_GLOBALS = [
    b"c" + name.replace(" ", "\n").encode() + b"\n"
    for name in (
        *("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3"),
        *("torch._utils _rebuild_parameter", "torch._utils _rebuild_qtensor", "torch._tensor _rebuild_from_type_v2"),
        *("torch FloatStorage", "torch UntypedStorage", "torch BFloat16Storage", "torch float64"),
        *("torch.jit._pickle build_tensorlist", "torch.nn.modules.rnn LSTM", "collections OrderedDict"),
        *("numpy.core.multiarray _reconstruct", "numpy._core.numeric _frombuffer", "numpy ndarray", "numpy dtype"),
        *("_codecs encode", "builtins bytes", "__main__ Model", " ", "os system", "posix system"),
        *("builtins exec", "builtins eval", "subprocess Popen"),
    )
]
#: what would leave a file `owned` in the folder, in every way that a pickle can call
CALLS = [
    b"cos\nsystem\n(X\x0b\x00\x00\x00touch ownedtR",
    b"(cos\nsystem\nX\x0b\x00\x00\x00touch ownedo",
    b"(X\x0b\x00\x00\x00touch ownedios\nsystem\n",
    b"\x8c\x02os\x8c\x06system\x93X\x0b\x00\x00\x00touch owned\x85R",
    b"cbuiltins\nexec\n(X\x12\x00\x00\x00open('owned', 'w')tR",
    b"cbuiltins\nopen\n(X\x05\x00\x00\x00ownedX\x01\x00\x00\x00wtR",
    b"cpathlib\nPath\n(X\x05\x00\x00\x00ownedtRcbuiltins\ngetattr\n(h\x00X\x05\x00\x00\x00touchtRb",
]
_OPCODES = [code.code.encode("latin1") for code in pickletools.opcodes]


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """The opcodes of the pickles at the start of `data`, each with its argument, and what follows them."""
    parts: list[bytes] = []
    at = 0
    while at < len(data):
        found = []
        try:
            for _, _, here in pickletools.genops(data[at:]):
                found.append(at + here)
        except Exception:  # no pickle, or an argument that is not understood: as far as it went
            parts += [data[a:b] for a, b in itertools.pairwise(found)]
            return parts, data[found[-1] if found else at :]
        parts += [data[a:b] for a, b in itertools.pairwise([*found, found[-1] + 1])]
        at = found[-1] + 1
    return parts, b""


def change_pickle(data: bytes, rng: random.Random) -> bytes:
    """One to four opcodes."""
    parts, rest = split(data)
    if not parts:
        return flip(data, rng)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at, dice = rng.randrange(len(parts)), rng.random()
        if dice < 0.12:
            del parts[at]
        elif dice < 0.2:
            parts.insert(rng.randrange(len(parts) + 1), parts[at])
        elif dice < 0.26:
            other = rng.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        elif dice < 0.32:
            parts[at : at + 1] = [parts[at]] * rng.choice([2, 10, 3000])
        elif dice < 0.65:
            parts[at] = _other_argument(parts[at], rng)
        elif dice < 0.8:
            parts[at if rng.random() < 0.7 else rng.randrange(len(parts))] = rng.choice(_GLOBALS)
        elif dice < 0.9:
            parts.insert(at, rng.choice(CALLS))
        else:
            argument = rng.choice([b"", b"\0", b"\1", b"\0" * 4, b"5\n", b"\xff" * 4, b"\x7f" * 8])
            parts.insert(at, rng.choice(_OPCODES) + argument)
        if not parts:
            break
    return b"".join(parts) + (flip(rest, rng) if rest and rng.random() < 0.2 else rest)


def _other_argument(part: bytes, rng: random.Random) -> bytes:
    code = part[:1]
    if code in b"KMJ\x8a\x8bIL":
        return number(rng.choice([*NUMBERS, 2**70, 10**300]))
    if code in b"XVT\x8c\x8dUSBC\x8e":
        return _text(rng.choice(["", "0", "../0", "storage", "module", "cpu", "x" * 5000, "<", "f4", "O8"]))
    if code in b"ghjpqr\x94":
        return rng.choice([b"h", b"q"]) + bytes([rng.randrange(12)])
    if code in b"c\x93":
        return rng.choice(_GLOBALS)
    if code in b"tlde\x85\x86\x87)]}N\x88\x89":
        return bytes([rng.choice(b"tlde\x85\x86\x87)]}N\x88(0")])
    return bytes([code[0] ^ 1]) + part[1:]


def number(n: int) -> bytes:
    """A whole number of any size, as an opcode."""
    raw = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<i", len(raw)) + raw


def _text(text: str) -> bytes:
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw

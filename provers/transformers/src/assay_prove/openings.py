"""What a trace opens: the layers whose linear outputs are in the file, and the output tokens whose logits are."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import ProveError
from .hashing import sha256


@dataclass(frozen=True)
class Opened:
    """Openings with every number known."""

    challenge: str
    layers: tuple[int, ...]
    logits: tuple[int, ...]


@dataclass(frozen=True)
class All:
    """Every layer, and every output token's logits."""

    def resolve(self, n_layers: int, n_outputs: int, root: bytes, nonce: bytes | None) -> Opened:
        """The openings of a finished run."""
        del root, nonce
        return Opened("all", tuple(range(n_layers)), tuple(range(n_outputs)))


@dataclass(frozen=True)
class Chosen:
    """What the prover, or a verifier who has the receipt (`interactive`), picked; nothing by default."""

    layers: tuple[int, ...] = ()
    logits: tuple[int, ...] = ()
    interactive: bool = False

    def resolve(self, n_layers: int, n_outputs: int, root: bytes, nonce: bytes | None) -> Opened:
        """The openings of a finished run."""
        del root, nonce
        for what, ids, most in [("layer", self.layers, n_layers), ("output token", self.logits, n_outputs)]:
            for index in ids:
                if not 0 <= index < most:
                    raise ProveError(f"cannot open {what} {index}: there are {most}, counted from 0")
        challenge = "interactive" if self.interactive else "chosen"
        return Opened(challenge, tuple(sorted(set(self.layers))), tuple(sorted(set(self.logits))))


@dataclass(frozen=True)
class Drawn:
    """So many layers and so many output tokens, drawn from the root once it is known; all there are, if fewer."""

    layers: int
    logits: int = 0

    def resolve(self, n_layers: int, n_outputs: int, root: bytes, nonce: bytes | None) -> Opened:
        """The openings of a finished run."""
        layers = draw("layers", self.layers, n_layers, root, nonce)
        return Opened("offline", layers, draw("logits", self.logits, n_outputs, root, nonce))


Openings = All | Chosen | Drawn


def draw(purpose: str, count: int, most: int, root: bytes, nonce: bytes | None) -> tuple[int, ...]:
    """Section 9's draw of `count` of the numbers below `most`."""
    words = _words(purpose, root, nonce)

    def below(n: int) -> int:
        limit = (1 << 32) // n * n
        return next(word for word in words if word < limit) % n

    entries = list(range(most))
    count = min(count, most)
    for i in range(count):
        j = i + below(most - i)
        entries[i], entries[j] = entries[j], entries[i]
    return tuple(sorted(entries[:count]))


def _words(purpose: str, root: bytes, nonce: bytes | None) -> Iterator[int]:
    block = 0
    while True:
        seed = (b"assay/challenge/v1\0", purpose.encode(), b"\0", root, nonce or bytes(32), struct.pack("<I", block))
        yield from struct.unpack("<8I", sha256(*seed))
        block += 1


def parse_openings(text: str) -> Openings:
    """`all`, `none`, `layers=1,5,9[,logits=0,3]` or `count=N[,logits=M]`."""
    if text == "all":
        return All()
    if text == "none":
        return Chosen()
    lists: dict[str, list[int]] = {}
    key = ""
    for part in text.split(","):
        name, equals, number = part.rpartition("=")
        if equals:
            key = name
            if key in lists:
                raise _unclear(text)
            lists[key] = []
        if not key or not (number.isascii() and number.isdigit()):
            raise _unclear(text)
        lists[key].append(int(number))
    if set(lists) <= {"layers", "logits"}:
        return Chosen(tuple(lists.get("layers", ())), tuple(lists.get("logits", ())))
    if set(lists) <= {"count", "logits"} and all(len(numbers) == 1 for numbers in lists.values()):
        return Drawn(lists["count"][0], lists.get("logits", [0])[0])
    raise _unclear(text)


def _unclear(text: str) -> ProveError:
    want = "all, none, layers=1,5,9 (with ,logits=0,3) or count=2 (with ,logits=4)"
    return ProveError(f"cannot open `{text}`; want {want}")

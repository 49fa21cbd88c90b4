"""What a run leaves behind: digests of everything at every position, and the rows that may be opened."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .errors import ProveError
from .hashing import leaf_hash, merkle_root, sha256

Rows = NDArray[np.uint8]
"""One tensor of a forward pass as bytes: a row for each position, little endian."""

_NOTHING_EMITTED = 0xFFFFFFFF
_TAG = b"assay/position/v1\0"
_TAG_WITH_LINEARS = b"assay/position/v2\0"


@dataclass(frozen=True)
class Step:
    """One forward pass over consecutive positions."""

    tokens: Sequence[int]
    states: Sequence[Rows]
    """Hidden states 0 to L."""
    linears: Sequence[Sequence[Rows]]
    """For each layer its products, in the trace's order; empty without the stream."""
    logits: NDArray[np.float32]
    """Of the last position, from which the next token is chosen."""


@dataclass(frozen=True)
class Keep:
    """Which rows are kept, digests of all being kept anyway; None stands for all."""

    states: frozenset[int] | None = None
    layers: frozenset[int] | None = None
    logits: bool = True


@dataclass
class Recording:
    """Positions in order. Only the last of a step may emit a token, as with a prompt and then single tokens."""

    keep: Keep
    tokens: list[int] = field(default_factory=list)
    state_digests: bytearray = field(default_factory=bytearray)
    linear_digests: bytearray = field(default_factory=bytearray)
    logits_digests: bytearray = field(default_factory=bytearray)
    states: dict[int, bytearray] = field(default_factory=dict)
    linears: dict[int, list[bytearray]] = field(default_factory=dict)
    logits: list[bytes] = field(default_factory=list)

    def push(self, step: Step) -> None:
        """Adds a forward pass."""
        self.tokens += step.tokens
        for position in range(len(step.tokens)):
            for state in step.states:
                self.state_digests += sha256(state[position].data)
            for products in step.linears:
                self.linear_digests += sha256(*(product[position].data for product in products))
        for index, state in enumerate(step.states):
            if self.keep.states is None or index in self.keep.states:
                self.states.setdefault(index, bytearray()).extend(state.data.cast("B"))
        for layer, products in enumerate(step.linears):
            if self.keep.layers is None or layer in self.keep.layers:
                kept = self.linears.setdefault(layer, [bytearray() for _ in products])
                for rows, product in zip(kept, products):
                    rows.extend(product.data.cast("B"))
        row = np.ascontiguousarray(step.logits, dtype="<f4")
        if not np.isfinite(row).all():
            raise ProveError(f"the logits at position {len(self.tokens) - 1} are not finite")
        self.logits_digests += sha256(row.data)
        if self.keep.logits:
            self.logits.append(row.tobytes())

    def root(self, last_token: int) -> bytes:
        """The Merkle root over all positions; `last_token` was chosen at the last one and never entered the model."""
        positions = len(self.tokens)
        first_emitting = positions - len(self.logits_digests) // 32
        following = [*self.tokens[1:], last_token]
        tag = _TAG_WITH_LINEARS if self.linear_digests else _TAG
        leaves = []
        for p in range(positions):
            emits = p >= first_emitting
            ids = struct.pack("<III", p, self.tokens[p], following[p] if emits else _NOTHING_EMITTED)
            logits = _part(self.logits_digests, p - first_emitting, 32) if emits else bytes(32)
            states = _part(self.state_digests, p, len(self.state_digests) // positions)
            linears = _part(self.linear_digests, p, len(self.linear_digests) // positions)
            leaves.append(leaf_hash(tag, ids, logits, states, linears))
        return merkle_root(leaves)


def _part(data: bytearray, index: int, size: int) -> memoryview:
    return memoryview(data)[index * size : (index + 1) * size]

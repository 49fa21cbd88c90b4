"""A finished run: from its recording to a sealed trace, with whatever is to be open."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from .container import Tensor, Trace, assemble
from .errors import ProveError
from .manifest import Claims, canonical_json, commitment, manifest
from .openings import Chosen, Opened, Openings
from .recording import Recording

_SAFETENSORS_TYPES = {"f32": "F32", "f16": "F16", "bf16": "BF16"}


@dataclass(frozen=True)
class Run:
    """What was generated, and everything a trace of it may open."""

    claims: Claims
    recording: Recording
    output: tuple[int, ...]
    stop: str
    prefill_s: float
    decode_s: float

    @property
    def root(self) -> bytes:
        """The Merkle root over all positions."""
        return self.recording.root(self.output[-1])

    def receipt(self) -> bytes:
        """The receipt's digest: given away first, it leaves the prover nothing to open but this run."""
        if self.claims.products is None:
            raise ProveError("a trace without linear outputs has no receipt")
        opened = Chosen(interactive=True).resolve(0, 0, self.root, None)
        return commitment(canonical_json(self._manifest(self.root, (), opened)))

    def open(self, openings: Openings, states: tuple[int, ...] = ()) -> Trace:
        """Seals a trace with these openings and at least these hidden states."""
        root, n_layers = self.root, self.claims.model.layers
        opened = openings.resolve(n_layers, len(self.output), root, self.claims.nonce)
        if self.claims.products is None and (opened.layers or opened.logits):
            raise ProveError("linear outputs were not recorded, so neither they nor logits can be opened")
        indices = states_to_open(states, opened, n_layers)
        fields = self._manifest(root, indices, opened)
        text = canonical_json(fields)
        digest = commitment(text)
        tensors = [Tensor("commitment", "U8", (32,), digest), *self._digests(n_layers), *self._rows(indices, opened)]
        return assemble(fields, text, digest, tensors)

    def _manifest(self, root: bytes, states: tuple[int, ...], opened: Opened) -> dict[str, Any]:
        return manifest(self.claims, len(self.output), self.stop, root, states, opened)

    def _digests(self, n_layers: int) -> list[Tensor]:
        recording, positions = self.recording, len(self.recording.tokens)
        tokens = [*recording.tokens, self.output[-1]]
        tensors = [
            Tensor("tokens", "U32", (len(tokens),), struct.pack(f"<{len(tokens)}I", *tokens)),
            Tensor("digests.logits", "U8", (len(self.output), 32), recording.logits_digests),
            Tensor("digests.states", "U8", (positions, n_layers + 1, 32), recording.state_digests),
        ]
        if self.claims.products is not None:
            tensors.append(Tensor("digests.linears", "U8", (positions, n_layers, 32), recording.linear_digests))
        return tensors

    def _rows(self, states: tuple[int, ...], opened: Opened) -> list[Tensor]:
        recording, positions = self.recording, len(self.recording.tokens)
        dtype = _SAFETENSORS_TYPES[self.claims.state_dtype]
        lacking = set(states) - set(recording.states) or set(opened.layers) - set(recording.linears)
        if lacking or (opened.logits and not recording.logits):
            raise ProveError("the run did not keep everything that is to be opened")
        shape = (positions, self.claims.model.hidden)
        tensors = [Tensor(f"states.{state:05}", dtype, shape, recording.states[state]) for state in states]
        for layer in opened.layers:
            for (name, width), rows in zip((self.claims.products or {}).items(), recording.linears[layer]):
                tensors.append(Tensor(f"linears.{layer:05}.{name}", dtype, (positions, width), rows))
        if opened.logits:
            logits = b"".join(recording.logits[i] for i in opened.logits)
            tensors.append(Tensor("logits", "F32", (len(opened.logits), self.claims.model.vocab), logits))
        return tensors


def states_to_open(states: tuple[int, ...], opened: Opened, n_layers: int) -> tuple[int, ...]:
    """The hidden states asked for, and those that open layers and logits call for."""
    for state in states:
        if not 0 <= state <= n_layers:
            raise ProveError(f"cannot open hidden state {state}: there are {n_layers + 1}, counted from 0")
    needed = set(states) | set(opened.layers) | {layer + 1 for layer in opened.layers}
    if opened.logits:
        needed.add(n_layers)
    return tuple(sorted(needed))

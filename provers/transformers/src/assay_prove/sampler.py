"""From logits to a token, as the engine's `sampler.rs` specifies it: the same choice from the same logits."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from . import libm, philox
from .decimals import spell
from .errors import ProveError

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Greedy:
    """The largest logit; of equal ones the lower id."""

    def sample(self, logits: Logits, position: int) -> int:
        """The token chosen from the row of logits at `position`."""
        del position  # No noise, so every position is alike.
        return int(np.argmax(logits))

    def claim(self) -> dict[str, object]:
        """The manifest's `sampler`."""
        return {"kind": "greedy"}


@dataclass(frozen=True)
class Gumbel:
    """The largest of logit / temperature + seeded noise over the tokens that top-k and top-p allow.

    Temperature and top-p are rounded to the nine places that a trace keeps, so that the run is what the trace states.
    """

    seed: int
    temperature: float
    top_k: int = 0
    top_p: float = 1.0
    _spelled: tuple[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        spelled = spell("temperature", self.temperature), spell("top-p", self.top_p)
        temperature, top_p = map(float, spelled)
        if temperature == 0:
            raise ProveError(f"temperature is too small: got {self.temperature}, want at least 0.000000001")
        if not 0 < top_p <= 1:
            raise ProveError(f"top-p is out of range: got {self.top_p}, want above 0 and at most 1")
        if not 0 <= self.top_k < 1 << 32:
            raise ProveError(f"top-k is out of range: got {self.top_k}")
        if not 0 <= self.seed < 1 << 64:
            raise ProveError(f"the seed is out of range: got {self.seed}, want an unsigned 64-bit integer")
        for name, value in [("temperature", temperature), ("top_p", top_p), ("_spelled", spelled)]:
            object.__setattr__(self, name, value)

    def allowed(self, logits: Logits) -> NDArray[np.int64]:
        """The ids that top-k and top-p allow, by (logit descending, id ascending)."""
        # A stable sort of the negated row leaves equal logits, zeros of either sign too, in the order of their ids.
        order = np.argsort(-logits, kind="stable")
        if self.top_k > 0:
            order = order[: self.top_k]
        if self.top_p < 1:
            wide = logits.astype(np.float64)
            weights = libm.exp((wide - wide.max()) / self.temperature)
            # cumsum adds one after another; sum() would add pairwise and round otherwise.
            total = np.cumsum(weights[np.sort(order)])[-1]
            reached = np.cumsum(weights[order]) >= self.top_p * total
            if reached.any():
                order = order[: int(np.argmax(reached)) + 1]
        return order

    def sample(self, logits: Logits, position: int) -> int:
        """The token chosen from the row of logits at `position`."""
        ids = np.sort(self.allowed(logits))
        noise = philox.gumbel(self.seed, position, ids.astype(np.uint64))
        scores = logits[ids].astype(np.float64) / self.temperature + noise
        return int(ids[np.argmax(scores)])

    def claim(self) -> dict[str, object]:
        """The manifest's `sampler`."""
        temperature, top_p = self._spelled
        return {
            "kind": "gumbel",
            "seed": str(self.seed),
            "temperature": temperature,
            "top_k": self.top_k,
            "top_p": top_p,
        }


Sampler = Greedy | Gumbel

"""The manifest: what a trace claims, and its one spelling."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .errors import ProveError
from .hashing import sha256
from .openings import Opened

_MOST_TEXT = 256
_MOST_EOS = 64


@dataclass(frozen=True)
class ModelClaim:
    """The manifest's `model`."""

    dtype: str
    family: str
    hidden: int
    layers: int
    parameters: int
    root: str
    vocab: int


@dataclass(frozen=True)
class Claims:
    """What is known before the first position runs. Names are the manifest's."""

    adapter: str
    eos: tuple[int, ...]
    ignore_eos: bool
    model: ModelClaim
    nonce: bytes | None
    numerics: str
    """The class."""
    compute: str
    state_dtype: str
    producer: str
    products: Mapping[str, int] | None
    """Width of each linear product; None without the stream `linears`."""
    prompt: tuple[int, ...]
    sampler: Mapping[str, object]
    tokenizer: bytes | None

    def __post_init__(self) -> None:
        if len(self.eos) > _MOST_EOS:
            raise ProveError(f"the model ends sequences at {len(self.eos)} ids; a trace can state {_MOST_EOS}")


def manifest(
    claims: Claims, n_output: int, stop: str, root: bytes, states: Sequence[int], opened: Opened
) -> dict[str, Any]:
    """All fields; `states` are the opened hidden states."""
    prompt_bytes = struct.pack(f"<{len(claims.prompt) + 1}I", len(claims.prompt), *claims.prompt)
    fields: dict[str, Any] = {
        "adapter": printable(claims.adapter),
        "eos": list(claims.eos),
        "format": "assay-trace",
        "ignore_eos": claims.ignore_eos,
        "model": asdict(claims.model),
        "nonce": None if claims.nonce is None else claims.nonce.hex(),
        "numerics": {"class": claims.numerics, "compute": claims.compute},
        "opened": list(states),
        "output": {"stop": stop, "tokens": n_output},
        "producer": printable(claims.producer),
        "prompt": {"digest": sha256(b"assay/prompt/v1\0", prompt_bytes).hex(), "tokens": len(claims.prompt)},
        "root": root.hex(),
        "sampler": dict(claims.sampler),
        "state_dtype": claims.state_dtype,
        "streams": ["logits", "states"],
        "tokenizer": None if claims.tokenizer is None else claims.tokenizer.hex(),
        "version": 1,
    }
    if claims.products is not None:
        fields["streams"] = ["linears", "logits", "states"]
        fields["linears"] = {
            "challenge": opened.challenge,
            "layers": list(opened.layers),
            "logits": list(opened.logits),
            "products": [{"name": name, "width": width} for name, width in claims.products.items()],
        }
    return fields


def canonical_json(fields: Mapping[str, Any]) -> str:
    """The manifest's text: keys in byte order, no whitespace."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def commitment(text: str) -> bytes:
    """The digest of a manifest's text."""
    return sha256(b"assay/manifest/v1\0", text.encode())


def printable(text: str) -> str:
    """Made fit for `adapter` or `producer`: other than printable ASCII becomes `?`, and 256 bytes remain."""
    return "".join(char if " " <= char <= "~" else "?" for char in text)[:_MOST_TEXT]

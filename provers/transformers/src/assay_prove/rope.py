"""Rotary positions as a config states them, in the classic spelling and in that of transformers 5."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .errors import ProveError
from .fields import Fields

_KNOWN = {
    "rope_type",
    "type",
    "rope_theta",
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "partial_rotary_factor",
}


def f64_hex(value: float) -> str:
    """The bits of a float as 16 hex digits."""
    return struct.pack(">d", value).hex()


@dataclass(frozen=True)
class Rope:
    """Base and scaling; `scaling` is canonical JSON, or `null`."""

    theta: float
    scaling: str

    def canonical_json(self) -> str:
        """As the model root binds it."""
        return f'{{"layout":"rotate_half","scaling":{self.scaling},"theta":"{f64_hex(self.theta)}"}}'


def read_rope(config: Fields) -> Rope:
    """From `rope_theta`, `rope_scaling` and `rope_parameters`, which must agree where they overlap."""
    thetas = {config.number("rope_theta")}
    scalings = set()
    for key in ("rope_scaling", "rope_parameters"):
        section = config.object(key)
        if section is not None:
            thetas.add(section.number("rope_theta"))
            scalings.add(_scaling(section))
    given = {theta for theta in thetas if theta is not None}
    if len(given) > 1 or len(scalings) > 1:
        raise ProveError("config.json contradicts itself in `rope_theta`, `rope_scaling` and `rope_parameters`")
    return Rope(theta=given.pop() if given else 10_000.0, scaling=scalings.pop() if scalings else "null")


def _scaling(section: Fields) -> str:
    kind = _kind(section)
    unknown = [key for key in section.all_keys() if key not in _KNOWN]
    if unknown:
        raise section.refuse(unknown[0], "no such key")
    if section.number("partial_rotary_factor") not in (None, 1.0):
        raise section.refuse("partial_rotary_factor", "1")
    factor = f64_hex(section.required_number("factor")) if kind != "default" else ""
    if kind == "default":
        return "null"
    if kind == "linear":
        return f'{{"factor":"{factor}","type":"linear"}}'
    high = f64_hex(section.required_number("high_freq_factor"))
    low = f64_hex(section.required_number("low_freq_factor"))
    original = section.required_size("original_max_position_embeddings")
    return (
        f'{{"factor":"{factor}","high_freq_factor":"{high}","low_freq_factor":"{low}",'
        f'"original_context":{original},"type":"llama3"}}'
    )


def _kind(section: Fields) -> str:
    first: str | None = section.text("rope_type")
    second: str | None = section.text("type")
    if first is not None and second is not None and first != second:
        raise section.refuse("type", f"{first}, as `rope_type` has it")
    kind = first or second or "default"
    if kind not in ("default", "linear", "llama3"):
        raise section.refuse("rope_type" if first else "type", "`default`, `linear` or `llama3`")
    return kind

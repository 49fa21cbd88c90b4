"""Temperatures and top-p as the decimals that a trace states: one spelling for each value."""

from __future__ import annotations

import math

from .errors import ProveError

_PLACES = 9
_MOST = 999_999


def spell(name: str, value: float) -> str:
    """The decimal nearest to `value` at nine places, in the trace's spelling."""
    if not math.isfinite(value) or value < 0 or value > _MOST + 1:
        raise ProveError(f"{name} is out of range: got {value}")
    # Formatting rounds the exact binary value; scaling it first would round twice.
    text = f"{abs(value):.{_PLACES}f}"
    units, fraction = text.split(".")
    if int(units) > _MOST:
        raise ProveError(f"{name} is out of range: got {value}")
    fraction = fraction.rstrip("0")
    return f"{units}.{fraction}" if fraction else units

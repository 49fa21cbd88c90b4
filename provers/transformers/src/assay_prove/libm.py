"""exp and log whose every bit is specified: FreeBSD's msun, as in musl and in Rust's `libm` crate.

The sampler's noise must have the same bits for prover and verifier, and platforms' own functions differ in the last
place. Only the ranges that the sampler needs are here. numpy takes multiplying and adding apart, so nothing is fused.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

_LN2_HI = float.fromhex("0x1.62e42feep-1")
_LN2_LO = float.fromhex("0x1.a39ef35793c76p-33")
_INV_LN2 = float.fromhex("0x1.71547652b82fep+0")
_LG = tuple(
    float.fromhex(text)
    for text in (
        "0x1.5555555555593p-1",
        "0x1.999999997fa04p-2",
        "0x1.2492494229359p-2",
        "0x1.c71c51d8e78afp-3",
        "0x1.7466496cb03dep-3",
        "0x1.39a09d078c69fp-3",
        "0x1.2f112df3e5244p-3",
    )
)
_P = tuple(
    float.fromhex(text)
    for text in (
        "0x1.555555555553ep-3",
        "-0x1.6c16c16bebd93p-9",
        "0x1.1566aaf25de2cp-14",
        "-0x1.bbd41c5d26bf1p-20",
        "0x1.6376972bea4d0p-25",
    )
)


def log(x: F64) -> F64:
    """Natural logarithm of zeros (of either sign) and positive normal numbers."""
    bits = x.view(np.uint64)
    high = (bits >> np.uint64(32)).astype(np.int64) + (0x3FF00000 - 0x3FE6A09E)
    k = ((high >> 20) - 0x3FF).astype(np.float64)
    high = (high & 0x000FFFFF) + 0x3FE6A09E
    reduced = (high.astype(np.uint64) << np.uint64(32)) | (bits & np.uint64(0xFFFFFFFF))
    f = reduced.view(np.float64) - 1.0
    half_square = 0.5 * f * f
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    lg1, lg2, lg3, lg4, lg5, lg6, lg7 = _LG
    t1 = w * (lg2 + w * (lg4 + w * lg6))
    t2 = z * (lg1 + w * (lg3 + w * (lg5 + w * lg7)))
    r = t2 + t1
    result = s * (half_square + r) + k * _LN2_LO - half_square + f + k * _LN2_HI
    return np.where(x == 0.0, -np.inf, result)


def exp(x: F64) -> F64:
    """Exponential of numbers that are zero or below."""
    high = (x.view(np.uint64) >> np.uint64(32)).astype(np.int64) & 0x7FFFFFFF
    # Below the last normal result the quotient would not fit an integer; those are set at the end.
    bounded = np.maximum(x, -800.0)
    k = np.trunc(_INV_LN2 * bounded - 0.5)
    k = np.where(high >= 0x3FF0A2B2, k, -1.0)
    k = np.where(high > 0x3FD62E42, k, 0.0)
    hi = bounded - k * _LN2_HI
    lo = k * _LN2_LO
    r = hi - lo
    square = r * r
    p1, p2, p3, p4, p5 = _P
    c = r - square * (p1 + square * (p2 + square * (p3 + square * (p4 + square * p5))))
    y = 1.0 + (r * c / (2.0 - c) - lo + hi)
    y = np.ldexp(y, k.astype(np.int32))
    y = np.where(high <= 0x3E300000, 1.0 + x, y)
    return np.where(x < -745.13321910194110842, 0.0, y)

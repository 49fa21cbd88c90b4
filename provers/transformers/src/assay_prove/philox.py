"""Philox4x32-10 (Salmon et al., SC 2011): noise that prover and verifier compute for any (seed, position, token)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import libm

_MASK = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_TAG = 0x41535359

Words = NDArray[np.uint64]


def philox4x32(key: tuple[int, int], counter: tuple[Words, Words, Words, Words]) -> tuple[Words, Words, Words, Words]:
    """One block for each element of the counter's arrays, whose elements are 32-bit words."""
    k0, k1 = key
    c0, c1, c2, c3 = counter
    for _ in range(10):
        p0 = np.uint64(0xD2511F53) * c0
        p1 = np.uint64(0xCD9E8D57) * c2
        c0, c2 = (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0), (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1)
        c1, c3 = p1 & _MASK, p0 & _MASK
        k0 = (k0 + 0x9E3779B9) & 0xFFFFFFFF
        k1 = (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniform(seed: int, position: int, tokens: Words) -> NDArray[np.float64]:
    """Numbers from 0 to 1 with 53 bits: one a token, at `position` under `seed`."""
    counter = (tokens, np.full_like(tokens, position), np.full_like(tokens, _TAG), np.zeros_like(tokens))
    high, low, _, _ = philox4x32((seed & 0xFFFFFFFF, seed >> 32), counter)
    bits = ((high << _SHIFT) | low) >> np.uint64(11)
    return (bits.astype(np.float64) + 0.5) / 2.0**53


def gumbel(seed: int, position: int, tokens: Words) -> NDArray[np.float64]:
    """Gumbel noise -ln(-ln u), one a token."""
    return -libm.log(-libm.log(uniform(seed, position, tokens)))

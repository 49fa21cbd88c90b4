"""SHA-256 and the Merkle tree hash of RFC 6962, 2.1."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

Bytes = bytes | bytearray | memoryview


def sha256(*parts: Bytes) -> bytes:
    """SHA-256 of the parts, joined."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def leaf_hash(*parts: Bytes) -> bytes:
    """The hash of a leaf, given in parts."""
    return sha256(b"\x00", *parts)


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over hashes of leaves, at least one.

    Level by level, an odd last node moves up as it is: the same tree as splitting at the largest power of two.
    """
    level = list(leaves)
    while len(level) > 1:
        pairs = zip(level[0::2], level[1::2])
        odd = level[-1:] if len(level) % 2 else []
        level = [sha256(b"\x01", left, right) for left, right in pairs] + odd
    return level[0]

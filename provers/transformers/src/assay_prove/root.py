"""The model root: an RFC 6962 Merkle root over the config and every weight, as `app/model/src/root.rs` defines it."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor

from .checkpoint import Checkpoint, map_bytes
from .hashing import leaf_hash, merkle_root
from .safetensors_file import StoredTensor

_CHUNK = 1 << 20
_TYPE_CODES = {"F32": 0, "F16": 1, "BF16": 2}


def model_root(checkpoint: Checkpoint) -> bytes:
    """Reads every weight."""
    files = {path: map_bytes(path) for path in {tensor.path for tensor in checkpoint.tensors}}
    leaves = [leaf_hash(b"assay/config/v1\0", checkpoint.config.canonical_json().encode())]
    with ThreadPoolExecutor() as pool:  # Hashing releases the interpreter's lock.
        for tensor in checkpoint.tensors:
            data = files[tensor.path][tensor.offset : tensor.offset + tensor.bytes]
            chunks = [data[at : at + _CHUNK] for at in range(0, tensor.bytes, _CHUNK)]
            leaves.append(_tensor_leaf(tensor, merkle_root(list(pool.map(leaf_hash, chunks)))))
    return merkle_root(leaves)


def _tensor_leaf(tensor: StoredTensor, bytes_root: bytes) -> bytes:
    name = tensor.name.encode()
    return leaf_hash(
        b"assay/tensor/v1\0",
        struct.pack("<I", len(name)),
        name,
        struct.pack("<BI", _TYPE_CODES[tensor.dtype], len(tensor.shape)),
        struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape),
        bytes_root,
    )

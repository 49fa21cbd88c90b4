"""The types that a run may compute in, and torch tensors as the bytes that a trace hashes."""

from __future__ import annotations

import sys

import numpy as np
import torch

from .errors import ProveError
from .recording import Rows

RUN_TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
STATE_DTYPES = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}
STORED_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_BITS = {torch.float32: torch.int32, torch.float16: torch.int16, torch.bfloat16: torch.int16}


def check_byte_order() -> None:
    """A trace is little endian, and so must the machine be: nothing here swaps bytes."""
    if sys.byteorder != "little":
        raise ProveError("this machine is big endian; a trace is not")


def row_bytes(tensor: torch.Tensor, what: str) -> Rows:
    """`[positions, width]` as bytes, a row for each position; refuses what is not finite."""
    if not bool(torch.isfinite(tensor).all()):
        hint = "; half precision overflowed: run in bf16 or fp32" if tensor.dtype == torch.float16 else ""
        raise ProveError(f"{what} is not finite{hint}")
    bits = tensor.contiguous().view(_BITS[tensor.dtype]).cpu().numpy()
    return bits.view(np.uint8).reshape(tensor.shape[0], -1)

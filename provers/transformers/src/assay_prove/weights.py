"""Whether the weights that torch holds are those of the checkpoint, whose root the trace will claim."""

from __future__ import annotations

import torch

from .checkpoint import Checkpoint, map_bytes
from .errors import ProveError
from .names import EMBEDDING, LM_HEAD
from .numerics import STORED_TYPES
from .safetensors_file import StoredTensor


def count_rounded(checkpoint: Checkpoint, model: torch.nn.Module, dtype: torch.dtype) -> int:
    """Compares every weight with the file, rounded to the run's type, and counts those that the rounding changed.

    transformers fills in what it does not find; a run on such weights would be honest only by accident.
    """
    loaded = model.state_dict()
    files = {path: map_bytes(path) for path in {tensor.path for tensor in checkpoint.tensors}}
    rounded = 0
    for tensor in checkpoint.tensors:
        stored = _read(tensor, files[tensor.path])
        as_run = stored.to(dtype)
        for name in _names(tensor, checkpoint.config.tied_embeddings):
            weight = loaded.get(name)
            if weight is None or not torch.equal(weight.cpu(), as_run):
                raise ProveError(f"transformers did not load `{name}` as stored; the run would be of another model")
        rounded += int((as_run.to(stored.dtype) != stored).sum())
    return rounded


def _read(tensor: StoredTensor, file: memoryview) -> torch.Tensor:
    # A copy, because torch wants memory that may be written to.
    data = bytearray(file[tensor.offset : tensor.offset + tensor.bytes])
    return torch.frombuffer(data, dtype=STORED_TYPES[tensor.dtype]).reshape(tensor.shape)


def _names(tensor: StoredTensor, tied: bool) -> tuple[str, ...]:
    if tied and tensor.name in (EMBEDDING, LM_HEAD):
        return (EMBEDDING, LM_HEAD)
    return (tensor.name,)

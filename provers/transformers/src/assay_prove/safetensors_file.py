"""The header of a safetensors file: which tensors it has, and where their bytes lie."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .errors import ProveError

_MOST_HEADER = 100 << 20


@dataclass(frozen=True)
class StoredTensor:
    """A tensor within a file; `dtype` is safetensors' word."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    offset: int
    bytes: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        count = 1
        for dim in self.shape:
            count *= dim
        return count


def read_header(path: Path) -> list[StoredTensor]:
    """All tensors of one file."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MOST_HEADER:
                raise ProveError(f"{path} is not a safetensors file: its header would have {length} bytes")
            header = json.loads(file.read(length))
            file_bytes = path.stat().st_size
    except OSError as error:
        raise ProveError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ProveError(f"{path} is not a safetensors file: {error}") from error
    try:
        tensors = [
            StoredTensor(
                name=name,
                dtype=entry["dtype"],
                shape=tuple(entry["shape"]),
                path=path,
                offset=8 + length + entry["data_offsets"][0],
                bytes=entry["data_offsets"][1] - entry["data_offsets"][0],
            )
            for name, entry in header.items()
            if name != "__metadata__"
        ]
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise ProveError(f"{path} is not a safetensors file: {error!r}") from error
    for tensor in tensors:
        if tensor.bytes < 0 or tensor.offset + tensor.bytes > file_bytes:
            raise ProveError(f"{path} is cut short: `{tensor.name}` does not fit")
    return tensors

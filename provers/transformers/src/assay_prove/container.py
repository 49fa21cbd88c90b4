"""The trace file: one canonical safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .errors import ProveError

Data = bytes | bytearray

_DTYPE_ORDER = ("F32", "U32", "BF16", "F16", "U8")
_MOST_BYTES = 16 << 30


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file; `dtype` is safetensors' word."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: Data


@dataclass(frozen=True)
class Trace:
    """A sealed trace, ready to be written."""

    manifest: dict[str, Any]
    commitment: bytes
    header: bytes
    tensors: tuple[Tensor, ...]
    """In file order."""

    def __len__(self) -> int:
        """Length of the file in bytes."""
        return 8 + len(self.header) + sum(len(tensor.data) for tensor in self.tensors)

    def write_to(self, file: BinaryIO) -> None:
        """Writes the file's bytes."""
        file.write(len(self.header).to_bytes(8, "little"))
        file.write(self.header)
        for tensor in self.tensors:
            file.write(tensor.data)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the file under a name of its own first: `path` is either whole or untouched."""
        path = Path(path)
        part = path.with_name(path.name + ".trace.part")
        try:
            with part.open("wb") as file:
                self.write_to(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError as error:
            raise ProveError(f"cannot write {path}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)


def assemble(manifest: dict[str, Any], text: str, commitment: bytes, tensors: Sequence[Tensor]) -> Trace:
    """Puts tensors in order and makes the header. `text` is the manifest's."""
    placed = tuple(sorted(tensors, key=lambda tensor: (_DTYPE_ORDER.index(tensor.dtype), tensor.name)))
    header: dict[str, Any] = {"__metadata__": {"assay": text}}
    end = 0
    for tensor in placed:
        start, end = end, end + len(tensor.data)
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    trace = Trace(manifest, commitment, encoded + b" " * (-len(encoded) % 8), placed)
    if len(trace) > _MOST_BYTES:
        raise ProveError(f"the trace would have {len(trace)} bytes, and at most {_MOST_BYTES} are allowed; open less")
    return trace

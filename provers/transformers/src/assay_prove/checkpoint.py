"""A Hugging Face checkpoint on disk whose every tensor was found with the shape that its config asks for."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

from .config import ModelConfig, read_config
from .errors import ProveError
from .fields import Fields
from .names import EMBEDDING, LM_HEAD, contradicts, wanted_but_embeddings
from .safetensors_file import StoredTensor, read_header

WEIGHT_TYPES = {"F32": "f32", "F16": "f16", "BF16": "bf16"}
_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Checkpoint:
    """Config and tensors, those sorted by name and a tied matrix once."""

    folder: Path
    config: ModelConfig
    tensors: tuple[StoredTensor, ...]

    @property
    def dtype(self) -> str:
        """The stored type of all weights (`f32`, `f16`, `bf16`), or `mixed`."""
        types = {WEIGHT_TYPES[tensor.dtype] for tensor in self.tensors}
        return types.pop() if len(types) == 1 else "mixed"

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def tokenizer(self) -> Path | None:
        """The tokenizer's file, if there is one."""
        path = self.folder / "tokenizer.json"
        return path if path.is_file() else None


def open_checkpoint(folder: Path) -> Checkpoint:
    """Reads config and headers; weights stay where they are."""
    config = read_config(folder)
    stored: dict[str, StoredTensor] = {}
    for path in _files(folder):
        for tensor in read_header(path):
            if tensor.name in stored:
                raise ProveError(f"`{tensor.name}` is in {stored[tensor.name].path.name} and in {path.name}")
            stored[tensor.name] = tensor
    tensors = _take_embeddings(config, stored)
    for name, shape in wanted_but_embeddings(config).items():
        tensors.append(_take(stored, name, shape))
    left = [name for name in stored if contradicts(config, name)]
    if left:
        raise ProveError(f"`{left[0]}` is stored, but config.json has no place for it")
    return Checkpoint(folder, config, tuple(sorted(tensors, key=lambda tensor: tensor.name.encode())))


def map_bytes(path: Path) -> memoryview:
    """A file's bytes, paged in as they are read."""
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _files(folder: Path) -> list[Path]:
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    if (folder / _INDEX).is_file():
        weight_map = Fields.read(folder / _INDEX).raw("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise ProveError(f"{folder / _INDEX} has no `weight_map` from tensors to files")
        names = sorted(set(weight_map.values()))
        if any(Path(name).name != name for name in names):
            raise ProveError(f"{folder / _INDEX} names files outside its folder")
        return [folder / name for name in names]
    only = sorted(folder.glob("*.safetensors"))
    if len(only) != 1:
        raise ProveError(f"{folder} has {len(only)} safetensors files and no {_INDEX}; want one file, or an index")
    return only


def _take(stored: dict[str, StoredTensor], name: str, shape: tuple[int, ...]) -> StoredTensor:
    tensor = stored.pop(name, None)
    if tensor is None:
        raise ProveError(f"the checkpoint lacks `{name}`")
    if tensor.dtype not in WEIGHT_TYPES:
        raise ProveError(f"`{name}` is of type {tensor.dtype}; want {', '.join(WEIGHT_TYPES)}")
    if tensor.shape != shape:
        raise ProveError(f"`{name}` has the shape {list(tensor.shape)}; config.json asks for {list(shape)}")
    return tensor


def _take_embeddings(config: ModelConfig, stored: dict[str, StoredTensor]) -> list[StoredTensor]:
    """The embedding and, if untied, the output projection; a tied matrix may be stored under either name or both."""
    shape = (config.vocab, config.hidden)
    if not config.tied_embeddings:
        return [_take(stored, EMBEDDING, shape), _take(stored, LM_HEAD, shape)]
    if EMBEDDING not in stored:
        return [_take(stored, LM_HEAD, shape)]
    embedding = _take(stored, EMBEDDING, shape)
    if LM_HEAD in stored and not _same_bytes(embedding, _take(stored, LM_HEAD, shape)):
        raise ProveError(f"`{EMBEDDING}` and `{LM_HEAD}` differ, but config.json ties them")
    return [embedding]


def _same_bytes(first: StoredTensor, second: StoredTensor) -> bool:
    one, two = (map_bytes(tensor.path)[tensor.offset : tensor.offset + tensor.bytes] for tensor in (first, second))
    return first.dtype == second.dtype and one == two

"""Loading a checkpoint into transformers, on the device and in the type that the run wants."""

from __future__ import annotations

import logging
import platform
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from .checkpoint import Checkpoint
from .config import FAMILIES
from .errors import ProveError
from .numerics import RUN_TYPES, STATE_DTYPES
from .weights import count_rounded

_LOG = logging.getLogger(__name__)


def pick_device(name: str | None) -> torch.device:
    """The named device; CUDA where there is one, if none is named."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ProveError(f"`{name}` is no device; want cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise ProveError(f"`{name}` is not supported; want cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ProveError("torch finds no CUDA device here; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ProveError(f"there is no `{name}`: torch finds {torch.cuda.device_count()} CUDA devices")
    return device


def pick_dtype(name: str | None, checkpoint: Checkpoint) -> str:
    """The named type; that of the stored weights, if none is named."""
    if name is None:
        stored = {state: run for run, state in STATE_DTYPES.items()}
        if checkpoint.dtype not in stored:
            raise ProveError("the checkpoint mixes weight types; say which to run in with --dtype")
        return stored[checkpoint.dtype]
    if name not in RUN_TYPES:
        raise ProveError(f"`{name}` is no type to run in; want {', '.join(RUN_TYPES)}")
    return name


def load(checkpoint: Checkpoint, dtype: str, device: torch.device, attn: str) -> PreTrainedModel:
    """The model, ready to run, with the checkpoint's weights; warns where a verifier would not have quite the same."""
    family = checkpoint.config.family
    if not FAMILIES[family].verified:
        _LOG.warning("Assay cannot verify `%s` yet: this trace's model root is provisional", family)
    model = _from_pretrained(checkpoint.folder, dtype, attn)
    rounded = count_rounded(checkpoint, model, RUN_TYPES[dtype])
    if rounded:
        _LOG.warning(
            "%d of %d weights are stored as %s and rounded to run in %s: that is another model than the root names,"
            " and a verifier sees the difference",
            rounded,
            checkpoint.parameters,
            checkpoint.dtype,
            dtype,
        )
    try:
        model.to(device=device)  # type: ignore[call-arg]  # transformers' wrapper hides the signature
    except torch.OutOfMemoryError as error:
        raise ProveError(f"the model does not fit into the memory of {device}") from error
    model.eval()  # type: ignore[no-untyped-call]
    return model


def _from_pretrained(folder: Path, dtype: str, attn: str) -> PreTrainedModel:
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=RUN_TYPES[dtype],
            attn_implementation=attn,
            local_files_only=True,
            trust_remote_code=False,
        )
        return model
    except (OSError, ValueError, RuntimeError) as error:
        raise ProveError(f"transformers cannot load {folder}: {error}") from error


def adapter_name(device: torch.device, attn: str) -> str:
    """The device in words."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, {attn} attention"
    return f"{platform.machine()} CPU, torch {torch.__version__}, {attn} attention"


def producer_name(version: str) -> str:
    """This program and the library whose code it ran."""
    return f"assay-prove {version}, transformers {transformers.__version__}"

"""From a folder and a prompt to a sealed trace."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .checkpoint import Checkpoint, open_checkpoint
from .container import Trace
from .generate import generate
from .loading import adapter_name, load, pick_device, pick_dtype, producer_name
from .manifest import Claims, ModelClaim
from .numerics import STATE_DTYPES, check_byte_order
from .openings import All, Chosen, Openings
from .prompts import Text
from .recording import Keep, Recording
from .request import Request, default_states
from .root import model_root
from .run import Run
from .sampler import Greedy, Sampler
from .version import VERSION

Folder = str | os.PathLike[str]


@dataclass(frozen=True)
class Setting:
    """How to compute; None stands for the checkpoint's stored type, and for CUDA where there is one."""

    dtype: str | None = None
    device: str | None = None
    attn: str = "sdpa"


@dataclass(frozen=True)
class Proved:
    """A finished proof."""

    trace: Trace
    run: Run
    text: str | None
    """The output's text; None without a tokenizer."""


def prove(
    model: Folder,
    prompt: str | Sequence[int],
    *,
    max_tokens: int = 64,
    sampler: Sampler = Greedy(),
    ignore_eos: bool = False,
    nonce: bytes | None = None,
    linears: bool = True,
    openings: Openings | None = None,
    states: Sequence[int] | None = None,
    dtype: str | None = None,
    device: str | None = None,
    attn: str = "sdpa",
    tokenizer: Folder | None = None,
) -> Proved:
    """Runs a Hugging Face checkpoint on a prompt (text, or ids) and seals a trace of the run.

    `openings` are all linear outputs and logits unless said otherwise; `states` are hidden states to open besides those
    that openings call for. Raises `ProveError` where there can be no trace.
    """
    checkpoint = open_checkpoint(Path(model))
    text = Text(Path(tokenizer) if tokenizer is not None else checkpoint.tokenizer)
    ids = text.encode(prompt) if isinstance(prompt, str) else tuple(prompt)
    request = Request(ids, max_tokens, sampler, ignore_eos, nonce, linears)
    request.check(checkpoint.config)
    openings = openings if openings is not None else All() if linears else Chosen()
    indices = tuple(states) if states is not None else default_states(checkpoint.config.layers)
    keep = request.keep(checkpoint.config, openings, indices)
    made = run(checkpoint, request, keep, Setting(dtype, device, attn), text.digest)
    return Proved(made.open(openings, indices), made, text.decode(made.output))


def run(checkpoint: Checkpoint, request: Request, keep: Keep, setting: Setting, tokenizer: bytes | None = None) -> Run:
    """Runs a request and keeps what `keep` names, to be opened later: after a verifier has the receipt, say."""
    check_byte_order()
    config = checkpoint.config
    request.check(config)
    device, dtype = pick_device(setting.device), pick_dtype(setting.dtype, checkpoint)
    model = load(checkpoint, dtype, device, setting.attn)
    claims = Claims(
        adapter=adapter_name(device, setting.attn),
        eos=config.eos,
        ignore_eos=request.ignore_eos,
        model=ModelClaim(
            dtype=checkpoint.dtype,
            family=config.family,
            hidden=config.hidden,
            layers=config.layers,
            parameters=checkpoint.parameters,
            root=model_root(checkpoint).hex(),
            vocab=config.vocab,
        ),
        nonce=request.nonce,
        numerics="fast",
        compute=STATE_DTYPES[dtype],
        state_dtype=STATE_DTYPES[dtype],
        producer=producer_name(VERSION),
        products={name: shape[0] for name, shape in config.products().items()} if request.linears else None,
        prompt=request.prompt,
        sampler=request.sampler.claim(),
        tokenizer=tokenizer,
    )
    recording = Recording(keep)
    made = generate(model, config, request, recording)
    return Run(claims, recording, made.output, made.stop, made.prefill_s, made.decode_s)

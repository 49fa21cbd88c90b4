"""Generation as transformers does it, with a key-value cache: the prompt in one pass, then one token at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from .capture import Capture
from .config import ModelConfig
from .errors import ProveError
from .recording import Recording, Step
from .request import Request


@dataclass(frozen=True)
class Generated:
    """The emitted tokens and why there are no more."""

    output: tuple[int, ...]
    stop: str
    prefill_s: float
    decode_s: float


def generate(model: PreTrainedModel, config: ModelConfig, request: Request, recording: Recording) -> Generated:
    """Runs the request, recording every position."""
    limit = min(config.context, len(request.prompt) + request.max_tokens)
    products = list(config.products()) if request.linears else []
    output: list[int] = []
    cache = None
    fed = list(request.prompt)
    started = time.perf_counter()
    prefilled = started
    try:
        with torch.inference_mode(), Capture(model, products) as capture:
            while True:
                ids = torch.tensor([fed], device=model.device)
                made = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache = made.past_key_values
                logits = made.logits[0, -1].float().cpu().numpy()
                states, linears = capture.take(len(recording.tokens))
                recording.push(Step(fed, states, linears, logits))
                if not output:
                    prefilled = time.perf_counter()
                token = request.sampler.sample(logits, len(recording.tokens) - 1)
                output.append(token)
                stop = _stop(token, len(output), limit, config, request)
                if stop:
                    break
                fed = [token]
    except torch.OutOfMemoryError as error:
        raise ProveError(f"out of memory on {model.device} after {len(recording.tokens)} positions") from error
    return Generated(tuple(output), stop, prefilled - started, time.perf_counter() - prefilled)


def _stop(token: int, n_output: int, limit: int, config: ModelConfig, request: Request) -> str:
    """Why generation ends after this token, in the manifest's word; empty if it goes on."""
    if token in config.eos and not request.ignore_eos:
        return "eos"
    if n_output == request.max_tokens:
        return "length"
    if len(request.prompt) + n_output == limit:
        return "context"
    return ""

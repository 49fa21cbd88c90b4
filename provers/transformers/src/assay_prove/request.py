"""What a prover is asked for, and what can be wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from .config import ModelConfig
from .errors import ProveError
from .openings import Chosen, Drawn, Openings
from .recording import Keep
from .run import states_to_open
from .sampler import Greedy, Sampler

_MOST_TOKENS = 1 << 20


@dataclass(frozen=True)
class Request:
    """One inference."""

    prompt: tuple[int, ...]
    max_tokens: int = 64
    sampler: Sampler = Greedy()
    ignore_eos: bool = False
    nonce: bytes | None = None
    linears: bool = True
    """Whether the trace has the stream `linears`."""

    def check(self, config: ModelConfig) -> None:
        """Refuses what cannot be run, before a model is loaded for it."""
        if not self.prompt:
            raise ProveError("the prompt has no tokens; give at least one")
        if self.max_tokens < 1:
            raise ProveError("at least one token must be generated")
        if len(self.prompt) >= config.context:
            raise ProveError(
                f"the prompt has {len(self.prompt)} tokens; with one to generate, the context has room for"
                f" {config.context - 1}"
            )
        if min(config.context, len(self.prompt) + self.max_tokens) > _MOST_TOKENS:
            raise ProveError(f"a trace has room for {_MOST_TOKENS} tokens, prompt and output together")
        for token in self.prompt:
            if not 0 <= token < config.vocab:
                raise ProveError(f"prompt id {token} is beyond the vocabulary of {config.vocab}")
        if self.nonce is not None and len(self.nonce) != 32:
            raise ProveError(f"the nonce has {len(self.nonce)} bytes; want 32")

    def keep(self, config: ModelConfig, openings: Openings, states: tuple[int, ...]) -> Keep:
        """Which rows to keep for these openings, which are checked as far as can be said before the run."""
        layers = config.layers
        if not self.linears and openings != Chosen():
            raise ProveError("without linear outputs nothing of them can be opened; want `none`")
        if isinstance(openings, Drawn) and not 0 <= openings.layers <= layers:
            raise ProveError(f"cannot draw {openings.layers} layers: there are {layers}")
        if not isinstance(openings, Chosen):
            states_to_open(states, Chosen().resolve(layers, 0, b"", None), layers)
            return Keep()
        # How many tokens there will be is not known yet; `--max-tokens` bounds it.
        opened = openings.resolve(layers, self.max_tokens, b"", None)
        indices = states_to_open(states, opened, layers)
        return Keep(frozenset(indices), frozenset(opened.layers), bool(opened.logits))


def default_states(layers: int) -> tuple[int, ...]:
    """The hidden states that are open unless others are asked for: every eighth and the last."""
    return (*range(0, layers, 8), layers)

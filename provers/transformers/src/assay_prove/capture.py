"""Taking hidden states and linear outputs from a model while it runs as it always does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .errors import ProveError
from .names import module_of
from .numerics import row_bytes
from .recording import Rows


class Capture:
    """Within `with`, notes what every layer of a Llama-like model puts out; `take` hands over one forward pass.

    Nothing is copied or moved before the pass is over, so the device is not made to wait in the middle of it.
    """

    def __init__(self, model: PreTrainedModel, products: Sequence[str]) -> None:
        """`products` are the linear products to note, none for none."""
        self._model = model
        self._products = products
        self._layers: list[nn.Module] = list(model.model.layers)
        self._states: dict[int, torch.Tensor] = {}
        self._linears: dict[tuple[int, str], torch.Tensor] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._replaced: list[nn.Module] = []

    def __enter__(self) -> Capture:
        modules = [self._model.model.embed_tokens, *self._layers]
        for index, module in enumerate(modules):
            self._handles.append(module.register_forward_hook(self._state_hook(index)))
        for layer, block in enumerate(self._layers):
            for product in self._products:
                self._replace(block.get_submodule(module_of(product)), (layer, product))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        for module in self._replaced:
            del module.forward  # What is left is the class's own.

    def take(self, first: int) -> tuple[list[Rows], list[list[Rows]]]:
        """Hidden states, and products by layer, of the pass that began at position `first`."""
        n_states, n_linears = len(self._layers) + 1, len(self._layers) * len(self._products)
        if len(self._states) != n_states or len(self._linears) != n_linears:
            raise ProveError("this version of transformers does not run the model as its modules are laid out")
        states = [row_bytes(self._states[i][0], f"hidden state {i} from position {first}") for i in range(n_states)]
        linears = [
            [
                row_bytes(self._linears[layer, product][0], f"{product} of layer {layer} from position {first}")
                for product in self._products
            ]
            for layer in range(len(self._layers) if self._products else 0)
        ]
        self._states.clear()
        self._linears.clear()
        return states, linears

    def _state_hook(self, index: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            del module, inputs
            self._states[index] = output[0] if isinstance(output, tuple) else output

        return hook

    def _replace(self, module: nn.Module, key: tuple[int, str]) -> None:
        """Computes the product first and adds the bias after it, so that the run really used the product."""
        if type(module) is not nn.Linear:
            raise ProveError(f"{key[1]} of layer {key[0]} is a {type(module).__name__}; want plain linear layers")

        def forward(x: torch.Tensor) -> torch.Tensor:
            product = nn.functional.linear(x, module.weight)
            self._linears[key] = product
            return product if module.bias is None else product + module.bias

        module.forward = forward  # type: ignore[method-assign, assignment]
        self._replaced.append(module)

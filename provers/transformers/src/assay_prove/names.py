"""Which tensors a config asks for: their Hugging Face names and shapes."""

from __future__ import annotations

from .config import ModelConfig

EMBEDDING = "model.embed_tokens.weight"
LM_HEAD = "lm_head.weight"
FINAL_NORM = "model.norm.weight"
LAYER_NORMS = ("input_layernorm", "post_attention_layernorm")


def module_of(product: str) -> str:
    """A linear product's module within its layer."""
    part = "mlp" if product in ("gate", "up", "down") else "self_attn"
    return f"{part}.{product}_proj"


def wanted_but_embeddings(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors but the embedding and the output projection."""
    wanted: dict[str, tuple[int, ...]] = {FINAL_NORM: (config.hidden,)}
    for layer in range(config.layers):
        prefix = f"model.layers.{layer}"
        for norm in LAYER_NORMS:
            wanted[f"{prefix}.{norm}.weight"] = (config.hidden,)
        for product, (outputs, inputs) in config.products().items():
            wanted[f"{prefix}.{module_of(product)}.weight"] = (outputs, inputs)
            if config.has_bias(product):
                wanted[f"{prefix}.{module_of(product)}.bias"] = (outputs,)
    return wanted


def contradicts(config: ModelConfig, name: str) -> bool:
    """Whether a tensor that the config does not ask for is a layer's: another model was stored than would be run."""
    if not name.startswith("model.layers."):
        return False
    suffix = name.removeprefix("model.layers.").partition(".")[2]
    products = [f"{module_of(product)}.{part}" for product in config.products() for part in ("weight", "bias")]
    return suffix in products or suffix in [f"{norm}.weight" for norm in LAYER_NORMS]

"""What a model is: its shape and every number that its arithmetic depends on, read from `config.json`."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from .errors import ProveError
from .fields import Fields
from .rope import Rope, read_rope


@dataclass(frozen=True)
class Family:
    """What transformers assumes of an architecture where `config.json` is silent."""

    architecture: str
    context: int
    kv_heads: int | None
    eos: int | None
    verified: bool


FAMILIES = {
    "llama": Family("LlamaForCausalLM", context=2048, kv_heads=None, eos=2, verified=True),
    "mistral": Family("MistralForCausalLM", context=4096 * 32, kv_heads=8, eos=2, verified=True),
    # Assay has no verifier for it yet; its canonical config is this package's own extension of the others'.
    "qwen2": Family("Qwen2ForCausalLM", context=32768, kv_heads=32, eos=None, verified=False),
}


@dataclass(frozen=True)
class ModelConfig:
    """A model's shape."""

    family: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    rms_eps: float
    rope: Rope
    tied_embeddings: bool
    attention_bias: bool
    mlp_bias: bool
    eos: tuple[int, ...]

    @property
    def q_dim(self) -> int:
        """Rows of the query projection."""
        return self.heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Rows of the key and of the value projection."""
        return self.kv_heads * self.head_dim

    def products(self) -> dict[str, tuple[int, int]]:
        """The linear products of a layer in the trace's order: name to (outputs, inputs)."""
        return {
            "q": (self.q_dim, self.hidden),
            "k": (self.kv_dim, self.hidden),
            "v": (self.kv_dim, self.hidden),
            "o": (self.hidden, self.q_dim),
            "gate": (self.intermediate, self.hidden),
            "up": (self.intermediate, self.hidden),
            "down": (self.hidden, self.intermediate),
        }

    def has_bias(self, product: str) -> bool:
        """Whether a product adds a bias."""
        if product in ("gate", "up", "down"):
            return self.mlp_bias
        return self.attention_bias and not (self.family == "qwen2" and product == "o")

    def canonical_json(self) -> str:
        """The config as the model root binds it: keys sorted, no spaces, floats as the hex of their bits."""
        flag = {False: "false", True: "true"}
        rms_eps = struct.pack(">f", self.rms_eps).hex()
        return (
            f'{{"attention_bias":{flag[self.attention_bias]},"family":"{self.family}","head_dim":{self.head_dim},'
            f'"heads":{self.heads},"hidden":{self.hidden},"intermediate":{self.intermediate},'
            f'"kv_heads":{self.kv_heads},"layers":{self.layers},"mlp_bias":{flag[self.mlp_bias]},'
            f'"rms_eps":"{rms_eps}","rope":{self.rope.canonical_json()},'
            f'"tied_embeddings":{flag[self.tied_embeddings]},"vocab":{self.vocab}}}'
        )


def read_config(folder: Path) -> ModelConfig:
    """Reads `config.json` and, for its end-of-sequence ids, `generation_config.json`.

    What would change the numbers in a way that a verifier does not compute is refused by name.
    """
    if not folder.is_dir():
        raise ProveError(f"{folder} is not a folder; want a Hugging Face checkpoint on this disk")
    if not (folder / "config.json").is_file():
        raise ProveError(f"{folder} has no config.json; want a Hugging Face checkpoint")
    fields = Fields.read(folder / "config.json")
    family = _family(fields)
    _refuse_what_changes_numbers(fields, family)
    assumed = FAMILIES[family]
    hidden, heads = fields.required_size("hidden_size"), fields.required_size("num_attention_heads")
    vocab = fields.required_size("vocab_size")
    head_dim = fields.size("head_dim")
    if head_dim is None:
        if hidden % heads:
            raise fields.refuse("head_dim", f"a number: {hidden} channels cannot be split evenly over {heads} heads")
        head_dim = hidden // heads
    eos = fields.ids("eos_token_id", assumed.eos, vocab)
    if (folder / "generation_config.json").is_file():
        eos += Fields.read(folder / "generation_config.json").ids("eos_token_id", None, vocab)
    rms_eps = fields.number("rms_norm_eps")
    return ModelConfig(
        family=family,
        hidden=hidden,
        intermediate=fields.required_size("intermediate_size"),
        layers=fields.required_size("num_hidden_layers"),
        heads=heads,
        kv_heads=fields.size("num_key_value_heads") or assumed.kv_heads or heads,
        head_dim=head_dim,
        vocab=vocab,
        context=_context(fields, family),
        rms_eps=1e-6 if rms_eps is None else rms_eps,
        rope=read_rope(fields),
        tied_embeddings=fields.flag("tie_word_embeddings"),
        # transformers gives Qwen2's q, k and v a bias whatever the config says.
        attention_bias=family == "qwen2" or fields.flag("attention_bias"),
        mlp_bias=fields.flag("mlp_bias"),
        eos=tuple(sorted(set(eos))),
    )


def _family(fields: Fields) -> str:
    family = fields.text("model_type")
    if family not in FAMILIES:
        raise fields.refuse("model_type", " or ".join(f"`{name}`" for name in FAMILIES))
    architecture = FAMILIES[family].architecture
    names = fields.raw("architectures")
    if names is not None and (not isinstance(names, list) or any(name != architecture for name in names)):
        raise fields.refuse("architectures", f'["{architecture}"]')
    if fields.raw("auto_map"):
        raise fields.refuse("auto_map", "a model without code of its own")
    return family


def _refuse_what_changes_numbers(fields: Fields, family: str) -> None:
    if fields.text("hidden_act") not in (None, "silu"):
        raise fields.refuse("hidden_act", "`silu`")
    if fields.raw("quantization_config") is not None:
        raise fields.refuse("quantization_config", "weights in F32, F16 or BF16")
    if fields.number("partial_rotary_factor") not in (None, 1.0):
        raise fields.refuse("partial_rotary_factor", "1")
    for key in ("attention_bias", "mlp_bias"):
        if family != "llama" and fields.flag(key):
            raise fields.refuse(key, f"false for `{family}`")


def _context(fields: Fields, family: str) -> int:
    """Positions that the model can run at, cut where a sliding window would begin to hide the first ones."""
    context = fields.size("max_position_embeddings") or FAMILIES[family].context
    window = None
    if family == "mistral" or family == "qwen2" and fields.flag("use_sliding_window"):
        window = fields.size("sliding_window") if fields.has("sliding_window") else 4096
    return min(context, window or context)

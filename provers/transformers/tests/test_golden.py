"""The committed traces are what their README says, and their rows are the demo model's."""

import pytest
import torch
from conftest import DEMO, TOP
from tensors import rows
from transformers import AutoModelForCausalLM

from assay_prove import Greedy, Gumbel, open_checkpoint
from assay_prove.root import model_root

GOLDEN = TOP / "tests/golden/transformers"
NAMES = [
    "demo-fp32-greedy-offline",
    "demo-fp32-sampled-chosen",
    "demo-bf16-greedy-offline",
    "demo-bf16-sampled-all",
]


@pytest.mark.parametrize("name", NAMES)
def test_well_formed_and_small(name, read):
    path = GOLDEN / f"{name}.bin"
    manifest, _ = read(path)
    _, dtype, sampler, challenge = name.split("-")
    assert manifest["model"]["root"] == model_root(open_checkpoint(DEMO)).hex()
    assert manifest["numerics"]["compute"] == {"fp32": "f32", "bf16": "bf16"}[dtype]
    assert manifest["sampler"]["kind"] == {"greedy": "greedy", "sampled": "gumbel"}[sampler]
    assert manifest["linears"]["challenge"] == challenge
    assert path.stat().st_size < 400_000


@pytest.mark.parametrize("name", NAMES)
def test_open_logits_give_the_tokens(name, read):
    manifest, views = read(GOLDEN / f"{name}.bin")
    claim = manifest["sampler"]
    numbers = [float(claim[key]) for key in ("temperature", "top_k", "top_p") if key in claim]
    sampler = (
        Greedy() if claim["kind"] == "greedy" else Gumbel(int(claim["seed"]), numbers[0], int(numbers[1]), numbers[2])
    )
    tokens = torch.frombuffer(bytearray(views["tokens"]), dtype=torch.int32).tolist()
    logits = rows(views["logits"], manifest["model"]["vocab"], "f32").numpy()
    n_prompt = manifest["prompt"]["tokens"]
    for row, i in zip(logits, manifest["linears"]["logits"]):
        assert sampler.sample(row, n_prompt - 1 + i) == tokens[n_prompt + i]


@pytest.mark.parametrize("name", NAMES)
def test_open_products_follow_from_open_states(name, read):
    manifest, views = read(GOLDEN / f"{name}.bin")
    dtype, linears = manifest["state_dtype"], manifest["linears"]
    # One rounding of input and output in bf16 each; sums in another order in f32.
    limit = {"f32": 2e-6, "bf16": 8e-3}[dtype]
    model = AutoModelForCausalLM.from_pretrained(DEMO, dtype=torch.float32).double()
    widths = {product["name"]: product["width"] for product in linears["products"]}

    def product(layer, name):
        return rows(views[f"linears.{layer:05}.{name}"], widths[name], dtype).double()

    def agree(got, want):
        assert (got - want).norm() <= limit * want.norm()

    with torch.inference_mode():
        for layer in linears["layers"]:
            block = model.model.layers[layer]
            before, after = (rows(views[f"states.{i:05}"], 192, dtype).double() for i in (layer, layer + 1))
            x = block.input_layernorm(before)
            for name in "qkv":
                agree(product(layer, name), getattr(block.self_attn, f"{name}_proj")(x))
            middle = before + product(layer, "o")
            x = block.post_attention_layernorm(middle)
            for name in ("gate", "up"):
                agree(product(layer, name), getattr(block.mlp, f"{name}_proj")(x))
            x = torch.nn.functional.silu(product(layer, "gate")) * product(layer, "up")
            agree(product(layer, "down"), block.mlp.down_proj(x))
            agree(middle + product(layer, "down"), after)

"""What is recorded is what the model computes: held against transformers' generation and an independent forward."""

import json

import pytest
import torch
from conftest import DEMO
from tensors import rows
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from assay_prove import prove

PRODUCTS = {**dict.fromkeys("qkvo", "self_attn"), **dict.fromkeys(("gate", "up", "down"), "mlp")}


def close(got, want, limit=2e-6):
    assert got.shape == want.shape
    got, want = got.double(), want.double()
    assert (got - want).norm() <= limit * want.norm()


def forward(folder, tokens, dtype=torch.float32):
    """One pass without a cache over all tokens: states by transformers' account, linear outputs by hooks of its own."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    linears = {}
    for layer, block in enumerate(model.model.layers):
        for name, part in PRODUCTS.items():
            module = getattr(getattr(block, part), f"{name}_proj")
            module.register_forward_hook(lambda m, i, out, key=(layer, name): linears.__setitem__(key, out[0]))
    raw = []
    model.model.norm.register_forward_pre_hook(lambda m, inputs: raw.append(inputs[0][0]))
    with torch.inference_mode():
        out = model(torch.tensor([tokens]), use_cache=False, output_hidden_states=True)
    states = [state[0] for state in out.hidden_states[:-1]] + raw
    return model, states, linears, out.logits[0]


def check_against_forward(folder, proved, read, limit=2e-6):
    manifest, views = read(proved.trace)
    tokens = [*proved.run.claims.prompt, *proved.run.output]
    model, states, linears, logits = forward(folder, tokens[:-1])
    for index, state in enumerate(states):
        close(rows(views[f"states.{index:05}"], manifest["model"]["hidden"], "f32"), state, limit)
    for layer, block in enumerate(model.model.layers):
        for product in manifest["linears"]["products"]:
            name, width = product["name"], product["width"]
            got = rows(views[f"linears.{layer:05}.{name}"], width, "f32")
            bias = getattr(getattr(block, PRODUCTS[name]), f"{name}_proj").bias
            close(got if bias is None else got + bias, linears[layer, name], limit)
    close(rows(views["logits"], manifest["model"]["vocab"], "f32"), logits[len(proved.run.claims.prompt) - 1 :], limit)
    return manifest


def test_demo_is_an_independent_forward(demo_fp32, read):
    check_against_forward(DEMO, demo_fp32, read)


def test_last_state_is_before_the_final_norm(demo_fp32, read):
    manifest, views = read(demo_fp32.trace)
    model = AutoModelForCausalLM.from_pretrained(DEMO, dtype=torch.float32).eval()
    last = rows(views["states.00008"], 192, "f32")[-1:]
    logits = rows(views["logits"], 2048, "f32")[-1:]
    with torch.inference_mode():
        close(model.lm_head(model.model.norm(last)), logits)
        close(
            model.model.embed_tokens(torch.tensor(demo_fp32.run.claims.prompt)),
            rows(views["states.00000"], 192, "f32")[:6],
        )


def test_greedy_is_what_generate_gives():
    for dtype, name in [(torch.float32, "fp32"), (torch.bfloat16, "bf16")]:
        model = AutoModelForCausalLM.from_pretrained(DEMO, dtype=dtype, attn_implementation="sdpa").eval()
        for prompt in [(0, 5, 6, 7), (0, 100, 200, 300, 400, 500)]:
            proved = prove(DEMO, prompt, max_tokens=24, dtype=name, device="cpu", linears=False, ignore_eos=True)
            ids = torch.tensor([prompt])
            made = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                min_new_tokens=24,
                max_new_tokens=24,
                eos_token_id=None,
                pad_token_id=0,
            )
            assert list(proved.run.output) == made[0, len(prompt) :].tolist()


def test_greedy_is_what_float64_gives():
    for case in json.loads((DEMO / "reference.json").read_text())["cases"]:
        proved = prove(DEMO, case["prompt"], max_tokens=32, dtype="fp32", device="cpu", linears=False, ignore_eos=True)
        assert list(proved.run.claims.prompt) == case["prompt_ids"]
        assert list(proved.run.output) == case["greedy_ids"]
        assert proved.text == case["greedy_text"]


def test_bf16_rounds_as_the_run_did(read):
    """Decoding and an uncached pass may differ in bf16, so only the prompt's pass is compared, and bit for bit."""
    prompt = [0, 5, 6, 7, 8, 9]
    proved = prove(DEMO, prompt, max_tokens=1, dtype="bf16", device="cpu", attn="eager")
    _, views = read(proved.trace)
    _, states, linears, _ = forward(DEMO, prompt, torch.bfloat16)
    for index, state in enumerate(states):
        assert torch.equal(rows(views[f"states.{index:05}"], 192, "bf16"), state)
    assert torch.equal(rows(views["linears.00007.down"], 192, "bf16"), linears[7, "down"])


SMALL = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 97,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}


def small(tmp_path, model_class, config):
    torch.manual_seed(1)
    model = model_class(config)
    with torch.no_grad():  # Fresh biases are zero, which would hide everything about them.
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_()
    model.save_pretrained(tmp_path)
    return tmp_path


def test_products_are_taken_before_their_biases(tmp_path, read):
    folder = small(tmp_path, LlamaForCausalLM, LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True))
    proved = prove(folder, [1, 2, 3, 4, 5], max_tokens=6, dtype="fp32", device="cpu", ignore_eos=True)
    manifest = check_against_forward(folder, proved, read, 1e-5)
    assert manifest["model"]["family"] == "llama"


def test_qwen2_runs_with_a_warning(tmp_path, read, caplog):
    folder = small(tmp_path, Qwen2ForCausalLM, Qwen2Config(**SMALL))
    proved = prove(folder, [1, 2, 3, 4, 5], max_tokens=6, dtype="fp32", device="cpu", ignore_eos=True)
    assert "cannot verify `qwen2` yet" in caplog.text
    manifest = check_against_forward(folder, proved, read, 1e-5)
    assert manifest["model"]["family"] == "qwen2"


@pytest.mark.parametrize(
    "name", ["llama-mha-f32", "llama3-gqa-bf16", "llama-odd-shapes-f16", "mistral-bf16", "qwen2-bias-bf16"]
)
def test_other_shapes(name, shared, read):
    folder = shared(f"hf-reference/{name}")
    proved = prove(folder, [5, 6, 7, 8], max_tokens=6, dtype="fp32", device="cpu", ignore_eos=True)
    check_against_forward(folder, proved, read, 1e-5)


def test_tied_matrix_under_the_other_name(shared):
    expected = json.loads((shared("expected") / "greedy.json").read_text())["TinyStories-656K"]
    folder = shared("tinystories-656k")
    for case in expected:
        n = len(case["greedy_ids"])
        proved = prove(
            folder, case["prompt_ids"], max_tokens=n, dtype="fp32", device="cpu", linears=False, ignore_eos=True
        )
        assert list(proved.run.output) == case["greedy_ids"]

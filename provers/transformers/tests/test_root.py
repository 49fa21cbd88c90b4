"""Roots, types and counts are those that the Rust prover claims."""

import json
import shutil

import pytest
from conftest import DEMO, TOP

from assay_prove import ProveError, open_checkpoint
from assay_prove.root import model_root

# As `assay prove --json` prints them.
ROOTS = {
    "hf-reference/llama-mha-f32": "448ad6b592571bcf1bb805b7ef41f9bbbaa4659dcaefcc890b527e8c4b3e1b8d",
    "hf-reference/llama3-gqa-bf16": "77d883ffe4dcdcd71c4a4676f7e7f82ebb434eaa72d0bd347aa4b5e343c81eb3",
    "hf-reference/llama-odd-shapes-f16": "c61578f83dcad1d2faba43997bb29b83b9d7c202b926bdf6476d4301a25a1930",
    "hf-reference/mistral-bf16": "ac0526042cc1f82dd4246a12e4348c2b0517906727252b3ff04e01c9a25b81c5",
    "tinystories-656k": "77753fc00e4c9bd0df19f1eef4f167f545636873316b141b4d136a9c236e0eb9",
}


def test_demo_is_claimed_as_the_rust_prover_claims_it(read):
    manifest, _ = read(TOP / "web/samples/honest.bin")
    checkpoint = open_checkpoint(DEMO)
    config = checkpoint.config
    claimed = {
        "dtype": checkpoint.dtype,
        "family": config.family,
        "hidden": config.hidden,
        "layers": config.layers,
        "parameters": checkpoint.parameters,
        "root": model_root(checkpoint).hex(),
        "vocab": config.vocab,
    }
    assert claimed == manifest["model"]
    assert list(config.eos) == manifest["eos"]


@pytest.mark.parametrize("name", ROOTS)
def test_other_checkpoints(name, shared):
    assert model_root(open_checkpoint(shared(name))).hex() == ROOTS[name]


def test_spelling_of_transformers_5(shared, tmp_path):
    for name in ("llama3-gqa-bf16", "mistral-bf16"):
        folder = shared(f"hf-reference/{name}")
        copy = tmp_path / name
        copy.mkdir()
        shutil.copy(folder / "config.transformers5.json", copy / "config.json")
        (copy / "model.safetensors").symlink_to(folder / "model.safetensors")
        assert model_root(open_checkpoint(copy)).hex() == ROOTS[f"hf-reference/{name}"]


def changed_demo(tmp_path, **changes):
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).symlink_to(DEMO / name)
    config = json.loads((DEMO / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "model_type"),
        ({"architectures": ["OPTForCausalLM"]}, "architectures"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope_type"),
        ({"num_hidden_layers": 7}, "no place"),
        ({"attention_bias": True}, "lacks"),
        ({"hidden_size": 96}, "shape"),
        ({"rope_parameters": {"rope_theta": 5.0}}, "contradicts"),
        ({"rms_norm_eps": True}, "rms_norm_eps"),
    ],
)
def test_what_cannot_be_verified_is_refused_by_name(changes, message, tmp_path):
    with pytest.raises(ProveError, match=message):
        open_checkpoint(changed_demo(tmp_path, **changes))


def test_missing_folder_and_files(tmp_path):
    with pytest.raises(ProveError, match="not a folder"):
        open_checkpoint(tmp_path / "nowhere")
    with pytest.raises(ProveError, match="config.json"):
        open_checkpoint(tmp_path)
    shutil.copy(DEMO / "config.json", tmp_path)
    with pytest.raises(ProveError, match="0 safetensors files"):
        open_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((DEMO / "model.safetensors").read_bytes()[:100_000])
    with pytest.raises(ProveError, match="cut short"):
        open_checkpoint(tmp_path)

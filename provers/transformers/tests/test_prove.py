"""Traces of the demo model: read back, opened in every way, and refused where there can be none."""

import logging

import pytest
import torch
from conftest import DEMO
from test_root import changed_demo

from assay_prove import (
    All,
    Chosen,
    Drawn,
    Keep,
    ProveError,
    Request,
    Setting,
    open_checkpoint,
    prove,
    run,
)
from assay_prove.loading import load
from assay_prove.openings import draw
from assay_prove.weights import count_rounded

PROMPT = (0, 5, 6, 7)


def demo(**options):
    return prove(DEMO, PROMPT, **{"max_tokens": 5, "dtype": "fp32", "device": "cpu", **options})


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("attn", ["eager", "sdpa"])
def test_every_type_is_read_back(dtype, attn, read):
    proved = demo(dtype=dtype, attn=attn)
    manifest, views = read(proved.trace)
    stated = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}[dtype]
    assert manifest["numerics"] == {"class": "fast", "compute": stated}
    assert manifest["state_dtype"] == stated
    assert manifest["model"]["dtype"] == "bf16"
    assert manifest["linears"]["challenge"] == "all"
    assert manifest["opened"] == list(range(9))
    assert len(views["linears.00007.down"]) == 8 * 192 * (4 if dtype == "fp32" else 2)


def test_openings(read):
    nonce = bytes(range(32))
    checkpoint = open_checkpoint(DEMO)
    made = run(checkpoint, Request(PROMPT, 5, nonce=nonce), Keep(), Setting("fp32", "cpu"))
    receipts = set()
    for openings, states in [
        (All(), ()),
        (Chosen(), ()),
        (Chosen(), (3,)),
        (Chosen((2, 7), (0, 4)), (0,)),
        (Chosen((1,), (2,), interactive=True), ()),
        (Drawn(2, 3), (0, 8)),
        (Drawn(8, 99), ()),
        (Drawn(0), ()),
    ]:
        trace = made.open(openings, states)
        manifest, views = read(trace)
        receipts.add(reader_receipt(manifest))
        linears = manifest["linears"]
        assert set(states) <= set(manifest["opened"])
        if isinstance(openings, Drawn):
            assert linears["layers"] == list(draw("layers", openings.layers, 8, made.root, nonce))
            assert len(linears["logits"]) == min(openings.logits, 5)
        assert ("logits" in views) == bool(linears["logits"])
    assert receipts == {made.receipt()}


def reader_receipt(manifest):
    import assay_trace

    return assay_trace.receipt(manifest)


def test_what_is_kept_is_enough_and_no_more(read):
    proved = demo(openings=Chosen((3,), (1,)), states=())
    assert set(proved.run.recording.linears) == {3}
    assert set(proved.run.recording.states) == {3, 4, 8}
    manifest, _ = read(proved.trace)
    assert manifest["opened"] == [3, 4, 8]
    with pytest.raises(ProveError, match="did not keep"):
        proved.run.open(All())


def test_without_linears(read):
    proved = demo(linears=False)
    manifest, views = read(proved.trace)
    assert manifest["streams"] == ["logits", "states"]
    assert "linears" not in manifest and "digests.linears" not in views
    assert manifest["opened"] == [0, 8]
    assert read(demo(linears=False, states=()).trace)[0]["opened"] == []
    with pytest.raises(ProveError, match="without linear outputs"):
        demo(linears=False, openings=All())
    with pytest.raises(ProveError, match="receipt"):
        proved.run.receipt()
    with pytest.raises(ProveError, match="not recorded"):
        proved.run.open(All())


def test_recording_changes_nothing():
    with_linears, without = demo(max_tokens=12), demo(max_tokens=12, linears=False)
    assert with_linears.run.output == without.run.output
    assert with_linears.run.recording.state_digests == without.run.recording.state_digests


def test_stops(read, tmp_path):
    assert demo().run.stop == "length"
    proved = prove(DEMO, [5] * 508, max_tokens=50, dtype="fp32", device="cpu", linears=False, ignore_eos=True)
    assert (proved.run.stop, len(proved.run.output)) == ("context", 4)
    second = demo().run.output[1]
    ends = changed_demo(tmp_path, eos_token_id=[second, 7])
    options = {"max_tokens": 5, "dtype": "fp32", "device": "cpu", "linears": False}
    proved = prove(ends, PROMPT, **options)
    assert proved.run.stop == "eos" and proved.run.output[-1] == second
    assert len(proved.run.output) < 5
    manifest, _ = read(proved.trace)
    assert manifest["eos"] == sorted([second, 7])
    goes_on = prove(ends, PROMPT, ignore_eos=True, **options)
    assert goes_on.run.stop == "length" and goes_on.trace.manifest["ignore_eos"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "no type to run in"),
        ({"device": "tpu"}, "tpu"),
        ({"device": "meta"}, "want cpu or cuda"),
        ({"attn": "none-such"}, "none-such"),
        ({"max_tokens": 0}, "at least one"),
        ({"nonce": b"short"}, "5 bytes"),
        ({"states": (9,)}, "hidden state 9"),
        ({"openings": Chosen((8,))}, "layer 8"),
        ({"openings": Chosen((), (5,))}, "output token 5"),
        ({"openings": Drawn(9)}, "9 layers"),
        ({"tokenizer": "/nowhere.json"}, "cannot read"),
    ],
)
def test_what_cannot_be_run(options, message):
    with pytest.raises(ProveError, match=message):
        demo(**options)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [((), "no tokens"), ((2048,), "beyond the vocabulary"), ((-1,), "beyond"), ([1] * 512, "room for 511")],
)
def test_prompts_that_cannot_be_run(prompt, message):
    with pytest.raises(ProveError, match=message):
        prove(DEMO, prompt, device="cpu")


def test_other_weights_than_the_stored_ones_are_noticed():
    checkpoint = open_checkpoint(DEMO)
    model = load(checkpoint, "bf16", torch.device("cpu"), "sdpa")
    assert count_rounded(checkpoint, model, torch.bfloat16) == 0
    with torch.no_grad():
        model.model.layers[3].mlp.up_proj.weight[5, 7] += 1
    with pytest.raises(ProveError, match="layers.3.mlp.up_proj.weight"):
        count_rounded(checkpoint, model, torch.bfloat16)


def test_no_cuda():
    if torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    with pytest.raises(ProveError, match="no CUDA device"):
        demo(device="cuda")


def test_weights_that_are_rounded_are_warned_of(caplog):
    with caplog.at_level(logging.WARNING, "assay_prove"):
        demo(dtype="bf16")
        demo(dtype="fp32")
        assert not caplog.records
        demo(dtype="fp16")
    assert "of 3542208 weights are stored as bf16 and rounded to run in fp16" in caplog.text

"""The file is the one that docs/trace-format.md specifies."""

import hashlib
import io
import json
import re

import numpy as np
import pytest
from conftest import TOP

from assay_prove import All, Chosen, Drawn, Gumbel, ProveError, parse_openings
from assay_prove.hashing import leaf_hash, merkle_root, sha256
from assay_prove.manifest import Claims, ModelClaim, canonical_json
from assay_prove.openings import draw
from assay_prove.recording import Keep, Recording, Step
from assay_prove.run import Run

PRODUCTS = {"q": 4, "k": 2, "v": 2, "o": 3, "gate": 5, "up": 5, "down": 3}


def example(with_linears):
    """The trace of section 8, or of section 10."""
    claims = Claims(
        adapter="example adapter",
        eos=(4,),
        ignore_eos=False,
        model=ModelClaim("f32", "llama", 3, 2, 1000, sha256(b"model").hex(), 5),
        nonce=None,
        numerics="strict",
        compute="f32",
        state_dtype="bf16",
        producer="assay example",
        products=PRODUCTS if with_linears else None,
        prompt=(1, 2),
        sampler=Gumbel(7, 0.8, 0, 0.95).claim(),
        tokenizer=None,
    )
    recording = Recording(Keep())

    def bf16(positions, width, more):
        values = [[p + more - c / 2 for c in range(width)] for p in positions]
        upper = np.array(values, dtype="<f4").view("<u4") >> 16  # exact in bf16
        return np.ascontiguousarray(upper.astype("<u2")).view(np.uint8)

    for positions, tokens in [((0, 1), [1, 2]), ((2,), [3]), ((3,), [0])]:
        logits = np.array([t / 8 - positions[-1] for t in range(5)], dtype=np.float32)
        states = [bf16(positions, 3, layer / 4) for layer in range(3)]
        linears = [
            [bf16(positions, width, layer / 4 + n / 8) for n, width in enumerate(PRODUCTS.values())]
            for layer in range(2)
        ]
        recording.push(Step(tokens, states, linears if with_linears else [], logits))
    return Run(claims, recording, (3, 0, 4), "eos", 0.0, 0.0)


def documented(section):
    text = (TOP / "docs/trace-format.md").read_text().split(f"\n## {section}. ")[1].split("\n## ")[0]
    return dict(re.findall(r"^([a-z]+(?: [a-z]+)*) {2,}(\S.*)$", text, re.MULTILINE))


@pytest.mark.parametrize(("section", "openings"), [(8, Chosen()), (10, Drawn(1, 1))])
def test_worked_examples(section, openings):
    want, run = documented(section), example(section == 10)
    trace = run.open(openings, (0, 2))
    buffer = io.BytesIO()
    trace.write_to(buffer)
    assert run.root.hex() == want["root"]
    assert canonical_json(trace.manifest) == want["manifest"]
    assert trace.commitment.hex() == want["commitment"]
    assert trace.header.decode().rstrip() == want["header"]
    assert hashlib.sha256(buffer.getvalue()).hexdigest() == want["file digest"]
    if section == 10:
        assert run.receipt().hex() == want["receipt digest"]


def test_merkle_root_splits_at_the_largest_power_of_two(reader):
    for n in range(1, 40):
        leaves = [leaf_hash(bytes([i])) for i in range(n)]
        assert merkle_root(leaves) == reader.merkle_root(leaves)


def test_draws_are_those_of_the_reader(reader):
    for i in range(60):
        root, nonce = sha256(bytes([i])), (None, sha256(b"nonce"))[i % 2]
        for purpose, count, most in [("layers", i % 9, 8), ("logits", 3, 1 + i), ("layers", 32, 32)]:
            got = draw(purpose, count, most, root, nonce)
            assert list(got) == reader.draw(purpose, root, nonce, min(count, most), most)
            assert len(set(got)) == min(count, most)


def test_openings_as_text():
    assert parse_openings("all") == All()
    assert parse_openings("none") == Chosen()
    assert parse_openings("layers=1,5,9") == Chosen((1, 5, 9))
    assert parse_openings("layers=1,logits=0,3") == Chosen((1,), (0, 3))
    assert parse_openings("count=2") == Drawn(2)
    assert parse_openings("count=2,logits=4") == Drawn(2, 4)
    bad = ["", "some", "count=", "count=1,2", "count=-1", "layers=1,,2", "layers=1,layers=2", "count=1,layers=2"]
    for text in [*bad, "layers", "1,2", "logits=1,count=2,3", "layers=x", "count=²"]:
        with pytest.raises(ProveError, match="cannot open"):
            parse_openings(text)


def test_a_file_is_whole_or_untouched(tmp_path):
    trace = example(False).open(Chosen(), (0, 2))
    path = tmp_path / "t.bin"
    trace.save(path)
    assert path.stat().st_size == len(trace)
    header = path.read_bytes()[8 : 8 + len(trace.header)]
    assert json.loads(header)["states.00002"]["dtype"] == "BF16"
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.bin"]
    with pytest.raises(ProveError, match="cannot write"):
        trace.save(tmp_path / "none" / "t.bin")

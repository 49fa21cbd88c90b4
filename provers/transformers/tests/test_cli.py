"""The command: what it prints, and how it fails."""

import json

import pytest
from conftest import DEMO

from assay_prove.cli import main

BASE = ["--model", str(DEMO), "--prompt-ids", "0, 5,6,7", "-n", "4", "--device", "cpu"]


def test_json(tmp_path, capsys, read):
    out = tmp_path / "t.bin"
    more = ["--temperature", "0.8", "--top-k", "40", "--top-p", "0.95", "--dtype", "bf16", "--nonce", "AB" * 32]
    assert main([*BASE, *more, "--open", "count=2,logits=1", "--states", "none", "--out", str(out), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    manifest, views = read(out)
    assert summary["commitment"] == bytes(views["commitment"]).hex()
    assert summary["root"] == manifest["root"]
    assert summary["seed"] == manifest["sampler"]["seed"]
    assert summary["trace_bytes"] == out.stat().st_size
    assert manifest["nonce"] == "ab" * 32
    assert len(manifest["linears"]["layers"]) == 2
    assert manifest["linears"]["challenge"] == "offline"


def test_text(tmp_path, capsys):
    out = tmp_path / "t.bin"
    assert main(["--model", str(DEMO), "--prompt", "ROMEO:", "-n", "3", "--seed", "1", "--trace", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() and "--seed has no effect" in printed.err and str(out) in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt-ids", "1,,2"], "not a number"),
        (["--nonce", "00"], "64 hex digits"),
        (["--nonce", "0" * 63 + " "], "64 hex digits"),
        (["--open", "everything"], "cannot open"),
        (["--no-linears", "--open", "all"], "without linear outputs"),
        (["--out", "/nowhere/t.bin"], "folder does not exist"),
        (["--model", "/nowhere"], "not a folder"),
        (["--temperature", "-1"], "temperature"),
        (["--temperature", "1", "--seed", "-1"], "seed"),
        (["--temperature", "1", "--top-k", "-1"], "top-k"),
    ],
)
def test_errors(arguments, message, tmp_path, capsys):
    assert main([*BASE, "--out", str(tmp_path / "t.bin"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

"""`assay-prove`: run the model, write the trace."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from . import arguments
from .errors import ProveError
from .openings import parse_openings
from .prove import Proved, prove


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    args = arguments.parse(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        _prove(args)
    except ProveError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _prove(args: argparse.Namespace) -> None:
    prompt = args.prompt if args.prompt is not None else arguments.id_list(args.prompt_ids)
    states = None if args.states is None else () if args.states == "none" else arguments.id_list(args.states)
    options = {
        "max_tokens": args.max_tokens,
        "sampler": arguments.sampler(args),
        "ignore_eos": args.ignore_eos,
        "nonce": arguments.nonce(args.nonce),
        "linears": not args.no_linears,
        "openings": None if args.open is None else parse_openings(args.open),
        "states": states,
        "dtype": args.dtype,
        "device": args.device,
        "attn": args.attn,
        "tokenizer": args.tokenizer,
    }
    for flag in arguments.ignored(args):
        print(f"note: {flag} has no effect: without --temperature the choice is greedy", file=sys.stderr)
    if not Path(args.out).parent.is_dir():
        raise ProveError(f"cannot write {args.out}: its folder does not exist")
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    proved = prove(args.model, prompt, **options)
    proved.trace.save(args.out)
    summary = _summary(proved, args.out)
    if args.json:
        print(json.dumps(summary))
    else:
        _print(summary)


def _summary(proved: Proved, out: str) -> dict[str, Any]:
    trace, made = proved.trace, proved.run
    manifest = trace.manifest
    return {
        "schema_version": 1,
        "token_ids": list(made.output),
        "text": proved.text,
        "prompt_ids": list(made.claims.prompt),
        "root": manifest["root"],
        "commitment": trace.commitment.hex(),
        "receipt": None if made.claims.products is None else made.receipt().hex(),
        "model_root": manifest["model"]["root"],
        "nonce": manifest["nonce"],
        "seed": manifest["sampler"].get("seed"),
        "sampler": manifest["sampler"],
        "stop": made.stop,
        "tokens_per_s": len(made.output) / max(made.prefill_s + made.decode_s, 1e-9),
        "trace": out,
        "trace_bytes": len(trace),
        "adapter": manifest["adapter"],
        "opened": manifest["opened"],
        "linears": manifest.get("linears"),
    }


def _print(summary: dict[str, Any]) -> None:
    """The text goes to stdout, what is to know about it to stderr."""
    print(summary["text"] if summary["text"] is not None else ",".join(map(str, summary["token_ids"])))
    words = {"context": "the context is full", "eos": "end of text", "length": "as many as asked for"}
    tokens = f"{len(summary['token_ids'])} after a prompt of {len(summary['prompt_ids'])}: {words[summary['stop']]}"
    linears = summary["linears"]
    opened = "none recorded" if linears is None else f"layers {linears['layers']}, {linears['challenge']}"
    rows = {
        "tokens": tokens,
        "sampler": ", ".join(f"{key} {value}" for key, value in summary["sampler"].items()),
        "adapter": summary["adapter"],
        "speed": f"{summary['tokens_per_s']:.1f} tokens/s",
        "linears": opened,
        "trace": f"{summary['trace']} ({summary['trace_bytes']} bytes)",
        "root": summary["root"],
    }
    print(file=sys.stderr)
    for name, value in rows.items():
        print(f"{name:<10}{value}", file=sys.stderr)

"""The command line, with the names that `assay prove` has where they mean the same."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence

from .errors import ProveError
from .sampler import Greedy, Gumbel, Sampler
from .version import VERSION

_MORE = """\
what --open takes:
  all                every layer's linear outputs and every output token's logits
  layers=1,5,9       these layers (with ,logits=0,3 the logits of these output tokens too)
  count=2            so many layers, drawn from the finished run (with ,logits=4 so many output tokens too)
  none               nothing

exit codes: 0 the trace is written, 2 there is none, 130 interrupted
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="assay-prove",
        description="Run a Hugging Face model and write an Assay trace of the run",
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--version", action="version", version=VERSION)
    add("--model", required=True, metavar="DIR", help="Hugging Face folder: llama or mistral (qwen2: not verified yet)")
    add("--tokenizer", metavar="FILE", help="tokenizer.json, if not the one in the folder")
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt", metavar="TEXT", help="prompt as text, encoded by the model's tokenizer")
    prompt.add_argument("--prompt-ids", metavar="IDS", help="prompt as token ids, such as 1,2,3; needs no tokenizer")
    add("-n", "--max-tokens", type=int, default=64, metavar="TOKENS", help="generate at most this many [default: 64]")
    add(
        "--temperature",
        type=float,
        default=0.0,
        metavar="T",
        help="sample at this temperature; 0: greedy [default: 0]",
    )
    add("--top-p", type=float, metavar="P", help="sample from the smallest set with this much probability [default: 1]")
    add("--top-k", type=int, metavar="K", help="sample from the K most likely tokens; 0 is all [default: 0]")
    add("--seed", type=int, metavar="S", help="seed of the sampler's noise [default: random, and printed]")
    add("--ignore-eos", action="store_true", help="go on after an end-of-sequence token")
    add("--nonce", metavar="HEX", help="the verifier's nonce: 64 hex digits, bound into the trace")
    add("--dtype", choices=["fp32", "fp16", "bf16"], help="what to run in [default: the type of the stored weights]")
    add("--device", metavar="NAME", help="cpu or cuda [default: cuda where there is one]")
    add("--attn", choices=["eager", "sdpa"], default="sdpa", help="transformers' attention [default: sdpa]")
    add("--open", metavar="WHAT", help="linear outputs and logits to put into the file, see below [default: all]")
    add(
        "--states",
        metavar="LIST",
        help="hidden states to put there: 0,8,16, or none [default: every 8th and the last]",
    )
    add("--no-linears", action="store_true", help="leave linear outputs out of the trace, digests too")
    add("--out", "--trace", dest="out", required=True, metavar="FILE", help="where to write the trace")
    add("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(argv)


def id_list(text: str) -> tuple[int, ...]:
    """`1,2,3`, spaces allowed."""
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not (part.isascii() and part.isdigit()):
            raise ProveError(f"not a number: `{part}`; want numbers with commas: 1,2,3")
    return tuple(map(int, parts))


def sampler(args: argparse.Namespace) -> Sampler:
    """Greedy at temperature 0, else seeded sampling; draws a seed if there is none."""
    if args.temperature == 0:
        return Greedy()
    return Gumbel(
        seed=secrets.randbits(64) if args.seed is None else args.seed,
        temperature=args.temperature,
        top_k=args.top_k or 0,
        top_p=1.0 if args.top_p is None else args.top_p,
    )


def ignored(args: argparse.Namespace) -> list[str]:
    """Flags that greedy choice ignores."""
    if args.temperature != 0:
        return []
    given = {"--top-p": args.top_p, "--top-k": args.top_k, "--seed": args.seed}
    return [flag for flag, value in given.items() if value is not None]


def nonce(text: str | None) -> bytes | None:
    """64 hex digits, in either case of letters."""
    if text is None:
        return None
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(text) != 64 or len(value) != 32:
        raise ProveError(f"the nonce must be 64 hex digits (32 bytes), got {len(text)} characters")
    return value

"""Runs a Hugging Face Llama-family model and writes an Assay trace of the run: see docs/trace-format.md in Assay."""

from .checkpoint import open_checkpoint
from .container import Trace
from .errors import ProveError
from .openings import All, Chosen, Drawn, Openings, parse_openings
from .prove import Proved, Setting, prove, run
from .recording import Keep
from .request import Request
from .run import Run
from .sampler import Greedy, Gumbel, Sampler
from .version import VERSION as __version__

__all__ = [
    "All",
    "Chosen",
    "Drawn",
    "Greedy",
    "Gumbel",
    "Keep",
    "Openings",
    "ProveError",
    "Proved",
    "Request",
    "Run",
    "Sampler",
    "Setting",
    "Trace",
    "__version__",
    "open_checkpoint",
    "parse_openings",
    "prove",
    "run",
]

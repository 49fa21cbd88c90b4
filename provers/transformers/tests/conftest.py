"""What the tests share: the demo model, the plain Python reader, and runs that several tests look at."""

import importlib.util
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[3]
DEMO = TOP / "app/model/demo-llama"
SHARED = TOP.parent / "shared/data"

if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
    collect_ignore = [path.name for path in Path(__file__).parent.glob("test_*.py") if path.name != "test_installed.py"]


def load_reader():
    """The standard-library reader of the same repository: it shares no code with this package."""
    spec = importlib.util.spec_from_file_location("assay_trace", TOP / "provers/python/assay_trace.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["assay_trace"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def reader():
    return load_reader()


@pytest.fixture(scope="session")
def read(reader):
    """Reads and checks a trace (a file, or one not saved yet); gives manifest and tensors."""
    import io

    def read_one(trace):
        if isinstance(trace, Path):
            data = trace.read_bytes()
        else:
            buffer = io.BytesIO()
            trace.write_to(buffer)
            data = buffer.getvalue()
            assert len(data) == len(trace)
        manifest, text, views = reader.parse(data)
        reader.check(manifest, text, views)
        return manifest, views

    return read_one


@pytest.fixture
def shared():
    """A folder of test data that is not in the repository."""

    def find(name):
        folder = SHARED / name
        if not folder.exists():
            pytest.skip(f"no {folder} here")
        return folder

    return find


@pytest.fixture(scope="session")
def demo_fp32():
    """Ten greedy tokens of the demo model in fp32, everything open."""
    from assay_prove import prove

    return prove(DEMO, "To be, or not", max_tokens=10, dtype="fp32", device="cpu")

"""Shows as skipped, instead of nothing at all, where the other tests cannot run."""

import pytest


@pytest.mark.parametrize("name", ["torch", "transformers"])
def test_installed(name):
    pytest.importorskip(name)

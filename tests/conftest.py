"""What all tests share: no network, one thread a worker, the embedded model loaded once."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def smollm2():
    """The embedded model."""
    import byheart

    return byheart.load("smollm2")

"""Settings shared by all tests."""

import os

import pytest
from hypothesis import settings

# As the `v2g` command does: small products are slower when every core helps with each.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A deadline per example measures how busy the machine is, not the code; `timeout` in pyproject bounds every test.
settings.register_profile("calm", deadline=None)
settings.load_profile("calm")


@pytest.fixture
def anyio_backend() -> str:
    """Coroutine tests (`pytest.mark.anyio`) run on asyncio, as the service does."""
    return "asyncio"

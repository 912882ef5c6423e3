"""Settings shared by all tests."""

import pytest
from hypothesis import settings

# A deadline per example measures how busy the machine is, not the code; `timeout` in pyproject bounds every test.
settings.register_profile("calm", deadline=None)
settings.load_profile("calm")


@pytest.fixture
def anyio_backend() -> str:
    """Coroutine tests (`pytest.mark.anyio`) run on asyncio, as the service does."""
    return "asyncio"

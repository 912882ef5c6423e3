"""Settings shared by all tests."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Coroutine tests (`pytest.mark.anyio`) run on asyncio, as the service does."""
    return "asyncio"

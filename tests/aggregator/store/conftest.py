"""A real store on a real file, for every test of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aggregator.store import Store


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "v2g.sqlite"


@pytest.fixture
def url(database: Path) -> str:
    return f"sqlite+aiosqlite:///{database}"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = await Store.open(url)
    yield opened
    await opened.close()

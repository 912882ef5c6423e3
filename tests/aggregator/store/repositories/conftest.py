"""A real store on a real file, for every test of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aggregator.store import Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'v2g.sqlite'}")
    yield opened
    await opened.close()

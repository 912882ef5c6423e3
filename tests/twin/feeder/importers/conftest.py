"""Scripts written into a folder of the test's own."""

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write("text of main.dss", **{"codes.dss": "..."}) -> path of main.dss."""

    def written(text: str, **others: str) -> Path:
        for name, content in {"main.dss": text, **others}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return tmp_path / "main.dss"

    return written

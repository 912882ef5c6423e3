"""Small scenario files written by the tests themselves."""

from collections.abc import Callable
from pathlib import Path

import pytest

BASE = """
name = "small"
start = 2025-03-28T12:00:00+01:00
end = 2025-03-31T12:00:00+02:00
[site]
timezone = "Europe/Berlin"
import_cap_kw = 50.0
[[station_groups]]
id = "home"
type = "ac-wallbox-11"
count = 12
[[vehicles]]
model = "zoe"
catalogue = "renault-zoe-ze50"
[[duties]]
id = "night"
group = "home"
arrival = { mean = "18:00", sd_min = 45, earliest = "16:00", latest = "21:00" }
departure = { earliest = "06:30", latest = "08:00" }
"""
"""Three nights; clocks change in the second one."""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "small.toml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def base() -> str:
    return BASE

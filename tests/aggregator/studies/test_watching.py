"""How far a long command is, said without a terminal."""

import io

import pytest
from rich.console import Console

from aggregator.studies import watching
from aggregator.studies.watching import left_in_words, told


def test_what_is_left_is_told_once_it_can_be() -> None:
    assert left_in_words(600.0, 0.25) == ", about 30 min left of it"
    assert left_in_words(60.0, 0.9) == ", less than a minute left of it"
    assert [left_in_words(0.0, 0.5), left_in_words(9.0, 0.0), left_in_words(9.0, 1.0)] == ["", "", ""]


def test_lines_become_rarer_the_longer_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(watching.time, "monotonic", lambda: now)
    written = io.StringIO()
    with told(Console(file=written)) as tell:
        for second in range(3600):
            now = float(second)
            tell("run", second / 3600.0, "")
    lines = written.getvalue().splitlines()
    assert lines[0] == "run: 0%, about 60 min left of it"
    assert 40 < len(lines) < 70, "each 5 s for 50 s, then by a tenth of the time: ln(72) / ln(1.1) = 45"

"""Envelopes written, read back, and refused by place."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin.assets import TimeGrid
from twin.feeder.envelopes.dynamic import Envelopes, Guarantee, Rule
from twin.feeder.envelopes.files import EnvelopeFileError, read_envelopes, write_envelopes

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WATTS = st.floats(0.0, 1e5)
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)


def some(points: tuple[str, ...], import_w: np.ndarray, export_w: np.ndarray, step_s: int = 900) -> Envelopes:
    steps = import_w.shape[1]
    claims = np.zeros(steps, dtype=np.bool_)
    return Envelopes(
        'street, "north"', points, TimeGrid(START, step_s, steps), import_w, export_w, import_w.min(axis=1),
        export_w.min(axis=1), Rule.EQUAL, Guarantee.MIX, ("",) * steps, ("",) * steps, claims, claims,
    )


@given(
    points=st.lists(NAMES, min_size=1, max_size=3, unique=True), steps=st.integers(1, 4), seed=st.integers(0, 999),
    suffix=st.sampled_from((".json", ".csv")),
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_what_is_read_is_what_was_written_rounded_down(
    tmp_path: Path, points: list[str], steps: int, seed: int, suffix: str
) -> None:
    draw = np.random.default_rng(seed)
    there = some(tuple(points), *draw.uniform(0.0, 9e3, (2, len(points), steps)))
    path = tmp_path / f"envelopes{suffix}"
    write_envelopes(there, path)
    back = read_envelopes(path)
    assert (back.feeder, back.points, back.rule, back.guarantee) == (
        there.feeder, there.points, there.rule, there.guarantee
    )
    # One step has no grid to tell its length by but its own.
    assert back.grid == there.grid
    for name in ("import_w", "export_w", "fallback_import_w", "fallback_export_w"):
        lost = getattr(there, name) - getattr(back, name)
        assert (lost >= 0.0).all()
        assert (lost < 0.1 + 1e-9).all()


def test_a_file_has_the_fields_that_operators_publish(tmp_path: Path) -> None:
    write_envelopes(some(("home-1",), np.array([[5000.0]]), np.array([[1500.0]])), tmp_path / "e.json")
    raw = json.loads((tmp_path / "e.json").read_text())
    assert raw["controls"] == [{
        "site_id": "home-1", "start_time": "2026-03-01T12:00:00Z", "duration_seconds": 900,
        "import_limit_active_watts": 5000.0, "export_limit_watts": 1500.0, "superseded": False,
    }]
    assert raw["defaults"] == [
        {"site_id": "home-1", "import_limit_active_watts": 5000.0, "export_limit_active_watts": 1500.0}
    ]


def published(tmp_path: Path, controls: list[dict[str, object]], **more: object) -> Path:
    path = tmp_path / "published.json"
    path.write_text(json.dumps({
        "format": "v2g-envelopes", "version": 1, "feeder": "street", "controls": controls, "defaults": [
            {"site_id": "home-1", "import_limit_active_watts": 3000.0, "export_limit_active_watts": 500.0}
        ], **more,
    }))
    return path


def control(start: str, seconds: int, watts: float, **more: object) -> dict[str, object]:
    return {"site_id": "home-1", "start_time": start, "duration_seconds": seconds, "import_limit_active_watts": watts,
            "export_limit_watts": watts / 2.0, **more}


def test_gaps_have_the_default_and_superseded_controls_are_not_in_force(tmp_path: Path) -> None:
    back = read_envelopes(published(tmp_path, [
        control("2026-03-01T13:00:00+01:00", 1800, 9000.0), control("2026-03-01T12:45:00Z", 900, 7000.0),
        control("2026-03-01T12:00:00Z", 3600, 1.0, superseded=True),
    ]))
    assert back.grid == TimeGrid(START, 900, 4)
    assert back.import_w.tolist() == [[9000.0, 9000.0, 3000.0, 7000.0]]
    assert back.export_w.tolist() == [[4500.0, 4500.0, 500.0, 3500.0]]
    assert back.rule is None


@pytest.mark.parametrize(("controls", "said"), [
    ([control("2026-03-01T12:00:00Z", 900, 1.0), control("2026-03-01T12:10:00Z", 900, 1.0)], "two controls in force"),
    ([control("2026-03-01T12:00:00", 900, 1.0)], r"controls\[0\]: start_time"),
    ([control("soon", 900, 1.0)], "'soon'"),
    ([control("2026-03-01T12:00:00Z", 0, 1.0)], r"\$.controls\[0\].duration_seconds"),
    ([control("2026-03-01T12:00:00Z", 900, -1.0)], r"import_limit_active_watts"),
    ([control("2026-03-01T12:00:00Z", 900, 1.0, site_id="home-2")], "'home-2'"),
    ([control("2026-03-01T12:00:00Z", 900, 1.0, surprise=1)], "surprise"),
    ([control("2026-03-01T12:00:00.5Z", 900, 1.0)], "whole seconds"),
    ([control("2026-03-01T12:00:00Z", 900, 1.0, superseded=True)], "none in force"),
    ([control("2026-03-01T12:00:00Z", 1, 1.0), control("2027-03-01T12:00:00Z", 1, 1.0)], "at most"),
])
def test_a_wrong_file_is_refused_by_place(tmp_path: Path, controls: list[dict[str, object]], said: str) -> None:
    with pytest.raises(EnvelopeFileError, match=said):
        read_envelopes(published(tmp_path, controls))


def test_a_wrong_table_is_refused_by_row(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    write_envelopes(some(("home-1",), np.array([[5000.0, 4000.0]]), np.array([[1.0, 2.0]])), path)
    rows = list(csv.reader(path.read_text().splitlines()))
    rows[2][6] = "much"
    path.write_text("\n".join(",".join(f'"{field}"'.replace('"north"', '""north""') for field in row) for row in rows))
    with pytest.raises(EnvelopeFileError, match="row 3"):
        read_envelopes(path)
    path.write_text("time,home-1\n")
    with pytest.raises(EnvelopeFileError, match="expected the columns"):
        read_envelopes(path)
    with pytest.raises(EnvelopeFileError, match="cannot be read"):
        read_envelopes(tmp_path / "nothing.csv")

"""EN 50160 counted block by block equals counting the whole at once, slowly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.assets import TimeGrid, utc
from twin.feeder.impact.weekly import WeeklyCount

START = utc("2025-01-13T00:00:00Z")


def slowly(values: np.ndarray, step_s: int, test: object) -> list[float]:
    """Share of the 10-minute means (steps where those are longer) of each week that pass, one interval at a time."""
    group = 600 // step_s if step_s < 600 and 600 % step_s == 0 else 1
    shares: dict[int, list[bool]] = {}
    for first in range(0, len(values), group):
        part = values[first:first + group]
        mean = float(np.sqrt(np.mean(part**2)))
        shares.setdefault(first * step_s // (7 * 86400), []).append(bool(test(mean)))  # type: ignore[operator]
    return [float(np.mean(passed)) for _, passed in sorted(shares.items())]


@given(seed=st.integers(0, 2**32 - 1), step_s=st.sampled_from([300, 600, 900, 3600, 420]),
       steps=st.integers(1, 2200), block=st.sampled_from([8, 64, 400]))
@settings(max_examples=15, deadline=None)
def test_blocks_count_what_the_whole_holds(seed: int, step_s: int, steps: int, block: int) -> None:
    draw = np.random.default_rng(seed)
    volts = draw.normal(0.98, 0.09, (3, 2, steps))
    volts[:, :, draw.integers(steps)] = np.nan
    unbalance = draw.uniform(0.0, 0.025, (1, 2, steps))
    grid = TimeGrid(START, step_s, steps)
    count = WeeklyCount(grid, points=2, buses=1, replicas=2)
    block = block // count.group * count.group or count.group
    for first in range(0, steps, block):
        part = slice(first, first + block)
        # Two rows make the first point, one the second.
        count.add(first, slice(0, 2), volts[:, :, part], np.array([0, 2]), unbalance[:, :, part])
    found = count.result()
    for replica in range(2):
        expected = slowly(volts[2, replica], step_s, lambda mean: 0.90 <= mean <= 1.10)
        np.testing.assert_allclose(found.within_10[1, replica], expected)
        expected = slowly(volts[2, replica], step_s, lambda mean: 0.85 <= mean <= 1.10)
        np.testing.assert_allclose(found.within_15[1, replica], expected)
        expected = slowly(unbalance[0, replica], step_s, lambda mean: mean <= 0.02)
        np.testing.assert_allclose(found.balanced[0, replica], expected)
        alone = [slowly(volts[row, replica], step_s, lambda mean: 0.90 <= mean <= 1.10) for row in (0, 1)]
        assert (found.within_10[0, replica] <= np.minimum(*alone) + 1e-12).all()
    assert found.days.sum() == pytest.approx(steps * step_s / 86400.0)
    assert found.is_of_ten_minutes == (step_s in (300, 600))


def test_a_point_holds_only_if_both_shares_hold_in_every_week() -> None:
    grid = TimeGrid(START, 600, 2 * 1008)
    volts = np.ones((3, 1, grid.steps))
    volts[0, 0, 1008:1008 + 50] = 0.88  # 5 % of the second week, 50.4 means of 1008: allowed
    volts[1, 0, 1008:1008 + 51] = 0.88
    volts[2, 0, 3] = 0.84
    count = WeeklyCount(grid, points=3, buses=0, replicas=1)
    count.add(0, slice(0, 1), volts, np.arange(3), np.zeros((0, 1, grid.steps)))
    assert count.result().holds[:, 0].tolist() == [True, False, False]

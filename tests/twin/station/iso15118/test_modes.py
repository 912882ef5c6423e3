"""Every protocol and mode over a real connection; what flowed, and what went over the socket."""

from __future__ import annotations

from typing import Any

import pytest

from twin.station.iso15118.__main__ import main
from twin.station.rail import Language, SessionEnd, Speech

pytestmark = pytest.mark.anyio


async def test_the_set_point_flows_in_every_mode_and_zero_stops_it(plug: Any, every_speech: Speech) -> None:
    session = await plug(every_speech, order_kw=6.9).charging()
    # Older AC languages carry amperes per phase, one decimal's worth of watts away from the set-point.
    tolerance = 0.01 if every_speech.language is Language.ISO_15118_2 and not every_speech.transfer.is_dc else 1e-9
    await session.flows(6.9, tolerance)
    session.rail.order(3.0)
    await session.flows(3.0, tolerance)
    session.rail.order(0.0)
    await session.flows(0.0)
    session.car.leave()
    assert await session.over() is SessionEnd.CAR


async def test_a_discharge_set_point_discharges_only_where_the_mode_can(
    plug: Any, every_speech: Speech, bench: Any
) -> None:
    session = await plug(every_speech, order_kw=7.0).charging()
    await session.flows(7.0, 0.01)
    session.rail.order(-5.0)
    await session.flows(-5.0 if every_speech.transfer.is_bidirectional else 0.0)
    count = len(session.car.taken)
    await bench.until(lambda: len(session.car.taken) > count + 5)
    low = min(session.car.taken)
    assert low == (-5.0 if every_speech.transfer.is_bidirectional else 0.0)
    session.rail.order(2.0)
    await session.flows(2.0, 0.01)


@pytest.mark.filterwarnings("ignore:Properties that return a na")  # the package reads certificates by such properties
def test_the_tables_command_is_green_in_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 12 + 6
    assert all("green" in line and "red" not in line for line in lines[2:])
    assert sum(line.count("green") for line in lines) == 18 + 4 + 2  # discharge in the BPT services

"""A charger is believed by its meter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.dispatch import Limitation, Verifier, VerifierSettings, queue_commands
from aggregator.dispatch.verify import Bias, BiasBook, compare_composite, follows
from aggregator.ocpp.events import MeterSample, ProfilePeriod, Purpose
from aggregator.store import DesiredState

pytestmark = pytest.mark.anyio

QUICK = VerifierSettings(settle_s=5.0, strike_wall_s=0.0, composites_per_wall_s=100.0, composite_every_wall_s=0.0)


@asynccontextmanager
async def watching(kit: Any, folder: Path, *powers_kw: float) -> AsyncIterator[tuple[Any, Verifier]]:
    """Charger A has accepted a profile of these powers."""
    async with kit.bench(folder, factor=1.0) as bench:
        verifier = Verifier(
            bench.chargers, bench.outbox, bench.clock, model_of=lambda _: "Acme Quasar", response_s_of=lambda _: 5.0,
            capabilities=bench.outbox.capabilities, settings=QUICK,
        )
        bench.outbox._on_accepted = verifier.accepted
        async with kit.running(bench.outbox):
            async with bench.store.transaction("planner") as tx:
                await queue_commands(tx, [kit.command("A", *powers_kw)])
            bench.outbox.wake(["A"])
            await kit.eventually(lambda: bench.outbox.held("A") is not None)
            yield bench, verifier


def sample(kit: Any, seconds: float, power_kw: float) -> MeterSample:
    return MeterSample("A", "tx-A", kit.start + timedelta(seconds=seconds), power_kw=power_kw)


async def test_a_settled_meter_near_the_order_verifies_it(kit: Any, tmp_path: Path) -> None:
    async with watching(kit, tmp_path, -8.0) as (bench, verifier):
        await verifier.meter(sample(kit, 2, -8.0))
        assert not verifier.is_verified("A"), "it had no time to respond yet"
        await verifier.meter(sample(kit, 30, -7.4))
        assert verifier.is_verified("A")
        await bench.outbox.ledger_written()
        async with bench.store.read() as tx:
            row = await tx.desired.get("A", Purpose.PLAN)
        assert row.state is DesiredState.VERIFIED
        assert row.sent_wall is not None


async def test_one_that_accepts_but_does_not_follow_is_alarmed_and_loses_its_discharge(
    kit: Any, tmp_path: Path
) -> None:
    async with watching(kit, tmp_path, -8.0) as (bench, verifier):
        for seconds in (30, 60, 80):
            await verifier.meter(sample(kit, seconds, 0.0))
            assert bench.outbox.capabilities.may_discharge("A")
        await verifier.meter(sample(kit, 100, 0.0))
        assert bench.outbox.capabilities.has("A", Limitation.DOES_NOT_FOLLOW)
        assert not bench.outbox.capabilities.may_discharge("A")
        assert not verifier.is_verified("A")
        await bench.outbox.ledger_written()
        async with bench.store.read() as tx:
            assert [alert.kind for alert in await tx.alerts.open()] == ["charger_does_not_follow"]


async def test_one_good_value_ends_a_row_of_bad_ones(kit: Any, tmp_path: Path) -> None:
    async with watching(kit, tmp_path, 5.0) as (bench, verifier):
        for seconds, power_kw in ((30, 9.0), (60, 9.0), (90, 5.0), (120, 9.0), (130, 9.0)):
            await verifier.meter(sample(kit, seconds, power_kw))
        assert not bench.outbox.capabilities.has("A", Limitation.DOES_NOT_FOLLOW)


async def test_a_wrong_composite_schedule_is_advice_and_alarmed_only_when_it_repeats(kit: Any, tmp_path: Path) -> None:
    async with watching(kit, tmp_path, 5.0) as (bench, verifier):
        bench.chargers.composites["A"] = (ProfilePeriod(kit.start, 1.5),)
        deviation = await verifier.ask("A")
        assert deviation is not None
        assert deviation.ordered_kw == 5.0
        assert deviation.seen_kw == 1.5
        await bench.outbox.ledger_written()
        async with bench.store.read() as tx:
            assert await tx.alerts.open() == []
        await verifier.ask("A")
        await bench.outbox.ledger_written()
        async with bench.store.read() as tx:
            assert [alert.kind for alert in await tx.alerts.open()] == ["composite_mismatch"]
        assert bench.outbox.capabilities.may_discharge("A")


async def test_a_charger_without_composite_schedules_is_asked_once(kit: Any, tmp_path: Path) -> None:
    async with watching(kit, tmp_path, 5.0) as (bench, verifier):
        assert verifier._next_to_ask() == "A"
        assert await verifier.ask("A") is None
        assert bench.outbox.capabilities.has("A", Limitation.NO_COMPOSITE)
        assert verifier._next_to_ask() is None


def test_a_composite_schedule_that_rounds_its_boundaries_agrees(kit: Any) -> None:
    command = kit.command("A", 5.0, 2.0, -4.0)
    said = (
        ProfilePeriod(kit.start + timedelta(seconds=2), 5.0), ProfilePeriod(kit.start + timedelta(minutes=15.5), 2.0),
        ProfilePeriod(kit.start + timedelta(minutes=30), -4.0),
    )
    assert compare_composite(command, said, kit.start + timedelta(seconds=3)) is None
    deviation = compare_composite(command, said[:2], kit.start + timedelta(seconds=3))
    assert deviation is not None
    assert (deviation.ordered_kw, deviation.seen_kw) == (-4.0, 2.0)


@pytest.mark.parametrize(("ordered_kw", "bias_kw"), [(-8.0, 0.74), (6.0, -0.44), (0.0, 0.42)])
def test_the_bias_of_honest_hardware_is_learnt_and_disobedience_is_not(ordered_kw: float, bias_kw: float) -> None:
    # World Electric Vehicle Journal 2019, 10(2), 21
    book = BiasBook()
    for k in range(20):
        metered_kw = ordered_kw + bias_kw + 0.05 * (-1) ** k
        assert follows(ordered_kw, metered_kw, book.of("m", ordered_kw))
        book.learn("m", ordered_kw, metered_kw)
        book.learn("m", ordered_kw, ordered_kw + 5.0)
    bias = book.of("m", ordered_kw)
    assert bias.centre_kw == pytest.approx(bias_kw, abs=0.01)
    assert not follows(ordered_kw, ordered_kw + bias_kw + 0.6, bias)


@given(ordered=st.floats(-11, 11), metered=st.floats(-11, 11))
def test_more_than_ordered_is_never_obedience_and_unordered_discharge_neither(ordered: float, metered: float) -> None:
    if metered > ordered + 0.81 or metered < min(0.0, ordered) - 0.81:
        assert not follows(ordered, metered, Bias())
    if 0 <= metered <= ordered:
        assert follows(ordered, metered, Bias()), "a tapering car"

"""The site stays under its limits between plans."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.dispatch import FastLoop, FastLoopSettings, Outbox, Trim, TrimReason, power_at, queue_commands
from aggregator.ocpp.events import Delivery, DeliveryState, MeterSample, ProfileCommand
from aggregator.signals.model import GridSignal, Obligation, SignalInterval
from aggregator.store import SiteReading
from twin.assets import Current, Evse, Response

pytestmark = pytest.mark.anyio

MIN_KW = 1.248


class SteppedClock:
    """Domain time that stands until it is moved."""

    def __init__(self, start: datetime) -> None:
        self.time = start

    def now(self) -> datetime:
        return self.time

    def wall_seconds_until(self, when: datetime) -> float:
        return max(0.0, (when - self.time).total_seconds())

    async def sleep_until(self, when: datetime) -> None:
        self.time = max(self.time, when)

    async def sleep(self, domain_seconds: float) -> None:
        self.time += timedelta(seconds=domain_seconds)


class SentProfiles:
    """Takes what the fast loop sends."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, tuple[ProfileCommand, ...]]] = []

    @property
    def last(self) -> dict[str, ProfileCommand]:
        return {command.evse_id: command for _, batch in self.batches for command in batch}

    async def deliver_now(
        self, commands: Sequence[ProfileCommand], *, actor: str, reason: str, wait_s: float = 5.0
    ) -> dict[str, Delivery]:
        assert actor == "fast_loop"
        assert wait_s > 0
        self.batches.append((reason, tuple(commands)))
        return {command.evse_id: Delivery(DeliveryState.ACCEPTED, "", 1.0, 2.0) for command in commands}


class Rig:
    """A site of `evse_ids` AC charging points with a car at each, plans from `plan`, a cap of 100 kW."""

    def __init__(
        self, kit: Any, evse_ids: Sequence[str] = "ABC", *, outbox: Any = None, clock: Any = None, **changes: Any
    ) -> None:
        self.kit = kit
        self.clock = clock or SteppedClock(kit.start)
        self.sent = SentProfiles()
        self.trimmed: list[tuple[Trim, ...]] = []
        response = Response(delay_s=3.0, ramp_kw_per_s=3.3)
        self.evses = {e: Evse(e, "site", Current.AC, 6.656, MIN_KW, response=response) for e in evse_ids}
        self.sessions = {e: kit.session(e) for e in evse_ids}
        self.limit = math.inf
        values: dict[str, Any] = {"import_cap_kw": 100.0, "export_limit_kw": 10.0}
        self.loop = FastLoop(
            limit_at=lambda _: self.limit, evses=self.evses, fallback_kw=dict.fromkeys(evse_ids, 1.5),
            sessions=lambda: self.sessions, outbox=outbox or self.sent, clock=self.clock,
            on_trim=self.trimmed.append, settings=FastLoopSettings(hold_wall_s=0.0, settle_wall_s=0.0),
            **(values | changes),
        )

    def plan(self, **powers_kw: Any) -> tuple[ProfileCommand, ...]:
        """A new plan of the moment: one power, or one for each quarter of an hour."""
        commands = [
            self.kit.command(evse_id, *(kw if isinstance(kw, tuple) else (kw,))) for evse_id, kw in powers_kw.items()
        ]
        admitted = self.loop.admit(commands, made_at=self.clock.now())
        self.sent.batches.append(("plan", admitted))
        return admitted

    @property
    def holds(self) -> dict[str, ProfileCommand]:
        """What every charger was told last."""
        return self.sent.last

    @property
    def orders_sent(self) -> int:
        return sum(reason != "plan" for reason, _ in self.sent.batches)

    async def read(self, base_kw: float, seconds: float = 5.0, ev_kw: float | None = None) -> tuple[Trim, ...]:
        self.clock.time += timedelta(seconds=seconds)
        ev_kw = self.ordered() if ev_kw is None else ev_kw
        return await self.loop.reading(SiteReading("site", self.clock.now(), base_kw + ev_kw, ev_kw))

    def ordered(self, when: datetime | None = None) -> float:
        return sum(self.loop.ordered_kw(evse_id, when or self.clock.now()) for evse_id in self.evses)

    def signal(self, limit_kw: float, minutes: int = 30, start: datetime | None = None) -> GridSignal:
        begin = start or self.clock.now()
        interval = SignalInterval(begin, begin + timedelta(minutes=minutes), limit_kw)
        return GridSignal(
            "sig-1", "native:dso", "ext-1", 1, "hash", begin, "emergency", Obligation.MANDATORY, "site", (interval,)
        )


async def test_a_risen_building_load_is_met_by_less_charging_at_the_next_reading(kit: Any) -> None:
    rig = Rig(kit)
    rig.plan(A=6.0, B=6.0, C=3.0)
    assert await rig.read(80.0) == ()
    trims = await rig.read(90.0)
    assert {trim.reason for trim in trims} == {TrimReason.SITE_CAP}
    assert 90.0 + rig.ordered() <= 99.0
    assert all(power_at(command, rig.clock.now()) >= 0 for command in rig.sent.last.values())
    assert rig.trimmed == [trims]
    assert set(rig.loop.trims) == set(trims)


async def test_what_was_taken_comes_back_after_a_while_and_never_above_the_plan(kit: Any) -> None:
    rig = Rig(kit)
    rig.plan(A=6.0, B=6.0, C=3.0)
    await rig.read(80.0)
    await rig.read(97.0)
    assert rig.ordered() < 3.0
    await rig.read(70.0)
    assert rig.ordered() < 3.0, "not at once"
    for _ in range(30):
        await rig.read(70.0)
        assert rig.ordered() <= 15.0
    assert rig.ordered() == 15.0
    assert rig.loop.trims == ()
    assert {e: power_at(c, rig.clock.now()) for e, c in rig.sent.last.items()} == {"A": 6.0, "B": 6.0, "C": 3.0}


async def test_a_load_that_trembles_at_the_limit_does_not_make_chargers_chatter(kit: Any) -> None:
    rig = Rig(kit)
    rig.plan(A=6.0, B=6.0, C=3.0)
    for k in range(240):  # twenty minutes of readings
        await rig.read(88.0 + 0.8 * (-1) ** k)
    assert 1 <= rig.orders_sent <= 3


async def test_the_car_with_most_time_is_paused_first(kit: Any) -> None:
    rig = Rig(kit)
    rig.sessions["C"] = kit.session("C", departure=kit.start + timedelta(hours=14))
    rig.plan(A=3.0, B=3.0, C=3.0)
    await rig.read(80.0)
    await rig.read(95.0)
    now = rig.clock.now()
    assert rig.loop.ordered_kw("C", now) == 0.0
    assert min(rig.loop.ordered_kw("A", now), rig.loop.ordered_kw("B", now)) >= MIN_KW


async def test_cars_without_a_plan_are_trimmed_from_their_fallback(kit: Any) -> None:
    rig = Rig(kit)
    await rig.read(90.0)
    await rig.read(98.0)
    assert rig.ordered() <= 1.0
    assert {command.transaction_id for command in rig.sent.last.values()} <= {"tx-A", "tx-B", "tx-C"}
    assert rig.sent.last


async def test_discharge_that_would_export_too_much_is_held_back(kit: Any) -> None:
    rig = Rig(kit)
    rig.plan(A=-8.0, B=-8.0, C=0.0)
    assert await rig.read(10.0) == ()
    trims = await rig.read(2.0)
    assert {trim.reason for trim in trims} == {TrimReason.EXPORT_LIMIT}
    assert 2.0 + rig.ordered() == pytest.approx(-10.0)
    assert all(power_at(command, rig.clock.now()) <= 0 for command in rig.sent.last.values())


async def test_a_charger_that_draws_more_than_told_is_paid_for_by_the_others(kit: Any) -> None:
    rig = Rig(kit)
    rig.plan(A=6.0, B=6.0, C=0.0)
    await rig.read(85.0)
    await rig.read(85.0, seconds=60.0)
    trims = await rig.read(85.0, seconds=5.0, ev_kw=18.0)  # C draws 6 kW uninvited
    assert trims
    assert 85.0 + 6.0 + rig.ordered() <= 99.0


async def test_a_car_that_tapers_is_not_counted_with_its_whole_order(kit: Any) -> None:
    rig = Rig(kit)
    rig.plan(A=6.0, B=6.0, C=6.0)
    await rig.read(70.0)
    rig.clock.time += timedelta(seconds=60)
    for evse_id in "ABC":
        rig.loop.meter(MeterSample(evse_id, f"tx-{evse_id}", rig.clock.now(), power_kw=2.0))
    assert await rig.read(90.0, ev_kw=6.0) == ()


async def test_without_a_sub_meter_the_evs_own_meters_are_taken_off(kit: Any) -> None:
    rig = Rig(kit)
    rig.plan(A=6.0, B=6.0, C=0.0)
    for evse_id, power_kw in (("A", 6.0), ("B", 5.0), ("C", 0.0)):
        rig.loop.meter(MeterSample(evse_id, f"tx-{evse_id}", rig.clock.now(), power_kw=power_kw))
    await rig.loop.reading(SiteReading("site", rig.clock.now(), 91.0))
    assert rig.loop.base_kw == pytest.approx(80.0)


@settings(max_examples=40, deadline=None)
@given(
    bases=st.lists(st.floats(0, 110), min_size=1, max_size=25),
    plans=st.lists(st.tuples(*[st.sampled_from([-8.0, 0.0, 1.3, 3.0, 6.5])] * 3), min_size=1, max_size=4),
    limit_kw=st.floats(0, 110), at=st.integers(0, 24),
)
def test_after_every_reading_orders_lie_between_nothing_and_the_plan_and_charging_fits(
    bases: list[float], plans: list[tuple[float, float, float]], limit_kw: float, at: int, kit: Any
) -> None:
    async def day() -> None:
        rig = Rig(kit, export_limit_kw=50.0)
        rig.plan(**dict(zip("ABC", plans[0], strict=True)))
        for k, base_kw in enumerate(bases):
            if k == at:
                await rig.loop.apply_limit(rig.signal(limit_kw), rig.clock.now())
            if k % 6 == 5:
                rig.plan(**dict(zip("ABC", plans[k // 6 % len(plans)], strict=True)))
            await rig.read(base_kw)
            now = rig.clock.now()
            planned = {e: power_at(rig.loop._site.plan[e], now) or 0.0 for e in "ABC"}
            orders = {e: rig.loop.ordered_kw(e, now) for e in "ABC"}
            for evse_id, ordered in orders.items():
                assert min(0.0, planned[evse_id]) <= ordered <= max(0.0, planned[evse_id])
                assert ordered <= 0 or ordered >= MIN_KW - 1e-9
            charging = sum(kw for kw in orders.values() if kw > 0)
            assert charging <= max(0.0, rig.loop.limit_kw(now) - base_kw - sum(orders.values()) + charging) + 1e-6
            for evse_id, command in rig.holds.items():
                assert power_at(command, now) == pytest.approx(orders[evse_id], abs=0.002), "told what is expected"

    asyncio.run(day())


async def test_a_mandatory_limit_brings_every_charging_car_down_and_starts_no_discharge(kit: Any) -> None:
    rig = Rig(kit, "ABCD")
    rig.plan(A=6.0, B=6.0, C=-5.0, D=(0.0, 6.0))
    await rig.read(50.0)
    done = await rig.loop.apply_limit(rig.signal(0.0), rig.clock.now())
    assert {command.evse_id for command in done.commands} == {"A", "B", "D"}, "D would start in a quarter of an hour"
    assert all(period.power_kw == 0 for command in done.commands for period in command.periods)
    assert rig.loop.ordered_kw("C", rig.clock.now()) == -5.0
    assert done.first_sent_wall == 1.0
    assert {trim.signal_id for trim in rig.loop.trims} == {"sig-1"}


async def test_the_end_of_a_limit_brings_no_rebound_before_a_plan_that_knows_it(kit: Any) -> None:
    rig = Rig(kit)
    rig.plan(A=6.0, B=6.0, C=3.0)
    await rig.read(60.0)
    early = [kit.command(e, 6.0) for e in "ABC"]
    made_before = rig.clock.now()
    rig.clock.time += timedelta(seconds=1)
    await rig.loop.apply_limit(rig.signal(70.0, minutes=1), rig.clock.now())
    held = rig.ordered()
    for _ in range(40):  # the limit ends meanwhile
        await rig.read(60.0)
        assert rig.ordered() == held
    commands = rig.loop.admit(early, made_at=made_before)
    assert sum(power_at(command, rig.clock.now()) for command in commands) <= held
    commands = rig.loop.admit([kit.command(e, 6.0) for e in "ABC"], made_at=rig.clock.now())
    assert sum(power_at(command, rig.clock.now()) for command in commands) == 18.0


async def test_a_plan_that_would_break_the_limit_is_admitted_only_under_it(kit: Any) -> None:
    rig = Rig(kit)
    rig.plan(A=6.0, B=6.0, C=3.0)
    await rig.read(60.0)
    await rig.loop.apply_limit(rig.signal(70.0), rig.clock.now())
    rig.clock.time += timedelta(seconds=2)
    asked = len(rig.trimmed)
    commands = rig.plan(A=6.0, B=6.0, C=6.0)
    level = 70.0 - 1.0 - 60.0
    assert sum(power_at(command, rig.clock.now()) for command in commands) <= level
    assert len(rig.trimmed) == asked, "admitting asks for no new plan, or plans would chase each other"


async def test_a_limit_that_is_kept_anyway_sends_nothing_but_holds_from_then_on(kit: Any) -> None:
    rig = Rig(kit)
    rig.plan(A=3.0, B=0.0, C=0.0)
    await rig.read(50.0)
    done = await rig.loop.apply_limit(rig.signal(80.0), rig.clock.now())
    assert done.commands == ()
    assert await rig.read(90.0)
    assert rig.loop.ordered_kw("A", rig.clock.now()) == 0.0


async def test_a_cancelled_limit_leaves_its_ceilings_to_the_next_plan(kit: Any) -> None:
    rig = Rig(kit)
    rig.plan(A=6.0, B=6.0, C=3.0)
    await rig.read(60.0)
    await rig.loop.apply_limit(rig.signal(65.0), rig.clock.now())
    held = rig.ordered()
    rig.loop.release("sig-1")
    await rig.read(60.0, seconds=120.0)
    assert rig.ordered() == held
    rig.plan(A=6.0, B=6.0, C=3.0)
    assert rig.ordered() == 15.0


@settings(max_examples=60, deadline=None)
@given(
    powers=st.lists(st.floats(1.5, 6.6), min_size=3, max_size=12), base=st.floats(30, 60), cut=st.floats(0, 1),
    delay=st.floats(0, 6), ramp=st.sampled_from([0.0, 1.0, 3.3]),
)
def test_the_first_minute_under_a_limit_is_under_it_on_average(
    powers: list[float], base: float, cut: float, delay: float, ramp: float, kit: Any
) -> None:
    ids = "ABCDEFGHIJKL"[: len(powers)]
    total = sum(powers)

    async def minute() -> None:
        rig = Rig(kit, ids, import_cap_kw=300.0)
        response = Response(delay, ramp)
        rig.loop._site.evses = {e: replace(evse, response=response) for e, evse in rig.evses.items()}
        rig.plan(**dict(zip(ids, powers, strict=True)))
        await rig.read(base)
        limit = base + cut * total
        done = await rig.loop.apply_limit(rig.signal(limit), rig.clock.now())
        if done.level_kw < base:
            return  # even no charging at all cannot pay the first seconds back
        mean = 0.0
        for second in range(1, 61):  # judged from one second after the limit took effect
            net = base
            for evse_id, power_kw in zip(ids, powers, strict=True):
                goal = rig.loop.ordered_kw(evse_id, rig.clock.now())
                moving = max(0.0, second - delay)
                net += goal if ramp == 0 and moving > 0 else max(goal, power_kw - ramp * moving)
            mean += net / 60
        assert mean <= limit + 1e-6

    asyncio.run(minute())


async def test_thirty_chargers_hear_of_a_limit_all_at_once(kit: Any, tmp_path: Path) -> None:
    """None answers before all have been told, so nobody's answer is waited for; the milliseconds are the demo's."""
    ids = [f"E{k}" for k in range(30)]
    async with kit.bench(tmp_path) as bench:
        bench.cars = set(ids)
        async with kit.running(bench.outbox):
            rig = Rig(kit, ids, outbox=bench.outbox, clock=bench.clock)
            commands = rig.plan(**dict.fromkeys(ids, 2.0))
            async with bench.store.transaction("planner") as tx:
                await queue_commands(tx, commands)
            bench.outbox.wake(ids)
            await kit.eventually(lambda: len(bench.accepted) == 30)
            await rig.loop.reading(SiteReading("site", bench.clock.now(), 100.0, 60.0))
            all_told = asyncio.Barrier(len(ids))
            bench.chargers.hold = lambda _: all_told.wait()
            done = await rig.loop.apply_limit(rig.signal(50.0), bench.clock.now())
            assert done.last_sent_wall <= min(delivery.answered_wall for delivery in done.deliveries.values())
            assert {delivery.state for delivery in done.deliveries.values()} == {DeliveryState.ACCEPTED}
            assert sum(power_at(c, bench.clock.now()) for c in bench.chargers.holds.values()) <= 10.0
            assert isinstance(bench.outbox, Outbox)


async def test_a_mandatory_limit_on_export_holds_back_discharge(kit: Any) -> None:
    rig = Rig(kit, export_limit_at=lambda _when: 3.0)
    rig.plan(A=-8.0, B=-8.0, C=0.0)
    trims = await rig.read(2.0)
    assert {trim.reason for trim in trims} == {TrimReason.EXPORT_LIMIT}
    assert 2.0 + rig.ordered() == pytest.approx(-3.0)


async def test_no_plan_raises_a_charger_while_slower_ones_answer_a_limit(kit: Any) -> None:
    rig = Rig(kit)
    rig.plan(A=6.0, B=6.0, C=3.0)
    await rig.read(60.0)
    await rig.loop.apply_limit(rig.signal(70.0), rig.clock.now())
    held = {e: rig.loop.ordered_kw(e, rig.clock.now()) for e in "ABC"}
    rig.clock.time += timedelta(seconds=1)
    rig.plan(A=6.0, B=0.0, C=3.0)  # knows the limit, but its cuts need seconds that its raises do not
    assert all(rig.loop.ordered_kw(e, rig.clock.now()) <= held[e] for e in "ABC")
    rig.clock.time += timedelta(seconds=70)
    await rig.read(60.0)
    rig.plan(A=5.0, B=0.0, C=3.0)
    assert rig.loop.ordered_kw("A", rig.clock.now()) == 5.0


async def test_quick_chargers_make_up_for_slow_ones_until_all_have_answered(kit: Any) -> None:
    rig = Rig(kit)
    rig.evses["C"] = Evse("C", "site", Current.DC, 11.0, response=Response(delay_s=7.0, ramp_kw_per_s=3.3))
    rig.plan(A=6.0, B=6.0, C=10.0)
    await rig.read(60.0)
    await rig.loop.apply_limit(rig.signal(75.0), rig.clock.now())
    quick = rig.loop.ordered_kw("A", rig.clock.now()) + rig.loop.ordered_kw("B", rig.clock.now())
    assert 60.0 + 10.0 + quick <= 75.0, "C draws 10 kW for seven seconds more"
    assert rig.loop.ordered_kw("C", rig.clock.now()) < 10.0


# --- the feeder ------------------------------------------------------------------------------------------------------


class Cable:
    """A feeder that bears so much at all EVSEs together, and newcomers come last. asked: how often."""

    def __init__(self, bears_kw: float) -> None:
        self.bears_kw, self.asked = bears_kw, 0

    def share(
        self, ordered_kw: Mapping[str, float], newcomers_kw: Mapping[str, float], building_kw: float, now: datetime
    ) -> Mapping[str, float]:
        del building_kw, now
        self.asked += 1
        left_kw = max(0.0, self.bears_kw - sum(ordered_kw.values()))
        part = min(1.0, left_kw / sum(newcomers_kw.values()))
        return {evse_id: kw * part for evse_id, kw in newcomers_kw.items()}


async def test_a_car_that_comes_to_a_full_feeder_gets_what_is_left_until_a_plan_knows_it(kit: Any) -> None:
    rig = Rig(kit, feeder_room=Cable(10.0))
    del rig.sessions["C"]
    rig.plan(A=6.0, B=3.5)
    assert await rig.loop.arrived() == (), "nobody is new"
    rig.sessions["C"] = kit.session("C")
    (trim,) = await rig.loop.arrived()
    assert (trim.evse_id, trim.planned_kw, trim.reason) == ("C", 1.5, TrimReason.FEEDER)
    assert trim.ceiling_kw == pytest.approx(0.5)
    assert rig.holds["C"].periods[0].power_kw == 0.5
    assert rig.holds["C"].transaction_id == "tx-C"
    for _ in range(30):  # room in the site's cap gives nothing back: the feeder is another matter
        await rig.read(20.0)
    assert rig.loop.ordered_kw("C", rig.clock.now()) == pytest.approx(0.5)
    rig.plan(A=4.0, B=3.5, C=2.5)
    assert rig.loop.ordered_kw("C", rig.clock.now()) == 2.5


async def test_a_plan_that_gives_others_more_takes_it_from_the_newcomer_in_the_same_moment(kit: Any) -> None:
    rig = Rig(kit, feeder_room=Cable(10.0))
    del rig.sessions["C"]
    rig.plan(A=4.0, B=4.0)
    rig.sessions["C"] = kit.session("C")
    assert await rig.loop.arrived() == (), "its share fits"
    admitted = {command.evse_id: command for command in rig.plan(A=6.0, B=4.0)}
    assert admitted["C"].periods[0].power_kw == 0.0
    assert rig.ordered() <= 10.0


async def test_discharge_of_others_is_room_for_a_newcomer_and_nobody_else_is_touched(kit: Any) -> None:
    rig = Rig(kit, feeder_room=Cable(0.2))
    del rig.sessions["C"]
    rig.plan(A=-3.0, B=2.0)
    rig.sessions["C"] = kit.session("C")
    (trim,) = await rig.loop.arrived()
    assert trim.ceiling_kw == pytest.approx(1.2)
    assert [rig.loop.ordered_kw(evse_id, rig.clock.now()) for evse_id in "AB"] == [-3.0, 2.0]


async def test_without_newcomers_the_feeder_is_not_asked(kit: Any) -> None:
    cable = Cable(1.0)
    rig = Rig(kit, feeder_room=cable)
    rig.plan(A=6.0, B=6.0, C=6.0)
    await rig.read(20.0)
    assert cable.asked == 0

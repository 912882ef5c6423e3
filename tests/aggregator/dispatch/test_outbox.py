"""Delivery: newest version only, once, again after a crash, never after its time."""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.dispatch import OutboxNotRunning, PermitGap, fallback_command, no_permit, queue_commands
from aggregator.dispatch.capabilities import Limitation
from aggregator.ocpp.events import DeliveryState, ProfileCommand, Purpose
from aggregator.store import DesiredState

pytestmark = pytest.mark.anyio


async def put(bench: Any, *commands: ProfileCommand) -> tuple[ProfileCommand, ...]:
    async with bench.store.transaction("planner") as tx:
        return await queue_commands(tx, commands, plan_id="plan-1")


async def state_of(bench: Any, evse_id: str, purpose: Purpose = Purpose.PLAN) -> Any:
    await bench.outbox.ledger_written()
    async with bench.store.read() as tx:
        row = await tx.desired.get(evse_id, purpose)
    assert row is not None
    return row


async def test_a_queued_profile_is_sent_once_and_its_acceptance_is_stored(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench, kit.running(bench.outbox):
        await put(bench, kit.command("A", 5.0), kit.command("B", 3.0))
        bench.outbox.wake(["A", "B"])
        bench.outbox.wake(["A"])
        await kit.eventually(lambda: len(bench.accepted) == 2)
        row = await state_of(bench, "A")
        assert row.state is DesiredState.ACCEPTED
        assert row.attempts == 1
        assert row.answered_wall >= row.sent_wall
        assert sorted(command.evse_id for command in bench.chargers.sets) == ["A", "B"]


async def test_unchanged_content_is_not_sent_again_until_half_its_life_is_over(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench, kit.running(bench.outbox):
        for lasts_h in (2, 3, 8, 7):
            (queued,) = await put(bench, kit.command("A", 5.0, lasts_h=lasts_h))
            bench.outbox.wake(["A"])
            await kit.eventually(lambda v=queued.version: bench.accepted and bench.accepted[-1].version == v)
            assert (await state_of(bench, "A")).state is DesiredState.ACCEPTED
        # 3 h is half covered by 2 h; 8 h is not; 7 h ends sooner than what is held.
        assert [command.version for command in bench.chargers.sets] == [1, 3, 4]
        assert bench.outbox.counters.unchanged == 1


async def test_a_charger_that_waits_for_news_is_sent_even_what_it_holds(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench, kit.running(bench.outbox):
        for round_number in range(3):
            if round_number == 1:
                bench.outbox.expect_news("A")
                assert bench.outbox.held("A") is not None  # it still does what it was told
            (queued,) = await put(bench, kit.command("A", 5.0))
            bench.outbox.wake(["A"])
            await kit.eventually(lambda v=queued.version: bench.accepted and bench.accepted[-1].version == v)
        assert [command.version for command in bench.chargers.sets] == [1, 2]
        bench.outbox.expect_news("nobody")


async def test_a_failed_delivery_is_tried_again_while_its_time_lasts(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench, kit.running(bench.outbox):
        answers = [DeliveryState.TIMEOUT, DeliveryState.OFFLINE, DeliveryState.ACCEPTED]
        bench.chargers.answer = lambda _: answers.pop(0)
        await put(bench, kit.command("A", 5.0))
        bench.outbox.wake(["A"])
        await kit.eventually(lambda: len(bench.accepted) == 1)
        assert len(bench.chargers.sets) == 3
        assert (await state_of(bench, "A")).attempts == 3


async def test_nothing_expired_is_sent(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench, kit.running(bench.outbox):
        bench.chargers.answer = lambda _: DeliveryState.TIMEOUT
        later = bench.clock.now() + timedelta(hours=1)
        await put(bench, kit.command("A", 5.0, valid_to=later), kit.command("B", 5.0, valid_to=kit.start))
        bench.outbox.wake(["A", "B"])
        await kit.eventually(lambda: bench.chargers.sets)
        bench.clock.ahead = timedelta(hours=2)
        await kit.eventually(lambda: bench.outbox.counters.expired == 2)
        assert {command.evse_id for command in bench.chargers.sets} == {"A"}
        assert (await state_of(bench, "A")).state is DesiredState.EXPIRED
        sent = len(bench.chargers.sets)
        await asyncio.sleep(0.1)
        assert len(bench.chargers.sets) == sent


async def test_refusals_are_not_retried_and_bring_the_charger_down_a_rung(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench, kit.running(bench.outbox):
        bench.chargers.answer = lambda c: (
            DeliveryState.REJECTED if c.evse_id == "A" else DeliveryState.NOT_SUPPORTED
        )
        for refused, power_kw in ((2, -4.0), (4, -5.0)):
            await put(bench, kit.command("A", power_kw, lasts_h=1), kit.command("B", 5.0 - power_kw))
            bench.outbox.wake(["A", "B"])
            await kit.eventually(lambda refused=refused: bench.outbox.counters.refused == refused)
            await asyncio.sleep(0.1)
        assert len(bench.chargers.sets) == 4
        assert (await state_of(bench, "A")).state is DesiredState.REJECTED
        assert (await state_of(bench, "B")).state is DesiredState.NOT_SUPPORTED
        assert bench.outbox.capabilities.has("A", Limitation.REFUSES_DISCHARGE)
        assert bench.outbox.capabilities.has("B", Limitation.REFUSES_PROFILES)
        assert not bench.outbox.capabilities.may_discharge("A")
        async with bench.store.read() as tx:
            kinds = {(alert.kind, alert.subject) for alert in await tx.alerts.open()}
        assert kinds == {("charger_refuses_discharge", "A"), ("charger_refuses_profiles", "B")}


async def test_a_newer_version_follows_the_one_in_flight_and_skips_those_between(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench, kit.running(bench.outbox):
        may_answer = asyncio.Event()
        bench.chargers.hold = lambda _: may_answer.wait()
        await put(bench, kit.command("A", 1.0))
        bench.outbox.wake(["A"])
        await kit.eventually(lambda: len(bench.chargers.sets) == 1)
        for power_kw in (2.0, 3.0, 4.0):
            await put(bench, kit.command("A", power_kw))
            bench.outbox.wake(["A"])
        await asyncio.sleep(0.1)
        assert len(bench.chargers.sets) == 1, "the first is still in flight"
        may_answer.set()
        await kit.eventually(lambda: len(bench.accepted) == 2)
        await asyncio.sleep(0.1)
        assert [command.periods[0].power_kw for command in bench.chargers.sets] == [1.0, 4.0]
        assert bench.chargers.most_in_flight["A"] == 1
        assert bench.outbox.held("A").version == 4


async def test_after_a_boot_the_fallback_comes_first_and_an_old_plan_is_cleared(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench, kit.running(bench.outbox):
        now = bench.clock.now()
        await put(
            bench, kit.command("A", 5.0), fallback_command("A", 1.5, now),
            kit.command("D", 5.0), fallback_command("D", 1.5, now),
        )
        bench.outbox.resync("A")
        bench.outbox.resync("D")  # no car at D any more
        await kit.eventually(lambda: len(bench.chargers.log) >= 4)
        await asyncio.sleep(0.1)
        assert [(verb, purpose) for verb, evse, purpose in bench.chargers.log if evse == "A"] == [
            ("set", Purpose.FALLBACK), ("set", Purpose.PLAN),
        ]
        assert [(verb, purpose) for verb, evse, purpose in bench.chargers.log if evse == "D"] == [
            ("set", Purpose.FALLBACK), ("clear", Purpose.PLAN),
        ]
        assert (await state_of(bench, "D")).state is DesiredState.SUPERSEDED
        bench.outbox.resync("A")  # unchanged, but the charger may have lost it
        await kit.eventually(lambda: len([entry for entry in bench.chargers.log if entry[1] == "A"]) == 4)


async def test_a_clear_that_waits_for_its_retry_does_not_remove_the_next_cars_plan(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench, kit.running(bench.outbox):
        bench.cars.discard("A")
        bench.chargers.clear_answer = DeliveryState.TIMEOUT
        bench.outbox.resync("A")
        await kit.eventually(lambda: len(bench.chargers.log) >= 1)
        bench.cars.add("A")
        await put(bench, kit.command("A", 5.0))
        bench.outbox.wake(["A"])
        await kit.eventually(lambda: len(bench.accepted) == 1)
        await asyncio.sleep(0.2)  # several retries long
        assert bench.chargers.log[-1] == ("set", "A", Purpose.PLAN)
        assert bench.outbox.held("A").version == 1


async def test_an_offline_charger_gets_its_state_when_it_returns(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench, kit.running(bench.outbox):
        bench.chargers.offline.add("A")
        await put(bench, kit.command("A", 5.0))
        bench.outbox.wake(["A"])
        await asyncio.sleep(0.1)
        assert bench.chargers.sets == []
        bench.chargers.offline.discard("A")
        bench.outbox.resync("A")
        await kit.eventually(lambda: len(bench.accepted) == 1)


async def test_a_permit_lost_since_the_plan_takes_out_the_discharge_at_sending(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench, kit.running(bench.outbox):
        bench.permits["A"] = no_permit("A", PermitGap.CONSENT)
        await put(bench, kit.command("A", -8.0, 5.0, lasts_h=1))
        bench.outbox.wake(["A"])
        await kit.eventually(lambda: len(bench.accepted) == 1)
        assert [period.power_kw for period in bench.chargers.sets[0].periods] == [0.0, 5.0]
        assert bench.clips[0].missing == (PermitGap.CONSENT,)


async def test_deliver_now_stores_first_sends_to_all_at_once_and_tells_when(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench, kit.running(bench.outbox):
        bench.chargers.latency_s = lambda c: 30.0 if c.evse_id == "C" else 0.0
        both_sent = asyncio.Barrier(2)  # A and B answer only once both have been asked
        bench.chargers.hold = lambda _: both_sent.wait()
        deliveries = await bench.outbox.deliver_now(
            [kit.command(evse_id, 2.0) for evse_id in "ABC"], actor="fast_loop", reason="signal:1", wait_s=2.0
        )
        assert deliveries["A"].state is deliveries["B"].state is DeliveryState.ACCEPTED
        assert deliveries["C"].state is DeliveryState.TIMEOUT
        assert max(deliveries[e].sent_wall for e in "AB") <= min(deliveries[e].answered_wall for e in "AB")
        async with bench.store.read() as tx:
            assert {row.evse_id for row in await tx.desired.all()} == {"A", "B", "C"}


async def test_deliver_now_replaces_a_plan_that_waits_for_its_retry(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench, kit.running(bench.outbox):
        bench.chargers.answer = lambda c: (
            DeliveryState.TIMEOUT if c.periods[0].power_kw == 9.0 else DeliveryState.ACCEPTED
        )
        await put(bench, kit.command("A", 9.0))
        bench.outbox.wake(["A"])
        await kit.eventually(lambda: len(bench.chargers.sets) >= 1)
        await bench.outbox.deliver_now([kit.command("A", 0.0)], actor="fast_loop", reason="signal:1")
        sent = [command.periods[0].power_kw for command in bench.chargers.sets]
        assert sent[-1] == 0.0
        await asyncio.sleep(0.2)
        assert bench.chargers.sets[-1].periods[0].power_kw == 0.0


async def test_deliver_now_without_a_running_outbox_says_so(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench:
        with pytest.raises(OutboxNotRunning):
            await bench.outbox.deliver_now([kit.command("A", 1.0)], actor="x", reason="y")


async def test_a_new_process_takes_up_what_the_dead_one_left(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench:
        # Written, perhaps sent, never answered: what a kill -9 leaves.
        queued = await put(
            bench, kit.command("A", 5.0), kit.command("B", -4.0, lasts_h=1), kit.command("C", 6.0, valid_to=kit.start)
        )
        async with bench.store.transaction("dispatch") as tx:
            await tx.desired.mark("B", Purpose.PLAN, queued[1].version, DesiredState.SENT, "", kit.start)
    async with kit.bench(tmp_path) as bench, kit.running(bench.outbox):
        await kit.eventually(lambda: len(bench.accepted) == 2 and bench.outbox.counters.expired == 1)
        assert {command.evse_id for command in bench.chargers.sets} == {"A", "B"}
        assert (await state_of(bench, "C")).state is DesiredState.EXPIRED


async def test_a_gateway_fault_costs_one_attempt_and_not_the_outbox(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench, kit.running(bench.outbox):
        faults = [RuntimeError("socket layer"), None]

        def answer(_: ProfileCommand) -> DeliveryState:
            fault = faults.pop(0)
            if fault is not None:
                raise fault
            return DeliveryState.ACCEPTED

        bench.chargers.answer = answer
        await put(bench, kit.command("A", 5.0))
        bench.outbox.wake(["A"])
        await kit.eventually(lambda: len(bench.accepted) == 1)


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "now", "resync", "drop", "return", "restart", "rest"]), st.sampled_from(["A", "B"])
    ),
    min_size=3, max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(steps=steps, seed=st.integers(0, 2**16))
def test_no_older_version_ever_follows_a_newer_one(
    steps: list[tuple[str, str]], seed: int, kit: Any
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_interleave(kit, Path(folder), steps, random.Random(seed)))


async def _interleave(kit: Any, folder: Path, steps: list[tuple[str, str]], chance: random.Random) -> None:
    states = [DeliveryState.ACCEPTED, DeliveryState.ACCEPTED, DeliveryState.TIMEOUT, DeliveryState.OFFLINE]
    async with kit.bench(folder) as bench:
        bench.chargers.answer = lambda _: chance.choice(states)
        bench.chargers.latency_s = lambda _: chance.choice([0.0, 0.002, 0.01])
        task = asyncio.create_task(bench.outbox.run())
        await asyncio.sleep(0)
        calls = []
        for number, (verb, evse_id) in enumerate(steps):
            if verb in ("put", "now"):
                command = kit.command(evse_id, float(number))
                if verb == "put":
                    await put(bench, command)
                    bench.outbox.wake([evse_id])
                else:
                    calls.append(asyncio.create_task(
                        bench.outbox.deliver_now([command], actor="test", reason="test", wait_s=0.01)
                    ))
                    await asyncio.sleep(0)
            elif verb == "resync":
                bench.outbox.resync(evse_id)
            elif verb == "drop":
                bench.chargers.offline.add(evse_id)
            elif verb == "return":
                bench.chargers.offline.discard(evse_id)
                bench.outbox.resync(evse_id)
            elif verb == "restart":
                await asyncio.gather(*calls)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                bench.outbox = bench.new_outbox()
                task = asyncio.create_task(bench.outbox.run())
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(chance.choice([0.0, 0.005, 0.03]))
        await asyncio.gather(*calls)
        states[:] = [DeliveryState.ACCEPTED]
        bench.chargers.offline.clear()
        async with bench.store.read() as tx:
            newest = {row.evse_id: row.version for row in await tx.desired.all()}
        for evse_id in newest:
            bench.outbox.resync(evse_id)
        await kit.eventually(lambda: newest == {
            evse_id: command.version for evse_id, command in bench.chargers.holds.items()
        })
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    for evse_id in newest:
        versions = [command.version for command in bench.chargers.sets if command.evse_id == evse_id]
        assert versions == sorted(versions)
        assert bench.chargers.most_in_flight[evse_id] == 1


async def test_the_transaction_of_another_car_gets_no_plan(kit: Any, tmp_path: Path) -> None:
    async with kit.bench(tmp_path) as bench, kit.running(bench.outbox):
        await put(bench, replace(kit.command("A", 5.0), transaction_id="the car before"))
        bench.outbox.wake(["A"])
        await kit.eventually(lambda: bench.outbox.counters.superseded == 1)
        assert bench.chargers.sets == []
        assert (await state_of(bench, "A")).state is DesiredState.SUPERSEDED

"""What a car is seen to take, learnt from a standing order and the meter."""

from datetime import UTC, datetime, timedelta

import pytest

from aggregator.fleet.draw import DrawLimits, Silence

T0 = datetime(2019, 7, 15, 20, 0, tzinfo=UTC)


def after(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def test_a_tapering_car_is_planned_at_little_more_than_it_takes() -> None:
    draws = DrawLimits()
    for minute in range(5):
        draws.seen("E1", after(minute), 6.6, 2.0)
    assert draws.at(after(5))["E1"] == pytest.approx(2.4)


def test_an_order_younger_than_the_answer_of_a_charger_says_nothing() -> None:
    draws = DrawLimits()
    draws.seen("E1", after(0), 6.6, 0.5)
    draws.seen("E1", after(1), 6.6, 0.5)
    assert draws.at(after(1)) == {}


@pytest.mark.parametrize(("ordered", "metered"), [(6.6, 6.6), (6.6, 6.3), (0.1, 0.05), (0.0, 0.0), (-8.0, -3.0)])
def test_a_car_that_follows_or_an_order_too_small_to_judge_sets_no_limit(ordered: float, metered: float) -> None:
    draws = DrawLimits()
    for minute in range(10):
        draws.seen("E1", after(minute), ordered, metered)
    assert draws.at(after(10)) == {}


def test_a_car_that_takes_all_of_its_limit_is_offered_more_and_at_last_everything() -> None:
    draws = DrawLimits()
    for minute in range(5):
        draws.seen("E1", after(minute), 6.6, 2.0)
    offered = [draws.at(after(5))["E1"]]
    for minute in range(5, 17, 3):  # each plan orders all that the car is believed to take, and it takes it
        for later in range(3):
            draws.seen("E1", after(minute + later), offered[-1], offered[-1])
        offered.append(draws.at(after(minute + 2))["E1"])
    assert offered == sorted(set(offered))
    assert offered[-1] > 4.0
    assert draws.at(after(60)) == {}


def test_an_order_below_what_a_car_is_believed_to_take_teaches_nothing() -> None:
    draws = DrawLimits()
    for minute in range(5):
        draws.seen("E1", after(minute), 6.6, 2.0)
    for minute in range(5, 15):
        draws.seen("E1", after(minute), 1.5, 1.5)
    assert draws.at(after(15))["E1"] == pytest.approx(2.4)


def test_a_limit_leaves_with_the_car() -> None:
    draws = DrawLimits()
    for minute in range(5):
        draws.seen("E1", after(minute), 6.6, 2.0)
    draws.forget("E1")
    assert draws.at(after(5)) == {}


def silent_after(*samples: tuple[float, float, float]) -> Silence:
    """What is known after (minute, ordered kW, metered kW), in turn."""
    silence = Silence()
    for minute, ordered, metered in samples:
        silence.seen("E1", after(minute), ordered, metered)
    return silence


def test_a_charger_that_moves_nothing_is_left_out_for_half_an_hour_and_then_tried_again() -> None:
    silence = silent_after((0, 6.6, 0.0), (5, 6.6, 0.0))
    assert silence.cannot_charge(after(5)) == {"E1"}
    assert silence.cannot_charge(after(34)) == {"E1"}
    assert silence.cannot_charge(after(36)) == frozenset()


def test_a_charger_that_does_not_discharge_may_still_charge() -> None:
    silence = silent_after((0, -8.0, 0.0), (5, -6.0, 0.0))
    assert silence.cannot_discharge(after(5)) == {"E1"}
    assert silence.cannot_charge(after(5)) == frozenset()


@pytest.mark.parametrize("samples", [
    ((0.0, 6.6, 0.0), (1.0, 6.6, 0.0)),  # no time to answer yet
    ((0.0, 0.0, 0.0), (5.0, 0.0, 0.0), (9.0, 6.6, 0.0)),  # the first look at a new order
    ((0.0, 6.6, 0.0), (5.0, -6.6, 0.0)),  # another direction is another order
    ((0.0, 6.6, 0.0), (5.0, 6.6, 1.3)),
])
def test_a_charger_with_no_time_to_answer_or_any_answer_is_not_silent(samples: tuple[tuple[float, ...], ...]) -> None:
    silence = Silence()
    for minute, ordered, metered in samples:
        silence.seen("E1", after(minute), ordered, metered)
    assert silence.cannot_charge(after(10)) == silence.cannot_discharge(after(10)) == frozenset()


def test_a_charger_that_moves_again_or_has_a_new_car_is_believed_at_once() -> None:
    moves, changed = (silent_after((0, 6.6, 0.0), (5, 6.6, 0.0)) for _ in range(2))
    moves.seen("E1", after(10), 6.6, 6.5)
    changed.forget("E1")
    assert moves.cannot_charge(after(10)) == changed.cannot_charge(after(10)) == frozenset()

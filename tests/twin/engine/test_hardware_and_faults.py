"""Between order and car: chargers and links that fail, hardware that answers in its own way, cars that doze off."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.twin.engine.conftest import (
    BIG,
    BOTH_WAYS,
    HOUR,
    NOBODY_CHANGES,
    RESPONSES,
    Hold,
    Hourly,
    fault,
    fleet,
    healthy,
    random_visits,
    table,
)
from twin.assets import (
    Response,
    Sleep,
    Vehicle,
)
from twin.controllers import FleetView
from twin.engine import run
from twin.ensemble import Outcome
from twin.faults import FaultKind, FaultPlan
from twin.visits import Revisions


def held(kw: float, faults: FaultPlan, *, hours: int = 4, response: Response | None = None) -> Outcome:
    return run(fleet(hours=hours, response=response), table((0, 0, hours * HOUR)), Hold(kw), faults=faults)


def by_hour(out: Outcome) -> list[float]:
    assert out.evse_kwh is not None
    return [round(float(kwh), 9) for kwh in out.evse_kwh[0, 0].reshape(-1, 4).sum(axis=1)]


def test_a_charger_that_is_down_gives_nothing_and_comes_back() -> None:
    out = held(8.0, fault(FaultKind.DOWN, 1.5 * HOUR, 2.25 * HOUR))
    assert by_hour(out) == [8.0, 4.0, 6.0, 8.0]
    assert out.occurrences == {"down": 1}


def test_a_contactor_opens_without_a_ramp_and_closes_with_one() -> None:
    out = held(8.0, fault(FaultKind.DOWN, 1.5 * HOUR, 2.0 * HOUR), response=Response(10.0, 0.5))
    ramp = 8.0 / 3600 * 10 + 0.5 * 8.0 * 16 / 3600
    assert by_hour(out) == pytest.approx([8.0 - ramp, 4.0, 8.0 - ramp, 8.0], abs=1e-9)


def test_a_stuck_connector_costs_the_whole_visit_and_only_that() -> None:
    plan = fault(FaultKind.STUCK, 0.5 * HOUR, 1.5 * HOUR)
    out = run(fleet(), table((0, HOUR, 2 * HOUR), (0, 2.5 * HOUR, 3.5 * HOUR)), Hold(8.0), faults=plan)
    assert out.visits.imported_kwh == pytest.approx([0.0, 8.0])
    assert out.occurrences == {"stuck": 1, "visit stuck": 1}


def test_a_charger_that_ignores_orders_charges_at_full_power() -> None:
    assert by_hour(held(-4.0, fault(FaultKind.IGNORES, HOUR, 2 * HOUR), hours=3)) == pytest.approx([-4, 11, -4])


def test_a_charger_that_ignores_orders_still_stops_at_the_target_of_its_car() -> None:
    class Never(Hold):
        charges_to_target = True

    out = run(fleet(), table((0, 0, 4 * HOUR), target=25.0), Never(0.0), faults=fault(FaultKind.IGNORES, 0, 4 * HOUR))
    assert out.visits.energy_kwh == pytest.approx([25.0], abs=1e-12)


def test_a_derated_charger_gives_its_part_and_less_than_6_a_is_nothing() -> None:
    assert by_hour(held(11.0, fault(FaultKind.DERATED, HOUR, 2 * HOUR, 0.3), hours=3)) == pytest.approx([11, 3.3, 11])
    out = run(fleet(hours=2, least_kw=4.0), table((0, 0, 2 * HOUR)), Hold(11.0),
              faults=fault(FaultKind.DERATED, HOUR, 2 * HOUR, 0.3))
    assert by_hour(out) == [11.0, 0.0]


def test_without_contact_the_last_order_holds_until_the_fallback() -> None:
    plan = replace(fault(FaultKind.OUTAGE, 0.75 * HOUR, 2.5 * HOUR), fallback_after_s=0.5 * HOUR,
                   fallback_kw=np.array([2.0]))
    out = run(fleet(), table((0, 0, 4 * HOUR)), Hourly(8.0, 4.0, 6.0, 3.0), faults=plan)
    # 0.75 h: contact is lost; 1.25 h: fallback; 2.5 h: contact, and the order of that hour arrives at once.
    assert by_hour(out) == pytest.approx([8.0, 0.25 * 8 + 0.75 * 2, 0.5 * 2 + 0.5 * 6, 3.0])
    assert out.occurrences == {"outage": 1, "fallback": 1}


def test_a_car_that_comes_during_a_long_outage_gets_the_fallback() -> None:
    plan = replace(fault(FaultKind.OUTAGE, 0.0, 4 * HOUR), fallback_kw=np.array([2.0]))
    out = run(fleet(), table((0, HOUR, 3 * HOUR)), Hold(8.0), faults=plan)
    assert out.visits.imported_kwh == pytest.approx([4.0])


@pytest.mark.parametrize("revisions", [None, NOBODY_CHANGES], ids=["whole steps", "one by one"])
def test_the_fallback_of_a_car_that_came_without_contact_ends_with_the_outage(revisions: Revisions | None) -> None:
    plan = replace(fault(FaultKind.OUTAGE, 0.0, 2.1 * HOUR), fallback_kw=np.array([2.0]))
    out = run(fleet(), table((0, HOUR, 4 * HOUR)), Hold(0.0), faults=plan, revisions=revisions)
    assert out.visits.imported_kwh == pytest.approx([2.0 * 1.1])


def test_a_late_order_takes_effect_late_and_never_for_the_next_car() -> None:
    plan = replace(healthy(1), order_delay_s=np.array([60.0]))
    out = run(fleet(), table((0, 0, HOUR), (0, HOUR + 30, 2 * HOUR)), Hourly(6.0, 9.0, 0.0, 0.0), faults=plan)
    assert out.visits.imported_kwh == pytest.approx([6.0 * 3540 / HOUR, 9.0 * 3510 / HOUR])


def test_a_clock_that_is_behind_starts_orders_late() -> None:
    late = replace(healthy(1), clock_skew_s=np.array([-120.0]))
    assert held(6.0, late).ledger.import_kwh == pytest.approx([6.0 * (4 - 120 / HOUR)])


def test_a_clock_that_is_ahead_starts_orders_when_they_come() -> None:
    early = replace(healthy(1), clock_skew_s=np.array([120.0]))
    assert held(6.0, early).ledger.import_kwh == pytest.approx([6.0 * 4])


def test_a_lost_order_is_sent_again_at_the_next_decision() -> None:
    all_lost = held(6.0, replace(healthy(1), order_loss=np.ones(1)))
    assert all_lost.ledger.import_kwh == [0.0]
    assert all_lost.occurrences == {"order lost": 16}
    many = run(fleet(400), table(*((k, 0, 4 * HOUR) for k in range(400))), Hold(6.0),
               faults=replace(healthy(400), order_loss=np.full(400, 0.3)))
    waited = (24.0 - many.ledger.import_kwh) / 1.5
    # Steps until an order arrives: geometric with mean 0.3/0.7, standard error 0.04.
    assert waited.mean() == pytest.approx(0.3 / 0.7, abs=0.12)
    np.testing.assert_allclose(waited, np.rint(waited), atol=1e-9)


def test_a_drifting_meter_shows_other_figures_and_moves_no_energy() -> None:
    out = held(6.0, replace(healthy(1), meter_factor=np.array([1.05])))
    assert out.ledger.import_kwh == pytest.approx([24.0])
    assert out.metered_import_kwh == pytest.approx([25.2])


@pytest.mark.parametrize("response", RESPONSES)
def test_a_plan_without_faults_changes_nothing(response: Response) -> None:
    ensemble = fleet(4, replicas=2, vehicle=BOTH_WAYS, response=response)
    visits = random_visits(np.random.default_rng(11), ensemble)
    controller = Hourly(7.0, -6.0, 11.0, -3.0)
    assert run(ensemble, visits, controller).digest() == run(ensemble, visits, controller, faults=healthy(8)).digest()


# ---------------------------------------------------------------------- response of hardware and cars


def test_biases_and_granularity_shift_what_flows() -> None:
    """The bias of the charger measured in World Electric Vehicle Journal 2019, 10(2), 21."""
    measured = Response(charge_bias_kw=-0.44, discharge_bias_kw=0.74, idle_bias_kw=0.42, granularity_kw=0.5)
    out = run(fleet(response=measured), table((0, 0, 4 * HOUR), energy=50.0), Hourly(6.3, -6.3, 0.0, 11.0))
    assert by_hour(out) == pytest.approx([6.0 - 0.44, -6.0 + 0.74, 0.42, 11.0 - 0.44])


def test_a_set_point_of_zero_draws_the_idle_bias_from_plug_in_on() -> None:
    out = run(fleet(response=Response(idle_bias_kw=0.42)), table((0, HOUR, 3 * HOUR)), Hold(0.0))
    assert out.ledger.import_kwh == pytest.approx([0.84])


def dozing(wake_kw: float = 3.0, wake_s: float = 60.0) -> Vehicle:
    return replace(BIG, sleep=Sleep(after_s=1800.0, wake_kw=wake_kw, wake_s=wake_s))


def test_a_car_asleep_wakes_only_to_enough_power_held_long_enough() -> None:
    orders = Hourly(8.0, 0.0, 2.0, 8.0)
    out = run(fleet(vehicle=dozing()), table((0, 0, 4 * HOUR)), orders)
    assert by_hour(out) == pytest.approx([8.0, 0.0, 0.0, 8.0 * (1 - 60 / HOUR)])
    awake = run(fleet(vehicle=dozing()), table((0, 0, 4 * HOUR)), Hourly(8.0, 3.0, 2.0, 8.0))
    assert by_hour(awake) == pytest.approx([8.0, 3.0, 2.0, 8.0])


def test_a_short_pause_puts_no_car_to_sleep_and_some_sleep_until_replugged() -> None:
    class Pause(Hold):
        def setpoints(self, view: FleetView) -> NDArray[np.float64]:
            return np.full(1, 0.0 if 900 <= view.now_s < 2700 - 900 else 8.0)

    forever = dozing(np.inf)
    out = run(fleet(vehicle=forever), table((0, 0, 4 * HOUR)), Pause(0.0))
    assert out.ledger.import_kwh == pytest.approx([8.0 * 3.75])
    out = run(fleet(vehicle=forever), table((0, 0, 3 * HOUR), (0, 3 * HOUR, 4 * HOUR)), Hourly(0.0, 8.0, 8.0, 8.0))
    assert out.visits.imported_kwh == pytest.approx([0.0, 8.0])


def test_ideal_hardware_neither_waits_nor_sleeps() -> None:
    ensemble = fleet(vehicle=dozing(), response=Response(30.0, 0.1))
    out = run(ensemble, table((0, 0, 4 * HOUR)), Hourly(8.0, 0.0, 8.0, 8.0), response=False)
    assert by_hour(out) == [8.0, 0.0, 8.0, 8.0]

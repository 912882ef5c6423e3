"""What is said of a plan can be checked against it."""

from collections.abc import Callable

from aggregator.planning.fleet import Problem, solve
from aggregator.planning.fleet.why import Binding, Reason, reasons
from aggregator.planning.fleet.words import counted, reasons_words

Make = Callable[..., Problem]

REST = Reason(3, 0.0, 40.0, "price", 0.2, {"market": 0.3, "own": -0.1}, 0.237, -0.013, -0.061, "target", 9)


def _after(reason: Reason, **changed: object) -> Reason:
    values = {name: getattr(reason, name) for name in Reason.__slots__} | {"step": reason.step + 1} | changed
    return Reason(**values)  # type: ignore[arg-type]


def test_what_is_the_same_in_many_steps_is_said_once() -> None:
    second = _after(REST)
    third = _after(second, site_price=0.3)
    lines = reasons_words([REST, second, third])
    assert [line.partition(":")[0] for line in lines] == ["steps 3 to 4", "step 5"]


def test_a_reason_can_be_followed_by_its_own_figures() -> None:
    line, = reasons_words([REST])
    assert "0 kW at 40.0 kWh, at rest, neither direction pays" in line
    assert "market +0.300, neither bought nor sold -0.100" in line
    assert line.endswith("with losses and wear charging gains -0.013, discharging -0.061")


def test_a_power_at_its_minimum_or_into_a_full_battery_is_called_so(make_fleet: Make) -> None:
    seen = {"minimum": 0, "full": 0, "floor": 0}
    for seed in range(25):
        problem = make_fleet(seed, evs=10, minimums=seed % 2 == 0, negative=True)
        plan, evs = solve(problem), problem.evs
        for ev in range(len(evs)):
            for reason in reasons(problem, plan, ev):
                least = evs.min_charge_kw[ev] if reason.power_kw > 0 else evs.min_discharge_kw[ev]
                if reason.decision == "minimum":
                    assert abs(abs(reason.power_kw) - least) <= 1e-4
                elif reason.decision == "full":
                    assert reason.energy_kwh >= evs.capacity_kwh[ev] - 1e-6
                elif reason.decision == "floor":
                    assert reason.energy_kwh <= evs.floor_kwh[ev] + 1e-6
                elif reason.decision == "balance":
                    assert abs(abs(reason.power_kw) - least) > 1e-4
                    assert reason.power_kw < 0 or reason.energy_kwh < evs.capacity_kwh[ev] - 1e-6
                seen[reason.decision] = seen.get(reason.decision, 0) + 1
    assert all(seen.values())


def test_a_price_in_a_small_currency_is_written_out() -> None:
    assert str(Binding("event", "evening", (30, 31), 37_500.0)).endswith(" 2 steps from 30 to 31: 37500 per kW")
    assert str(Binding("target", "car", (7,), 0.52514)) == "target of car, step 7: 0.5251 per kWh"


def test_one_is_one_and_two_are_several() -> None:
    assert (counted(1, "EV"), counted(2000, "site"), counted(0, "step")) == ("1 EV", "2,000 sites", "0 steps")

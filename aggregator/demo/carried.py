"""What the day's measured powers did to the garage's feeder, worked out afterwards by both engines."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import numpy as np

from aggregator.planning.street.known import Street
from aggregator.planning.street.lessons import element_words
from aggregator.reports.day import CarriedFact, FeederFact, StepSeries
from twin.assets import TimeGrid
from twin.feeder.second_engine.check import Checker
from twin.feeder.watched import Kind, Watched
from twin.validation.tangents import KINDS, name_of

_MINUTE_S = 60


def carried(
    street: Street, grid: TimeGrid, building: StepSeries, evse_power: Mapping[str, StepSeries],
) -> FeederFact:
    """Every limit of the feeder under 1-minute means of what the meters measured.

    A minute that was not measured at the building counts as the one before; at a charger as nothing drawn.
    """
    minutes = TimeGrid(grid.start, _MINUTE_S, grid.steps * grid.step_s // _MINUTE_S)
    building_kw = building.means(minutes.start, _MINUTE_S, minutes.steps)
    known = np.maximum.accumulate(np.where(np.isfinite(building_kw), np.arange(minutes.steps), 0))
    scene = street.scene(minutes, np.nan_to_num(building_kw[known]))
    evse_kw = np.array([
        np.nan_to_num(evse_power[evse_id].means(minutes.start, _MINUTE_S, minutes.steps))
        if evse_id in evse_power else np.zeros(minutes.steps) for evse_id in scene.evse_ids
    ])
    solution = scene.flow().solve(*scene.demand_w(evse_kw))
    watched = Watched(scene.flow(), scene.limits)
    values = watched.values(solution)
    worst: dict[tuple[Kind, str], int] = {}
    for number, row in enumerate(watched.rows):
        place = row.where if row.kind in (Kind.LINE, Kind.TRANSFORMER) else ""
        held = worst.get((row.kind, place))
        if held is None or (values[number] - row.limit).max() > (values[held] - watched.rows[held].limit).max():
            worst[row.kind, place] = number
    found = []
    for number in worst.values():
        row, at = watched.rows[number], int(values[number].argmax())
        is_share = row.kind not in (Kind.VOLTAGE_LOW, Kind.VOLTAGE_HIGH)
        scale = 100.0 if is_share else 1.0
        found.append(CarriedFact(
            element_words(KINDS[row.kind].value, name_of(watched, row)), scale * abs(float(values[number, at])),
            scale * abs(row.limit), "%" if is_share else "p.u.", minutes.start + timedelta(minutes=at),
            int((values[number] > row.limit).sum()),
        ))
    difference = Checker(scene.feeder).check(solution)
    return FeederFact(
        scene.feeder.name, tuple(found), minutes.steps, int((~solution.has_solution).sum()), difference.voltage_pu,
        difference.agrees,
    )

"""What the inverters of a scenario's EVSEs do by themselves, and what of that is taken for granted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from twin.assets import Evse
from twin.feeder.inverters.behaviour import Inverter
from twin.feeder.inverters.grid_codes import grid_code, grid_code_names
from twin.feeder.network.model import Feeder
from twin.scenario.feeder.context import Context
from twin.scenario.feeder.network import ratings
from twin.scenario.on_feeder import Inverters
from twin.scenario.tables import FeederTable


def inverters_of(
    context: Context, table: FeederTable, feeder: Feeder, evses: Sequence[Evse]
) -> Inverters | None:
    """One for each EVSE; None where the scenario has none."""
    own = table.inverters
    if own is None:
        return None
    if own.grid_code not in grid_code_names():
        raise context.fault(".inverters.grid_code", own.grid_code, f"one of {', '.join(grid_code_names())}")
    if own.nominal_volts is not None and len(ratings(feeder)) > 1:
        raise context.fault(".inverters.nominal_volts", own.nominal_volts,
                            "none: the connection points are at buses of different ratings")
    code = grid_code(own.grid_code)
    if not own.lag:
        code = code.without_lag()
    kva = [own.rated_kva or max(evse.max_charge_kw, evse.max_discharge_kw) for evse in evses]
    each = tuple(Inverter(code, 1000.0 * rated) for rated in kva)
    return Inverters(each, table.nominal_volts if own.nominal_volts is None else own.nominal_volts)


def inverters_assumed(
    table: FeederTable, inverters: Inverters | None, wiring: Sequence[str]
) -> Iterator[str]:
    """In sentences: the code they keep to, and what that does not say."""
    if inverters is None or table.inverters is None or not inverters.each:
        return
    code = inverters.each[0].code
    volts = "each bus's rating" if inverters.nominal_volts is None else f"{inverters.nominal_volts:g} V"
    yield (
        f"The EVSEs' inverters keep to {code.name}, per unit of {volts}"
        + ("." if table.inverters.lag else "; their curves answer at once.")
    )
    yield from (f"{code.name}, {part.replace('_', '-')}: {text}." for part, text in code.assumed.items())
    if any(len(phases) > 1 for phases in wiring):
        yield "An inverter answers as if its car took all phases of the EVSE."

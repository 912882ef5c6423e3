"""Every field of a planning problem's file, once: what the reader accepts, what is written, and what the docs say.

The JSON form has a row per EV and site; the NPZ form has the same fields as arrays, `evs.energy_kwh` and so on.
`v2g plan --schema` prints the JSON Schema that stands in docs/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from aggregator.planning.fleet.limit_price import TIMES
from aggregator.planning.fleet.problem import Evs, Feeders, Reserve, Sites

FORMAT: Final = "v2g-fleet-problem/1"

Kind = Literal["name", "site", "whole", "wholes", "number", "prices", "series", "block prices", "rows", "object"]
"""name: text that can be printed, of its table's rows one's own. site: the id of a site. prices: a list whose length is
the number of steps. series: a list with a value per step (of the event, for an event's), or one number for all of them.
block prices: one number or a list with a value per block. rows, object: a table of the file.
"""

Table = Literal["", "sites", "evs", "events", "feeders", "chains", "segments", "reserve"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field. default: what a missing one counts as; needed where it is not optional.

    missing: the same in words for an optional one. means: in words, with the unit where the name has none.
    """

    name: str
    kind: Kind
    means: str
    default: float | None = None
    optional: bool = False
    missing: str = "none"

    @property
    def is_needed(self) -> bool:
        return self.default is None and not self.optional


FIELDS: Final[dict[Table, tuple[Field, ...]]] = {
    "": (
        Field("format", "name", f'"{FORMAT}"'),
        Field("step_h", "number", "hours per step"),
        Field("import_price", "prices", "per kWh bought; the length of the list is the number of steps"),
        Field("export_price", "prices", "per kWh sold"),
        Field("shortfall_per_kwh", "number",
              "price of a kWh missing at departure, and per hour of each kWh below a floor that a car arrived below"),
        Field("limit_per_kwh", "number",
              "price of power for which caps, lines and voltages have no room; null makes them hard", optional=True,
              missing=f"{TIMES:g} times the dearest price"),
        Field("sites", "rows", "connection points"),
        Field("evs", "rows", "the cars, one row per stay"),
        Field("events", "rows", "demand-response events of the whole fleet", optional=True),
        Field("feeders", "object", "the grid between the sites", optional=True),
        Field("reserve", "object", "reserve that is sold", optional=True),
    ),
    "sites": (
        Field("id", "name", "of the site"),
        Field("base_kw", "series", "load of the building without EVs; negative feeds in"),
        Field("pv_kw", "series", "PV that is available; a plan may hold it back", 0.0),
        Field("import_cap_kw", "series", "most that may be drawn"),
        Field("export_cap_kw", "series", "most that may be fed in"),
        Field("peak_so_far_kw", "number", "highest import of the billing period up to now", 0.0),
        Field("demand_price", "number", "per kW of import above that peak", 0.0),
    ),
    "evs": (
        Field("id", "name", "of the stay"),
        Field("site", "site", "where the car is plugged in"),
        Field("arrive", "whole", "first step in which it is plugged in"),
        Field("depart", "whole", "first step in which it is not any more"),
        Field("energy_kwh", "number", "in the battery on arrival"),
        Field("capacity_kwh", "number", "of the battery"),
        Field("target_kwh", "number", "wanted in the battery at departure"),
        Field("floor_kwh", "number", "least that a plan may go down to", 0.0),
        Field("max_charge_kw", "number", "at the connector"),
        Field("max_discharge_kw", "number", "at the connector; 0 where the car may not discharge", 0.0),
        Field("charge_efficiency", "number", "above 0, at most 1"),
        Field("discharge_efficiency", "number", "above 0, at most 1"),
        Field("wear_per_kwh", "number", "of throughput, in each direction", 0.0),
        Field("min_charge_kw", "number", "a charging power is 0 or at least this", 0.0),
        Field("min_discharge_kw", "number", "a discharging power is 0 or at least this", 0.0),
        Field("sleeps", "number", "1 for a car that takes no more power once it had none, until it leaves", 0.0),
        Field("taper_soc", "number",
              "SoC from which its charging power falls, in a line to 0 at a full battery; for sold reserve alone", 1.0),
        Field("standby_kw", "number", "lost while power flows, whatever its size; for sold reserve alone", 0.0),
    ),
    "events": (
        Field("id", "name", "of the event"),
        Field("steps", "wholes", "in which it is in force, each once"),
        Field("max_net_kw", "series", "most that the whole fleet may import in these steps"),
        Field("shortfall_per_kwh", "number", "price of a kWh above it"),
    ),
    "feeders": (
        Field("least_squared_voltage", "number", "p.u.²", 0.95**2),
        Field("most_squared_voltage", "number", "p.u.²", 1.05**2),
        Field("chains", "rows", "one per feeder; every site is on one"),
    ),
    "chains": (
        Field("id", "name", "of the feeder"),
        Field("segments", "rows", "from the source outwards"),
    ),
    "segments": (
        Field("site", "site", "that the segment feeds"),
        Field("line_kw", "number", "its rating, both ways"),
        Field("r_per_kw", "number", "its resistance, p.u. per kW"),
        Field("x_per_kw", "number", "its reactance, p.u. per kW"),
        Field("reactive_kw", "series", "reactive load of the site", 0.0),
    ),
    "reserve": (
        Field("block", "wholes", "number of each step's block, from 0"),
        Field("price_per_kw_h", "block prices", "for as much up (less import) as down"),
        Field("up_price_per_kw_h", "block prices", "for up alone; 0: none is sold", 0.0),
        Field("down_price_per_kw_h", "block prices", "for down alone; 0: none is sold", 0.0),
        Field("sustain_h", "number", "how long the batteries must be able to follow a full call"),
    ),
}
"""The file. `chains` stands in `feeders`, `segments` in each chain."""

ROWS: Final = {"sites": Sites, "evs": Evs, "feeders": Feeders, "reserve": Reserve}
"""The tables whose arrays the NPZ form has."""


def names(table: Table, *kinds: Kind) -> tuple[str, ...]:
    """The fields of a table, of these kinds if some are given, in their order."""
    return tuple(field.name for field in FIELDS[table] if not kinds or field.kind in kinds)


DEFAULTS: Final = {(table, field.name): field.default for table, fields in FIELDS.items() for field in fields
                   if field.default is not None}


def as_markdown() -> str:
    """The tables of docs/planner.md."""
    titles: dict[Table, str] = {
        "": "The file", "sites": "`sites[]`", "evs": "`evs[]`", "events": "`events[]`", "feeders": "`feeders`",
        "chains": "`feeders.chains[]`", "segments": "`feeders.chains[].segments[]`", "reserve": "`reserve`"}
    lines = []
    for table, fields in FIELDS.items():
        lines += [f"**{titles[table]}**", "", "| field | kind | if missing | means |", "|---|---|---|---|"]
        for field in fields:
            missing = "needed" if field.is_needed else field.missing if field.default is None else f"{field.default:g}"
            lines.append(f"| `{field.name}` | {field.kind} | {missing} | {field.means} |")
        lines.append("")
    return "\n".join(lines)


def json_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of the JSON form: kinds and ranges of single values, not how they relate."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": FORMAT, **_object("")}


_NUMBER: Final = {"type": "number"}
_WHOLE: Final = {"type": "integer"}
_KINDS: Final[dict[Kind, dict[str, Any]]] = {
    "name": {"type": "string", "minLength": 1}, "site": {"type": "string", "minLength": 1}, "whole": _WHOLE,
    "wholes": {"type": "array", "items": _WHOLE}, "number": _NUMBER,
    "prices": {"type": "array", "items": _NUMBER, "minItems": 1},
    "series": {"oneOf": [_NUMBER, {"type": "array", "items": _NUMBER}]},
    "block prices": {"oneOf": [_NUMBER, {"type": "array", "items": _NUMBER}]},
}


def _object(table: Table) -> dict[str, Any]:
    return {
        "type": "object", "additionalProperties": False,
        "required": [field.name for field in FIELDS[table] if field.is_needed],
        "properties": {field.name: {"description": field.means, **_value(table, field)} for field in FIELDS[table]}}


def _value(table: Table, field: Field) -> dict[str, Any]:
    inner: dict[str, Table] = {"sites": "sites", "evs": "evs", "events": "events", "feeders": "feeders",
                               "chains": "chains", "segments": "segments", "reserve": "reserve"}
    if field.kind == "rows":
        found: dict[str, Any] = {"type": "array", "items": _object(inner[field.name])}
    elif field.kind == "object":
        found = _object(inner[field.name])
    elif (table, field.name) == ("", "format"):
        found = {"const": FORMAT}
    else:
        found = dict(_KINDS[field.kind])
    if field.default is not None:
        found["default"] = field.default
    if (table, field.name) == ("", "limit_per_kwh") or (field.optional and not field.is_needed):
        found = {"oneOf": [{"type": "null"}, found]}
    return found


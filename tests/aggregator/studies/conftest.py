"""A car park small enough to reckon by hand: three 11 kW stations, lossless 50 kWh cars, a building that draws 5 kW."""

from pathlib import Path

import pytest

HEAD = """
name = "Three stations"
start = 2025-03-11T06:00:00+01:00
end = 2025-03-11T18:00:00+01:00
{top}
[site]
timezone = "Europe/Berlin"
import_cap_kw = {cap}
export_cap_kw = 20.0
[station_types.post]
current = "{current}"
max_charge_kw = 11.0
max_discharge_kw = 11.0
[[station_groups]]
id = "post"
type = "post"
count = 3
[[vehicles]]
model = "car"
capacity_kwh = 50.0
charge_soc = [0.0, 1.0]
charge_kw = [20.0, 20.0]
discharge_soc = [0.0, 1.0]
discharge_kw = [20.0, 20.0]
max_charge_kw = 11.0
max_discharge_kw = 11.0
plugs = ["ac", "dc"]
[building]
hourly_kw = [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]
[run]
step_s = 900
seed = 7
"""


def visit(
    name: str, post: int, arrives: str, leaves: str, *, wants_kwh: float = 22.0, says: str | None = None,
    soc: float = 0.2,
) -> str:
    """One visit; `leaves` when it really does, `says` when it told it would."""
    return (
        f'[[visits]]\nid = "{name}"\nstation = "post-{post:02d}"\nvehicle = "car"\narrival_soc = {soc}\n'
        f"arrival = 2025-03-11T{arrives}:00+01:00\ndeparture = 2025-03-11T{leaves}:00+01:00\n"
        f"declared_departure = 2025-03-11T{says or leaves}:00+01:00\nrequested_kwh = {wants_kwh}\n"
    )


def scenario(
    *visits: str, cap: float = 100.0, drivers: str = "replay", more: str = "", top: str = "", current: str = "ac",
) -> str:
    head = HEAD.format(cap=cap, top=top, current=current)
    return head + f'[drivers]\ndepartures = "{drivers}"\n' + more + "".join(visits)


DAY = tuple(
    visit(f"v{turn}{post}", post + 1, f"{7 + 3 * turn:02d}:{10 * post:02d}", f"{9 + 3 * turn:02d}:30", wants_kwh=12.0)
    for turn in range(3) for post in range(3)
)
EVENT = """
[[events]]
id = "midday"
start = 2025-03-11T10:00:00+01:00
end = 2025-03-11T11:00:00+01:00
reduction_kw = 8.0
"""


def write_day(folder: Path) -> Path:
    """Nine visits with real departure error, faults and an event, earliest deadline first under 25 kW, six courses."""
    file = folder / "day.toml"
    more = '[control]\nname = "edf"\n[faults]\nlevel = 0.1\n' + EVENT
    file.write_text(scenario(*DAY, cap=25.0, drivers="acn", more=more).replace("[run]", "[run]\nreplicas = 6"), "utf-8")
    return file


@pytest.fixture
def day(tmp_path: Path) -> Path:
    return write_day(tmp_path)

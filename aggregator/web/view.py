"""Turn a snapshot into what the page shows: texts, bar widths, tones and chart points.

The server's first paint and every later update use the same values, so there is one place that formats them.
A cell is one text or attribute of one element, by key; the browser only puts it where the key says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from aggregator.fleet.model import SocSource
from aggregator.ocpp.events import ConnectorState, OcppVersion
from aggregator.web.feed import ChargerRow, LiveSnapshot, SitePoint

Cell = str | float

GLYPHS: dict[ConnectorState, tuple[str, str]] = {
    ConnectorState.AVAILABLE: ("○", "Free"),
    ConnectorState.PREPARING: ("◔", "Preparing"),
    ConnectorState.CHARGING: ("▲", "Charging"),
    ConnectorState.DISCHARGING: ("▼", "Discharging"),
    ConnectorState.SUSPENDED_EV: ("◼", "Paused by car"),
    ConnectorState.SUSPENDED_EVSE: ("◻", "Waiting"),
    ConnectorState.FINISHING: ("◕", "Finishing"),
    ConnectorState.UNAVAILABLE: ("⊘", "Unavailable"),
    ConnectorState.FAULTED: ("✕", "Faulted"),
}
_OFFLINE = ("⌁", "Offline")
_UNKNOWN = ("?", "Not yet heard")
_VERSIONS = {OcppVersion.V16: "1.6", OcppVersion.V201: "2.0.1", OcppVersion.V21: "2.1"}

MINUS = "\u2212"
ABSENT = "–"
_IDLE_KW = 0.05


def kw(value: float | None, digits: int = 1) -> str:
    """A power as text with a true minus sign; a dash when it is not known."""
    if value is None:
        return ABSENT
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = f"{0:.{digits}f}"
    return text.replace("-", MINUS)


def signed_kw(value: float | None, digits: int = 1) -> str:
    """As `kw`, with a plus for charging."""
    text = kw(value, digits)
    return f"+{text}" if value is not None and float(f"{value:.{digits}f}") > 0 else text


def age(then: datetime | None, now: datetime) -> str:
    """How old something is, in the coarsest unit that still says something."""
    if then is None:
        return ""
    seconds = max(0.0, (now - then).total_seconds())
    minute, hour = 60, 3600
    if seconds < minute:
        return f"{seconds:.0f} s"
    return f"{seconds / minute:.0f} min" if seconds < hour else f"{seconds / hour:.1f} h"


def clock_text(when: datetime | None, zone: ZoneInfo) -> str:
    if when is None:
        return ABSENT
    try:
        return f"{when.astimezone(zone):%H:%M}"
    except OverflowError:  # an event until the end of time
        return f"{when:%H:%M} UTC"


@dataclass(frozen=True)
class LiveView:
    """cells: by key. points: rows as in `CHART_ROW` by x, ms since 1970 in the day's standing local offset."""

    cells: dict[str, Cell]
    points: dict[int, tuple[float | None, ...]]
    charger_ids: tuple[str, ...]


CHART_ROW = ("building", "ev", "net", "planned", "cap", "limit", "target")


def live_view(snapshot: LiveSnapshot) -> LiveView:
    """Everything of the page that is a single value, and the chart."""
    zone = ZoneInfo(snapshot.timezone)
    cells = _site_cells(snapshot, zone)
    for row in snapshot.chargers:
        cells.update(_charger_cells(row, snapshot.now, zone))
    return LiveView(cells, chart_points(snapshot.history, zone), tuple(row.evse_id for row in snapshot.chargers))


def chart_points(history: tuple[SitePoint, ...], zone: ZoneInfo) -> dict[int, tuple[float | None, ...]]:
    """Chart rows by x. One UTC offset serves the whole chart, so that a clock change never folds a line back."""
    if not history:
        return {}
    offset = history[0].at.astimezone(zone).utcoffset() or timedelta()
    shift_s = offset.total_seconds()
    return {
        round((point.at.timestamp() + shift_s) * 1000): (
            _rounded(point.building_kw), _rounded(point.ev_kw), _rounded(point.net_kw), _rounded(point.planned_kw),
            _rounded(point.cap_kw), _rounded(point.limit_kw), _rounded(point.target_kw),
        )
        for point in history
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def ceiling_in_force(snapshot: LiveSnapshot) -> tuple[float, str]:
    """The lowest ceiling on net power now, and its name."""
    ceilings = [(snapshot.cap_kw, "cap")]
    if snapshot.limit_kw is not None:
        ceilings.append((snapshot.limit_kw, "mandatory limit"))
    if snapshot.target_kw is not None:
        ceilings.append((snapshot.target_kw, "event target"))
    return min(ceilings)


def _site_cells(snapshot: LiveSnapshot, zone: ZoneInfo) -> dict[str, Cell]:
    now = snapshot.now.astimezone(zone)
    ceiling, name = ceiling_in_force(snapshot)
    net = snapshot.net_kw
    room = None if net is None else ceiling - net
    plugged = sum(row.departure is not None or row.soc is not None for row in snapshot.chargers)
    charging = sum((row.power_kw or 0) > _IDLE_KW for row in snapshot.chargers)
    discharging = sum((row.power_kw or 0) < -_IDLE_KW for row in snapshot.chargers)
    online = sum(row.is_online for row in snapshot.chargers)
    at_risk = sum(row.risk is not None for row in snapshot.chargers)
    over = room is not None and room < 0
    return {
        "clock.time": f"{now:%H:%M:%S}",
        "clock.date": f"{now:%A} {now.day} {now:%B %Y}, {now:%Z}",
        "clock.factor": "real time" if snapshot.factor == 1 else f"{snapshot.factor:g} times real time",
        "site.net": kw(net),
        "site.room": ABSENT if room is None else f"{kw(abs(room))} kW {'above' if over else 'below'} the {name}",
        "site.tone": "bad" if over else "good",
        "site.ceiling": f"{kw(ceiling)} kW",
        "site.ceiling_name": name,
        "site.cap": f"cap {kw(snapshot.cap_kw)} kW",
        "site.bar": _percent(net, snapshot.cap_kw),
        "site.bar_mark": _percent(ceiling, snapshot.cap_kw),
        "site.building": kw(snapshot.building_kw),
        "site.ev": signed_kw(snapshot.ev_kw),
        "site.ev_note": f"{charging} charging, {discharging} discharging",
        "site.planned": kw(snapshot.planned_kw),
        "site.age": f"metered {age(snapshot.measured_at, snapshot.now)} ago" if snapshot.measured_at else "no reading",
        "site.plugged": f"{plugged}",
        "site.plugged_note": f"of {len(snapshot.chargers)} chargers, {online} online",
        "site.at_risk": f"{at_risk}",
        "site.at_risk_note": "driver at risk" if at_risk == 1 else "drivers at risk",
        "site.at_risk_tone": "warn" if at_risk else "good",
    }


def _percent(part: float | None, whole: float) -> float:
    if part is None or whole <= 0:
        return 0.0
    return round(min(100.0, max(0.0, 100.0 * part / whole)), 1)


def _charger_cells(row: ChargerRow, now: datetime, zone: ZoneInfo) -> dict[str, Cell]:
    glyph, state = _state(row)
    soc = ABSENT if row.soc is None else f"{100 * row.soc:.0f} %"
    source = ""
    if row.soc is not None:
        source = "reported" if row.soc_source is SocSource.REPORTED else "estimated"
        source = f"{source}, {age(row.soc_at, now)}" if row.soc_at else source
    energy = ""
    if row.requested_kwh is not None:
        energy = f"{kw(row.delivered_kwh)} of {kw(row.requested_kwh)}"
    departure = clock_text(row.departure, zone)
    if row.overdue_since is not None:
        departure = f"{clock_text(row.overdue_since, zone)} overdue"
    elif row.departure is not None and not row.is_declared:
        departure += " assumed"
    is_following = row.ordered_kw is not None and abs(row.ordered_kw - (row.power_kw or 0)) > 0.5  # noqa: PLR2004  half a kW reads as different
    own: dict[str, Cell] = {
        "tone": _tone(row),
        "glyph": glyph,
        "state": state,
        "power": signed_kw(row.power_kw),
        "ordered": f"→ {signed_kw(row.ordered_kw)}" if is_following else "",
        "soc": soc,
        "soc_source": source,
        "soc_tone": "known" if row.soc is not None else "none",
        "soc_bar": _percent(row.soc, 1.0),
        "target": ABSENT if row.target_soc is None else f"{100 * row.target_soc:.0f} %",
        "target_bar": _percent(row.target_soc, 1.0),
        "energy": energy,
        "departure": departure,
        "risk": f"⚠ {row.risk.missing_kwh:.1f} kWh" if row.risk else "",
    }
    return {f"{row.evse_id}/{key}": value for key, value in own.items()}


def _state(row: ChargerRow) -> tuple[str, str]:
    if not row.is_online:
        return _OFFLINE
    if row.state is None:
        return _UNKNOWN
    if row.power_kw is not None and row.power_kw < -_IDLE_KW:  # OCPP 1.6 and 2.0.1 have no such state; the meter tells
        return GLYPHS[ConnectorState.DISCHARGING]
    if row.state is ConnectorState.CHARGING and row.power_kw is not None and abs(row.power_kw) <= _IDLE_KW:
        return GLYPHS[ConnectorState.SUSPENDED_EVSE]
    return GLYPHS[row.state]


def _tone(row: ChargerRow) -> str:
    """fault, out (discharging), in (charging), held, free: colours and marks of the row."""
    if not row.is_online or row.state in (ConnectorState.FAULTED, ConnectorState.UNAVAILABLE):
        return "fault"
    power = row.power_kw or 0.0
    if power < -_IDLE_KW:
        return "out"
    if power > _IDLE_KW:
        return "in"
    return "free" if row.state is ConnectorState.AVAILABLE else "held"


def version_text(version: OcppVersion) -> str:
    return _VERSIONS[version]

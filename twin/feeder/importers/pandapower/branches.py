"""Lines, switches with a resistance, and two-winding transformers of a pandapower network."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from twin.feeder.importers.imported import HOMOPOLAR, Degree
from twin.feeder.importers.pandapower.reading import Reading
from twin.feeder.importers.pandapower.tables import Row
from twin.feeder.network.model import Bus, Line, Rating, Side, Tap, Transformer
from twin.feeder.network.plausible import is_figure

DEGREES_PER_CLOCK: Final = 30.0
CLOCK_TOLERANCE: Final = 1e-6


def switches(reading: Reading) -> list[Line]:
    """Bus-bus switches with a resistance."""
    found = []
    for row in reading.switches():
        if row.get("et") != "b" or not row.get("closed") or not row.get("z_ohm"):
            continue
        ends = reading.place(row, "bus"), reading.place(row, "element")
        ohm = reading.take(row, "z_ohm")
        if None not in ends:
            line = reading.built(row, Line.of_sequence, id=f"switch {row.name}", from_bus=ends[0], to_bus=ends[1],
                                 r1=ohm, x1=0.0, r0=ohm, x0=0.0)
            found += [line] if line is not None else []
    return found


def _open(reading: Reading, kind: str) -> dict[int, set[int]]:
    """Buses at which a switch holds a line (l) or transformer (t) open, by its number."""
    found: dict[int, set[int]] = defaultdict(set)
    for row in reading.switches():
        ends = row.get("element"), row.get("bus")
        if row.get("et") == kind and not row.get("closed") and all(isinstance(end, int) for end in ends):
            found[ends[0]].add(ends[1])
    return found


def _ends(reading: Reading, row: Row, opened: set[int], buses: list[Bus]) -> list[str | None]:
    """The buses of a line; an end that is open has a bus of its own, so that the line is still charged."""
    numbers = row.get("from_bus"), row.get("to_bus")
    is_open = [isinstance(number, int) and number in opened for number in numbers]
    if all(is_open):
        reading.say(Degree.DROPPED, "line", row.name, "switches at both its ends are open")
        return [None, None]
    ends = [reading.place(row, column) for column in ("from_bus", "to_bus")]
    if any(is_open) and None not in ends:
        end = f"open end of {row.name}"
        bus = reading.built(row, Bus, id=end, volts=reading.volts[str(ends[is_open.index(False)])])
        if bus is None:
            return [None, None]
        buses.append(bus)
        reading.say(Degree.ASSUMED, "line", row.name, f"a switch at bus {ends[is_open.index(True)]} is open: it ends "
                    f"at a bus {end!r}")
        ends[is_open.index(True)] = end
    return ends


def lines(reading: Reading, buses: list[Bus]) -> list[Line]:
    """All lines in service; an end that a switch holds open adds its bus to `buses`."""
    opened = _open(reading, "l")
    found = []
    for row in reading.rows("line"):
        ends = _ends(reading, row, opened[row.index], buses)
        km, parallel = reading.take(row, "length_km"), reading.parallel(row)
        r1, x1 = (reading.take(row, f"{name}_ohm_per_km") * km / parallel for name in "rx")
        if row.get("r0_ohm_per_km") is None or row.get("x0_ohm_per_km") is None:
            reading.assumed["zero"] += 1
            r0, x0 = HOMOPOLAR * r1, HOMOPOLAR * x1
        else:
            r0, x0 = (reading.take(row, f"{name}0_ohm_per_km") * km / parallel for name in "rx")
        per_km = reading.take(row, "c_nf_per_km", 0.0)
        c1, c0 = (1e-9 * km * parallel * nf for nf in (per_km, reading.take(row, "c0_nf_per_km", per_km)))
        if row.get("g_us_per_km"):
            reading.say(Degree.DROPPED, "line", row.name, f"its {row.get('g_us_per_km')} uS/km to ground")
        if None in ends:
            continue
        reading.came("line", row.name)
        line = reading.built(
            row, Line.of_sequence, id=row.name, from_bus=ends[0], to_bus=ends[1], r1=r1, x1=x1, r0=r0, x0=x0, c1=c1,
            c0=c0, ampacity=_rating(reading, row, parallel), length_m=km * 1000.0,
        )
        found += [line] if line is not None else []
    return found


def _rating(reading: Reading, row: Row, parallel: float) -> Rating | None:
    amperes = row.get("max_i_ka")
    if amperes is None or amperes == float("inf") or (is_figure(amperes) and amperes <= 0.0):
        return None
    amperes = reading.take(row, "max_i_ka")
    kind = row.get("std_type")
    source = f"max_i_ka of {kind}, pandapower" if kind else "max_i_ka, pandapower"
    total = amperes * 1000.0 * reading.take(row, "df", 1.0) * parallel
    rating = reading.built(row, Rating.even, amperes=total, source=source)
    return rating if isinstance(rating, Rating) else None


def trafos(reading: Reading) -> list[Transformer]:
    """Two-winding transformers in service, with their taps."""
    opened = _open(reading, "t")
    found = []
    for row in reading.rows("trafo"):
        if row.index in opened:
            reading.say(Degree.DROPPED, "trafo", row.name, "a switch at its end is open")
            continue
        ends = reading.place(row, "hv_bus"), reading.place(row, "lv_bus")
        parallel = reading.parallel(row)
        rated = reading.take(row, "sn_mva") * 1e6 * parallel
        _zero_sequence(reading, row)
        tap = _tap(reading, row)
        if None in ends:
            continue
        reading.came("transformer", row.name)
        transformer = reading.built(
            row, Transformer, id=row.name, from_bus=ends[0], to_bus=ends[1], rated_va=rated,
            from_volts=reading.take(row, "vn_hv_kv") * 1000.0, to_volts=reading.take(row, "vn_lv_kv") * 1000.0,
            uk=reading.take(row, "vk_percent") / 100.0, pk_w=reading.take(row, "vkr_percent") / 100.0 * rated,
            vector_group=_vector_group(reading, row), i0=reading.take(row, "i0_percent", 0.0) / 100.0,
            p0_w=reading.take(row, "pfe_kw", 0.0) * 1000.0 * parallel, tap=tap,
        )
        found += [transformer] if transformer is not None else []
    return found


def _vector_group(reading: Reading, row: Row) -> str | None:
    """As the file says, with the clock of its phase shift where it gives none; None: it says nothing."""
    group = row.get("vector_group")
    if not group:
        return None
    if str(group)[-1].isdigit():
        return str(group)
    clock = min(max(reading.take(row, "shift_degree", 0.0) / DEGREES_PER_CLOCK, -12.0), 12.0)
    if abs(clock - round(clock)) > CLOCK_TOLERANCE:
        reading.reasons.append(row.refusal("shift_degree", "a multiple of 30 degrees"))
    return f"{group}{round(clock) % 12}"


def _zero_sequence(reading: Reading, row: Row) -> None:
    for name in ("vk", "vkr"):
        own, zero = row.get(f"{name}_percent"), row.get(f"{name}0_percent")
        if zero is not None and zero != own:
            reading.say(Degree.APPROXIMATED, "trafo", row.name, f"{name}0_percent {zero} is taken as {name}_percent "
                        f"{own}: one impedance for all sequences")

    if row.get("mag0_percent") is not None:
        reading.say(Degree.APPROXIMATED, "trafo", row.name, "its zero-sequence magnetisation (mag0_percent, mag0_rx, "
                    "si0_hv_partial) is not kept")


def _tap(reading: Reading, row: Row) -> Tap:
    position, neutral = (row.get(f"tap_{name}") for name in ("pos", "neutral"))
    if row.get("tap_dependency_table"):
        reading.say(Degree.UNSUPPORTED, "trafo", row.name, "a tap changer with a table of its own")
    if position is None or neutral is None:
        return Tap()
    step = reading.take(row, "tap_step_percent", 0.0) / 100.0
    if (row.get("tap_step_degree") or row.get("tap_phase_shifter")) and position != neutral:
        reading.say(Degree.UNSUPPORTED, "trafo", row.name, "a tap changer that turns phases")
    side = Side.TO if row.get("tap_side") == "lv" else Side.FROM
    rated = reading.take(row, "vn_lv_kv" if side is Side.TO else "vn_hv_kv") * 1000.0
    at = reading.whole(row, "tap_pos")
    tap = reading.built(
        row, Tap, side=side, position=at, lowest=reading.whole(row, "tap_min", at),
        highest=reading.whole(row, "tap_max", at), nominal=reading.whole(row, "tap_neutral"),
        step_volts=abs(step) * rated,
    )
    if step < 0.0:
        reading.say(Degree.UNSUPPORTED, "trafo", row.name, "tap_step_percent below 0")
    return tap or Tap()

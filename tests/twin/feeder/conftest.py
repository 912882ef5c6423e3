"""Small feeders drawn at random: trees with an occasional ring, laterals of one and two phases, every load type."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from twin.feeder import (
    Bus,
    Capacitor,
    Connection,
    ConnectionPoint,
    Feeder,
    Flow,
    Line,
    LoadType,
    Primitive,
    Rating,
    Side,
    Source,
    Tap,
    Transformer,
    Zip,
)
from twin.feeder.network.model import Matrix

RATING = Rating.even(200.0, "a test")
LOAD_TYPES = (
    LoadType("power"),
    LoadType("mixed", Zip(0.3, 0.3, 0.4), Zip(0.6, 0.1, 0.3)),
    LoadType("narrow", valid_pu=(0.99, 1.01)),
    LoadType("fading", Zip(0.2, 0.3, 0.5), Zip(), valid_pu=(1.0, 1.01), low_pu=0.6),
    LoadType("british", Zip(0.0, 0.5, 0.5), Zip(1.0, 0.0, 0.0), valid_pu=(0.9, 1.1), rated_volts=240.0),
)


def masked(matrix: np.ndarray, phases: str) -> Matrix:
    there = np.isin(list("abc"), list(phases))
    matrix = np.where(np.outer(there, there), np.asarray(matrix), 0.0)
    return tuple(tuple(float(value) for value in row) for row in matrix)


def random_line(
    draw: np.random.Generator, name: str, one: str, other: str, phases: str, metres: float, charged: bool
) -> Line:
    """An untransposed line of about 0.3 ohm/km; capacitances far above those of a real cable, so that they matter."""
    odd = draw.uniform(0.8, 1.2, 3)
    r = (0.3 * np.diag(odd) + 0.06 * np.ones((3, 3))) * metres / 1000.0
    x = (0.08 * np.diag(odd) + 0.03 * np.ones((3, 3))) * metres / 1000.0
    c = (1.3e-6 * np.eye(3) - 0.2e-6 * np.ones((3, 3))) * metres / 1000.0 * (10.0 if charged else 0.0)
    return Line(name, one, other, masked(r, phases), masked(x, phases), masked(c, phases), phases, RATING, metres)


def random_feeder(seed: int, *, load_types: tuple[LoadType, ...] = LOAD_TYPES, buses: int = 7) -> Feeder:
    draw = np.random.default_rng(seed)
    places = [Bus("upper", 10_000.0), Bus("lower", 400.0)]
    lines, phases_at = [], {"lower": "abc"}
    for number in range(buses):
        above = str(draw.choice(list(phases_at)))
        there = phases_at[above]
        size = int(draw.choice([len(there), len(there), int(draw.integers(1, len(there) + 1))]))
        phases = "".join(sorted(draw.choice(list(there), size, replace=False)))
        name = f"b{number}"
        places.append(Bus(name, 400.0, phases))
        phases_at[name] = phases
        ends = (above, name) if draw.random() < 0.7 else (name, above)
        lines.append(random_line(draw, f"l{number}", *ends, phases, draw.uniform(5.0, 150.0), draw.random() < 0.3))
    whole = [name for name, phases in phases_at.items() if phases == "abc"]
    if len(whole) > 2 and draw.random() < 0.5:
        lines.append(random_line(draw, "ring", whole[0], whole[-1], "abc", 80.0, False))
    points = []
    for number in range(buses):
        bus = str(draw.choice(list(phases_at)))
        there = phases_at[bus]
        phases = there if draw.random() < 0.4 else str(draw.choice(list(there)))
        kind = load_types[int(draw.integers(len(load_types)))]
        points.append(ConnectionPoint(f"p{number}", bus, phases, 63.0, kind.id))
    group = str(draw.choice(["Dyn1", "Dyn5", "Dyn11", "YNyn0", "Yzn5", "YNyn6"]))
    transformer = Transformer(
        "t", "upper", "lower", 250e3, 10_000.0, 410.0, 0.04, 3250.0, group, 0.01, 600.0,
        Tap(Side.FROM, int(draw.integers(-2, 3)), -2, 2, 0, 250.0), to_grounding_ohm=(0.02, 0.01),
    )
    source = Source("upper", float(draw.uniform(0.97, 1.03)), float(draw.uniform(-0.5, 0.5)), 5e7, 0.3, 1.5)
    return Feeder(
        "random", tuple(places), tuple(lines), source, (transformer,), tuple(points), load_types, licence="none",
        provenance="drawn",
    )


def random_power(flow: Flow, seed: int, steps: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Watts and vars of every terminal: what a street draws, and what it feeds in."""
    draw = np.random.default_rng(seed)
    shape = (len(flow.terminals), steps)
    return draw.uniform(-4000.0, 7000.0, shape), draw.uniform(-1000.0, 2000.0, shape)


def two_buses(
    *, impedance: complex = 0.2 + 0.1j, connection: Connection = Connection.WYE, kind: LoadType | None = None
) -> Feeder:
    """A single line behind a source that is all but stiff; phases do not couple."""
    line = Line.of_sequence("line", "near", "far", r1=impedance.real, r0=impedance.real, x1=impedance.imag,
                            x0=impedance.imag, ampacity=RATING)
    kinds = (kind or LoadType("power", connection=connection),)
    return Feeder(
        "two buses", (Bus("near", 400.0), Bus("far", 400.0)), (line,), Source("near", 1.0, 0.0, 1e15, 0.0, 1.0), (),
        (ConnectionPoint("load", "far", "abc", None, kinds[0].id),), kinds,
    )


def matrix_of(currents: np.ndarray) -> tuple[tuple[complex, ...], ...]:
    return tuple(tuple(complex(value) for value in row) for row in currents)


def coupled(siemens: complex, turns: tuple[float, ...]) -> tuple[tuple[complex, ...], ...]:
    """The nodal matrix of one branch of `siemens` between nodes with these turns (an ideal transformer's ends)."""
    return matrix_of(siemens * np.outer(turns, turns))


def rich_feeder(seed: int, **choices: Any) -> Feeder:
    """A random feeder with all else there is: regulators at odd taps, a single-phase transformer between two phases, a
    floating delta network, delta loads, and capacitors of every sort.
    """
    draw = np.random.default_rng([seed, 1])
    feeder = random_feeder(seed, **choices)
    taps = 1.0 + 0.00625 * draw.integers(-16, 17, 3)
    regulators = tuple(
        Primitive(f"reg_{phase}", (("lower", phase), ("reg", phase)), coupled(60.0 - 400.0j, (1.0, -1.0 / tap)),
                  "regulator", f"ratio {tap:g}")
        for phase, tap in zip("abc", taps, strict=True)
    )
    small = Primitive("single", (("down", "a"), ("down", "b"), ("single", "a")),
                      coupled(1.5 - 2.0j, (230.0 / 400.0, -230.0 / 400.0, -1.0)), "single-phase transformer")
    delta = Transformer("delta", "lower", "island", 60e3, 400.0, 400.0, 0.05, 900.0, "Dd0")
    kinds = (*feeder.load_types, LoadType("delta", connection=Connection.DELTA),
             LoadType("delta mixed", Zip(0.5, 0.2, 0.3), valid_pu=(0.98, 1.02), connection=Connection.DELTA))
    points = tuple(
        ConnectionPoint(f"d{number}", bus, phases, None, kind)
        for number, (bus, phases, kind) in enumerate((
            ("down", "abc", "delta"), ("down", "bc", "delta mixed"), ("island", "abc", "delta mixed"),
            ("island", "ac", "delta"), ("single", "a", feeder.load_types[0].id),
        ))
    )
    capacitors = (
        Capacitor("star", "down", 9e3, 230.0), Capacitor("ring", "island", 6e3, 400.0, "abc", Connection.DELTA),
        Capacitor("two", "reg", 4e3, 230.0, "bc"), Capacitor("across", "down", 2e3, 400.0, "ac", Connection.DELTA),
        Capacitor("one", "single", 1e3, 230.0, "a"),
    )
    return replace(
        feeder, buses=(*feeder.buses, Bus("reg", 400.0), Bus("down", 400.0), Bus("single", 400.0, "a"),
                       Bus("island", 400.0)),
        lines=(*feeder.lines, random_line(draw, "rd", "reg", "down", "abc", 60.0, charged=True)),
        transformers=(*feeder.transformers, delta), primitives=(*regulators, small), capacitors=capacitors,
        connection_points=(*feeder.connection_points, *points), load_types=kinds,
    )


def short_line(name: str, one: str, other: str) -> Line:
    """Ten metres of a transposed cable."""
    return Line.of_sequence(name, one, other, r1=0.003, r0=0.01, x1=0.001, x0=0.003, ampacity=RATING, length_m=10.0)


class Makers:
    """The makers above, handed to tests as a fixture: test folders are not packages and import nothing of each other.
    """

    feeder = staticmethod(random_feeder)
    power = staticmethod(random_power)
    rich_feeder = staticmethod(rich_feeder)
    two_buses = staticmethod(two_buses)
    coupled = staticmethod(coupled)
    line = staticmethod(short_line)
    rating = RATING


@pytest.fixture(scope="session")
def build() -> Makers:
    return Makers()

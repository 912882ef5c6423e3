"""The grid that the demo's garage hangs on: assumed, small, and too weak for a plan that does not look at it.

    10 kV ── 250 kVA ── main ──┬── building
                               ├── 60 m, 142 A ── board-dc    ten bidirectional chargers, three-phase
                               └── 90 m, 125 A ── board-ac    twenty chargers, one phase each, a, b and c in turn

Cables are of pandapower's standard types (K. Heuck, Elektrische Energieversorgung, 2013, p. 744), zero-sequence
impedance four times the positive one, as a four-core cable has that carries its neutral's current back; the transformer
is of the usual size for such a site. The recording says nothing of the real garage's wiring.
"""

from __future__ import annotations

from typing import Any, Final

from aggregator.demo.scene import Scene
from aggregator.planning.street.known import Street
from twin.assets import Current
from twin.feeder import Bus, ConnectionPoint, Feeder, Line, Rating, Source, Transformer

BUILDING: Final = "building"
BOARD_DC: Final = "board-dc"
BOARD_AC: Final = "board-ac"
_VOLTS: Final = 400.0
_CABLE: Final = Rating.even(142.0, "assumed: NAYY 4x50 SE in the standard types of pandapower 3.5.6")
_FUSE: Final = Rating.even(125.0, "assumed: fuse of 125 A before a cable of 142 A")


def _cable(name: str, board: str, metres: float, rating: Rating) -> Line:
    """NAYY 4x50 SE: 0.642 and 0.083 ohm/km."""
    km = metres / 1000.0
    return Line.of_sequence(
        name, "main", board, r1=0.642 * km, x1=0.083 * km, r0=4 * 0.642 * km, x0=4 * 0.083 * km, ampacity=rating,
        length_m=metres,
    )


def garage_feeder() -> Feeder:
    """The feeder."""
    return Feeder(
        name="garage",
        buses=(
            Bus("grid", 10_000.0, xy=(0.0, 0.0)), Bus("main", _VOLTS, xy=(1.0, 0.0)),
            Bus(BOARD_DC, _VOLTS, xy=(2.0, 0.5)), Bus(BOARD_AC, _VOLTS, xy=(2.0, -0.5)),
        ),
        lines=(_cable("cable-dc", BOARD_DC, 60.0, _CABLE), _cable("cable-ac", BOARD_AC, 90.0, _FUSE)),
        source=Source("grid", u_pu=1.0, short_circuit_va=100e6),
        transformers=(
            Transformer("T1", "grid", "main", 250e3, 10_000.0, _VOLTS, uk=0.04, pk_w=3000.0,
                        vector_group="Dyn5", i0=0.0024, p0_w=600.0),
        ),
        connection_points=(
            ConnectionPoint(BUILDING, "main"), ConnectionPoint(BOARD_DC, BOARD_DC), ConnectionPoint(BOARD_AC, BOARD_AC),
        ),
        licence="part of this program",
        provenance="assumed: transformer, cables and their lengths, which charger hangs on which phase",
    )


def garage_street(scene: Scene) -> Street:
    """The feeder with the garage's chargers on it, as the [feeder] section says."""
    table = feeder_table(scene)
    return Street(
        garage_feeder(), BUILDING, {
            one["evse_id"]: (one["point"], one.get("phases", "abc")) for one in table["evses"]
        }, load_power_factor=table["load_power_factor"],
    )


def feeder_table(scene: Scene) -> dict[str, Any]:
    """The [feeder] section of the service's assets file."""
    stations = scene.scenario.public().stations
    single = [station.evse.id for station in stations if station.evse.current is not Current.DC]
    return {
        "folder": "feeder", "building_point": BUILDING, "load_power_factor": 0.95,
        "evses": [
            {"evse_id": station.evse.id, "point": BOARD_DC} for station in stations
            if station.evse.current is Current.DC
        ] + [
            {"evse_id": evse_id, "point": BOARD_AC, "phases": "abc"[at % 3]} for at, evse_id in enumerate(single)
        ],
    }

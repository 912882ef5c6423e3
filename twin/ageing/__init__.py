"""How batteries age: published laws of cells, whole fleets day by day, and what single stays cost.

Wear leaves the twin as a fraction of a battery's life; money is the aggregator's.
"""

from twin.ageing.cells import CELLS, CellModel, Fade, Stress
from twin.ageing.fleet import (
    AgeingError,
    FleetAgeing,
    Wear,
    day_stress,
    marginal_wear_per_kwh,
    wear,
    wear_of,
    wear_per_kwh,
)
from twin.ageing.stays import StayWear, stay_wear

__all__ = [
    "CELLS", "AgeingError", "CellModel", "Fade", "FleetAgeing", "StayWear", "Stress", "Wear", "day_stress",
    "marginal_wear_per_kwh", "stay_wear", "wear", "wear_of", "wear_per_kwh",
]

"""How far two engines are apart, in words and as figures that JSON can hold."""

from __future__ import annotations

from math import isfinite
from typing import Any

from twin.feeder.second_engine.check import Difference


def finite(value: float | None) -> float | None:
    """None for what JSON has no figure for."""
    return value if value is not None and isfinite(value) else None


def in_words(one: Difference) -> str:
    """Differences, or that there is no figure, and which steps only one of both solved."""
    known = isfinite(one.voltage_pu)
    said = f"{one.voltage_pu:.1e} p.u., {one.current_a:.1e} A" if known else "no figure to compare"
    if one.solved_only_here or one.solved_only_there:
        said += f"; solved only here {one.solved_only_here}, only there {one.solved_only_there}"
    return said


def as_figures(one: Difference) -> dict[str, Any]:
    """For machines; null where there is no figure."""
    return {
        "checked": True, "agrees": one.agrees, "voltage_pu": finite(one.voltage_pu),
        "current_a": finite(one.current_a), "transformer_loading": finite(one.transformer_loading),
        "solved_only_here": one.solved_only_here, "solved_only_there": one.solved_only_there,
    }

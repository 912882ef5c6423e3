"""Double-entry energy book-keeping: what came from the grid is in the batteries or lost.

The two sides are computed apart (connector energy from the power that flowed, battery energy from the
state of charge), so a balanced ledger is evidence and not a tautology.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEDGER_TOLERANCE = 1e-9
"""Largest relative residual that is still rounding."""

SMALLEST_TURNOVER_KWH = 1e-3
"""Residuals are never judged against less: the state of a battery of some 100 kWh is only known to 1e-14 kWh."""


class LedgerBroken(RuntimeError):
    """Energy appeared or vanished; the message names the worst EVSE slot and the amounts."""


@dataclass(frozen=True)
class Ledger:
    """Energy in kWh per slot: import_kwh - export_kwh = battery_kwh + loss_kwh.

    import_kwh, export_kwh: through the connector, both 0 or more. battery_kwh: change of stored energy.
    loss_kwh: conversion losses, 0 or more.
    """

    import_kwh: Floats
    export_kwh: Floats
    battery_kwh: Floats
    loss_kwh: Floats

    @property
    def residual_kwh(self) -> Floats:
        """What does not add up, per slot."""
        return self.import_kwh - self.export_kwh - self.battery_kwh - self.loss_kwh

    @property
    def relative_residual(self) -> float:
        """Largest residual of a slot over what flowed there: import, export and losses, at least 1 Wh."""
        turnover = np.maximum(self.import_kwh + self.export_kwh + self.loss_kwh, SMALLEST_TURNOVER_KWH)
        return float((np.abs(self.residual_kwh) / turnover).max(initial=0.0))

    def check(self, tolerance: float = LEDGER_TOLERANCE) -> None:
        """Raise `LedgerBroken` if the relative residual is above `tolerance`."""
        worst = self.relative_residual
        if worst <= tolerance:
            return
        slot = int(np.abs(self.residual_kwh).argmax())
        raise LedgerBroken(
            f"slot {slot}: import {self.import_kwh[slot]!r} - export {self.export_kwh[slot]!r} kWh, expected "
            f"battery {self.battery_kwh[slot]!r} + loss {self.loss_kwh[slot]!r} kWh (relative residual {worst:.3g})"
        )

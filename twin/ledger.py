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
        """Largest residual of a slot over that slot's turnover (import + export); 0 without any flow."""
        turnover = self.import_kwh + self.export_kwh
        still = turnover == 0.0
        ratio = np.abs(self.residual_kwh) / np.where(still, 1.0, turnover)
        return float(ratio.max(initial=0.0))

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

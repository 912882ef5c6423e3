"""How much the loads draw at a voltage, and how that changes with it.

All in per unit of each load point's own voltage: v is complex, s = P + jQ in VA at 1 p.u., and currents are scaled by
the base voltage, so that they read as VA too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.model import LoadType
from twin.feeder.network.transformer_model import Complex

Real = NDArray[np.float64]


class Loads:
    """The load types of a row of load points, as columns."""

    def __init__(self, kinds: Sequence[LoadType]) -> None:
        self.are_constant_power = all(kind.is_constant_power for kind in kinds)

        def column(values: list[float]) -> Real:
            return np.array(values, dtype=np.float64).reshape(-1, 1)

        self._active = [column([getattr(kind.active, part) for kind in kinds]) for part in _PARTS]
        self._reactive = [column([getattr(kind.reactive, part) for kind in kinds]) for part in _PARTS]
        self._low = column([kind.valid_pu[0] for kind in kinds])
        self._high = column([kind.valid_pu[1] for kind in kinds])

    def drawn(self, s: Complex, u: Real) -> Complex:
        """Power drawn at voltage `u` (p.u., point x step)."""
        if self.are_constant_power:
            return s
        held, outside = self._held(u)
        return self._at(s, held) * outside**2

    def slope(self, s: Complex, u: Real) -> Complex:
        """Derivative of `drawn` by u; at the border of the valid range that of the inside."""
        if self.are_constant_power:
            return np.zeros_like(s)
        held, outside = self._held(u)
        z, i, _ = self._active
        zq, iq, _ = self._reactive
        inside = s.real * (2.0 * z * u + i) + 1j * s.imag * (2.0 * zq * u + iq)
        impedance = self._at(s, held) * (2.0 * u / np.where(held > 0.0, held, 1.0) ** 2)
        return np.where(outside == 1.0, inside, impedance)

    def _held(self, u: Real) -> tuple[Real, Real]:
        """The voltage within the valid range, and how far outside of it u is, as a ratio."""
        held = np.minimum(np.maximum(u, self._low), self._high)
        return held, np.divide(u, held, out=np.ones_like(u), where=held > 0.0)

    def _at(self, s: Complex, u: Real) -> Complex:
        z, i, p = self._active
        zq, iq, pq = self._reactive
        drawn: Complex = s.real * ((z * u + i) * u + p) + 1j * (s.imag * ((zq * u + iq) * u + pq))
        return drawn

    def inject(self, p: Real, q: Real, x: Real, into: Real) -> None:
        """`current` for demand p + jq at voltages whose real parts stand above their imaginary parts in `x`."""
        n = len(p)
        real, imaginary = x[:n], x[n:]
        square = real * real
        square += imaginary * imaginary
        if not self.are_constant_power:
            drawn = self.drawn(p + 1j * q, np.sqrt(square))
            p, q = drawn.real, drawn.imag
        np.multiply(p, real, out=into[:n])
        into[:n] += q * imaginary
        np.multiply(q, real, out=into[n:])
        into[n:] -= p * imaginary
        np.divide(-1.0, square, out=square)
        into[:n] *= square
        np.negative(square, out=square)
        into[n:] *= square

    def current(self, s: Complex, v: Complex) -> Complex:
        """Injected into the network (so negative where a load draws)."""
        drawn = s if self.are_constant_power else self.drawn(s, np.abs(v))
        current: Complex = -np.conjugate(drawn / v)
        return current

    def partials(self, s: Complex, v: Complex) -> tuple[Complex, Complex]:
        """(A, B) of d current = A dv + B conj(dv) at fixed s."""
        u = np.abs(v)
        back = self.slope(s, u).conj() / (2.0 * u)
        drawn = np.conjugate(self.drawn(s, u))
        turned: Complex = -back * v / np.conjugate(v) + drawn / np.conjugate(v) ** 2
        return -back, turned

    def per_watt(self, v: Complex) -> tuple[Complex, Complex]:
        """(d current / dP, d current / dQ) at fixed v."""
        u = np.abs(v)
        ones = np.ones_like(v)
        return self.current(ones, v), np.conjugate(-self.drawn(1j * ones, u) / v)


_PARTS = ("impedance", "current", "power")

"""How much the loads draw at a voltage, and how that changes with it.

All in per unit of each load point's own voltage: v is complex, s = P + jQ in VA at 1 p.u., and currents are scaled by
the base voltage, so that they read as VA too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.connections import LoadType
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
        self._floor = column([kind.low_pu for kind in kinds])
        self._jumps = column([float(kind.jumps) for kind in kinds]) > 0.0
        self._low = column([kind.valid_pu[0] for kind in kinds])
        self._high = column([kind.valid_pu[1] for kind in kinds])

    def drawn(self, s: Complex, u: Real) -> Complex:
        """Power drawn at voltage `u` (p.u., point x step)."""
        if self.are_constant_power:
            return s
        if bool((u < self._low).any()) or bool((u > self._high).any()):
            impedance, current, power = self.law(s, u)
            drawn: Complex = (impedance * u + current) * u + power
            return drawn
        (z, i, p), (zq, iq, pq) = self._active, self._reactive
        inside: Complex = s.real * ((z * u + i) * u + p) + 1j * (s.imag * ((zq * u + iq) * u + pq))
        return inside

    def slope(self, s: Complex, u: Real) -> Complex:
        """Derivative of `drawn` by u; at the border of the valid range that of the inside."""
        if self.are_constant_power:
            return np.zeros_like(s)
        impedance, current, _ = self.law(s, u)
        slope: Complex = 2.0 * impedance * u + current
        return slope

    def law(self, s: Complex, u: Real) -> tuple[Complex, Complex, Complex]:
        """(z, i, p) with which a load draws z u^2 + i u + p as long as `u` stays in the range in which it lies.

        ```
        drawn / u      impedance | line | ZIP shares | impedance
                                low_pu  valid_pu[0]  valid_pu[1]      u
        ```
        """
        z, i, p = (s.real * active + 1j * (s.imag * reactive)
                   for active, reactive in zip(self._active, self._reactive, strict=True))
        under, over = u < self._low, u > self._high
        if over.any():
            high = np.where(np.isfinite(self._high), self._high, 1.0)
            beyond = np.where(self._jumps, s, (z * high + i) * high + p) / high**2
            z, i, p = np.where(over, beyond, z), np.where(over, 0.0, i), np.where(over, 0.0, p)
        if under.any():
            low = np.where(self._low > 0.0, self._low, 1.0)
            border = np.where(self._jumps, s, (z * low + i) * low + p)
            steep = (border / low - s * self._floor) / (low - self._floor)
            bottom = u < self._floor
            line = np.where(bottom, s, steep)
            z, i = np.where(under, line, z), np.where(under, (s - line) * self._floor, i)
            p = np.where(under, 0.0, p)
        return z, i, p

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

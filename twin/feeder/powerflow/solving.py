"""Load-point voltages under loads that depend on them: v = v0 + Z i(v), for many steps at once.

The fixed point of this equation, started at no load, is what a feeder does; each round costs one small matrix
product for all steps together, and in a healthy feeder gains about two digits. Steps for which it does not settle
are near collapse or beyond: those are led there along the load, from nothing to the whole, with Newton's method, and
where that path ends before the whole load there is no solution.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.transformer_model import Complex
from twin.feeder.powerflow.loads import Loads

TOLERANCE = 1e-10
"""Largest change of a voltage in the last round, p.u."""

ROUNDS = 25
UNHURRIED_ROUNDS = 3
"""Before these nobody looks whether it has settled: looking costs as much as a tenth of a round."""

NEWTON_ROUNDS = 8
NEWTON_TOLERANCE = 1e-11
LEAST_STEP = 1.0 / 2048.0
"""Of the load: a load within this fraction of the collapse may be reported as without solution."""

CHUNK = 64
"""Steps that are led along their load together: their Jacobians take CHUNK * (2 n)^2 numbers."""


def real_form(z: Complex) -> NDArray[np.float64]:
    """`z` over real and imaginary parts one below the other: every operation then runs over plain numbers."""
    return np.block([[z.real, -z.imag], [z.imag, z.real]])


def solve(
    v0: Complex, z: Complex, s: Complex, loads: Loads, product: NDArray[np.float64] | None = None
) -> tuple[Complex, NDArray[np.bool_]]:
    """Scaled injected currents (point, step) for voltages `v0` at no load, NaN where there is no solution, and where
    there is one.

    v0: (point, step) or (point, 1), p.u. z: (point, point), 1/VA. s: (point, step), VA. product: `real_form(z)`, where
    it is kept from one call to the next.
    """
    if not s.size:
        return s.copy(), np.ones(s.shape[1], dtype=np.bool_)
    n, columns = s.shape
    if product is None:
        product = real_form(z)
    rest = np.concatenate((v0.real, v0.imag))
    x = np.repeat(rest, columns, axis=1) if rest.shape[1] == 1 else rest.copy()
    i, new = np.empty_like(x), np.empty_like(x)
    p, q = s.real.copy(), s.imag.copy()
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for turn in range(ROUNDS):
            loads.inject(p, q, x, i)
            np.matmul(product, i, out=new)
            new += rest
            if turn >= UNHURRIED_ROUNDS:
                x -= new
                np.abs(x, out=x)
                if x.max() < TOLERANCE:
                    return i[:n] + 1j * i[n:], np.ones(columns, dtype=np.bool_)
                if turn == ROUNDS - 1:
                    break
            x, new = new, x
        settled = x.max(axis=0) < TOLERANCE
        current = i[:n] + 1j * i[n:]
        moving = np.flatnonzero(~settled)
        start_v = np.broadcast_to(v0, s.shape)
        for start in range(0, len(moving), CHUNK):
            part = moving[start:start + CHUNK]
            current[:, part], settled[part] = _led_along(start_v[:, part], z, s[:, part], loads)
    current[:, ~settled] = np.nan
    return current, settled


def jacobian(z: Complex, partials: tuple[Complex, Complex]) -> NDArray[np.float64]:
    """d(v - Z i(v)) as real matrices (step, 2 n, 2 n) over (Re v, Im v), with (A, B) of shape (point, step)."""
    a, b = (z[None] * partial.T[:, None, :] for partial in partials)
    n = len(z)
    real = np.empty((a.shape[0], 2 * n, 2 * n))
    plus, minus = a + b, a - b
    real[:, :n, :n] = -plus.real
    real[:, :n, n:] = minus.imag
    real[:, n:, :n] = -plus.imag
    real[:, n:, n:] = -minus.real
    real[:, np.arange(2 * n), np.arange(2 * n)] += 1.0
    return real


def _led_along(v0: Complex, z: Complex, s: Complex, loads: Loads) -> tuple[Complex, NDArray[np.bool_]]:
    """Follow the solution from no load to the whole load, with steps that shrink where Newton's method fails."""
    columns = s.shape[1]
    reached, step = np.zeros(columns), np.ones(columns)
    v = v0.copy()
    while True:
        open_ = np.flatnonzero((reached < 1.0) & (step >= LEAST_STEP))
        if not len(open_):
            break
        share = np.minimum(1.0, reached[open_] + step[open_])
        arrived, good = _newton(v0[:, open_], z, s[:, open_] * share, v[:, open_], loads)
        v[:, open_[good]] = arrived[:, good]
        reached[open_[good]] = share[good]
        step[open_] = np.where(good, 2.0 * step[open_], 0.5 * step[open_])
    return loads.current(s, v), reached >= 1.0


def _newton(v0: Complex, z: Complex, s: Complex, v: Complex, loads: Loads) -> tuple[Complex, NDArray[np.bool_]]:
    n = len(z)
    v = v.copy()
    good = np.zeros(s.shape[1], dtype=np.bool_)
    for _ in range(NEWTON_ROUNDS):
        gap = v - v0 - z @ loads.current(s, v)
        size = np.abs(gap).max(axis=0)
        good = size < NEWTON_TOLERANCE
        alive = np.flatnonzero(~good & np.isfinite(size) & (np.abs(v).min(axis=0) > 0.0))
        if not len(alive):
            break
        matrix = jacobian(z, loads.partials(s[:, alive], v[:, alive]))
        right = np.concatenate((gap[:, alive].real, gap[:, alive].imag)).T[:, :, None]
        try:
            move = np.linalg.solve(matrix, right)[:, :, 0].T
        except np.linalg.LinAlgError:  # a load exactly at its collapse: the step before it is halved
            break
        v[:, alive] -= move[:n] + 1j * move[n:]
    return v, good

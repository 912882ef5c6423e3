"""How voltages and currents answer to a watt or a var at a terminal: exact, at a solved operating point.

From V = V0 + Z I(V, S): (1 - Z A) dV - Z B conj(dV) = Z dI_S, where A and B are the partial derivatives of the loads'
currents. One real linear system of 2 n unknowns per step gives dI at every load point for a change at any of them;
every voltage and every current then is a matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.feeder.network.admittance import Indices, Network
from twin.feeder.network.transformer_model import Complex
from twin.feeder.powerflow.loads import Loads
from twin.feeder.powerflow.solving import jacobian

Real = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gradients:
    """Derivatives at a batch of steps.

    di_dp, di_dq: change of the injected currents (A per W, A per var), (step, point injecting, point drawing). A
    terminal's column is that of its load point. All magnitudes below: (step, row, terminal).
    """

    network: Network
    state: Complex
    di_dp: Complex
    di_dq: Complex

    @classmethod
    def at(
        cls, network: Network, loads: Loads, impedance: Complex, v: Complex, s: Complex, state: Complex
    ) -> Gradients:
        """At load-point voltages `v` (p.u.) under the demand `s` (VA); scaled as in `twin.feeder.powerflow.loads`."""
        n, steps = v.shape
        di_dp = np.full((steps, n, n), np.nan, dtype=np.complex128)
        di_dq = di_dp.copy()
        good = np.flatnonzero(np.isfinite(v).all(axis=0))
        if len(good):
            here, power = v[:, good], s[:, good]
            partials = loads.partials(power, here)
            matrix = jacobian(impedance, partials)
            direct = loads.per_watt(here)
            push = np.concatenate([impedance[None] * own.T[:, None, :] for own in direct], axis=2)
            moved = np.linalg.solve(matrix, np.concatenate((push.real, push.imag), axis=1))
            dv = moved[:, :n] + 1j * moved[:, n:]
            change = partials[0].T[:, :, None] * dv + partials[1].T[:, :, None] * dv.conj()
            change[:, np.arange(n), np.arange(n)] += direct[0].T
            change[:, np.arange(n), n + np.arange(n)] += direct[1].T
            change /= network.base_volts[None, :, None]
            di_dp[good], di_dq[good] = change[:, :, :n], change[:, :, n:]
        return cls(network, state, di_dp, di_dq)

    def node_voltage(self, rows: Indices) -> tuple[Real, Real]:
        """d|V|/dP (V/W) and d|V|/dQ (V/var) of nodes, by their row in `Flow.nodes`."""
        return self._magnitude(self.network.spread[np.asarray(rows)] @ self.network.keys)

    def terminal_voltage(self) -> tuple[Real, Real]:
        """d|V|/dP and d|V|/dQ across every terminal."""
        return self._magnitude(self.network.points[self.network.point_of])

    def segment_current(self, rows: Indices) -> tuple[Real, Real]:
        """d|I|/dP (A/W) and d|I|/dQ (A/var) of segments at their `from` end, by their row; 0 where no current flows."""
        rows = np.asarray(rows)
        currents = self.network.along_lines(self.network.run_series)[rows]
        if self.network.shunts is not None:
            currents = currents + self.network.shunts[0][rows] @ self.network.keys
        return self._magnitude(currents)

    def transformer_current(self) -> tuple[Real, Real]:
        """d|I|/dP and d|I|/dQ into every (transformer, side, phase), in the rows of `Network.transformers`."""
        return self._magnitude(self.network.transformers)

    def primitive_current(self) -> tuple[Real, Real]:
        """d|I|/dP and d|I|/dQ into every node of the primitives, in the rows of `Network.primitives`."""
        return self._magnitude(self.network.primitives)

    def _magnitude(self, what: Complex) -> tuple[Real, Real]:
        """Of the rows of a matrix over the state."""
        value = what @ self.state
        size = np.abs(value)
        direction = np.divide(value.conj(), size, out=np.zeros_like(value), where=size > 0.0).T[:, :, None]
        of_terminal = self.network.point_of
        dp, dq = (
            (direction * (what[:, 1:] @ change)).real[:, :, of_terminal] for change in (self.di_dp, self.di_dq)
        )
        return dp, dq

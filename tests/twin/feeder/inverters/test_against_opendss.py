"""Inverters against OpenDSS: its InvControl settles the same curves by relaxation."""

from math import sqrt

import numpy as np
import pytest
from dss import DSS
from scipy.sparse import csr_array

from twin.feeder import Bus, ConnectionPoint, Feeder, Flow, Line, Source
from twin.feeder.inverters.behaviour import Inverter
from twin.feeder.inverters.fixed_point import solve_with_inverters
from twin.feeder.inverters.grid_codes import Curve, GridCode

IMPEDANCE = 0.4 + 0.3j
RATED_KVA = 10.0
VOLT_VAR = Curve((0.92, 0.98, 1.02, 1.08), (0.44, 0.0, 0.0, -0.44))
VOLT_WATT = Curve((1.03, 1.10), (1.0, 0.2))
KW = (8.0, 3.0, 6.0)
"""That are there to be fed in, on the phases a, b and c."""


def points(curve: Curve) -> str:
    """With level ends, beyond which OpenDSS would go on along the last slope."""
    volts, values = (0.5, *curve.voltage_pu, 1.5), (curve.value_pu[0], *curve.value_pu, curve.value_pu[-1])
    return f"npts={len(volts)} xarray=({' '.join(map(str, volts))}) yarray=({' '.join(map(str, values))})"


def in_opendss(source_pu: float, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Voltages per unit and VA drawn of three single-phase inverters at the end of a line."""
    units = "\n".join(
        f"new pvsystem.p{number} phases=1 bus1=far.{number + 1} kv={0.4 / sqrt(3.0)} kva={RATED_KVA} "
        f"kvarmax={RATED_KVA} kvarmaxabs={RATED_KVA} pmpp={kw} irradiance=1 %pmpp=100 %cutin=0 %cutout=0 vmaxpu=2 "
        f"vminpu=0.1 model=1 effcurve=flat wattpriority=no"
        for number, kw in enumerate(KW)
    )
    engine = DSS.NewContext()
    for command in f"""clear
set defaultbasefrequency=50
new circuit.two bus1=near basekv=0.4 pu={source_pu} phases=3 mvasc3=1e9 mvasc1=1e9
new line.line bus1=near bus2=far r1={IMPEDANCE.real} x1={IMPEDANCE.imag} r0={IMPEDANCE.real} x0={IMPEDANCE.imag}
~ c1=0 c0=0 length=1 units=none
new xycurve.volt_var {points(VOLT_VAR)}
new xycurve.volt_watt {points(VOLT_WATT)}
new xycurve.flat npts=2 xarray=(0.1 1) yarray=(1 1)
{units}
new invcontrol.all derlist=(pvsystem.p0 pvsystem.p1 pvsystem.p2) mode={mode} voltage_curvex_ref=rated
~ vvc_curve1=volt_var voltwatt_curve=volt_watt refreactivepower=varmax voltwattyaxis=kvaratingpu
~ voltagechangetolerance=1e-9 varchangetolerance=1e-9 activepchangetolerance=1e-9 deltaq_factor=0.3 deltap_factor=0.3
set voltagebases=(0.4)
calcvoltagebases
set tolerance=1e-11
set maxcontroliter=5000
set controlmode=static
solve""".splitlines():
        engine.Text.Command = command
    circuit = engine.ActiveCircuit
    assert circuit.Solution.Converged
    volts = np.array(circuit.AllBusVmag).reshape(-1, 3)[1] / (400.0 / sqrt(3.0))
    drawn = []
    for number in range(len(KW)):
        circuit.SetActiveElement(f"pvsystem.p{number}")
        kw, kvar = circuit.ActiveCktElement.Powers[:2]
        drawn.append(1000.0 * complex(kw, kvar))
    return volts, np.array(drawn)


@pytest.mark.parametrize("source_pu", [0.90, 0.95, 0.99, 1.03, 1.07])
@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("voltvar", GridCode("q", volt_var=VOLT_VAR, full_var_from_pu=0.05)),
        ("voltwatt", GridCode("p", volt_watt=VOLT_WATT)),
    ],
)
def test_opendss_settles_where_we_do(source_pu: float, mode: str, code: GridCode) -> None:
    line = Line.of_sequence(
        "line", "near", "far", r1=IMPEDANCE.real, r0=IMPEDANCE.real, x1=IMPEDANCE.imag, x0=IMPEDANCE.imag
    )
    flow = Flow(Feeder(
        "two", (Bus("near", 400.0), Bus("far", 400.0)), (line,), Source("near", source_pu, 0.0, 1e15, 0.0, 1.0), (),
        (ConnectionPoint("homes", "far"),),
    ))
    found = solve_with_inverters(
        flow, np.zeros((3, 1)), None, -1000.0 * np.array(KW)[:, None], csr_array(np.eye(3)),
        [Inverter(code, 1000.0 * RATED_KVA)] * 3,
    )
    volts, drawn = in_opendss(source_pu, mode)
    assert found.voltage_pu[:, 0] == pytest.approx(volts, abs=1e-7)
    assert found.delivered_w[:, 0] == pytest.approx(drawn.real, abs=0.1)
    assert found.q_var[:, 0] == pytest.approx(drawn.imag, abs=0.1)

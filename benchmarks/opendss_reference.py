"""What OpenDSS says about the steps of `feeder_speed.py --opendss`; runs in the environment made there.

    python opendss_reference.py ASKED.npz        (writes answered.npz beside it)
"""

import sys
import time
from pathlib import Path

import numpy as np
from dss import DSS  # its own environment

asked = np.load(sys.argv[1])
for command in asked["commands"]:
    DSS.Text.Command = str(command)
circuit = DSS.ActiveCircuit
loads, solution = circuit.Loads, circuit.Solution
power, reactive = asked["power"] / 1e3, asked["reactive"] / 1e3
found = []
start = time.process_time()
for step in range(power.shape[1]):
    for number in range(len(power)):
        loads.idx = number + 1
        loads.kW = power[number, step]
        loads.kvar = reactive[number, step]
    solution.SolveNoControl()
    if not solution.Converged:
        sys.exit(f"OpenDSS found no solution at step {step}")
    volts = circuit.AllBusVolts
    found.append(volts[::2] + 1j * volts[1::2])
spent = (time.process_time() - start) / power.shape[1]
row_of = {name.lower(): row for row, name in enumerate(circuit.AllNodeNames)}
order = [row_of[node] for node in asked["nodes"]]
np.savez(Path(sys.argv[1]).with_name("answered.npz"), volts=np.array(found).T[order], cpu_s=spent)

"""Make the shipped feeder: the IEEE European LV Test Feeder from the copy that the PyPI package pandapower carries.

    python benchmarks/european_lv_feeder.py

Builds an environment for pandapower under build/ (it pins another pandas) and writes `grid.json`, `feeder.json` and
`home_load.csv` below twin/data/feeders/ieee_european_lv/. What is published is taken over; what is not (ampacities,
fuses, paper, EV connection points, the homes' day) is assumed here, and named as assumed in the files.
"""

import csv
import json
import math
import os
import subprocess
import venv
from pathlib import Path

import numpy as np

from twin.feeder import Bus, ConnectionPoint, Feeder, Line, Paper, Rating, Source, Transformer, faults
from twin.feeder.on_disk.files import write

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "twin" / "data" / "feeders" / "ieee_european_lv"
PANDAPOWER = "pandapower==3.5.6"
EXTRACT = """
import json, sys, warnings
warnings.filterwarnings("ignore")
from pandapower.networks import ieee_european_lv_asymmetric
net = ieee_european_lv_asymmetric("on_peak_566")
json.dump({name: json.loads(net[name].to_json(orient="records", double_precision=15))
           for name in ("bus", "line", "trafo", "ext_grid", "asymmetric_load")}, sys.stdout)
"""

SHORT_CIRCUIT_A = 3000.0
SHORT_CIRCUIT_XR = 4.0
"""As published for OpenDSS (ISC3, its default X/R); pandapower's copy has 10 GVA instead."""

EV_SEED, EVS = 40, 40
DAY_SEED, STEPS = 55, 96


def extract() -> dict:
    home = ROOT / "build" / "pandapower"
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", PANDAPOWER], check=True)  # noqa: S603 - fixed arguments
    done = subprocess.run([str(python), "-c", EXTRACT], check=True, stdout=subprocess.PIPE)  # noqa: S603 - our own script
    return json.loads(done.stdout)


def ampacity(code: str, ohm_per_km: float) -> Rating:
    """Assumed: see `LICENSE-ieee-european-lv.md`. A cable's heat per metre, I^2 R, grows slowly with its size."""
    amperes = 142.0 * (0.642 / ohm_per_km) ** 0.57
    return Rating.even(
        5.0 * round(amperes / 5.0),
        f"assumed: {code}, {ohm_per_km:g} ohm/km, 142 A (0.642 ohm/km / R)^0.57, through NAYY 4x50 SE (142 A) and "
        "4x150 SE (270 A, 0.208 ohm/km) of the standard types of pandapower 3.5.6",
    )


def published(value: float) -> float:
    """A figure as it was printed: pandapower's copy passed through single precision."""
    return float(f"{value:.7g}")


def line(row: dict) -> Line:
    length = published(row["length_km"] * 1000.0)

    def ohm(per_km: float) -> float:
        return float(f"{published(per_km) * length / 1000.0:.12g}")

    return Line.of_sequence(
        row["name"], bus_name(row["from_bus"]), bus_name(row["to_bus"]), r1=ohm(row["r_ohm_per_km"]),
        x1=ohm(row["x_ohm_per_km"]), r0=ohm(row["r0_ohm_per_km"]), x0=ohm(row["x0_ohm_per_km"]),
        ampacity=ampacity(row["std_type"], row["r_ohm_per_km"]), length_m=length,
    )


def bus_name(number: int) -> str:
    return "source" if number == 0 else str(number)


def connection_points(loads: list[dict]) -> tuple[ConnectionPoint, ...]:
    """The published homes, and EVs at some of them, on the home's phase."""
    homes = []
    for place, row in enumerate(loads):
        phase = max("abc", key=lambda phase: abs(row[f"p_{phase}_mw"]))
        homes.append(ConnectionPoint(f"home-{place + 1}", bus_name(row["bus"]), phase, fuse_a=80.0))
    chosen = sorted(np.random.default_rng(EV_SEED).choice(len(homes), EVS, replace=False))
    evs = [ConnectionPoint(f"ev-{place + 1}", homes[place].bus, homes[place].phases, fuse_a=40.0) for place in chosen]
    return (*homes, *evs)


def feeder(net: dict) -> Feeder:
    trafo, grid = net["trafo"][0], net["ext_grid"][0]
    places = [json.loads(row["geo"])["coordinates"] for row in net["bus"]]
    rated = published(trafo["sn_mva"] * 1e6)
    upper, lower, uk, load_loss = (
        published(trafo[name] * scale)
        for name, scale in (("vn_hv_kv", 1e3), ("vn_lv_kv", 1e3), ("vk_percent", 0.01), ("vkr_percent", 0.01 * rated))
    )
    return Feeder(
        name="IEEE European LV Test Feeder",
        licence="BSD-3-Clause (pandapower); see LICENSE-ieee-european-lv.md",
        provenance=(
            "pandapower 3.5.6, networks.ieee_european_lv_asymmetric; short circuit of the source as published for "
            "OpenDSS. Assumed: ampacities, fuses, paper of the transformer, which 40 homes have an EV."
        ),
        buses=tuple(
            Bus(bus_name(number), published(row["vn_kv"] * 1000.0), xy=(round(x, 1), round(y, 1)))
            for number, (row, (x, y)) in enumerate(zip(net["bus"], places, strict=True))
        ),
        lines=tuple(line(row) for row in net["line"]),
        source=Source(
            bus_name(grid["bus"]), published(grid["vm_pu"]),
            short_circuit_va=math.sqrt(3.0) * upper * SHORT_CIRCUIT_A,
            rx_ratio=1.0 / SHORT_CIRCUIT_XR,
        ),
        transformers=(Transformer(
            "TR1", bus_name(trafo["hv_bus"]), bus_name(trafo["lv_bus"]), rated, upper, lower, uk, load_loss,
            f"{trafo['vector_group']}{round(trafo['shift_degree'] / 30.0)}", paper=Paper.NORMAL,
        ),),
        connection_points=connection_points(net["asymmetric_load"]),
    )


def home_load_w(homes: int) -> np.ndarray:
    """An assumed day of quarter hours, (home, step): standby, and appliances that run when people are up.

    About 9 kWh per home, the size of an average European home's day; no measured day of any home.
    """
    draw = np.random.default_rng(DAY_SEED)
    hours = (np.arange(STEPS) + 0.5) / 4.0
    load = np.repeat(draw.uniform(60.0, 160.0, (homes, 1)), STEPS, axis=1)
    for home in range(homes):
        weight = draw.dirichlet((2.0, 1.5, 4.0, 0.5))
        peaks = draw.normal((7.5, 13.0, 19.0, 23.0), 0.7)
        up = sum(share * np.exp(-0.5 * ((hours - peak) / width) ** 2) / width
                 for share, peak, width in zip(weight, peaks, (0.9, 2.0, 1.8, 1.0), strict=True))
        for start in draw.choice(STEPS, draw.poisson(14), p=up / up.sum()):
            lasts = int(draw.integers(1, 5))
            energy_wh = 1000.0 * draw.lognormal(-1.0, 0.6)
            load[home, start:start + lasts] += energy_wh * 4.0 / lasts
    return np.round(load)


def write_day(homes: list[str], path: Path) -> None:
    load = home_load_w(len(homes))
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["minute", *homes])
        for step in range(STEPS):
            rows.writerow([15 * step, *(int(watts) for watts in load[:, step])])
    print(f"{load.mean() * 24.0 / 1000.0:.1f} kWh per home, peak {load.sum(axis=0).max() / 1000.0:.0f} kW together")


def main() -> None:
    made = feeder(extract())
    for fault in faults(made):
        print(fault)
    write(made, FOLDER)
    write_day([point.id for point in made.connection_points if point.id.startswith("home")], FOLDER / "home_load.csv")
    for path in sorted(FOLDER.iterdir()):
        print(path.relative_to(ROOT), path.stat().st_size)


if __name__ == "__main__":
    main()

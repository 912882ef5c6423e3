"""How well the departure model tells the errors of drivers it was not fitted to, from the ACN sessions.

    python benchmarks/departure_holdout.py [--data FOLDER]        without --data the wheel is downloaded

Two hold-outs for each site. *Days*: fitted to every other day, asked about the days between: is the model too close to
its own sessions? *Later*: fitted to the first half of the days, asked about the second: do drivers stay as they were?
Printed per 5, 50 and 95 % quantile of the departure error in minutes: as recorded on the days held out, as drawn by
the model for the declared stays of those days, and as a trust in declared departures would have it (always 0).
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import acn_data
import numpy as np
from fit_departure_error import PROBABILITIES, classes_of

from twin.drivers.departures import ErrorTable, stay_of

QUANTILES = (0.05, 0.5, 0.95)
DRAWS = 40
"""Of each session held out, at evenly spread probabilities."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the session files; default: download the wheel")
    wanted = parser.parse_args()
    sessions = [s for s in acn_data.read(wanted.data or acn_data.download(Path("build"))) if s.is_claimed]
    print(f"{'site':8} {'held out':9} {'sessions':>8}   recorded 5/50/95 %       model 5/50/95 %          largest miss")
    for site in ("caltech", "jpl"):
        here = [s for s in sessions if s.site == site]
        day = np.array([s.arrival.date().toordinal() for s in here])
        declared = np.array([(s.declared - s.arrival).total_seconds() for s in here])
        error = np.array([(s.departure - s.declared).total_seconds() for s in here])
        holdouts: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "days": lambda day: day % 2 == 1, "later": lambda day: day > np.median(day),
        }
        for name, is_held in holdouts.items():
            held = is_held(day)
            table = fitted(declared[~held], error[~held])
            drawn = stay_of(
                table, np.repeat(declared[held], DRAWS), np.tile((np.arange(DRAWS) + 0.5) / DRAWS, int(held.sum())),
            ) - np.repeat(declared[held], DRAWS)
            recorded, model = np.quantile(error[held], QUANTILES) / 60.0, np.quantile(drawn, QUANTILES) / 60.0
            print(
                f"{site:8} {name:9} {int(held.sum()):8}   {words(recorded)}   {words(model)}   "
                f"{np.abs(recorded - model).max():6.1f} min"
            )


def fitted(declared_s: np.ndarray, error_s: np.ndarray) -> ErrorTable:
    """The table that the twin would be shipped with, had only these sessions been recorded."""
    classes = classes_of(declared_s, error_s)
    return ErrorTable(
        np.array([begin for begin, _ in classes]) * 60.0, np.array(PROBABILITIES),
        np.array([errors for _, errors in classes]),
    )


def words(quantiles: np.ndarray) -> str:
    return " ".join(f"{value:7.1f}" for value in quantiles)


if __name__ == "__main__":
    main()

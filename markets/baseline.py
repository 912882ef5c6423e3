"""What a site would have drawn without the event."""

from __future__ import annotations

import numpy as np

from markets.rate import Floats


class BaselineError(ValueError):
    """The data do not hold what the method needs; the message says which steps."""


def declared_schedule(schedule_net_kw: Floats, event_steps: tuple[int, ...]) -> Floats:
    """Baseline per event step: the net of the schedule that stood before the event was known.

    The mean over the event is used for every step, so that moving load within the event earns nothing.

    Args:
        schedule_net_kw: shape (steps,), import positive, as stored when the event was posted.
        event_steps: steps of the schedule that the event covers.
    """
    _require_inside(schedule_net_kw, event_steps)
    mean = float(np.mean(schedule_net_kw[list(event_steps)]))
    return np.full(len(event_steps), mean)


def same_day(net_kw: Floats, event_steps: tuple[int, ...], step_s: int, *, before_h: float = 3.0, after_h: float = 2.0,
             gap_h: float = 1.0) -> Floats:
    """Baseline per event step: mean of the hours before and after the event on the same day.

    before_h hours that end gap_h before the event, and after_h hours that start gap_h after it; 3, 2 and 1 are the
    symmetric "3+2" method.
    """
    first, last = min(event_steps), max(event_steps) + 1
    per_hour = 3600.0 / step_s
    before = range(round(first - (gap_h + before_h) * per_hour), round(first - gap_h * per_hour))
    after = range(round(last + gap_h * per_hour), round(last + (gap_h + after_h) * per_hour))
    used = (*before, *after)
    _require_inside(net_kw, used)
    return np.full(len(event_steps), float(np.mean(net_kw[list(used)])))


def _require_inside(net_kw: Floats, steps: tuple[int, ...]) -> None:
    if not steps:
        raise BaselineError("event_steps: none, expected at least one step")
    missing = [step for step in steps if not 0 <= step < len(net_kw) or not np.isfinite(net_kw[step])]
    if missing:
        raise BaselineError(f"net_kw: no value in steps {missing}, expected one in each of {steps[0]} to {steps[-1]}")

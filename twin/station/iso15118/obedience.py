"""Whether an AC car follows its set-point: over AC the car's charger decides what flows, the station can only cut it.

Within `within_s` a car must have taken up a smaller set-point, or one of the other sign. Judged is the present power
against everything that was permitted in that time, so that a set-point that keeps moving wrongs no car.
"""

from __future__ import annotations

from collections import deque

SLACK_KW, SLACK = 0.1, 0.05  # what a charger and a meter may be off: IEC 61851-1 A.2 grants a charger 5 % or more


class Obedience:
    """What was permitted lately, as (charge, discharge) in kW of 0 or more; times are seconds of any one clock."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._permits: deque[tuple[float, float, float]] = deque()

    def begin(self, at: float, charge_kw: float, discharge_kw: float) -> None:
        """A charge loop begins: nothing that was before counts."""
        self._permits.clear()
        self.permit(at, charge_kw, discharge_kw)

    def permit(self, at: float, charge_kw: float, discharge_kw: float) -> None:
        """From now on so much is permitted."""
        if not self._permits or self._permits[-1][1:] != (charge_kw, discharge_kw):
            self._permits.append((at, charge_kw, discharge_kw))

    def judge_at(self) -> float | None:
        """When what was permitted first counts no longer, or None while there was but one permit."""
        return self._permits[1][0] + self._within_s if len(self._permits) > 1 else None

    def breach(self, at: float, power_kw: float) -> str | None:
        """What is wrong with `power_kw` (signed), if it is."""
        self._forget(at)
        charge_kw = max((permit[1] for permit in self._permits), default=0.0)
        discharge_kw = max((permit[2] for permit in self._permits), default=0.0)
        if -_with_slack(discharge_kw) <= power_kw <= _with_slack(charge_kw):
            return None
        return (
            f"power: {power_kw:g} kW, expected {-discharge_kw:g} to {charge_kw:g} kW: the car did not follow its "
            f"set-point within {self._within_s:g} s"
        )

    def _forget(self, at: float) -> None:
        while len(self._permits) > 1 and self._permits[1][0] + self._within_s <= at:
            self._permits.popleft()


def _with_slack(power_kw: float) -> float:
    return power_kw + max(SLACK_KW, SLACK * power_kw)

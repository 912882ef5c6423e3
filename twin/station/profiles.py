"""Charging profiles as a station holds them, and what they say together at an instant.

Pure: no clock, no wire. Instants are POSIX seconds of domain time, powers kW (discharge negative).

    TxProfile         level 2  |--------|            the highest stack level that has a period now,
                      level 1  |------------------|  TxProfile before TxDefaultProfile
    TxDefaultProfile  level 0  ------------------------------------->
    station maximum            ---------|________|---  always cuts on top (OCPP 1.6 section 3.13.3, 2.1 K01.FR.05)
    no profile at all          the full rating of the EVSE: that is what real stations do
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_DAY_S = 86_400.0


class Purpose(StrEnum):
    """Names of OCPP 2.x; OCPP 1.6 says ChargePointMaxProfile for the first."""

    STATION_MAX = "ChargingStationMaxProfile"
    EXTERNAL = "ChargingStationExternalConstraints"
    TX_DEFAULT = "TxDefaultProfile"
    TX = "TxProfile"


CEILINGS = (Purpose.STATION_MAX, Purpose.EXTERNAL)


class Kind(StrEnum):
    ABSOLUTE = "Absolute"
    RECURRING = "Recurring"
    RELATIVE = "Relative"


@dataclass(frozen=True, slots=True)
class Period:
    """From start_s after the schedule's start on: a charging limit, or a set-point (OCPP 2.1), or a discharge limit.

    discharge_limit_kw: zero or negative; only in a ceiling.
    """

    start_s: float
    limit_kw: float | None = None
    setpoint_kw: float | None = None
    discharge_limit_kw: float | None = None


@dataclass(frozen=True, slots=True)
class ChargingProfile:
    """One profile with one schedule.

    start: of the schedule, absolute; None: relative to the transaction's start.
    recurrency_s: a day or a week for kind Recurring. source: the profile as it came, to report it back.
    max_offline_s: seconds without the CSMS after which it is void, for good if invalid_after_offline (OCPP 2.1 K01).
    """

    id: int
    purpose: Purpose
    stack_level: int
    kind: Kind
    periods: tuple[Period, ...]
    start: float | None = None
    duration_s: float = math.inf
    valid_from: float = -math.inf
    valid_to: float = math.inf
    recurrency_s: float = math.inf
    transaction_id: str | None = None
    max_offline_s: float = math.inf
    invalid_after_offline: bool = False
    source: dict[str, Any] | None = None

    def period_at(self, at: float, tx_start: float | None) -> Period | None:
        """The period in force at `at`, or None: not valid, not started, or its duration is over."""
        if not self.valid_from <= at < self.valid_to:
            return None
        begin = self._begin(at, tx_start)
        if begin is None or not 0 <= at - begin < self.duration_s:
            return None
        found = None
        for period in self.periods:
            if begin + period.start_s > at:
                break
            found = period
        return found

    def boundaries(self, after: float, until: float, tx_start: float | None) -> Iterator[float]:
        """Every instant in (after, until) at which `period_at` may change."""
        for instant in self._edges(after, until, tx_start):
            if after < instant < until:
                yield instant

    def _begin(self, at: float, tx_start: float | None) -> float | None:
        begin = tx_start if self.start is None else self.start
        if begin is not None and at >= begin and math.isfinite(self.recurrency_s):
            begin += (at - begin) // self.recurrency_s * self.recurrency_s
        return begin

    def _edges(self, after: float, until: float, tx_start: float | None) -> Iterator[float]:
        yield self.valid_from
        yield self.valid_to
        begin = self._begin(after, tx_start)
        while begin is not None and begin < until:
            yield begin
            yield begin + self.duration_s
            for period in self.periods:
                yield begin + period.start_s
            begin = begin + self.recurrency_s if math.isfinite(self.recurrency_s) else None


@dataclass(frozen=True, slots=True)
class Order:
    """What the profiles ask of the EVSE at an instant.

    power_kw: signed. is_setpoint: an exact power to deliver (OCPP 2.1 CentralSetpoint), otherwise an upper limit.
    """

    power_kw: float
    is_setpoint: bool = False


@dataclass(frozen=True, slots=True)
class Rating:
    """What the EVSE can do: kW charging, kW discharging (positive)."""

    charge_kw: float
    discharge_kw: float = 0.0


@dataclass(frozen=True, slots=True)
class TransactionView:
    """The running transaction as profiles see it: its id on the wire (None until the CSMS gave one) and its start."""

    id: str | None
    start: float


class ProfileRefused(ValueError):
    """The station does not take this profile. reason: a reasonCode of at most 20 characters."""

    def __init__(self, reason: str, explanation: str) -> None:
        super().__init__(f"{reason}: {explanation}")
        self.reason = reason
        self.explanation = explanation


class ProfileStore:
    """The profiles of one EVSE."""

    def __init__(self, rating: Rating) -> None:
        self.rating = rating
        self.profiles: list[ChargingProfile] = []
        self._offline_since: float | None = None

    def put(self, profile: ChargingProfile, *, duplicate_level: str) -> None:
        """Install a profile; one of the same id is replaced.

        duplicate_level: what to do with another id on the same purpose and stack level while both are valid:
            "replace" (OCPP 1.6 section 3.13.2) or "refuse" (2.x K01.FR.06, K01.FR.39).

        Raises:
            ProfileRefused: as above.
        """
        others = [p for p in self.profiles if p.id != profile.id]
        rivals = [
            p for p in others
            if (p.purpose, p.stack_level, p.transaction_id) == (
                profile.purpose, profile.stack_level, profile.transaction_id)
            and p.valid_from < profile.valid_to and profile.valid_from < p.valid_to
        ]
        if rivals and duplicate_level == "refuse":
            raise ProfileRefused("DuplicateProfile", f"profile {rivals[0].id} holds this purpose and stack level")
        self.profiles = [p for p in others if p not in rivals]
        self.profiles.append(profile)

    def clear(
        self, *, profile_id: int | None = None, purpose: Purpose | None = None, stack_level: int | None = None
    ) -> list[ChargingProfile]:
        """Remove and return what matches all criteria given; an id alone decides."""
        if profile_id is not None:
            gone = [p for p in self.profiles if p.id == profile_id]
        else:
            gone = [
                p for p in self.profiles
                if purpose in (None, p.purpose) and stack_level in (None, p.stack_level)
            ]
        self.profiles = [p for p in self.profiles if p not in gone]
        return gone

    def end_transaction(self) -> None:
        """Forget the profiles of the transaction that ended (OCPP 1.6 section 3.13.1, 2.1 K01.FR.13)."""
        self.profiles = [p for p in self.profiles if p.purpose is not Purpose.TX]

    def go_offline(self, at: float) -> None:
        """The link to the CSMS went down at `at`; a second call keeps the first instant."""
        if self._offline_since is None:
            self._offline_since = at

    def go_online(self, at: float) -> None:
        """The link is up again: what was void for the time only is in force again, the rest is forgotten."""
        if self._offline_since is not None:
            self.profiles = [
                p for p in self.profiles
                if not (p.invalid_after_offline and at - self._offline_since >= p.max_offline_s)
            ]
        self._offline_since = None

    def order_at(self, at: float, transaction: TransactionView | None) -> Order:
        """What to do at `at`. A ceiling cuts a set-point too, from both sides."""
        order = self._wanted(at, transaction)
        top, bottom = self.rating.charge_kw, -self.rating.discharge_kw
        for ceiling in CEILINGS:
            period = self._highest(at, transaction, ceiling)
            if period is not None and period.limit_kw is not None:
                top = min(top, period.limit_kw)
            if period is not None and period.discharge_limit_kw is not None:
                bottom = max(bottom, period.discharge_limit_kw)
        return Order(min(max(order.power_kw, bottom), top), order.is_setpoint)

    def next_boundary(self, at: float, transaction: TransactionView | None) -> float:
        """The first instant after `at` at which `order_at` may change by itself; infinity if it never does."""
        # A recurring schedule has an edge within one recurrence; one look that far is enough to come back in time.
        return min(
            (edge for p in self.profiles for edge in self._edges_of(p, at, at + p.recurrency_s + 1.0, transaction)),
            default=math.inf,
        )

    def composite(self, begin: float, end: float, transaction: TransactionView | None) -> list[tuple[float, Order]]:
        """The orders over [begin, end) with the instants at which they start; equal neighbours are merged."""
        merged: list[tuple[float, Order]] = []
        edges = {edge for p in self.profiles for edge in self._edges_of(p, begin, end, transaction)}
        for instant in sorted({begin, *edges}):
            order = self.order_at(instant, transaction)
            if not merged or merged[-1][1] != order:
                merged.append((instant, order))
        return merged

    def _wanted(self, at: float, transaction: TransactionView | None) -> Order:
        for purpose in (Purpose.TX, Purpose.TX_DEFAULT):
            period = self._highest(at, transaction, purpose)
            if period is None:
                continue
            if period.setpoint_kw is not None:
                return Order(period.setpoint_kw, is_setpoint=True)
            if period.limit_kw is not None:
                return Order(max(0.0, period.limit_kw))
        return Order(self.rating.charge_kw)

    def _highest(self, at: float, transaction: TransactionView | None, purpose: Purpose) -> Period | None:
        best: tuple[int, Period] | None = None
        for profile in self.profiles:
            if profile.purpose is not purpose or not self._is_usable(profile, at, transaction):
                continue
            period = profile.period_at(at, None if transaction is None else transaction.start)
            if period is not None and (best is None or profile.stack_level > best[0]):
                best = (profile.stack_level, period)
        return None if best is None else best[1]

    def _is_usable(self, profile: ChargingProfile, at: float, transaction: TransactionView | None) -> bool:
        if self._offline_since is not None and at - self._offline_since >= profile.max_offline_s:
            return False
        if profile.purpose is not Purpose.TX:
            return True
        return transaction is not None and profile.transaction_id in (None, transaction.id)

    def _edges_of(
        self, profile: ChargingProfile, after: float, until: float, transaction: TransactionView | None
    ) -> Iterator[float]:
        yield from profile.boundaries(after, until, None if transaction is None else transaction.start)
        if self._offline_since is not None:
            void = self._offline_since + profile.max_offline_s
            if after < void < until:
                yield void

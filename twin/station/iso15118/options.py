"""What the sessions of one EVSE are told once: clock, timeouts, line, TLS."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from twin.station.iso15118.evse_core import Registers
from twin.station.iso15118.framing import MOST_BYTES
from twin.station.rail import Step

LOOP_PAUSE_S = 0.25


@dataclass(frozen=True, slots=True)
class WireOptions:
    """How a `WireRail` or a `Secc` works; the defaults suit an emulated station.

    evse_id: as ISO 15118-2 Annex H writes it. host: where the SECC listens; None is the IPv6 loopback, or IPv4 where
        there is no IPv6. interface: in its place, a network interface on whose link-local address the SECC listens and
        is found by discovery (SDP).
    pause_s: wall seconds the car waits between two loops. now: domain POSIX seconds, for schedules and departures.
    station_patience, car_patience: factors on the standard's timeouts. A car gives up a DC loop after 0.5 s; both ends
        share a process with others here, so by default it waits ten times as long, the station as long as it says.
    loop_silence_s: how long a car may be silent in its charge loop before its session ends. ISO 15118-20 gives it 0.5 s
        (Tables 216, 217), the older languages 60 s; here a busy process must not look like a silent car.
    quiet_s: how long over DC power flows into, or out of, a car that is silent in its loop; when it asks again it flows
        again.
    follow_s: how long an AC car may take to follow a smaller set-point before the contactors open. IEC 61851-1 gives
        it 5 s after the control pilot has changed.
    least_loop_s: a car that asks again sooner after its last loop request waits so long for its answer.
    terminate_s: how long a car may take to end its session after it was told to, before the line is cut.
    pki: folder of `python -m twin.station.iso15118 pki`; with it sessions use TLS. accepts_contracts: Plug & Charge is
        offered (only over TLS).
    meter, offer: see `EvseSettings`. tap: sees every V2GTP message of the SECC as (bytes, is it sent).
    """

    evse_id: str = "DE*V2G*E0001"
    host: str | None = None
    interface: str | None = None
    pause_s: Callable[[], float] = lambda: LOOP_PAUSE_S
    now: Callable[[], float] = time.time
    station_patience: float = 1.0
    car_patience: float = 10.0
    loop_silence_s: float = 10.0
    quiet_s: float = 2.0
    follow_s: float = 5.0
    least_loop_s: float = 0.02
    terminate_s: float = 5.0
    most_bytes: int = MOST_BYTES
    pki: Path | None = None
    accepts_contracts: bool = False
    meter: Callable[[], Registers] | None = None
    offer: Callable[[], Sequence[Step]] | None = None
    tap: Callable[[bytes, bool], None] | None = None

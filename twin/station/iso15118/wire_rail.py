"""The wire rail: both ends of a real session over TCP, and a car's battery behind them.

    station --order--> Secc ==TCP== Evcc --state--> car

What flows goes through one `_Path`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace

from iso15118.shared.messages.timeouts import Timeouts

from twin.station.iso15118.door import resolved
from twin.station.iso15118.ev import EvController
from twin.station.iso15118.ev_core import config_of
from twin.station.iso15118.evse_core import PowerStage
from twin.station.iso15118.options import WireOptions
from twin.station.iso15118.package import use_codec, use_pki
from twin.station.iso15118.sdp import discover
from twin.station.iso15118.secc import Secc
from twin.station.iso15118.session import EvccSession, LineSettings, Outcome
from twin.station.iso15118.tls import client_context
from twin.station.rail import (
    Car,
    EvNeeds,
    EvseRatings,
    FaultKind,
    Language,
    RailListener,
    SessionEnd,
    SessionFault,
)

log = logging.getLogger(__name__)

LOOPBACK_INTERFACE = "lo"
LOOPBACKS = ("::1", "127.0.0.1")
CONNECT_S = 20.0
"""For TCP and TLS to stand: V2G_EVCC_CommunicationSetup_Timeout, of which the rest of the set-up needs little."""


async def drive(
    car: Car, stage: PowerStage, host: str, port: int, options: WireOptions,
    controller_class: type[EvController] = EvController, announce: Callable[[int], None] = lambda _: None,
    resumes: str = "",
) -> Outcome:
    """Be the car of one session at `host`:`port`; returns how it saw the session end.

    controller_class: how the car behaves, for cars that behave otherwise. announce: told the port that the car comes
        from before it connects. resumes: the id of a session that this car paused and goes on with.

    Raises:
        OSError: there is no way to the station (also as `ssl.SSLError`).
    """
    use_codec()
    context = None
    if options.pki is not None:
        use_pki(options.pki)
        context = client_context(options.pki, is_newest=car.speech.language is Language.ISO_15118_20)
    family, address = await resolved(host, port)
    with contextlib.ExitStack() as until_connected:
        line = until_connected.enter_context(socket.socket(family))
        line.setblocking(False)
        line.bind((host if host in LOOPBACKS else "", 0))
        announce(line.getsockname()[1])
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().sock_connect(line, address)
        except TimeoutError:
            raise OSError(f"{host} port {port}: no connection in {CONNECT_S:g} s") from None
        reader, writer = await asyncio.open_connection(
            sock=line, ssl=context, server_hostname=None if context is None else host,
            ssl_handshake_timeout=None if context is None else CONNECT_S,
        )
        until_connected.pop_all()  # the transport closes it from here on
    controller = controller_class(car, stage.apply, options.pause_s)
    session = EvccSession((reader, writer), asyncio.Queue(), config_of(car.speech), LOOPBACK_INTERFACE, controller)
    session.line = LineSettings(options.car_patience, most_bytes=options.most_bytes)
    session.is_tls = context is not None
    session.has_contract = car.speech.has_contract
    session.resumes = resumes
    await session.send_sap()
    return await session.run(float(Timeouts.SUPPORTED_APP_PROTOCOL_REQ))


async def find_and_drive(
    car: Car, stage: PowerStage, interface: str, options: WireOptions,
    controller_class: type[EvController] = EvController,
) -> Outcome:
    """Be the car of one session with the station that answers on the link of `interface`.

    Raises:
        DiscoveryFailed: none answers; with a PKI, none that offers TLS.
        OSError: as `drive`.
    """
    found = await discover(interface, is_tls=options.pki is not None)
    return await drive(car, stage, f"{found.address}%{interface}", found.port, options, controller_class)


class WireRail:
    """A `Rail` over the wire. Needs a running event loop from `connect` on."""

    def __init__(self, ratings: EvseRatings, listener: RailListener, options: WireOptions | None = None) -> None:
        options = options or WireOptions()
        self.options = options if options.offer is not None else replace(options, offer=listener.offer)
        self.secc = Secc(ratings, self, self.options)
        self._listener = listener
        self._path: _Path | None = None
        self._is_authorised = False
        self._driver: asyncio.Task[None] | None = None
        self._past: set[asyncio.Task[None]] = set()

    @property
    def is_charging(self) -> bool:
        controller = self.secc.controller
        return controller is not None and controller.is_in_loop

    def connect(self, car: Car) -> None:
        if self._path is not None:
            raise RuntimeError("connect: a session runs, expected none")
        self._path, self._is_authorised = _Path(car, self._listener), False
        self._driver = asyncio.get_running_loop().create_task(self._drive(car, self._path))
        self._past.add(self._driver)
        self._driver.add_done_callback(self._past.discard)

    def authorise(self) -> None:
        self._is_authorised = True
        self.secc.authorise()

    def order(self, power_kw: float) -> None:
        self.secc.order(power_kw)

    def stop(self) -> None:
        if self._path is None:
            return
        if self.secc.stop():
            self._path.close()  # whatever the car still reads of the set-points before
        else:
            self._end(SessionEnd.STATION)

    def disconnect(self) -> None:
        if self._path is not None:
            self._end(SessionEnd.UNPLUGGED)

    async def close(self) -> None:
        """Let go of session, sockets and tasks, without a word to the listener."""
        path, self._path = self._path, None
        if path is not None:
            path.close()
        if self._driver is not None:
            self._driver.cancel()
        await self.secc.close()
        await asyncio.gather(*self._past, return_exceptions=True)

    # ------------------------------------------------------------------ what the SECC says

    def said(self, needs: EvNeeds) -> None:
        if self._path is not None:
            self._listener.needs(needs)

    def loop(self, is_in_loop: bool) -> None:
        """`is_charging` shows it."""

    def over(self, outcome: Outcome) -> None:
        if self._path is not None:
            self._end(outcome)

    # ------------------------------------------------------------------ one session

    async def _drive(self, car: Car, path: _Path) -> None:
        def plug(port: int) -> None:
            if self._path is path:
                self.secc.plug(path, only_from=port)
                if self._is_authorised:
                    self.secc.authorise()

        try:
            host, port = await self.secc.listen()
            outcome = await drive(car, path, host, port, self.options, announce=plug)
            if isinstance(outcome, SessionFault):
                log.info("the car saw: %s", outcome)
        except (OSError, ssl.SSLError) as fault:
            if self._path is path and self.secc.session is None:
                self._end(SessionFault(FaultKind.LINK, "TCP connect", str(fault)))

    def _end(self, outcome: Outcome) -> None:
        path, self._path = self._path, None
        driver, self._driver = self._driver, None
        self.secc.unplug()
        if driver is not None and driver is not asyncio.current_task():
            driver.cancel()
        if path is not None:
            path.close()
        if isinstance(outcome, SessionEnd):
            self._listener.ended(outcome)
        else:
            self._listener.faulted(outcome)


class _Path:
    """The contactors and the control pilot between the EVSE and one car. Open for good once its session is over.

    Over AC the car's charger takes the lower of the pilot and of what it was told, and follows a pilot that falls at
    once, whatever its end of the line does.
    """

    def __init__(self, car: Car, listener: RailListener) -> None:
        self._car, self._listener = car, listener
        self._is_over = self._is_closed = False
        self._flowing_kw = 0.0
        self._pilot_kw = math.inf

    def switch(self, *, is_closed: bool) -> None:
        self._is_closed = is_closed
        if not is_closed and self._flowing_kw != 0.0:
            self.apply(0.0)

    def apply(self, power_kw: float) -> float:
        if self._is_over:
            return 0.0
        flowing = self._car.take(min(power_kw, self._pilot_kw) if self._is_closed else 0.0)
        if flowing != self._flowing_kw:
            self._flowing_kw = flowing
            self._listener.flowing(flowing)
        return flowing

    def pilot(self, power_kw: float) -> None:
        self._pilot_kw = power_kw
        if self._flowing_kw > power_kw:
            self.apply(power_kw)

    def present_kw(self) -> float:
        return self._flowing_kw

    def close(self) -> None:
        """The session is over: the contactors open."""
        self.apply(0.0)
        self._is_over = True

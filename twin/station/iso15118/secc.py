"""The SECC of one EVSE: listens on TCP, holds one session at a time, and says how each one ended.

It needs no car of ours at the other end: any EVCC may connect. On a network interface it is found by discovery (SDP).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Protocol

from iso15118.secc.secc_settings import Config
from iso15118.shared.messages.enums import AuthEnum
from iso15118.shared.messages.enums import Protocol as WireProtocol
from iso15118.shared.messages.timeouts import Timeouts

from twin.station.iso15118.door import Door
from twin.station.iso15118.evse import EvseController
from twin.station.iso15118.evse_core import EvseSettings, PowerStage
from twin.station.iso15118.options import WireOptions
from twin.station.iso15118.package import use_codec, use_pki
from twin.station.iso15118.sdp import Announcer, Found, link_local_address
from twin.station.iso15118.session import LineSettings, Outcome, PausedSession, SeccSession
from twin.station.iso15118.tls import server_context
from twin.station.rail import EvNeeds, EvseRatings, FaultKind, SessionEnd, SessionFault


class SeccListener(Protocol):
    """Who is told about the sessions of a `Secc`; calls come from the event loop."""

    def said(self, needs: EvNeeds) -> None:
        """The car said something new about its needs."""

    def loop(self, is_in_loop: bool) -> None:
        """The charge loop began or ended."""

    def over(self, outcome: Outcome) -> None:
        """The session is over and nothing flows; the next one may come."""


class Secc:
    """See the module. `plug` makes it answer; without a car at the plug connections are closed at once.

    A car that has paused its session still stands at the plug, its driver is still let in, and when it comes again it
    goes on with the same session.
    """

    def __init__(self, ratings: EvseRatings, listener: SeccListener, options: WireOptions | None = None) -> None:
        self.ratings, self.options = ratings, options or WireOptions()
        self.order_kw = 0.0
        self.controller: EvseController | None = None
        self.session: SeccSession | None = None
        self._listener = listener
        self._opening: asyncio.Task[Door] | None = None
        self._door: Door | None = None
        self._announcer: Announcer | None = None
        self._stage: PowerStage | None = None
        self._only_from: int | None = None
        self._is_authorised = False
        self._paused: PausedSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._past: set[asyncio.Task[None]] = set()
        self._deadline: asyncio.TimerHandle | None = None
        use_codec()

    async def listen(self) -> tuple[str, int]:
        """Listen, if it does not yet; returns host and port. Raises an `OSError` if it cannot."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        try:
            # Shielded: whoever waits for it may be unplugged, and the next one waits for the same.
            door = await asyncio.shield(self._opening)
        except OSError:
            self._opening = None
            raise
        return door.address

    async def _open(self) -> Door:
        options = self.options
        context = None
        if options.pki is not None:
            use_pki(options.pki)
            context = server_context(options.pki)
        if options.interface is None:
            self._door = await Door.open(options.host or loopback(), self._expects, self._accept, context)
            return self._door
        host = await link_local_address(options.interface)
        self._door = door = await Door.open(host, self._expects, self._accept, context, is_dynamic=True)
        host, port = door.address
        found = Found(host.split("%", maxsplit=1)[0], port, is_tls=context is not None)

        def where() -> Found | None:
            return found if self._stage is not None and self.session is None else None

        try:
            self._announcer = await Announcer.start(options.interface, where)
        except OSError:
            self._door = None
            await door.close()
            raise
        return door

    @property
    def is_by_contract(self) -> bool:
        """The car of the present session identified itself by a contract (Plug & Charge)."""
        return self.session is not None and self.session.selected_auth_option in {AuthEnum.PNC, AuthEnum.PNC_V2}

    # ------------------------------------------------------------------ what the station does

    def plug(self, stage: PowerStage, only_from: int | None = None) -> None:
        """A car stands at the plug: the next connection is its session, and `stage` its power.

        only_from: the TCP port it will come from, if that is known: then no other connection can take its place, not
            even one that a car before it has left in the queue.
        """
        self._stage, self._only_from, self._is_authorised, self._paused = stage, only_from, False, None

    def authorise(self) -> None:
        self._is_authorised = True
        if self.controller is not None:
            self.controller.authorise()

    def order(self, power_kw: float) -> None:
        """The set-point, for this session and those to come."""
        self.order_kw = power_kw
        if self.controller is not None:
            self.controller.order(power_kw)

    def stop(self) -> bool:
        """Nothing flows from now on, and the car is told to end its session; False if none runs."""
        session, controller = self.session, self.controller
        if session is None or controller is None:
            return False
        session.is_stopped_by_station = True
        controller.terminate()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().call_later(
                self.options.terminate_s, session.writer.transport.abort
            )
        return True

    def unplug(self) -> None:
        """The plug is out: the session is gone without a word to the listener."""
        self._stage = self._paused = None
        session, task = self.session, self._task
        self._forget()
        if session is not None:
            session.writer.transport.abort()
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Stop listening and let go of everything."""
        self.unplug()
        if self._announcer is not None:
            self._announcer.close()
            self._announcer = None
        if self._opening is not None:
            with contextlib.suppress(OSError):
                await (await self._opening).close()
            self._opening = self._door = None
        await asyncio.gather(*self._past, return_exceptions=True)

    # ------------------------------------------------------------------ sessions

    def _expects(self, _: str, port: int) -> bool:
        return self._stage is not None and self.session is None and self._only_from in {None, port}

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stage = self._stage
        if stage is None:
            writer.transport.abort()
            return
        if self._door is not None:
            self._door.clear()
        options = self.options
        controller = EvseController(self.ratings, stage, EvseSettings(
            evse_id=options.evse_id, now=options.now, meter=options.meter, offer=options.offer,
            follow_within_s=options.follow_s, quiet_s=options.quiet_s, on_needs=self._listener.said,
            on_loop=self._listener.loop,
        ))
        controller.order(self.order_kw)
        if self._is_authorised:
            controller.authorise()
        session = SeccSession((reader, writer), asyncio.Queue(), self._config(writer), controller, options.evse_id)
        session.line = LineSettings(
            options.station_patience, options.loop_silence_s, options.least_loop_s, options.most_bytes, options.tap
        )
        session.pki = options.pki
        if self._paused is not None:
            session.join(self._paused)
        self.controller, self.session = controller, session
        self._task = asyncio.get_running_loop().create_task(self._hold(session))
        self._past.add(self._task)
        self._task.add_done_callback(self._past.discard)

    async def _hold(self, session: SeccSession) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            outcome: Outcome = SessionFault(FaultKind.INTERNAL, str(session.current_state), "the session was dropped")
            try:
                outcome = await session.run(float(Timeouts.V2G_EVCC_COMMUNICATION_SETUP_TIMEOUT))
            finally:
                if self.session is session:
                    is_paused = outcome is SessionEnd.PAUSED
                    self._paused = session.paused() if is_paused else None
                    self._only_from = None
                    self._stage = self._stage if is_paused else None
                    self._forget()
                    self._listener.over(outcome)

    def _forget(self) -> None:
        self.session = self.controller = self._task = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _config(self, writer: asyncio.StreamWriter) -> Config:
        config = Config()
        is_tls = self.options.pki is not None
        config.supported_protocols = [WireProtocol.ISO_15118_2]
        if not is_tls or _is_mutual_1_3(writer.get_extra_info("ssl_object")):
            newest = WireProtocol.ISO_15118_20_DC if self.ratings.is_dc else WireProtocol.ISO_15118_20_AC
            config.supported_protocols.insert(0, newest)
        if self.ratings.is_dc and not is_tls:  # DIN 70121 knows no TLS [V2G-DC-618]
            config.supported_protocols.append(WireProtocol.DIN_SPEC_70121)
        config.supported_auth_options = [AuthEnum.EIM]
        if is_tls and self.options.accepts_contracts:
            config.supported_auth_options.append(AuthEnum.PNC)
        config.allow_cert_install_service = False  # not implemented by the package in -20
        return config


def _is_mutual_1_3(line: ssl.SSLObject | None) -> bool:
    """ISO 15118-20 asks for TLS 1.3 and a certificate of the car; less than that is -2."""
    return line is not None and line.version() == "TLSv1.3" and bool(line.getpeercert())


def loopback() -> str:
    """::1 where there is one, else 127.0.0.1."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return "127.0.0.1"
    return "::1"

"""A charging station's end on a network interface, for cars that find it by discovery; no power electronics behind it.

Our own `Secc` with its listening and discovery, or the package's handler (SECCHandler) around our controller and our
session, as it runs on other people's hardware.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from iso15118.secc import SECCHandler, comm_session_handler
from iso15118.secc.controller.interface import ServiceStatus
from iso15118.secc.secc_settings import Config
from iso15118.shared.exi_codec import EXI
from iso15118.shared.messages.enums import AuthEnum
from iso15118.shared.messages.enums import Protocol as WireProtocol
from iso15118.shared.settings import SettingKey, shared_settings

from twin.station.iso15118.evse import EvseController
from twin.station.iso15118.evse_core import EvseSettings
from twin.station.iso15118.options import WireOptions
from twin.station.iso15118.package import use_codec, use_pki
from twin.station.iso15118.sdp import link_local_address
from twin.station.iso15118.secc import Secc
from twin.station.iso15118.session import Outcome, SeccSession
from twin.station.rail import EvNeeds, EvseRatings

Report = Callable[[str], None]


class DryStage:
    """Power electronics that are not there: what is ordered counts as flowing, and is told."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._is_closed = False
        self._flowing_kw = 0.0

    def switch(self, *, is_closed: bool) -> None:
        self._is_closed = is_closed
        self._report(f"contactors {'closed' if is_closed else 'open'}")
        if not is_closed:
            self.apply(0.0)

    def apply(self, power_kw: float) -> float:
        flowing = power_kw if self._is_closed else 0.0
        if flowing != self._flowing_kw:
            self._flowing_kw = flowing
            self._report(f"flows {flowing:g} kW")
        return flowing

    def pilot(self, power_kw: float) -> None:
        self._report(f"pilot {power_kw:g} kW")

    def present_kw(self) -> float:
        return self._flowing_kw


async def serve(
    interface: str, ratings: EvseRatings, order_kw: float, report: Report, *, pki: Path | None = None,
    is_stock: bool = False,
) -> None:
    """Serve one car after the other on `interface` at a set-point of `order_kw`, until cancelled; every driver may.

    report: told one line per event; the first says that cars can find the station.

    Raises:
        OSError: no such interface, no IPv6 on it, or another station answers there.
    """
    if is_stock:
        await _serve_stock(interface, ratings, order_kw, report, pki)
    else:
        await _serve_own(interface, ratings, order_kw, report, pki)


async def _serve_own(interface: str, ratings: EvseRatings, order_kw: float, report: Report, pki: Path | None) -> None:
    listener = _Listener(report)
    secc = Secc(ratings, listener, WireOptions(interface=interface, pki=pki))
    secc.order(order_kw)
    try:
        host, port = await secc.listen()
        report(f"listening on {host} port {port}{'' if pki is None else ', TLS'}")
        while True:
            listener.is_over.clear()
            secc.plug(DryStage(report))
            secc.authorise()
            await listener.is_over.wait()
    finally:
        await secc.close()


class _Listener:
    def __init__(self, report: Report) -> None:
        self._report = report
        self.is_over = asyncio.Event()

    def said(self, needs: EvNeeds) -> None:
        self._report(f"needs {needs}")

    def loop(self, is_in_loop: bool) -> None:
        self._report("charge loop begins" if is_in_loop else "charge loop ends")

    def over(self, outcome: Outcome) -> None:
        self._report(f"over: {outcome}")
        self.is_over.set()


class _StockController(EvseController):
    """Lets every driver in: the stock handler keeps one controller for all sessions."""

    report: Report

    async def set_status(self, status: ServiceStatus) -> None:
        if status is ServiceStatus.READY:
            self.report("listening")

    async def session_ended(self, current_state: str, reason: str) -> None:
        await super().session_ended(current_state, reason)
        self.authorise()
        self.report(f"over: {current_state}: {reason}")


async def _serve_stock(interface: str, ratings: EvseRatings, order_kw: float, report: Report, pki: Path | None) -> None:
    await link_local_address(interface)
    use_codec()
    if pki is not None:
        use_pki(pki)
        shared_settings[SettingKey.ENABLE_TLS_1_3] = True
    # Its handler knows no other way to another session class; theirs reads 7000 bytes and calls them a message.
    comm_session_handler.SECCCommunicationSession = SeccSession
    controller = _StockController(ratings, DryStage(report), EvseSettings(
        on_needs=lambda needs: report(f"needs {needs}"),
        on_loop=lambda is_in_loop: report("charge loop begins" if is_in_loop else "charge loop ends"),
    ))
    controller.report = report
    controller.order(order_kw)
    controller.authorise()
    config = Config()
    newest = WireProtocol.ISO_15118_20_DC if ratings.is_dc else WireProtocol.ISO_15118_20_AC
    config.supported_protocols = [newest, WireProtocol.ISO_15118_2]
    config.supported_auth_options = [AuthEnum.EIM]
    config.allow_cert_install_service = False
    await SECCHandler(exi_codec=EXI().get_exi_codec(), evse_controller=controller, config=config).start(interface)

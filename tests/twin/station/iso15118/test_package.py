"""What the package does to a process and what we make of it; our controller under its own session and handler."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from iso15118.secc import SECCHandler
from iso15118.secc.comm_session_handler import SECCCommunicationSession
from iso15118.secc.secc_settings import Config
from iso15118.shared.exi_codec import EXI
from iso15118.shared.messages.enums import AuthEnum, Protocol

from twin.station.iso15118 import EvseController, EvseSettings, WireOptions, drive, use_codec
from twin.station.iso15118.session import SeccSession
from twin.station.rail import Control, EvseRatings, Language, Speech, Transfer

PROBE = """
import gc, logging, os, sys
logging.basicConfig(level="ERROR", stream=sys.stderr)
root = logging.getLogger()
before = (root.level, list(root.handlers), dict(os.environ))
import twin.station.iso15118
import iso15118.secc, iso15118.evcc
assert (root.level, root.handlers, dict(os.environ)) == before, "the import changed the process"
logging.getLogger("iso15118.secc").error("noise")
logging.getLogger("twin.station").error("ours")
assert gc.isenabled()
print("fastapi" in sys.modules, "twin.replay" in sys.modules, "aggregator" in sys.modules)
"""


def test_importing_the_package_leaves_logging_and_environment_as_they_were(tmp_path: Any) -> None:
    (tmp_path / ".env").write_text("LOG_LEVEL=DEBUG\nPKI_PATH=/somewhere\n")
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "False False False\n"
    assert "noise" not in done.stderr
    assert "ours" in done.stderr


def test_the_stock_handler_takes_our_controller(bench: Any) -> None:
    use_codec()
    car = bench.ScriptedCar(Speech())
    controller = EvseController(EvseRatings(max_charge_kw=11.0), bench.Stage(car))
    handler = SECCHandler(exi_codec=EXI().get_exi_codec(), evse_controller=controller, config=Config())
    assert handler.evse_controller is controller


@pytest.mark.anyio
@pytest.mark.parametrize(("speech", "session_class"), [
    (Speech(), SECCCommunicationSession), (Speech(), SeccSession),
    (Speech(Language.ISO_15118_20, Transfer.AC_BPT), SECCCommunicationSession),
    (Speech(Language.ISO_15118_2, Transfer.DC, Control.SCHEDULED), SECCCommunicationSession),
], ids=["DC_BPT", "DC_BPT-our-framing", "AC_BPT", "ISO-2-DC"])
async def test_the_controller_works_under_the_packages_own_session(
    bench: Any, speech: Speech, session_class: type[SECCCommunicationSession]
) -> None:
    use_codec()
    notes, car = bench.Notes(), bench.ScriptedCar(speech)
    is_dc = speech.transfer.is_dc
    controller = EvseController(
        EvseRatings(max_charge_kw=11.0, max_discharge_kw=10.0, is_dc=is_dc, permits_ac_bpt=True), bench.Stage(car),
        EvseSettings(on_needs=notes.said, on_loop=notes.loop),
    )
    controller.order(6.0)
    controller.authorise()
    config = Config()
    config.supported_protocols = [
        Protocol.ISO_15118_20_DC if is_dc else Protocol.ISO_15118_20_AC, Protocol.ISO_15118_2,
    ]
    config.supported_auth_options = [AuthEnum.EIM]
    config.allow_cert_install_service = False
    running = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = session_class((reader, writer), asyncio.Queue(), config, controller, "DE*V2G*E1")
        running.append((asyncio.ensure_future(session.start(20.0)), session))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    driving = asyncio.create_task(drive(car, bench.Stage(car), host, port, WireOptions(pause_s=lambda: 0.005)))
    await bench.until(lambda: car.present_kw == 6.0)
    if speech.transfer.is_bidirectional:
        controller.order(-4.0)
        await bench.until(lambda: car.present_kw == -4.0)
    assert notes.needs_told[0].transfer is speech.transfer
    controller.terminate()
    await driving
    assert car.present_kw == 0.0
    assert notes.loops == [True, False]
    task, session = running[0]
    if session_class is SeccSession:
        await task
        assert session.session_handler_queue.get_nowait().successful  # what the stock handler waits for
    else:
        task.cancel()  # it would sleep for five seconds before it closes
        await asyncio.gather(task, return_exceptions=True)
        session.writer.transport.abort()
    server.close()

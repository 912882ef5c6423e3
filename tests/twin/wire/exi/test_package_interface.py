"""The codec in the place of the package's own: its messages go out and come back as its classes."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from twin.wire.exi import ExiCodec


@pytest.fixture
def quiet_logging() -> Iterator[None]:
    """The package sets up the root logger when it is imported."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.usefixtures("quiet_logging")
def test_the_packages_messages_go_out_and_come_back(codec: ExiCodec) -> None:
    from iso15118.shared.exi_codec import EXI  # noqa: PLC0415 - sets up logging when it is imported
    from iso15118.shared.messages.app_protocol import AppProtocol, SupportedAppProtocolReq  # noqa: PLC0415
    from iso15118.shared.messages.enums import Namespace  # noqa: PLC0415
    from iso15118.shared.messages.iso15118_20.common_messages import (  # noqa: PLC0415
        ChargingSession,
        SessionSetupReq,
        SessionStopReq,
    )
    from iso15118.shared.messages.iso15118_20.common_types import MessageHeader  # noqa: PLC0415
    from iso15118.shared.settings import load_shared_settings  # noqa: PLC0415

    load_shared_settings()
    exi = EXI()
    before, exi.exi_codec = exi.exi_codec, None
    try:
        exi.set_exi_codec(codec)
        header = MessageHeader(session_id="0123456789ABCDEF", timestamp=1_700_000_000)
        offers = [AppProtocol(protocol_ns="urn:iso:std:iso:15118:-20:DC", major_version=1, minor_version=0, schema_id=1,
                              priority=1)]
        for message, namespace in (
            (SupportedAppProtocolReq(app_protocol=offers), Namespace.SAP),
            (SessionSetupReq(header=header, evcc_id="WMIV1234567890ABCDEX"), Namespace.ISO_V20_COMMON_MSG),
            (SessionStopReq(header=header, charging_session=ChargingSession.TERMINATE), Namespace.ISO_V20_COMMON_MSG),
        ):
            stream = exi.to_exi(message, namespace)
            assert stream[0] == 0x80
            assert exi.from_exi(stream, namespace) == message
    finally:
        exi.exi_codec = before

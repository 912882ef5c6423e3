"""The service as a process: configuration read, ports taken, one event loop until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

from aggregator.config import ConfigError, load_settings
from aggregator.operations.folder_lock import FolderInUseError, folder_lock
from aggregator.operations.tokens import SigningKeyError
from aggregator.refusal import Refused
from aggregator.service import assemble
from aggregator.store import StoreError
from markets.rate import RateError


def run_service(config: Path, *, ends_with_stdin: bool = False) -> None:
    """Run the service from a configuration file until it is told to stop.

    Raises:
        Refused: a faulty configuration, an occupied port, a database that cannot be used.
    """
    if not config.is_file():
        raise Refused(f"{config}: no such configuration file")
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=_fast_loop()) as runner:
        runner.run(_serve(config, ends_with_stdin=ends_with_stdin))


async def _serve(config: Path, *, ends_with_stdin: bool) -> None:
    try:
        settings = load_settings(config)
    except ConfigError as error:
        raise Refused(str(error)) from None
    with contextlib.closing(listen("http_port", settings.host, settings.http_port)) as http:
        listen("ocpp_port", settings.host, settings.ocpp_port).close()
        try:
            with folder_lock(settings.data_dir):
                service = await assemble(settings)
                await service.run(http, ends_with_stdin=ends_with_stdin)
        except (ConfigError, FolderInUseError, RateError, SigningKeyError, StoreError) as error:
            raise Refused(str(error)) from None


def listen(setting: str, host: str, port: int) -> socket.socket:
    """A listening socket. setting: the name under which the port is configured.

    Raises:
        Refused: the port is occupied.
    """
    bound = socket.socket(proto=socket.IPPROTO_TCP)  # named, so that asyncio sets TCP_NODELAY on its connections
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise Refused(f"{setting}: {port} on {host} cannot be used ({error.strerror}), expected a free port") from None
    return bound


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - absent on Windows
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory

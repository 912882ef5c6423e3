"""`python -m twin.station`: run the emulated charging stations of a fleet file against any CSMS."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twin.station.clock import ClockFileError, DomainClock
from twin.station.fleetfile import FleetFileError, load_fleet
from twin.station.process import serve

EXAMPLE = """example:
  python -m twin.station --fleet stations.json --clock clock.json --ocpp ws://127.0.0.1:9000

stdout carries one JSON object per line: site_meter, minute, plugged, unplugged, station_online, station_offline,
session_charges, session_broke, session_mended, command_refused and, at the end, summary. stdin takes
{"type":"drop","station_id":"CA-303","hold_s":3} and {"type":"quit"}."""


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 at the end of the day or on SIGTERM; 1 if a file cannot be used (one line on stderr says why)."""
    parser = argparse.ArgumentParser(
        prog="python -m twin.station", description=__doc__, epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--fleet", type=Path, required=True, help="fleet file (JSON): stations, cars, building load")
    parser.add_argument("--clock", type=Path, help="clock file of a scaled run (JSON); without it, wall time")
    parser.add_argument("--ocpp", required=True, metavar="URL", help="the CSMS; the station id is appended to the path")
    parser.add_argument("--truth", type=Path, help="also write every line, and each car's true energy by the minute")
    parser.add_argument("--seed", type=int, default=0, help="for the jitter of reconnections")
    parser.add_argument("--ends-with-stdin", action="store_true", help="quit when stdin closes (the parent is gone)")
    parser.add_argument("--log-level", default="WARNING", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=chosen.log_level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    fault_of_url = csms_url_fault(chosen.ocpp)
    if fault_of_url is not None:
        print(fault_of_url, file=sys.stderr)  # noqa: T201 - the answer to whoever called the command
        return 1
    try:
        fleet = load_fleet(chosen.fleet)
        clock = DomainClock.wall() if chosen.clock is None else DomainClock.load(chosen.clock)
    except (FleetFileError, ClockFileError) as fault:
        print(fault, file=sys.stderr)  # noqa: T201 - the answer to whoever called the command
        return 1
    try:
        _run(serve(
            fleet, clock, chosen.ocpp, truth=chosen.truth, ends_with_stdin=chosen.ends_with_stdin, seed=chosen.seed
        ))
    except FleetFileError as fault:  # what only this interpreter cannot do
        print(f"{chosen.fleet}: {fault}", file=sys.stderr)  # noqa: T201 - see above
        return 1
    return 0


def csms_url_fault(url: str) -> str | None:
    """What is wrong with the address of a CSMS, in one line, or None."""
    expected = "expected ws://HOST[:PORT][/PATH] or wss://..."
    if "@" in url:  # not to be shown, and the stations' credentials come from the fleet file
        return f"--ocpp: an address with credentials, {expected}"
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in {"ws", "wss"} and bool(parts.hostname) and parts.port != 0
    except ValueError as fault:  # a port or an IPv6 address that is none
        return f"--ocpp: {url!r}: {fault}; {expected}"
    is_plain = url.isascii() and url.isprintable() and " " not in url
    if not is_one or not is_plain or parts.query or parts.fragment:  # the station's id is appended to the path
        return f"--ocpp: {url!r}, {expected}"
    return None


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop  # noqa: PLC0415 - optional, and slow to import where it is not used
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m twin.station.iso15118`: make a test PKI, see which modes work, or serve cars on a network interface."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from twin.station.iso15118.link import NoLink
from twin.station.iso15118.link_table import link_table
from twin.station.iso15118.pki import make_pki
from twin.station.iso15118.serve import serve
from twin.station.iso15118.table import table
from twin.station.rail import EvseRatings

EXAMPLE = """example:
  python -m twin.station.iso15118 pki out/pki
  python -m twin.station.iso15118 table
  python -m twin.station.iso15118 link
  python -m twin.station.iso15118 secc eth1 --pki out/pki --kw 7"""


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 if done (and for the table: if every line is green), else 1 with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m twin.station.iso15118", description=__doc__, epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    pki = commands.add_parser("pki", help="write certificates and keys for tests below a folder")
    pki.add_argument("folder", type=Path)
    commands.add_parser("table", help="run a session in every protocol and mode and print what flowed")
    commands.add_parser("link", help="run sessions over a pair of virtual interfaces, found by discovery (needs root)")
    secc = commands.add_parser("secc", help="serve cars on a network interface, without power electronics behind it")
    secc.add_argument("interface")
    secc.add_argument("--kw", type=float, default=7.0, help="set-point; below 0 the car is asked to give back")
    secc.add_argument("--rated-kw", type=float, default=11.0, help="rating, in both directions")
    secc.add_argument("--ac", action="store_true", help="an AC outlet, three phases")
    secc.add_argument("--pki", type=Path, help="folder of `pki`: TLS")
    secc.add_argument("--stock", action="store_true", help="under the handler of the package iso15118")
    chosen = parser.parse_args(arguments)
    if chosen.command == "secc":
        return _secc(chosen)
    if chosen.command == "pki":
        try:
            _say(f"test keys, not for production: {make_pki(chosen.folder)}")
        except OSError as fault:
            return _refuse(fault)
        return 0
    try:
        lines, is_green = asyncio.run(table() if chosen.command == "table" else link_table())
    except NoLink as fault:
        return _refuse(fault)
    _say("\n".join(lines))
    return 0 if is_green else 1


def _secc(chosen: argparse.Namespace) -> int:
    ratings = EvseRatings(
        chosen.rated_kw, is_dc=not chosen.ac, max_discharge_kw=chosen.rated_kw, permits_ac_bpt=chosen.ac
    )

    async def until_stopped() -> None:
        task = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)  # type: ignore[union-attr]  # this is one
        with contextlib.suppress(asyncio.CancelledError):
            await serve(chosen.interface, ratings, chosen.kw, _say, pki=chosen.pki, is_stock=chosen.stock)

    try:
        asyncio.run(until_stopped())
    except OSError as fault:
        return _refuse(fault)
    return 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the answer


def _refuse(fault: OSError) -> int:
    print(fault, file=sys.stderr)  # noqa: T201 - the answer
    return 1


if __name__ == "__main__":
    sys.exit(main())

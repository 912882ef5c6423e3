"""`python -m twin.station.iso15118`: make a test PKI, or see which protocols and modes work."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from twin.station.iso15118.pki import make_pki
from twin.station.iso15118.table import table

EXAMPLE = """example:
  python -m twin.station.iso15118 pki out/pki
  python -m twin.station.iso15118 table"""


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
    chosen = parser.parse_args(arguments)
    if chosen.command == "pki":
        try:
            print(f"test keys, not for production: {make_pki(chosen.folder)}")  # noqa: T201 - the answer
        except OSError as fault:
            print(fault, file=sys.stderr)  # noqa: T201 - the answer
            return 1
        return 0
    lines, is_green = asyncio.run(table())
    print("\n".join(lines))  # noqa: T201 - the answer
    return 0 if is_green else 1


if __name__ == "__main__":
    sys.exit(main())

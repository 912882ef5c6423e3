"""Use the codec by hand: `python -m twin.wire.exi decode HEX`, in the environment of the emulated stations."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from twin.wire.exi.captured import Captured, captured
from twin.wire.exi.codec import ExiCodec, Schemas, installed_codec
from twin.wire.exi.errors import ExiError, InvalidValue, Malformed, UnknownMessage
from twin.wire.exi.fuzz import fuzz

PROTOCOLS = {
    "sap": "urn:iso:15118:2:2010:AppProtocol",
    "din": "urn:din:70121:2012:MsgDef",
    "iso2": "urn:iso:15118:2:2013:MsgDef",
    "common": "urn:iso:std:iso:15118:-20:CommonMessages",
    "ac": "urn:iso:std:iso:15118:-20:AC",
    "dc": "urn:iso:std:iso:15118:-20:DC",
    "wpt": "urn:iso:std:iso:15118:-20:WPT",
    "acdp": "urn:iso:std:iso:15118:-20:ACDP",
    "xmldsig": "http://www.w3.org/2000/09/xmldsig#",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 done, 1 refused, wholly or partly, with the reason on standard error, 2 not understood."""
    options = _parser().parse_args(arguments)
    try:
        codec = ExiCodec(Schemas.from_folder(options.schemas)) if options.schemas else installed_codec()
        text: str
        text, status = options.run(codec, options)
    except ExiError as refused:
        print(f"refused: {refused}", file=sys.stderr)  # noqa: T201 - a command's own output
        return 1
    try:
        print(text, flush=True)  # noqa: T201 - a command's own output
    except BrokenPipeError:
        # Who reads has had enough (head, a pager): no fault. What is still buffered goes nowhere, or the interpreter
        # would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="v2g exi", description="Decode and encode EXI as ISO 15118 and DIN 70121 use it.",
        epilog="example: v2g exi decode 80400040 --protocol sap")
    parser.add_argument("--schemas", metavar="FOLDER",
                        help="folder of the protocols' XSD files; default: those of the installed package iso15118")
    commands = parser.add_subparsers(dest="command", required=True)
    protocols = ", ".join(PROTOCOLS)
    decode = commands.add_parser("decode", help="EXI in hexadecimal to JSON")
    decode.add_argument("hex", metavar="HEX", nargs="?", help=(
        "the stream, as hex digits with or without blanks, colons, commas, 0x; or - for standard input. V2GTP headers "
        "are read, of whole network frames nothing else"))
    decode.add_argument("--file", metavar="FILE", help="a file instead: the octets themselves, or as above")
    decode.add_argument("--protocol", metavar="NAME", help=f"{protocols}, or a namespace; default: all that fit")
    decode.add_argument("--fragment", action="store_true", help="a fragment, as signatures are made over")
    decode.set_defaults(run=_decode)
    encode = commands.add_parser("encode", help='JSON {"MessageName": {...}} to EXI in hexadecimal')
    encode.add_argument("json", metavar="JSON", help="the message, or - for standard input")
    encode.add_argument("--protocol", metavar="NAME", required=True, help=f"{protocols}, or a namespace")
    encode.set_defaults(run=_encode)
    hostile = commands.add_parser("fuzz", help="decode hostile streams and say what became of them")
    hostile.add_argument("--count", type=_count, default=100_000, metavar="N",
                         help="streams, at least 1; default: %(default)s")
    hostile.add_argument("--seed", type=int, default=1)
    hostile.set_defaults(run=_fuzz)
    return parser


def _count(text: str) -> int:
    """A number of streams, as argparse asks for it."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text:.40}, expected a number of at least 1")
    return number


def _decode(codec: ExiCodec, options: argparse.Namespace) -> tuple[str, int]:
    streams = captured(_given(options))
    found: list[Any] = []
    refused: list[str] = []
    for number, each in enumerate(streams, start=1):
        try:
            found.append(_decoded(codec, each, options))
        except ExiError as fault:
            found.append({"refused": str(fault), "exi": each.stream.hex()})
            refused.append(f"message {number} of {len(streams)}: {fault}" if len(streams) > 1 else str(fault))
    if len(refused) == len(streams):
        raise Malformed(refused[0])
    for reason in refused:
        print(f"refused: {reason}", file=sys.stderr)  # noqa: T201 - its own output
    return json.dumps(found if len(found) > 1 else found[0], indent=2, ensure_ascii=False), 1 if refused else 0


def _given(options: argparse.Namespace) -> bytes | str:
    if (options.hex is None) == (options.file is None):
        raise Malformed("nothing to decode, expected HEX or --file FILE" if options.file is None else
                        "HEX and --file together, expected one of them")
    if options.file is None:
        return sys.stdin.buffer.read() if options.hex == "-" else str(options.hex)
    try:
        return Path(options.file).read_bytes()
    except OSError as fault:
        raise Malformed(f"{options.file}: {fault.strerror}") from None


def _decoded(codec: ExiCodec, given: Captured, options: argparse.Namespace) -> Any:
    known = codec.schemas.namespaces
    names = [options.protocol] if options.protocol else given.protocols or tuple(PROTOCOLS)
    namespaces = [PROTOCOLS.get(name, name) for name in names]
    namespaces = [each for each in namespaces if each in known or options.protocol]
    found, refused = _readings(codec, given.stream, namespaces, is_fragment=options.fragment)
    faulty = [each for each, fault in refused.items() if isinstance(fault, InvalidValue)]
    if not found and faulty and not options.fragment:
        lenient = ExiCodec(codec.schemas.without_lengths(), codec.limits)
        found, _ = _readings(lenient, given.stream, faulty, is_fragment=False)
        for namespace in found:
            print(f"note: outside its schema: {refused[namespace]}", file=sys.stderr)  # noqa: T201 - its own output
    if not found:
        nearest = {each: fault for each, fault in refused.items()
                   if fault.path and _is_message(codec, each, fault.path[0])}
        reasons = {namespace: str(fault) for namespace, fault in (nearest or refused).items()}
        if len({*reasons.values()}) == 1 < len(reasons):
            raise Malformed(next(iter(reasons.values())))
        raise Malformed("no protocol has such a message: "
                        + "; ".join(f"{namespace}: {reason}" for namespace, reason in reasons.items()))
    # One stream may be a message of several protocols: the numbers of two grammars may coincide. Of those that read
    # it as something else, a part of a signature mostly, nothing is shown beside a message.
    messages = {each: content for each, content in found.items() if _is_message(codec, each, next(iter(content)))}
    shown = messages or found
    return shown if len(shown) > 1 else next(iter(shown.values()))


def _is_message(codec: ExiCodec, namespace: str, name: str) -> bool:
    return any(each.name.local == name for each in codec.schemas.protocol(namespace).messages)


def _readings(codec: ExiCodec, stream: bytes, namespaces: list[str], *,
              is_fragment: bool) -> tuple[dict[str, Any], dict[str, ExiError]]:
    """What `stream` says in each of `namespaces`, or why it says nothing there."""
    found: dict[str, Any] = {}
    refused: dict[str, ExiError] = {}
    decode = codec.decode_fragment if is_fragment else codec.decode_message
    for namespace in namespaces:
        try:
            found[namespace] = decode(stream, namespace)
        except ExiError as fault:
            refused[namespace] = fault
    return found, refused


def _encode(codec: ExiCodec, options: argparse.Namespace) -> tuple[str, int]:
    text = sys.stdin.read() if options.json == "-" else options.json
    namespace = PROTOCOLS.get(options.protocol, options.protocol)
    if namespace not in codec.schemas.namespaces:
        raise UnknownMessage(
            f"protocol {options.protocol}, expected {', '.join(PROTOCOLS)} or a namespace of the schemas")
    return codec.encode(text, namespace).hex(), 0


def _fuzz(codec: ExiCodec, options: argparse.Namespace) -> tuple[str, int]:
    report = fuzz(codec, options.count, options.seed)
    lines = [f"{outcome:32} {number:>9,}" for outcome, number in sorted(report.outcomes.items())]
    rate = report.count / max(report.seconds, 1e-9)
    lines.append(f"{report.count:,} hostile streams in {report.seconds:.1f} s of processor time: {rate:,.0f}/s, "
                 f"the slowest {report.slowest_s * 1e3:.1f} ms")
    lines.append(f"memory {report.resident_start_kb / 1024:.1f} MB after a tenth of them, "
                 f"{report.resident_end_kb / 1024:.1f} MB at the end")
    return "\n".join(lines), 0


if __name__ == "__main__":
    sys.exit(main())

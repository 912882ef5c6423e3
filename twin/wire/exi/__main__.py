"""Use the codec by hand: `python -m twin.wire.exi decode HEX`, in the environment of the emulated stations."""

from __future__ import annotations

import argparse
import json
import os
import sys
from string import hexdigits

from twin.wire.exi.codec import ExiCodec, Schemas, installed_codec
from twin.wire.exi.errors import ExiError, Malformed, UnknownMessage
from twin.wire.exi.fuzz import fuzz

_V2GTP_HEADER = "01fe"
_SHORT = {
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
    """Run one command; 0 done, 1 refused with the reason on standard error, 2 not understood."""
    options = _parser().parse_args(arguments)
    try:
        codec = ExiCodec(Schemas.from_folder(options.schemas)) if options.schemas else installed_codec()
        text: str = options.run(codec, options)
    except ExiError as refused:
        print(f"refused: {refused}", file=sys.stderr)  # noqa: T201 - a command's own output
        return 1
    try:
        print(text, flush=True)  # noqa: T201 - a command's own output
    except BrokenPipeError:
        # Who reads has had enough (head, a pager): no fault. What is still buffered goes nowhere, or the interpreter
        # would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="v2g exi", description="Decode and encode EXI as ISO 15118 and DIN 70121 use it.",
        epilog="example: v2g exi decode 80400040 --protocol sap")
    parser.add_argument("--schemas", metavar="FOLDER",
                        help="folder of the protocols' XSD files; default: those of the installed package iso15118")
    commands = parser.add_subparsers(dest="command", required=True)
    protocols = ", ".join(_SHORT)
    decode = commands.add_parser("decode", help="EXI in hexadecimal to JSON")
    decode.add_argument("hex", metavar="HEX", help="the stream; a V2GTP header before it is skipped")
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


def _decode(codec: ExiCodec, options: argparse.Namespace) -> str:
    digits = "".join(options.hex.split()).lower()
    if digits.startswith(_V2GTP_HEADER):
        digits = digits[16:]
    try:
        stream = bytes.fromhex(digits)
    except ValueError:
        is_odd = len(digits) % 2 and not set(digits) - set(hexdigits)
        why = "has an odd number of hexadecimal digits, expected two for each octet" if is_odd else "is not hexadecimal"
        raise Malformed(f"{options.hex:.40} {why}") from None
    namespaces = [_SHORT.get(options.protocol, options.protocol)] if options.protocol else list(_SHORT.values())
    known = codec.schemas.namespaces
    found, refused = {}, {}
    for namespace in namespaces:
        if namespace not in known and not options.protocol:
            continue
        try:
            decode = codec.decode_fragment if options.fragment else codec.decode_message
            found[namespace] = decode(stream, namespace)
        except ExiError as fault:
            refused[namespace] = fault
    if not found:
        reasons = "; ".join(f"{namespace}: {fault}" for namespace, fault in refused.items())
        raise Malformed(f"no protocol has such a message: {reasons}")
    # One stream may be a message of several protocols: the numbers of two grammars may coincide.
    return json.dumps(found if len(found) > 1 else next(iter(found.values())), indent=2, ensure_ascii=False)


def _encode(codec: ExiCodec, options: argparse.Namespace) -> str:
    text = sys.stdin.read() if options.json == "-" else options.json
    namespace = _SHORT.get(options.protocol, options.protocol)
    if namespace not in codec.schemas.namespaces:
        raise UnknownMessage(f"protocol {options.protocol}, expected {', '.join(_SHORT)} or a namespace of the schemas")
    return codec.encode(text, namespace).hex()


def _fuzz(codec: ExiCodec, options: argparse.Namespace) -> str:
    report = fuzz(codec, options.count, options.seed)
    lines = [f"{outcome:32} {number:>9,}" for outcome, number in sorted(report.outcomes.items())]
    rate = report.count / max(report.seconds, 1e-9)
    lines.append(f"{report.count:,} hostile streams in {report.seconds:.1f} s of processor time: {rate:,.0f}/s, "
                 f"the slowest {report.slowest_s * 1e3:.1f} ms")
    lines.append(f"memory {report.resident_start_kb / 1024:.1f} MB after a tenth of them, "
                 f"{report.resident_end_kb / 1024:.1f} MB at the end")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

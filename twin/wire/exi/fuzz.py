"""Hostile streams by the million: each is decoded or refused by a named error, soon, and leaves no trace in memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from twin.wire.exi.codec import ExiCodec
from twin.wire.exi.errors import ExiError
from twin.wire.exi.samples import Samples
from twin.wire.exi.shapes import Shape, shapes

_SEEDS_PER_NAMESPACE = 60
_RANDOM_OCTETS = 200
_SHAPES = 0.05  # of all streams are built, not drawn: one is as long as a hundred messages
_WITH_A_FAULT = 0.3  # of those, with one octet changed
_REPEATS = (1, 5, 31, 33, 200, 5_000, 30_000)
_PARTS = ("Signature", "SignedInfo")  # what is sent in a namespace that has no messages


@dataclass(slots=True)
class FuzzReport:
    """What became of the streams.

    outcomes: how many were decoded, or refused with which error, per kind of hostility.
    slowest_s: processor time of the slowest stream. resident_start_kb, resident_end_kb: the process's memory after a
    tenth of the streams and at the end; 0 where the system does not tell.
    """

    count: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    seconds: float = 0.0
    resident_start_kb: int = 0
    resident_end_kb: int = 0


class Hostile(NamedTuple):
    """A stream that is meant to do harm, and whose it pretends to be."""

    kind: str
    namespace: str
    stream: bytes
    is_fragment: bool = False


def hostile_streams(codec: ExiCodec, seed: int) -> Iterator[Hostile]:
    """Without end: valid messages truncated, with bits flipped, spliced; noise; what is built to exhaust a decoder."""
    draw = Random(seed)
    valid: list[tuple[str, bytes]] = []
    built: dict[str, list[tuple[str, Shape]]] = {}
    for namespace in codec.schemas.namespaces:
        protocol = codec.schemas.protocol(namespace)
        for shape in shapes(protocol, seed):
            built.setdefault(shape.kind, []).append((namespace, shape))
        samples = Samples(protocol.schema, seed)
        roots = protocol.messages or [each for name, each in protocol.schema.elements.items()
                                      if name.local in _PARTS and name.uri == namespace]
        for number in range(_SEEDS_PER_NAMESPACE if roots else 0):
            element = roots[number % len(roots)]
            stream = codec.encode_message({element.name.local: samples.element(element)}, namespace)
            valid.append((namespace, stream))
    while True:
        yield _built(draw, built) if draw.random() < _SHAPES else changed(draw, valid)


def _built(draw: Random, built: dict[str, list[tuple[str, Shape]]]) -> Hostile:
    namespace, shape = draw.choice(built[draw.choice(list(built))])
    stream = bytearray(shape.stream(draw.choice(_REPEATS)))
    if draw.random() < _WITH_A_FAULT:
        stream[draw.randrange(len(stream))] = draw.randrange(256)
    return Hostile(shape.kind, namespace, bytes(stream), shape.is_fragment)


def changed(draw: Random, valid: list[tuple[str, bytes]]) -> Hostile:
    """One of the valid streams, each with its namespace, damaged in one of seven ways."""
    namespace, stream = draw.choice(valid)
    kind = draw.choice(("truncated", "one bit", "many bits", "octet", "spliced", "longer", "random"))
    changed = bytearray(stream)
    if kind == "truncated":
        del changed[draw.randrange(len(stream)):]
    elif kind in {"one bit", "many bits"}:
        for _ in range(1 if kind == "one bit" else draw.randint(2, 20)):
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    elif kind == "octet":
        changed[draw.randrange(len(changed))] = draw.choice((0, 0x7F, 0x80, 0xFF))
    elif kind == "spliced":
        other = draw.choice(valid)[1]
        changed[draw.randrange(len(changed)):] = other[draw.randrange(len(other)):]
    elif kind == "longer":
        changed += draw.randbytes(draw.randint(1, _RANDOM_OCTETS))
    else:
        changed = bytearray(b"\x80" + draw.randbytes(draw.randint(0, _RANDOM_OCTETS)))
    return Hostile(kind, namespace, bytes(changed))


def fuzz(codec: ExiCodec, count: int, seed: int) -> FuzzReport:
    """Decode `count` hostile streams; anything but a message or an `ExiError` comes out as it is raised."""
    report = FuzzReport()
    began = time.process_time()
    for hostile in hostile_streams(codec, seed):
        if report.count >= count:
            break
        if report.count == count // 10:
            report.resident_start_kb = _resident_kb()
        report.count += 1
        start = time.process_time()
        try:
            if hostile.is_fragment:
                codec.decode_fragment(hostile.stream, hostile.namespace)
            else:
                codec.decode(hostile.stream, hostile.namespace)
            outcome = "decoded"
        except ExiError as refused:
            outcome = type(refused).__name__
        report.slowest_s = max(report.slowest_s, time.process_time() - start)
        report.outcomes[f"{hostile.kind}: {outcome}"] += 1
    report.seconds = time.process_time() - began
    report.resident_end_kb = _resident_kb()
    return report


def _resident_kb() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    line = next((each for each in status.read_text().splitlines() if each.startswith("VmRSS")), "VmRSS: 0 kB")
    return int(line.split()[1])

"""Messages of real cars, stations and other codecs, damaged: each is refused by name, or read and written again alike.

    .venv-station/bin/python benchmarks/exi_hostile_others.py [--count N] [--seed N]

Truncated, flipped, spliced, lengthened and random streams are made of tests/twin/wire/exi/messages_of_others.toml. What
is read is written and read once more and has to say the same, unless it is refused when written (mandatory elements may
be missing in what is read); every stream also goes through what finds messages in files and frames (`captured`).
"""

from __future__ import annotations

import argparse
import time
import tomllib
from collections import Counter
from pathlib import Path
from random import Random

from twin.wire.exi import ExiCodec, ExiError, installed_codec
from twin.wire.exi.__main__ import PROTOCOLS
from twin.wire.exi.captured import captured
from twin.wire.exi.fuzz import Hostile, changed

MESSAGES = Path(__file__).parents[1] / "tests" / "twin" / "wire" / "exi" / "messages_of_others.toml"


def outcome(codec: ExiCodec, hostile: Hostile) -> str:
    """What became of it; AssertionError where it is read a second time as something else."""
    try:
        message = codec.decode_message(hostile.stream, hostile.namespace)
    except ExiError:
        return "refused"
    try:
        stream = codec.encode_message(message, hostile.namespace)
    except ExiError:
        return "read, refused when written"
    name = next(iter(message))
    is_message = any(each.name.local == name for each in codec.schemas.protocol(hostile.namespace).messages)
    again = (codec.decode_message if is_message else codec.decode_fragment)(stream, hostile.namespace)
    assert again == message, hostile.stream.hex()
    return "read and written again alike"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    sources = tomllib.loads(MESSAGES.read_text(encoding="utf-8")).values()
    valid = [(PROTOCOLS[message["as"]], bytes.fromhex(message["exi"]))
             for source in sources for message in source["messages"] if "fragment" not in message]
    strict = installed_codec()
    codecs = {"strict": strict, "without lengths": ExiCodec(strict.schemas.without_lengths())}
    draw, outcomes, slowest, began = Random(options.seed), Counter[str](), 0.0, time.process_time()
    for _ in range(options.count):
        hostile = changed(draw, valid)
        for name, codec in codecs.items():
            start = time.process_time()
            outcomes[f"{name}: {outcome(codec, hostile)}"] += 1
            slowest = max(slowest, time.process_time() - start)
        try:
            captured(hostile.stream)
        except ExiError:
            outcomes["captured: refused"] += 1
    for what, times in sorted(outcomes.items()):
        print(f"{what:45} {times:>11,}")
    print(f"{options.count:,} streams of {len(valid)} messages, {time.process_time() - began:.0f} s of processor time, "
          f"the slowest {slowest * 1000:.0f} ms")


if __name__ == "__main__":
    main()

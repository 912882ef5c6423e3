"""How fast our EXI codec is, beside the jar that the package iso15118 uses, in one run.

    .venv-station/bin/python benchmarks/exi_speed.py            with the jar, started as the package starts it
    .venv-station/bin/python benchmarks/exi_speed.py --alone    without Java

Each figure is the best of several rounds, after both codecs have warmed up, by the wall and by processor time. The
jar's processor time is that of its Java process and of our end of the connection to it; processor time is what counts
on a machine that does other things meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exi_oracles import Jar, Machine, find_jar, find_java

from twin.wire.exi import ExiCodec, Schemas

DC = "urn:iso:std:iso:15118:-20:DC"
COMMON = "urn:iso:std:iso:15118:-20:CommonMessages"
HEADER = {"SessionID": "0123456789ABCDEF", "TimeStamp": 1_700_000_000}


def rational(value: int, exponent: int = 0) -> dict[str, int]:
    return {"Exponent": exponent, "Value": value}


def charge_loop() -> dict[str, Any]:
    """A bidirectional DC loop request as a car sends it every second or so: about 60 octets."""
    names = ("EVTargetEnergyRequest", "EVMaximumEnergyRequest", "EVMinimumEnergyRequest", "EVMaximumChargePower",
             "EVMinimumChargePower", "EVMaximumChargeCurrent", "EVMaximumVoltage", "EVMinimumVoltage",
             "EVMaximumDischargePower", "EVMinimumDischargePower", "EVMaximumDischargeCurrent")
    values = (18_000, 24_000, -18_000, 11_000, 100, 40, 420, 300, 10_000, 100, 30)
    return {"DC_ChargeLoopReq": {
        "Header": HEADER, "MeterInfoRequested": False, "EVPresentVoltage": rational(400),
        "BPT_Dynamic_DC_CLReqControlMode": {name: rational(value) for name, value in zip(names, values, strict=True)},
    }}


def day_of_prices() -> dict[str, Any]:
    """An answer with 96 price stacks, among the longest messages in use."""
    rules = [{"EnergyFee": rational(25 + quarter % 40, -2), "PowerRangeStart": rational(0)} for quarter in range(96)]
    stacks = [{"Duration": 900, "PriceRule": [rule]} for rule in rules]
    return {"ScheduleExchangeRes": {
        "Header": HEADER, "ResponseCode": "OK", "EVSEProcessing": "Finished", "Dynamic_SEResControlMode": {
            "DepartureTime": 28_800, "AbsolutePriceSchedule": {
                "Id": "price", "TimeAnchor": 1_700_000_000, "PriceScheduleID": 1, "Currency": "EUR", "Language": "en",
                "PriceAlgorithm": "urn:iso:std:iso:15118:-20:PriceAlgorithm:1-Power",
                "PriceRuleStacks": {"PriceRuleStack": stacks}}}}}


def best(work: Callable[[], object], rounds: int, times: int, child: int | None = None) -> tuple[float, float]:
    """Seconds of one call by the wall and by the processor, in the best round; with those of process `child`."""
    wall = processor = float("inf")
    for _ in range(rounds):
        start, start_cpu = time.perf_counter(), processor_time(child)
        for _ in range(times):
            work()
        wall = min(wall, (time.perf_counter() - start) / times)
        processor = min(processor, (processor_time(child) - start_cpu) / times)
    return wall, processor


def processor_time(child: int | None) -> float:
    """Processor seconds of this process, and of `child` in the kernel's ticks of 10 ms."""
    if child is None:
        return time.process_time()
    fields = Path(f"/proc/{child}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alone", action="store_true", help="without the jar")
    options = parser.parse_args()
    jar_file = find_jar()
    if jar_file is None:
        raise SystemExit("needs the package iso15118: run it in the stations' environment")
    start = time.process_time()
    codec = ExiCodec(Schemas.from_folder(jar_file.parent / "schemas"))
    for namespace in codec.schemas.namespaces:
        codec.schemas.protocol(namespace)
    print(f"grammars of all protocols: {(time.process_time() - start) * 1e3:.0f} ms of processor time")
    machine = None if options.alone or find_java() is None else Machine(())
    if machine is None and not options.alone:
        print("no Java: ours alone")
    try:
        peer = None if machine is None else Jar(machine)
        pid = None if machine is None else machine.pid
        compare("charge loop", json.dumps(charge_loop()), DC, codec, peer, pid)
        compare("96 price stacks", json.dumps(day_of_prices()), COMMON, codec, peer, pid)
    finally:
        if machine is not None:
            machine.close()


def compare(name: str, text: str, namespace: str, codec: ExiCodec, peer: Jar | None, pid: int | None) -> None:
    stream = codec.encode(text, namespace)
    print(f"{name}: {len(text):,} characters of JSON, {len(stream):,} octets of EXI")
    times = max(2000 * 60 // len(stream), 20)
    ours = {"encode": best(lambda: codec.encode(text, namespace), 9, times),
            "decode": best(lambda: codec.decode(stream, namespace), 9, times)}
    theirs: dict[str, tuple[float, float]] = {}
    if peer is not None:
        assert peer.encode(text, namespace) == stream
        assert json.loads(peer.decode(stream, namespace)) == json.loads(codec.decode(stream, namespace))
        best(lambda: (peer.encode(text, namespace), peer.decode(stream, namespace)), 1, 150)
        theirs = {"encode": best(lambda: peer.encode(text, namespace), 3, 50, pid),
                  "decode": best(lambda: peer.decode(stream, namespace), 3, 50, pid)}
    for what, (wall, processor) in ours.items():
        line = f"  {what}: {wall * 1e6:,.1f} us, {processor * 1e6:,.1f} us of processor time"
        if what in theirs:
            their_wall, their_processor = theirs[what]
            line += (f"; the jar {their_wall * 1e6:,.0f} us, {their_processor * 1e6:,.0f} us of processor time: "
                     f"{their_wall / wall:,.0f} and {their_processor / processor:,.0f} times")
        print(line)


if __name__ == "__main__":
    main()

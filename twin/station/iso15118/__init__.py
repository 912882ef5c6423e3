"""ISO 15118 and DIN 70121 on the wire: an SECC and an EVCC on the package `iso15118`, with our own framing and codec.

`WireRail` is a charging session of the emulated station over a real TCP connection; `Secc` is its station end alone,
for any EVCC, on loopback or found by discovery on a network interface; `EvseController` also runs under the package's
stock handler. `python -m twin.station.iso15118` makes a test PKI and prints which protocols and modes work. Only this
folder imports the package.
"""

from twin.station.iso15118 import package
from twin.station.iso15118.evse import EvseController
from twin.station.iso15118.evse_core import EvseSettings, PowerStage, Registers
from twin.station.iso15118.numbers import quantised_kw
from twin.station.iso15118.options import WireOptions
from twin.station.iso15118.sdp import Found, discover
from twin.station.iso15118.secc import Secc, SeccListener
from twin.station.iso15118.session import Outcome
from twin.station.iso15118.wire_rail import WireRail, drive, find_and_drive
from twin.station.rail import Step

use_codec, use_pki = package.use_codec, package.use_pki

__all__ = [
    "EvseController", "EvseSettings", "Found", "Outcome", "PowerStage", "Registers", "Secc", "SeccListener", "Step",
    "WireOptions", "WireRail", "discover", "drive", "find_and_drive", "quantised_kw", "use_codec", "use_pki",
]

"""Every protocol and mode once over a real connection: a table of what flowed, in which direction."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from twin.station.iso15118.options import WireOptions
from twin.station.iso15118.pki import make_pki
from twin.station.iso15118.wire_rail import WireRail
from twin.station.rail import (
    CarIntent,
    CarLimits,
    CarState,
    Control,
    EvNeeds,
    EvseRatings,
    Language,
    SessionEnd,
    SessionFault,
    Speech,
    Step,
    Transfer,
)

CHARGE_KW, DISCHARGE_KW = 7.0, -5.0
SAME_KW = 0.01  # -2 AC carries amperes per phase
PAUSE_S = 0.01
WITHIN_S = 10.0

HEADER = (
    "| language | transfer | control | line, identification | charge | discharge | how discharge is carried |",
    "|---|---|---|---|---|---|---|",
)
_CARRIED = {
    (Transfer.AC_BPT, Control.SCHEDULED): "`EVSETargetActivePower` below 0",
    (Transfer.AC_BPT, Control.DYNAMIC): "`EVSETargetActivePower` below 0",
    (Transfer.DC_BPT, Control.SCHEDULED): "`EVTargetCurrent` below 0",
    (Transfer.DC_BPT, Control.DYNAMIC): "`EVSEMaximumChargePower` 0, `EVSEMaximumDischargePower` above 0",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; discharges is None where the mode has no discharge."""

    speech: Speech
    is_tls: bool
    charges: bool
    discharges: bool | None
    ended: SessionEnd | SessionFault | None

    @property
    def is_green(self) -> bool:
        return self.charges and self.discharges is not False and self.ended is SessionEnd.CAR

    def __str__(self) -> str:
        speech = self.speech
        how = _CARRIED.get((speech.transfer, speech.control), "the language has none")
        if speech.language is Language.ISO_15118_20 and not speech.transfer.is_bidirectional:
            how = "the service has none"
        control = speech.control.removesuffix("Control") if speech.language is Language.ISO_15118_20 else "schedule"
        line = ("TLS" if self.is_tls else "TCP") + (", Plug & Charge" if speech.has_contract else ", external")
        back = "-" if self.discharges is None else _word(self.discharges)
        charge = _word(self.charges and self.ended is SessionEnd.CAR)
        return f"| {speech.language} | {speech.transfer} | {control} | {line} | {charge} | {back} | {how} |"


async def table() -> tuple[list[str], bool]:
    """Lines of a Markdown table, and whether all of it is green: the set-points flowed and the sessions ended well."""
    rows = [await _try(speech, None) for speech in speeches()]
    with tempfile.TemporaryDirectory() as folder:
        pki = make_pki(Path(folder))
        rows += [await _try(speech, pki) for speech in over_tls()]
    return [*HEADER, *map(str, rows)], all(row.is_green for row in rows)


def speeches() -> list[Speech]:
    """Every language, transfer and control mode."""
    newest = [
        Speech(Language.ISO_15118_20, transfer, control)
        for transfer in (Transfer.AC_THREE_PHASE, Transfer.AC_BPT, Transfer.DC, Transfer.DC_BPT) for control in Control
    ]
    older = [
        Speech(Language.ISO_15118_2, transfer, Control.SCHEDULED)
        for transfer in (Transfer.AC_SINGLE_PHASE, Transfer.AC_THREE_PHASE, Transfer.DC)
    ]
    return [Speech(Language.DIN_70121, Transfer.DC, Control.SCHEDULED), *older, *newest]


def over_tls() -> list[Speech]:
    """What TLS and Plug & Charge are tried with."""
    return [
        Speech(language, transfer, control, has_contract=has_contract)
        for language, transfer, control in (
            (Language.ISO_15118_2, Transfer.AC_THREE_PHASE, Control.SCHEDULED),
            (Language.ISO_15118_2, Transfer.DC, Control.SCHEDULED),
            (Language.ISO_15118_20, Transfer.DC_BPT, Control.DYNAMIC),
        )
        for has_contract in (False, True)
    ]


async def _try(speech: Speech, pki: Path | None) -> Row:
    car, listener = _Car(speech), _Listener()
    rail = WireRail(
        EvseRatings(
            11.0, is_dc=speech.transfer.is_dc, max_discharge_kw=10.0, max_current_a=60.0, permits_ac_bpt=True
        ),
        listener,
        WireOptions(pause_s=lambda: PAUSE_S, pki=pki, accepts_contracts=speech.has_contract),
    )
    try:
        rail.order(CHARGE_KW)
        rail.connect(car)
        rail.authorise()
        charges = await _comes(lambda: abs(car.power_kw - CHARGE_KW) <= SAME_KW)
        charges = charges and rail.secc.is_by_contract is speech.has_contract
        rail.order(DISCHARGE_KW)
        discharges = None
        if speech.transfer.is_bidirectional:
            discharges = await _comes(lambda: abs(car.power_kw - DISCHARGE_KW) <= SAME_KW)
        rail.order(0.0)
        charges = charges and await _comes(lambda: car.power_kw == 0.0)
        car.intent = CarIntent.STOP
        await _comes(lambda: listener.end is not None)
        return Row(speech, pki is not None, charges, discharges, listener.end)
    finally:
        await rail.close()


async def _comes(holds: Callable[[], bool]) -> bool:
    try:
        async with asyncio.timeout(WITHIN_S):
            while not holds():  # noqa: ASYNC110 - nothing signals that a power has been reached
                await asyncio.sleep(PAUSE_S)
    except TimeoutError:
        return False
    return True


def _word(is_green: bool) -> str:
    return "green" if is_green else "**red**"


class _Car:
    """A car that takes what it is given and stays until it is told to go."""

    limits = CarLimits(capacity_kwh=60.0, max_charge_kw=11.0, max_discharge_kw=10.0, max_current_a=60.0)

    def __init__(self, speech: Speech) -> None:
        self.speech = speech
        self.power_kw = 0.0
        self.intent = CarIntent.STAY

    def state(self) -> CarState:
        return CarState(
            soc=0.5, target_soc=0.8, min_soc=0.2, max_soc=0.9, departure_s=7200.0, target_energy_kwh=18.0,
            max_energy_kwh=24.0, min_energy_kwh=-18.0, present_kw=self.power_kw, intent=self.intent,
        )

    def take(self, power_kw: float) -> float:
        self.power_kw = power_kw
        return power_kw


class _Listener:
    """Remembers how the session ended."""

    end: SessionEnd | SessionFault | None = None

    def needs(self, needs: EvNeeds) -> None:
        """What was said is not part of the table."""

    def offer(self) -> Sequence[Step]:
        return ()

    def flowing(self, power_kw: float) -> None:
        """The car knows."""

    def ended(self, reason: SessionEnd) -> None:
        self.end = reason

    def faulted(self, fault: SessionFault) -> None:
        self.end = fault

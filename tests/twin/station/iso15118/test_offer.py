"""The schedule offered to a car that plans: powers that bind it, and price levels for what the plan would like."""

from __future__ import annotations

from typing import Any

import pytest
from iso15118.shared.exi_codec import EXI
from iso15118.shared.messages.enums import Namespace

from twin.station.rail import Control, Language, SessionEnd, Speech, Step, Transfer

pytestmark = pytest.mark.anyio

STEPS = (Step(3600, 11.0, 10.0, 1), Step(1800, 11.0, 10.0, 3), Step(81_000, 11.0, 10.0, 2))


@pytest.mark.parametrize("transfer", [Transfer.DC_BPT, Transfer.AC_BPT, Transfer.DC])
async def test_a_plan_is_told_in_price_levels_and_binds_nobody(stand: Any, bench: Any, transfer: Transfer) -> None:
    there = await stand(Speech(transfer=transfer, control=Control.SCHEDULED), options={"offer": lambda: STEPS})
    driving = there.drive()
    await bench.until(lambda: abs(there.car.present_kw - 7.0) < 0.01)
    said, = [m["ScheduleExchangeRes"] for m in there.relay.messages(is_from_car=False) if "ScheduleExchangeRes" in m]
    offered, = said["Scheduled_SEResControlMode"]["ScheduleTuple"]
    charging = offered["ChargingSchedule"]
    powers = charging["PowerSchedule"]["PowerScheduleEntries"]["PowerScheduleEntry"]
    assert [entry["Duration"] for entry in powers] == [3600, 1800, 81_000]
    assert {entry["Power"]["Value"] * 10 ** entry["Power"]["Exponent"] for entry in powers} == {11_000}
    wishes = charging["PriceLevelSchedule"]
    assert wishes["NumberOfPriceLevels"] == 3
    entries = wishes["PriceLevelScheduleEntries"]["PriceLevelScheduleEntry"]
    assert [(entry["Duration"], entry["PriceLevel"]) for entry in entries] == [(3600, 1), (1800, 3), (81_000, 2)]
    there.secc.order(11.0)  # and the loop may give more than the plan of a minute ago
    await bench.until(lambda: there.car.present_kw == 11.0)
    there.car.leave()
    assert await there.over() is SessionEnd.CAR
    await driving


@pytest.mark.parametrize("speech", [
    Speech(Language.ISO_15118_2, Transfer.DC, Control.SCHEDULED),
    Speech(Language.DIN_70121, Transfer.DC, Control.SCHEDULED),
], ids=lambda s: s.language)
async def test_the_older_languages_are_told_powers_alone(stand: Any, bench: Any, speech: Speech) -> None:
    steps = (*STEPS[:2], Step(81_000, 5.0))
    there = await stand(speech, options={"offer": lambda: steps})
    driving = there.drive()
    await bench.until(lambda: there.car.present_kw == 7.0)
    is_din = speech.language is Language.DIN_70121
    space, found = Namespace.DIN_MSG_DEF if is_din else Namespace.ISO_V2_MSG_DEF, []
    for _, payload in list(bench.frames(bytes(there.relay.seen[False])))[1:]:
        body = EXI().get_exi_codec().decode_message(payload, space)["V2G_Message"]["Body"]
        if "ChargeParameterDiscoveryRes" in body:
            found.append(body["ChargeParameterDiscoveryRes"]["SAScheduleList"]["SAScheduleTuple"][0])
    entries = found[-1]["PMaxSchedule"]["PMaxScheduleEntry"]
    assert [entry["RelativeTimeInterval"]["start"] for entry in entries] == [0, 5400]
    assert entries[-1]["RelativeTimeInterval"]["duration"] == 81_000
    there.car.leave()
    assert await there.over() is SessionEnd.CAR
    await driving

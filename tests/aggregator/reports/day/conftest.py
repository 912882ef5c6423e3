"""A day on which every promise was kept, small enough to reason about; tests break one thing at a time."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from aggregator.reports.day import (
    Assumption,
    Attribution,
    BillFact,
    BillLine,
    CreditFact,
    DayFacts,
    EventFact,
    EventInterval,
    LimitFact,
    MessageCount,
    PlanFact,
    RoundFact,
    SocTrace,
    StepSeries,
    VisitFact,
)
from aggregator.reports.words import Refusal
from aggregator.signals.model import ReasonCode

START = datetime(2019, 7, 15, 13, 0, tzinfo=UTC)
END = START + timedelta(hours=14)
LIMIT_START = START + timedelta(hours=6, minutes=30)
EVENT_START = START + timedelta(hours=8)
CAP_KW, LIMIT_KW, BASELINE_KW, TARGET_KW, PROMISED_KW = 120.0, 70.0, 80.0, 20.0, 24.0


def net_kw() -> np.ndarray:
    """Six readings a minute: 40 kW at night, 100 kW in the morning, 60 kW under the limit, 24 kW in the event."""
    seconds = 10.0 * np.arange(14 * 360)
    net = np.where(seconds < 2 * 3600, 40.0, 100.0 + 5 * np.sin(seconds / 2500))
    net = np.where(seconds >= 10 * 3600, 70.0, net)
    net[(seconds >= 6.5 * 3600) & (seconds < 7 * 3600)] = 60.0
    net[(seconds >= 8 * 3600) & (seconds < 10 * 3600)] = 24.0
    return net


def v2g_power(give_kw: float = 8.0) -> StepSeries:
    power = np.full(14 * 60, 3.0)
    power[8 * 60 : 10 * 60] = -give_kw
    return StepSeries.regular(START, 60.0, power)


def visit(index: int) -> VisitFact:
    arrival = START + timedelta(minutes=40 + 11 * index)
    is_v2g = index % 3 == 2
    declared = START + timedelta(hours=11, minutes=5 * index)
    times = START.timestamp() + 3600.0 * np.arange(1, 11)
    return VisitFact(
        f"CA-{303 + index}", ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")[index % 3], arrival, declared,
        declared + timedelta(minutes=7 * (index % 4) - 10), 14.0 + index, 30.0 if index != 4 else 9.0,
        14.0 + index if index != 4 else 8.95, 17.0 + index, 12.0 if is_v2g else 0.0,
        paired_delivered_kwh=14.0 + index, reached_at=declared - timedelta(minutes=50), is_bidirectional=is_v2g,
        soc=SocTrace(times, np.linspace(0.3, 0.8, 10)) if is_v2g else None, target_soc=0.8, floor_soc=0.2,
    )


def kept_day() -> DayFacts:
    intervals = tuple(
        EventInterval(
            EVENT_START + timedelta(minutes=15 * k), EVENT_START + timedelta(minutes=15 * k + 15), BASELINE_KW,
            TARGET_KW, PROMISED_KW,
        )
        for k in range(8)
    )
    net = net_kw()
    refusal = Refusal(1, "departure", "CA-309", EVENT_START, EVENT_START, 0.84)
    passed = RoundFact(0.03, 0.12, 0.04)
    plans = [
        PlanFact(f"plan-{k}", START + timedelta(minutes=15 * k), "quarter hour", "optimal", True, (passed,))
        for k in range(56)
    ]
    plans[7] = PlanFact(
        "plan-7", START + timedelta(minutes=105), "CA-309 plugged in", "optimal", True,
        (RoundFact(0.03, 0.11, 0.05, (refusal,)), passed),
    )
    energy = BillLine("Energy 12:00 to 18:00", 310.5, "kWh", Decimal("0.26668"), Decimal("82.80"))
    demand = BillLine("Demand", 105.0, "kW", Decimal("15.51"), Decimal("1628.55"))
    return DayFacts(
        "caltech-workplace", "America/Los_Angeles", "USD", START, END, 480.0, 118.2,
        net=StepSeries.regular(START, 10.0, net),
        building=StepSeries.regular(START, 60.0, np.full(840, 45.0)),
        uncontrolled=StepSeries.regular(START, 60.0, np.where(np.arange(840) < 300, 160.0, 60.0)),
        planned=StepSeries.regular(START, 900.0, net.reshape(56, 90).mean(axis=1)),
        evse_power={"CA-305": v2g_power(), "CA-308": v2g_power(6.0),
                    "CA-303": StepSeries.regular(START, 60.0, np.full(840, 2.0))},
        limits=(
            LimitFact("site", "cap", START, END, CAP_KW, 480.0),
            LimitFact("sig-2", "mandatory", LIMIT_START, LIMIT_START + timedelta(minutes=30), LIMIT_KW, 1.0,
                      0.041, 0.232, 5.8),
        ),
        visits=tuple(visit(index) for index in range(12)),
        events=(
            EventFact("sig-1", "afternoon-relief", "reported", START + timedelta(hours=4),
                      START + timedelta(hours=4, minutes=2), intervals, ((ReasonCode.ENERGY, 2),), Decimal("44.80"),
                      Decimal("0.00")),
        ),
        plans=tuple(plans),
        bill=BillFact((energy, demand)),
        uncontrolled_bill=BillFact((energy, BillLine("Demand", 160.0, "kW", Decimal("15.51"), Decimal("2481.60")))),
        credits=(CreditFact("CA-305", START + timedelta(minutes=62), 16.0, Decimal("3.20")),
                 CreditFact("CA-308", START + timedelta(minutes=95), 12.0, Decimal("2.40"))),
        messages=(MessageCount("ocpp1.6", "in", "MeterValues", 8123), MessageCount("ocpp1.6", "out",
                  "SetChargingProfile", 311), MessageCount("ocpp2.1", "in", "TransactionEvent", 7100)),
        assumptions=(Assumption("Sessions", "arrival, departure and energy as recorded", True, "ACN-Data"),
                     Assumption("State of charge", "drawn from a seeded distribution", False)),
        attributions=(Attribution("ACN-Data", "CC BY 4.0", "Lee, Li, Low (2019)", "https://ev.caltech.edu/dataset"),),
        notes=(), program_version="0.1.0",
    )


@pytest.fixture
def day() -> DayFacts:
    return kept_day()

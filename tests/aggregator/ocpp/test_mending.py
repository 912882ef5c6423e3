"""Mending keeps what is right, guesses nothing but a time, and never makes things worse."""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.ocpp.mending import mender
from twin.wire.ocpp import SchemaFault, check

NOW = datetime(2019, 7, 15, 13, tzinfo=UTC)
AT = "2019-07-15T12:00:00Z"
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["timestamp", "sampledValue", "value", "unit", "measurand", "x"]), inner, max_size=3),
    max_leaves=6,
)
sample = st.fixed_dictionaries(
    {}, optional={"value": junk | st.just("5"), "unit": junk | st.just("Wh"), "measurand": junk, "x": junk})
meter_value = junk | st.fixed_dictionaries(
    {}, optional={"timestamp": junk | st.just(AT), "sampledValue": junk | st.lists(sample | junk, max_size=3)})


def mend(action: str, payload: dict[str, Any], version: str = "ocpp1.6") -> dict[str, Any] | None:
    with pytest.raises(SchemaFault) as caught:
        check(version, action, "Request", payload)
    return mender(version, lambda: NOW)(action, payload, caught.value)


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries({}, optional={
    "connectorId": st.just(1) | junk, "meterValue": junk | st.lists(meter_value, max_size=3), "transactionId": junk}))
def test_whatever_arrives_mending_ends_with_a_valid_payload_or_none(payload: dict[str, Any]) -> None:
    try:
        check("ocpp1.6", "MeterValues", "Request", payload)
    except SchemaFault as fault:
        before = copy.deepcopy(payload)
        mended = mender("ocpp1.6", lambda: NOW)("MeterValues", payload, fault)
        assert payload == before
        if mended is not None:
            check("ocpp1.6", "MeterValues", "Request", mended)


def test_only_the_odd_sample_is_left_out() -> None:
    odd, good = {"value": "50", "unit": "Hz"}, {"value": "7"}
    payload = {"connectorId": 1, "meterValue": [
        {"timestamp": AT, "sampledValue": [odd]}, {"timestamp": AT, "sampledValue": [good, odd]}]}
    assert mend("MeterValues", payload) == {
        "connectorId": 1, "meterValue": [{"timestamp": AT, "sampledValue": [good]}]}


def test_a_message_of_odd_samples_alone_stays_refused() -> None:
    odd = {"value": "50", "unit": "Hz"}
    assert mend("MeterValues", {"connectorId": 1, "meterValue": [{"timestamp": AT, "sampledValue": [odd]}]}) is None


def test_a_transaction_event_stands_without_its_odd_meter_value() -> None:
    event = {"eventType": "Ended", "timestamp": AT, "triggerReason": "EVDeparted", "seqNo": 3,
             "transactionInfo": {"transactionId": "t"}}
    odd = [{"timestamp": AT, "sampledValue": [{"value": "text"}]}]
    assert mend("TransactionEvent", event | {"meterValue": odd}, "ocpp2.0.1") == event


@pytest.mark.parametrize(("action", "payload"), [
    ("StopTransaction", {"transactionId": 1, "meterStop": 5}),
    ("StartTransaction", {"connectorId": 1, "idTag": "x", "meterStart": 5, "timestamp": "noon"}),
    ("BootNotification", {"chargePointVendor": "x" * 30, "chargePointModel": "m"}),
    ("Authorize", {"idTag": "x" * 30}),
])
def test_what_identifies_something_is_never_guessed(action: str, payload: dict[str, Any]) -> None:
    assert mend(action, payload) is None


def test_a_payload_nested_beyond_reason_is_refused_and_not_an_accident() -> None:
    deep: dict[str, Any] = {}
    for _ in range(1000):
        deep = {"a": deep}
    assert mend("MeterValues", {"connectorId": 1, "meterValue": deep}) is None

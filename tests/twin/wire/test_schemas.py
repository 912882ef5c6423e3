"""Schemas: the right OCPP error code for each way of being wrong, in each version's spelling."""

from typing import Any

import pytest
from jsonschema import Draft4Validator

from twin.wire.ocpp import SchemaFault, check, error_code, knows
from twin.wire.ocpp.schemas import VERSIONS, _compiled, _names

START: dict[str, Any] = {"connectorId": 1, "idTag": "token", "meterStart": 0, "timestamp": "2019-07-15T13:00:00Z"}


def code_of(version: str, action: str, payload: dict[str, Any]) -> str:
    with pytest.raises(SchemaFault) as caught:
        check(version, action, "Request", payload)
    return caught.value.code


def test_every_schema_of_every_version_compiles_both_ways() -> None:
    for version in VERSIONS:
        for name in _names(version):
            assert _compiled(version, name, exact=True)
            assert _compiled(version, name, exact=False)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"connectorId": "1"}, "TypeConstraintViolation"),
        ({"idTag": "x" * 21}, "PropertyConstraintViolation"),
        ({"timestamp": "noon"}, "PropertyConstraintViolation"),
        ({"extra": 1}, "FormationViolation"),
        ({"meterStart": None}, "TypeConstraintViolation"),
    ],
)
def test_a_fault_in_1_6_has_the_code_of_its_kind(change: dict[str, Any], code: str) -> None:
    assert code_of("ocpp1.6", "StartTransaction", START | change) == code


def test_occurrence_and_formation_are_spelled_as_each_version_spells_them() -> None:
    assert code_of("ocpp1.6", "Authorize", {}) == "OccurenceConstraintViolation"
    assert code_of("ocpp2.0.1", "Authorize", {}) == "OccurrenceConstraintViolation"
    assert code_of("ocpp2.1", "Heartbeat", {"x": 1}) == "FormatViolation"
    assert code_of("ocpp1.6", "Heartbeat", {"x": 1}) == "FormationViolation"
    assert error_code("ocpp1.6", "InternalError") == "InternalError"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("action", ["MakeCoffee", "HeartbeatRequest", "HeartbeatResponse", "../Heartbeat", ""])
def test_an_unknown_action_is_not_implemented(version: str, action: str) -> None:
    assert code_of(version, action, {}) == "NotImplemented"
    assert not knows(version, action)


def test_a_fault_names_its_place_and_never_the_value() -> None:
    with pytest.raises(SchemaFault) as caught:
        check("ocpp1.6", "StartTransaction", "Request", START | {"idTag": "SECRET-TOKEN-OF-A-DRIVER"})
    assert caught.value.path == "$.idTag"
    assert "SECRET" not in str(caught.value)
    assert "20" in str(caught.value)


def test_a_missing_property_is_named() -> None:
    with pytest.raises(SchemaFault) as caught:
        check("ocpp1.6", "MeterValues", "Request",
              {"connectorId": 1, "meterValue": [{"sampledValue": [{"value": "1"}]}]})
    assert (caught.value.steps, caught.value.missing) == (("meterValue", 0), "timestamp")


def test_what_we_send_is_judged_more_strictly_than_what_we_receive() -> None:
    loose = START | {"connectorId": 1.0, "timestamp": "2019-07-15T13:00:00"}
    check("ocpp1.6", "StartTransaction", "Request", loose)
    with pytest.raises(SchemaFault):
        check("ocpp1.6", "StartTransaction", "Request", START | {"connectorId": 1.0}, exact=True)
    with pytest.raises(SchemaFault):
        check("ocpp1.6", "StartTransaction", "Request", START | {"timestamp": "2019-07-15T13:00:00"}, exact=True)


def test_a_send_message_has_a_schema_although_it_has_no_direction() -> None:
    stream = {"id": 1, "pending": 0, "basetime": "2019-07-15T13:00:00Z", "data": [{"t": 0, "v": "1"}]}
    check("ocpp2.1", "NotifyPeriodicEventStream", "Request", stream, exact=True)
    with pytest.raises(SchemaFault):
        check("ocpp2.1", "NotifyPeriodicEventStream", "Response", {})


def test_per_phase_names_of_2_1_pass() -> None:
    period = {"startPeriod": 0, "operationMode": "CentralSetpoint", "setpoint": -1.0, "setpoint_L2": -1.0,
              "setpoint_L3": -1.0}
    profile = {"id": 1, "stackLevel": 0, "chargingProfilePurpose": "TxProfile", "chargingProfileKind": "Absolute",
               "chargingSchedule": [{"id": 1, "chargingRateUnit": "W", "chargingSchedulePeriod": [period]}]}
    check("ocpp2.1", "SetChargingProfile", "Request", {"evseId": 1, "chargingProfile": profile}, exact=True)


def test_another_validator_agrees_about_tenths_of_a_watt() -> None:
    schema = Draft4Validator({"multipleOf": 0.1})
    for tenths in range(0, 70_000, 617):
        profile = {"chargingProfileId": 1, "stackLevel": 0, "chargingProfilePurpose": "TxDefaultProfile",
                   "chargingProfileKind": "Absolute", "chargingSchedule": {"chargingRateUnit": "W",
                   "chargingSchedulePeriod": [{"startPeriod": 0, "limit": round(tenths * 0.1, 1)}]}}
        check("ocpp1.6", "SetChargingProfile", "Request", {"connectorId": 1, "csChargingProfiles": profile}, exact=True)
    profile["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"] = 1.25  # type: ignore[index]
    assert not schema.is_valid(1.25)
    with pytest.raises(SchemaFault):
        check("ocpp1.6", "SetChargingProfile", "Request", {"connectorId": 1, "csChargingProfiles": profile}, exact=True)


def test_an_unknown_version_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match=r"ocpp9.*expected one of ocpp1\.6"):
        check("ocpp9", "Heartbeat", "Request", {})

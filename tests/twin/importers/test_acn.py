"""ACN-Data as CSV and as JSON: the same sessions read alike, and bad rows are named."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from twin.importers import ImportOptions, read_acn_csv, read_acn_json
from twin.scenario import resource_path
from twin.scenario_error import ScenarioError

SHIPPED = resource_path("acn_caltech_2019-07-15.csv")
ALL = ImportOptions(claimed_only=False)


def item(**changes: Any) -> dict[str, Any]:
    return {
        "_id": "5bc915caf9af8b0dad3c0660", "sessionID": "s1", "stationID": "CA-1", "siteID": "0002",
        "connectionTime": "Mon, 15 Jul 2019 15:23:04 GMT", "disconnectTime": "Tue, 16 Jul 2019 01:01:26 GMT",
        "kWhDelivered": 6.48, "timezone": "America/Los_Angeles", "userID": "000000194",
        "userInputs": [
            {"kWhRequested": 99.0, "requestedDeparture": "Mon, 15 Jul 2019 18:00:00 GMT"},
            {"kWhRequested": 10.5, "requestedDeparture": "Mon, 15 Jul 2019 19:19:04 GMT"},
        ],
    } | changes


def write(path: Path, *items: Any) -> Path:
    path.write_text(json.dumps({"_items": list(items)}), encoding="utf-8")
    return path


def test_the_shipped_day_keeps_every_claimed_session_as_the_csv_module_reads_it() -> None:
    imported = read_acn_csv(SHIPPED, ImportOptions())
    with SHIPPED.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["claimed"] == "True"]
    assert not imported.faults
    assert imported.left_out == {"not claimed by a driver": 3}
    assert [(s.id, s.station, str(s.arrival), s.requested_kwh, s.delivered_kwh) for s in imported.sessions] == [
        (row["session_id"], row["station_id"], row["arrival"], float(row["requested_energy (kWh)"]),
         float(row["delivered_energy (kWh)"])) for row in rows
    ]


def test_unclaimed_sessions_want_what_they_got_and_the_report_says_so() -> None:
    imported = read_acn_csv(SHIPPED, ALL)
    assert len(imported.sessions) == 43
    assert not imported.left_out
    assert any("nobody claimed" in sentence for sentence in imported.assumed)


def test_json_and_csv_of_one_session_are_read_alike(tmp_path: Path) -> None:
    (from_json,) = read_acn_json(write(tmp_path / "a.json", item()), ImportOptions()).sessions
    (from_csv,) = [s for s in read_acn_csv(SHIPPED, ImportOptions()).sessions if s.id.startswith("2_39_127_19_")]
    for name in ("arrival", "departure", "declared_departure", "requested_kwh", "delivered_kwh"):
        assert getattr(from_json, name) == getattr(from_csv, name), name


def test_the_last_input_of_a_driver_counts(tmp_path: Path) -> None:
    (session,) = read_acn_json(write(tmp_path / "a.json", item()), ImportOptions()).sessions
    assert session.requested_kwh == 10.5
    assert session.declared_departure == datetime(2019, 7, 15, 19, 19, 4, tzinfo=UTC)


def test_items_without_inputs_are_left_out_or_want_what_they_got(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", item(), item(sessionID="s2", userInputs=None))
    claimed, everyone = read_acn_json(path, ImportOptions()), read_acn_json(path, ALL)
    assert [s.id for s in claimed.sessions] == ["s1"]
    assert claimed.left_out == {"not claimed by a driver": 1}
    assert [(s.id, s.requested_kwh, s.declared_departure) for s in everyone.sessions][1] == ("s2", 6.48, None)


def test_a_bare_list_of_items_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([item()]), encoding="utf-8")
    assert len(read_acn_json(path, ImportOptions()).sessions) == 1


@pytest.mark.parametrize(
    ("changes", "said", "reason"),
    [
        ({"connectionTime": "soon"}, r"\$\._items\[0\], connectionTime: 'soon'", "connectionTime is not a time"),
        ({"connectionTime": "2019-07-15T08:00:00"}, "connectionTime.*with offset", "time without offset"),
        ({"kWhDelivered": -1.0}, "kWhDelivered: -1.0, expected 0 kWh or more", "negative energy"),
        ({"kWhDelivered": "much"}, "kWhDelivered: 'much', expected a number of kWh", "kWhDelivered is not a number"),
        ({"kWhDelivered": True}, "kWhDelivered: True, expected a number", "kWhDelivered is not a number"),
        ({"stationID": None}, "stationID: None, expected a value", "no stationID"),
        ({"userInputs": [{"requestedDeparture": "Mon, 15 Jul 2019 18:00:00 GMT"}]},
         r"userInputs\[0\], kWhRequested", "no kWhRequested"),
    ],
)
def test_a_bad_item_is_named_and_the_others_are_kept(
    tmp_path: Path, changes: dict[str, Any], said: str, reason: str
) -> None:
    imported = read_acn_json(write(tmp_path / "a.json", item(**changes), item(sessionID="good")), ImportOptions())
    assert [s.id for s in imported.sessions] == ["good"]
    (fault,) = imported.faults
    assert fault.reason == reason
    with pytest.raises(ScenarioError, match=said):
        raise fault


def test_local_times_of_a_stated_zone_are_read_and_the_skipped_hour_is_refused(tmp_path: Path) -> None:
    zone = ImportOptions(zone=ZoneInfo("America/Los_Angeles"))
    path = write(
        tmp_path / "a.json", item(connectionTime="2019-07-15T08:23:04"),
        item(sessionID="s2", connectionTime="2019-03-10T02:30:00"),
        item(sessionID="s3", connectionTime="2019-11-03T01:30:00"),
    )
    imported = read_acn_json(path, zone)
    assert imported.sessions[0].arrival == datetime(2019, 7, 15, 15, 23, 4, tzinfo=UTC)
    assert [fault.reason for fault in imported.faults] == [
        "local time that clocks skip", "local time that clocks show twice",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1, column 2"), ("3", r"\$\._items: 'int'"), ('{"_items": 3}', r"\$\._items: 'dict'"),
    ],
)
def test_a_file_that_is_no_export_is_one_clear_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError, match=said):
        read_acn_json(path, ImportOptions())


def test_a_row_of_the_wrong_length_and_a_strange_claim_are_named(tmp_path: Path) -> None:
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    path = tmp_path / "a.csv"
    path.write_text("\n".join([lines[0], lines[1] + ",extra", lines[2].replace("True", "perhaps"), lines[3]]), "utf-8")
    imported = read_acn_csv(path, ImportOptions())
    assert [str(fault).removeprefix(f"{path}: ") for fault in imported.faults] == [
        "row 2: '9 cells', expected 8 as in the header (decimals are written with a point: 7.5)",
        "row 3, claimed: 'perhaps', expected True or False",
    ]
    assert len(imported.sessions) == 1


def test_a_missing_column_ends_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("arrival,departure\n", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"row 1.*a column requested_energy"):
        read_acn_csv(path, ImportOptions())


def test_every_time_of_the_recording_has_the_offset_of_its_place() -> None:
    assert {s.arrival.utcoffset() for s in read_acn_csv(SHIPPED, ALL).sessions} == {timedelta(hours=-7)}

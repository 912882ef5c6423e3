"""Sessions of any network as plain CSV."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.importers import ImportOptions, read_sessions_csv
from twin.scenario_error import ScenarioError

FROM, UNTIL = datetime.fromisoformat("2024-01-01"), datetime.fromisoformat("2026-01-01")
HEAD = "session_id,station_id,arrival,departure,requested_kwh\n"
ROW = "s1,A,2025-01-06T08:00:00+01:00,2025-01-06T16:00:00+01:00,12.5\n"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sessions.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_may_stand_in_any_order_with_a_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text(
        "departure,target_soc,station_id,arrival,session_id,vehicle,arrival_soc\n\n"
        "2025-01-06T16:00Z,0.9,A,2025-01-06T08:00Z,s1,van,0.25\n", encoding="utf-8-sig",
    )
    (session,) = read_sessions_csv(path, ImportOptions()).sessions
    assert (session.id, session.station, session.vehicle, session.arrival_soc, session.target_soc) == (
        "s1", "A", "van", 0.25, 0.9,
    )
    assert (session.arrival, session.label) == (datetime(2025, 1, 6, 8, tzinfo=UTC), "row 3")
    assert (session.requested_kwh, session.declared_departure) == (None, None)


def test_sessions_that_say_what_was_delivered_want_that(tmp_path: Path) -> None:
    text = HEAD.replace("requested", "delivered") + ROW
    imported = read_sessions_csv(write(tmp_path, text), ImportOptions())
    assert imported.sessions[0].requested_kwh == imported.sessions[0].delivered_kwh == 12.5
    assert imported.assumed == ("1 sessions of sessions.csv do not say what was wanted: they want what was delivered.",)


def test_unread_columns_are_named(tmp_path: Path) -> None:
    text = HEAD.replace("requested_kwh", "requested_kwh,colour") + ROW.replace("12.5", "12.5,red")
    assert read_sessions_csv(write(tmp_path, text), ImportOptions()).assumed == (
        "Columns of sessions.csv that were not read: colour.",
    )


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("12.5", "-12.5", "negative energy"),
        ("12.5", "nan", "requested_kwh is not a number"),
        ("12.5", "", "no energy wanted"),
        ("T08:00:00+01:00", "T08:00:00", "time without offset"),
        ("2025-01-06T08", "the sixth", "arrival is not a time"),
        ("s1,", ",", "no session_id"),
        (",12.5", "", "row of the wrong length"),
    ],
)
def test_each_bad_cell_is_one_fault_with_its_row(tmp_path: Path, old: str, new: str, reason: str) -> None:
    assert old in ROW
    imported = read_sessions_csv(write(tmp_path, HEAD + ROW.replace(old, new, 1) + ROW), ImportOptions())
    (fault,) = imported.faults
    assert fault.reason == reason
    assert "row 2" in str(fault)
    assert len(imported.sessions) == 1


@pytest.mark.parametrize("soc", ["1.01", "-0.1"])
@pytest.mark.parametrize("column", ["arrival_soc", "target_soc", "floor_soc"])
def test_a_state_of_charge_lies_between_0_and_1(tmp_path: Path, column: str, soc: str) -> None:
    text = HEAD.replace("requested_kwh", f"delivered_kwh,{column}") + ROW.replace("12.5", f"12.5,{soc}")
    (fault,) = read_sessions_csv(write(tmp_path, text), ImportOptions()).faults
    assert fault.reason == "state of charge outside 0 to 1"


def test_energy_wanted_twice_is_a_fault(tmp_path: Path) -> None:
    text = HEAD.replace("requested_kwh", "requested_kwh,target_soc") + ROW.replace("12.5", "12.5,0.8")
    (fault,) = read_sessions_csv(write(tmp_path, text), ImportOptions()).faults
    assert fault.reason == "energy wanted given twice"


@pytest.mark.parametrize("text", ["", "a,b\n", HEAD.replace("requested_kwh", "price") + ROW])
def test_a_file_without_the_needed_columns_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ScenarioError, match=r"row 1.*a column"):
        read_sessions_csv(write(tmp_path, text), ImportOptions())


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(HEAD.encode() + b"\xff\xfe")
    with pytest.raises(ScenarioError, match="text in UTF-8"):
        read_sessions_csv(path, ImportOptions())


@given(
    when=st.datetimes(FROM, UNTIL),
    kwh=st.floats(0, 1e4, allow_subnormal=False), name=st.text("ab,\"'\n é", min_size=1).map(str.strip).filter(bool),
)
def test_what_a_csv_writer_wrote_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, when: datetime, kwh: float, name: str
) -> None:
    import csv  # noqa: PLC0415 - the oracle is the standard writer

    path = tmp_path_factory.mktemp("csv") / "s.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["session_id", "station_id", "arrival", "departure", "requested_kwh"])
        writer.writerow([name, "A", when.replace(tzinfo=UTC).isoformat(), "2030-01-01T00:00Z", repr(kwh)])
    (session,) = read_sessions_csv(path, ImportOptions(zone=ZoneInfo("Asia/Tokyo"))).sessions
    assert (session.id, session.arrival, session.requested_kwh) == (name, when.replace(tzinfo=UTC), kwh)

"""The chain is attacked with SQLite itself: the triggers are dropped first, as someone with the file could do."""

import hashlib
import json
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.store import AuditHead, Store, StoreError, verify, verify_database
from aggregator.store.audit import GENESIS, canonical, entries

pytestmark = pytest.mark.anyio

ENTRIES = 12


async def _fill(store: Store, count: int = ENTRIES) -> None:
    for number in range(count):
        async with store.transaction("tester") as tx:
            tx.audit("thing.done", f"thing:{number}", {"number": number, "kw": 1.5, "note": "ünïcode"})


def _attack(database: Path, *statements: str) -> None:
    connection = sqlite3.connect(database, isolation_level=None)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.close()


async def test_an_untouched_chain_is_whole_and_its_hashes_are_plain_sha256(store: Store, database: Path) -> None:
    await _fill(store)
    verdict = await verify(store)
    assert (verdict.ok, verdict.entries, verdict.reason) == (True, ENTRIES, "")
    # An independent recomputation, from the columns and the standard library alone.
    connection = sqlite3.connect(database)
    last = GENESIS
    for seq, at, recorded_at, actor, action, subject, detail, prev_hash, digest in connection.execute(
        "SELECT seq, at, recorded_at, actor, action, subject, detail, prev_hash, hash FROM audit ORDER BY seq"
    ):
        body = {"seq": seq, "at": at, "recorded_at": recorded_at, "actor": actor, "action": action,
                "subject": subject, "detail": json.loads(detail)}
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert prev_hash == last
        last = hashlib.sha256((last + text).encode()).hexdigest()
        assert digest == last
    connection.close()
    assert verdict.head == AuditHead(ENTRIES, last)


@pytest.mark.parametrize("statement", [
    "UPDATE audit SET actor = 'nobody' WHERE seq = 3",
    "DELETE FROM audit WHERE seq = 3",
    "UPDATE audit_head SET seq = 1",
    "DELETE FROM audit_head",
])
async def test_the_database_itself_refuses_to_edit_or_delete(store: Store, database: Path, statement: str) -> None:
    await _fill(store)
    connection = sqlite3.connect(database)
    with pytest.raises(sqlite3.IntegrityError, match=r"append-only|only moves on"):
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(("column", "value"), [
    ("actor", "'nobody'"), ("action", "'thing.undone'"), ("subject", "'thing:99'"), ("at", "at + 1"),
    ("recorded_at", "recorded_at - 1"), ("detail", """'{"number":4,"kw":1.6,"note":"x"}'"""),
])
async def test_an_edit_of_any_column_is_found_at_its_entry(
    store: Store, database: Path, column: str, value: str
) -> None:
    await _fill(store)
    _attack(database, f"UPDATE audit SET {column} = {value} WHERE seq = 5")  # noqa: S608  literals of this test
    verdict = await verify(store)
    assert (verdict.ok, verdict.first_bad_seq) == (False, 5)
    assert "not what was written" in verdict.reason


ATTACKS: list[tuple[str, int, str, list[str]]] = [
    ("a deletion in the middle", 4, "entry 4 is missing", ["DELETE FROM audit WHERE seq = 4"]),
    ("a deletion closed up", 4, "does not continue",
     ["DELETE FROM audit WHERE seq = 4", *(f"UPDATE audit SET seq = {n - 1} WHERE seq = {n}" for n in range(5, 13))]),  # noqa: S608  literals
    ("a swap", 6, "does not continue",
     ["UPDATE audit SET seq = 99 WHERE seq = 6", "UPDATE audit SET seq = 6 WHERE seq = 7",
      "UPDATE audit SET seq = 7 WHERE seq = 99"]),
    ("a deletion at the start", 1, "entry 1 is missing", ["DELETE FROM audit WHERE seq = 1"]),
    ("a cut tail", 11, "the tail is missing", ["DELETE FROM audit WHERE seq > 10"]),
    ("everything gone", 1, "the tail is missing", ["DELETE FROM audit"]),
    ("a duplicate", 13, "does not continue",
     [("INSERT INTO audit SELECT 13, at, recorded_at, actor, action, subject, detail, prev_hash, hash "
       "FROM audit WHERE seq = 12")]),
]


@pytest.mark.parametrize(("first_bad", "reason", "statements"), [a[1:] for a in ATTACKS], ids=[a[0] for a in ATTACKS])
async def test_entries_that_are_removed_moved_or_repeated_are_found(
    store: Store, database: Path, first_bad: int, reason: str, statements: list[str]
) -> None:
    await _fill(store)
    _attack(database, *statements)
    verdict = await verify(store)
    assert not verdict.ok
    assert verdict.first_bad_seq == first_bad
    assert reason in verdict.reason


async def test_a_chain_rewritten_with_its_head_is_found_only_with_a_head_noted_outside(tmp_path: Path) -> None:
    heads = []
    for name, count in (("true", 5), ("forged", 6)):
        async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / name}.sqlite") as store:
            await _fill(store, count)
            heads.append((await verify(store)).head)
    forged = tmp_path / "forged.sqlite"
    assert (await verify_database(forged)).ok
    verdict = await verify_database(forged, expect=heads[0])
    assert (verdict.ok, verdict.first_bad_seq) == (False, 5)
    assert "rewritten" in verdict.reason
    longer = AuditHead(9, heads[1].hash)
    assert "the tail is missing" in (await verify_database(forged, expect=longer)).reason


async def test_a_noted_head_stays_valid_while_the_chain_grows(store: Store, database: Path) -> None:
    await _fill(store, 3)
    noted = (await verify(store)).head
    await _fill(store, 4)
    verdict = await verify_database(database, expect=noted)
    assert (verdict.ok, verdict.entries) == (True, 7)


async def test_checking_a_file_that_is_not_ours_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        await verify_database(tmp_path / "absent.sqlite")
    stranger = tmp_path / "stranger.sqlite"
    sqlite3.connect(stranger).close()
    connection = sqlite3.connect(stranger)
    connection.execute("CREATE TABLE shopping (item TEXT)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="expected a database of this service"):
        await verify_database(stranger)


async def test_several_entries_of_one_transaction_keep_their_order(store: Store) -> None:
    async with store.transaction("tester") as tx:
        for number in range(2500):  # more than one page of reading
            tx.audit("step", f"step:{number}")
    subjects = [entry.subject async for entry in entries(store)]
    assert subjects == [f"step:{number}" for number in range(2500)]
    assert [entry.seq async for entry in entries(store, after=2498)] == [2499, 2500]
    assert [entry.seq async for entry in entries(store, limit=3)] == [1, 2, 3]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(value=json_values)
def test_canonical_json_reads_back_to_itself(value: object) -> None:
    once = canonical(value)
    assert canonical(json.loads(once)) == once


async def test_details_of_every_kind_verify_after_reading_back(store: Store) -> None:
    async with store.transaction("tester") as tx:
        tx.audit("odd", "x", {"tuple": (1, 2), "money": Decimal("1.10"), "nan": float("nan"), "deep": {"b": 1, "a": []},
                              "tiny": 5e-324, "huge": 1e308, "quote": "\"'\\\n\u2028"})
        tx.audit("keys", "y", {"10": 1, "9": 2, "Z": 3, "a": 4, "ä": 5})
    assert (await verify(store)).ok
    first = await anext(entries(store))
    assert first.detail["tuple"] == [1, 2]
    assert first.detail["money"] == "1.10"


def test_a_detail_that_json_cannot_say_is_refused() -> None:
    with pytest.raises(TypeError, match=r"expected JSON values|not JSON serializable"):
        canonical({"what": object()})


async def test_a_refused_detail_rolls_the_whole_transaction_back(store: Store) -> None:
    async def break_off() -> None:
        async with store.transaction("tester") as tx:
            tx.audit("fine", "x")
            tx.audit("broken", "y", {"what": object()})

    with pytest.raises(TypeError):
        await break_off()
    assert [entry async for entry in entries(store)] == []

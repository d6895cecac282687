"""Rows of the journal arrive in the lake exactly once, whatever happens between the two."""

from __future__ import annotations

import base64
import datetime
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from perfkit.errors import JournalError, LakeError
from perfkit.journal import Journal, open_journal
from perfkit.journal.reading import SlotReader, list_slots, remove_slot
from perfkit.journal.slots import SlotFiles, hold_slot
from perfkit.lake import drain, draining, journal_folder, open_lake
from perfkit.lake.delta import commit_rows, mark_schema, open_table
from perfkit.lake.lock import hold_lake
from perfkit.schema import arrow_schema

KILLED = """
import os, signal, sys
from perfkit.journal import open_journal
journal = open_journal(sys.argv[1], flush_interval_s=60)
writer = journal.writer("transfers", ("method", "payload_bytes", "latency_ns"))
journal.append("transfers", {"method": ["uds"] * 5, "payload_bytes": 1, "latency_ns": 1})
for _ in range(7):
    assert writer.offer(("uds", 1, 1))
os.kill(os.getpid(), signal.SIGKILL)
"""

BODY_OF_VERSION_3 = zlib.decompress(
    base64.b85decode(
        b"c-oy(!A`?43@r$O;KV0PJ_l(n)tD-A0d8D&fKydfX%bkVNlKFzm8svtPw-d##2i5D$^mKk;`qgW&vCrCy$a*`$NOSG__7sPwiJp&a!#N&uNI"
        b"Ps05fHyG@jEHXsQGxU<xbhR`8rUAmF;ngH9@89aUA@STb>Mm-lzq8D0y`443*5Q!2`y1xM_`)Cy}8c)@^Ehmz@(gtM$C8xbYk((r-by4tgh2"
        b")SfV8cplY^9(_fLc=X$cB%5pm=dy$PB<gcwoXO6(omikofCGDliJPV9omoLU;UTVVQrV|T}g|9G@g!o<$_6zZ_MTY2h(086hU;w)>Pv8Sjh_"
        b"Oh5lAyM&plbzXUBU8=uzTW}Jo4XZ>UnoPHiW-5dt|#|L}gdv+3R8DdAr!`a&!-=W5+"
    )
)
"""Two transfers as perfkit wrote them into journals when the schema was of version 3."""


def transfers(count: int, latency_ns: int = 1) -> dict[str, Any]:
    return {"method": ["uds"] * count, "payload_bytes": 2**40, "latency_ns": latency_ns}


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "data" / "lake"


def journal_of(lake: Path) -> Journal:
    return open_journal(journal_folder(lake))


def keys_of(lake: Path, *, undrained: bool = False) -> list[tuple[str, int, int]]:
    rows = open_lake(lake, undrained=undrained).transfers.to_pyarrow()
    columns = (rows.column(name).to_pylist() for name in ("producer", "epoch", "producer_sequence"))
    return sorted(zip(*columns, strict=True))


def waiting(lake: Path) -> int:
    """Rows of transfers that lie in the journal."""
    connections = [sqlite3.connect(slot.path) for slot in list_slots(journal_folder(lake))]
    rows = [
        one.execute("SELECT coalesce(sum(row_count), 0) FROM batches_transfers").fetchone()[0] for one in connections
    ]
    for connection in connections:
        connection.close()
    return sum(rows)


def tamper(lake: Path, statement: str, *values: object) -> None:
    (slot,) = list_slots(journal_folder(lake))
    connection = sqlite3.connect(slot.path)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


def kill_a_producer(lake: Path) -> None:
    """One that appended 5 rows and had 7 buffered."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(journal_folder(lake))], timeout=60)
    assert killed.returncode == -signal.SIGKILL


def test_rows_arrive_once_and_say_who_produced_them(lake: Path) -> None:
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(3))
        journal.append("transfers", transfers(2))
        result = drain(lake)
        assert (result.rows, result.versions, result.slots) == ({"transfers": 5}, {"transfers": 1}, 1)
        assert keys_of(lake) == [(journal.slot, journal.epoch, number) for number in range(1, 6)]
        assert waiting(lake) == 0
        assert drain(lake).rows == {}
        journal.append("transfers", transfers(1))
        assert drain(lake).rows == {"transfers": 1}
        assert len(set(keys_of(lake))) == 6


def test_values_arrive_as_they_were_recorded(lake: Path) -> None:
    east = datetime.timezone(datetime.timedelta(hours=5))
    moment = datetime.datetime(2026, 11, 20, 3, 30, 0, 123456, tzinfo=east)
    given: dict[str, list[Any]] = {
        "method": ["uds", "", "größer"],
        "payload_bytes": [2**53 + 1, 0, 2**62],
        "latency_ns": [1, 2, 3],
        "observed_at": [moment, None, moment],
        "wire_bytes": [None, 2**53 + 1, None],
        "launch": [3, -4, 5],
        "ok": [True, False, True],
        "error": [None, "", "PeerLostError"],
        "session": [f"user-{number}" for number in range(3)],
    }
    with journal_of(lake) as journal:
        journal.append("transfers", given)
    drain(lake)
    rows = open_lake(lake).transfers.order_by("producer_sequence").to_pyarrow()
    assert {name: rows.column(name).to_pylist() for name in given} == given
    assert rows.column("signalling").to_pylist() == ["uds"] * 3
    assert open_table(lake / "transfers").schema().to_arrow().field("launch").type.bit_width == 32  # type: ignore[union-attr]


def test_every_journalled_table_has_its_rows(lake: Path) -> None:
    with journal_of(lake) as journal:
        journal.append("events", {"name": ["published"], "details": '{"version": 7}'})
        journal.append("decisions", {"decision_id": ["a"], "method": "uds", "payload_bytes": 1, "propensity": 0.25})
    assert drain(lake).rows == {"decisions": 1, "events": 1}
    opened = open_lake(lake)
    assert opened.events.details.to_pyarrow().to_pylist() == ['{"version": 7}']
    assert opened.decisions.propensity.to_pyarrow().to_pylist() == [0.25]
    assert opened.rollups.count().to_pyarrow().as_py() == 0


def test_rows_of_many_slots_share_a_commit(lake: Path) -> None:
    with journal_of(lake) as first, journal_of(lake) as second:
        first.append("transfers", transfers(2))
        second.append("transfers", transfers(3))
        result = drain(lake)
        assert (result.slots, result.versions) == (2, {"transfers": 1})
        first.append("transfers", transfers(1))
        drain(lake)
    assert len(set(keys_of(lake))) == 6


def test_much_is_moved_in_several_commits(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "_CHUNK_ROWS", 20)
    seen: list[tuple[float, float]] = []
    with journal_of(lake) as first, journal_of(lake) as second:
        for _ in range(5):
            first.append("transfers", transfers(7))
            second.append("transfers", transfers(11))
        result = drain(lake, progress=lambda progress: seen.append((progress.done, progress.total)))
    assert result.rows == {"transfers": 90}
    assert result.versions["transfers"] == len(seen) > 2
    assert seen[-1] == (90, 90)
    assert {total for _, total in seen} == {90}
    assert len(set(keys_of(lake))) == 90


def test_trim_that_failed_after_the_commit_duplicates_nothing(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: SlotReader, up_to_position: object) -> None:
        raise JournalError("database is locked")

    with journal_of(lake) as journal:
        journal.append("transfers", transfers(4))
        with monkeypatch.context() as patched:
            patched.setattr(SlotReader, "trim", failing)
            assert drain(lake).warnings == ("database is locked",)
        assert waiting(lake) == 4
        assert len(keys_of(lake, undrained=True)) == 4
        assert drain(lake).rows == {}
        assert waiting(lake) == 0
    assert len(keys_of(lake)) == 4


def test_nothing_is_trimmed_before_it_is_on_disk(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not what an earlier drainer committed and could not sync."""
    synced: list[Path] = []

    def failing(files: object) -> None:
        raise OSError(5, "Input/output error")

    with journal_of(lake) as journal:
        journal.append("transfers", transfers(4))
        with monkeypatch.context() as patched:
            patched.setattr("perfkit.lake.durability.sync_files", failing)
            with pytest.raises(LakeError, match=r"could not be made durable.*stay in the journal"):
                drain(lake)
        assert waiting(lake) == 4
        monkeypatch.setattr("perfkit.lake.durability.sync_files", lambda files: synced.extend(files))
        assert drain(lake).rows == {}
        assert waiting(lake) == 0
    (rows,) = (lake / "transfers").glob("*.parquet")
    log = lake / "transfers" / "_delta_log"
    assert {rows, log / f"{0:020}.json", log / f"{1:020}.json", lake / "transfers"} <= set(synced)


def test_commit_that_another_writer_overtook_is_built_anew(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other writer is a drainer that moved the same rows."""
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(1))
        drain(lake)
        journal.append("transfers", transfers(5))

        def overtaken(*arguments: Any) -> int:
            monkeypatch.setattr("perfkit.lake.commits.commit_rows", commit_rows)
            draining.drain_unlocked(lake, journal_folder(lake))
            return commit_rows(*arguments)

        monkeypatch.setattr("perfkit.lake.commits.commit_rows", overtaken)
        assert drain(lake).rows == {}
        assert len(keys_of(lake)) == len(set(keys_of(lake))) == 6


def test_second_drainer_is_told_who_holds_the_lake(lake: Path) -> None:
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(1))
        with (
            hold_lake(lake, "maintain"),
            pytest.raises(LakeError, match=rf"held by process {os.getpid()} \(maintain, since .*waited 0\.1 s"),
        ):
            drain(lake, wait_s=0.1)
        assert drain(lake).rows == {"transfers": 1}


def test_slot_of_a_killed_producer_is_drained_told_of_and_removed(lake: Path) -> None:
    kill_a_producer(lake)
    result = drain(lake)
    assert (result.rows, result.lost, result.removed) == ({"transfers": 5}, 7, ("slot-000",))
    assert list_slots(journal_folder(lake)) == ()
    assert drain(lake).lost == 0
    kill_a_producer(lake)
    assert drain(lake).lost == 7
    assert len(set(keys_of(lake))) == 10
    events = open_lake(lake).events.to_pyarrow().to_pylist()
    assert [event["name"] for event in events] == ["rows lost"] * 2
    assert all(json.loads(event["details"])["lost"] == 7 for event in events)
    assert len({json.loads(event["details"])["epoch"] for event in events}) == 2


def test_losses_are_told_once_when_the_drainer_does_not_come_to_remove_the_slot(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_a_producer(lake)
    with monkeypatch.context() as patched:
        patched.setattr(draining, "remove_slot", lambda path, told_up_to_epoch: False)
        assert [drain(lake).lost for _ in range(3)] == [7, 0, 0]
    with journal_of(lake) as journal:  # the next producer takes the slot, and the epoch is over for it, too
        assert journal.slot == "slot-000"
        assert drain(lake).lost == 0
    assert drain(lake).removed == ("slot-000",)
    assert open_lake(lake).events.count().to_pyarrow().as_py() == 1


def test_dropped_rows_are_told_when_their_producer_is_gone(lake: Path) -> None:
    with open_journal(journal_folder(lake), max_bytes=2**16) as journal:
        writer = journal.writer("transfers", ("method", "payload_bytes", "latency_ns"))
        for number in range(9_000):
            writer.offer(("uds", number, number**3))
        journal.flush()
        for number in range(9_000):
            writer.offer(("uds", number, number**3))
        journal.flush()
        assert journal.statistics().dropped > 0
        assert drain(lake).dropped == 0
    dropped = drain(lake).dropped
    assert dropped + len(set(keys_of(lake))) == 18_000
    (event,) = open_lake(lake).events.to_pyarrow().to_pylist()
    assert (event["name"], event["subject"]) == ("rows dropped", "slot-000")
    assert drain(lake).dropped == 0


def test_damaged_batches_are_set_aside_and_the_others_arrive(lake: Path) -> None:
    with journal_of(lake) as journal:
        for latency_ns in (1, 2, 3):
            journal.append("transfers", transfers(2, latency_ns))
        tamper(lake, "UPDATE batches_transfers SET body = zeroblob(40) WHERE first_sequence = 3")
        result = drain(lake)
        assert (result.rows, result.damaged) == ({"transfers": 4}, 1)
        assert waiting(lake) == 0
        assert drain(lake).damaged == 0
    assert sorted(number for *_, number in keys_of(lake)) == [1, 2, 5, 6]
    (event,) = open_lake(lake).events.to_pyarrow().to_pylist()
    kept = journal_folder(lake) / "damaged" / json.loads(event["details"])["file"]
    assert event["name"] == "rows damaged"
    assert kept.read_bytes() == bytes(40)


def test_batch_that_does_not_fit_its_table_counts_as_damaged(lake: Path) -> None:
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(2))
        tamper(lake, "UPDATE batches_transfers SET row_count = 3")
        assert drain(lake).damaged == 1
        assert waiting(lake) == 0


def test_damage_is_told_once_when_the_batch_could_not_be_trimmed(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(2))
        tamper(lake, "UPDATE batches_transfers SET body = zeroblob(40)")
        with monkeypatch.context() as patched:
            patched.setattr(SlotReader, "trim", lambda self, up_to_position: None)
            assert [drain(lake).damaged for _ in range(2)] == [1, 0]
        assert drain(lake).damaged == 0
    assert open_lake(lake).events.count().to_pyarrow().as_py() == 1


def test_slot_that_cannot_be_read_does_not_hold_up_the_others(lake: Path) -> None:
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(2))
        (journal_folder(lake) / "slot-007.sqlite").write_bytes(b"no database" * 1000)
        result = drain(lake)
        assert result.rows == {"transfers": 2}
        assert "slot-007" in result.warnings[0]


def test_slot_that_cannot_be_read_to_its_end_does_not_hold_up_the_others(lake: Path) -> None:
    """Whatever is wrong with a page in the middle: what lies before it arrives, and so do the other slots."""
    with journal_of(lake) as first, journal_of(lake) as second:
        for number in range(60):
            first.append("events", {"name": [f"{number}-{place}" for place in range(200)]})
        first.append("transfers", transfers(3))
        second.append("events", {"name": ["good"] * 5})
        second.append("transfers", transfers(2))
    file = journal_folder(lake) / "slot-000.sqlite"
    content = bytearray(file.read_bytes())
    for begin in range(4096 * 6, len(content), 4096):
        content[begin : begin + 64] = b"\xff" * 64
    file.write_bytes(content)
    results = [drain(lake) for _ in range(2)]
    assert all("slot-000.sqlite cannot be read" in result.warnings[0] for result in results)
    assert "slot-001" in results[0].removed
    events = open_lake(lake).events.name.to_pyarrow().to_pylist()
    assert events.count("good") == 5
    assert len(set(events)) == len(events) - 4
    assert open_lake(lake).transfers.filter(lambda row: row.producer == "slot-001").count().to_pyarrow().as_py() == 2
    with pytest.raises(LakeError, match="open the lake without undrained rows"):
        open_lake(lake, undrained=True).events.count()


def test_losses_of_a_producer_that_came_and_died_during_the_drain_are_told_by_the_next(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(3))

    def dying_before(path: Path, **told: int) -> bool:
        code = "\n".join(line for line in KILLED.splitlines() if "journal.append" not in line)
        assert subprocess.run([sys.executable, "-c", code, str(path.parent)], timeout=60).returncode == -signal.SIGKILL
        return remove_slot(path, **told)

    with monkeypatch.context() as patched:
        patched.setattr(draining, "remove_slot", dying_before)
        first = drain(lake)
    assert (first.lost, first.removed) == (0, ())
    second = drain(lake)
    assert (second.lost, second.removed) == (7, ("slot-000",))
    assert drain(lake).lost == 0


def test_journal_that_cannot_be_read_is_a_lake_error(lake: Path) -> None:
    lake.parent.mkdir()
    journal_folder(lake).write_text("a file where the journal's folder should be")
    with pytest.raises(LakeError, match="nothing was drained"):
        drain(lake)


def test_slot_that_is_just_being_made_is_left_alone_and_removed_when_its_producer_died_over_it(lake: Path) -> None:
    files = SlotFiles(journal_folder(lake), "slot-000")
    files.folder.mkdir(parents=True)
    files.database.touch()
    producer = hold_slot(files)
    assert producer is not None
    result = drain(lake)
    assert (result.slots, result.removed, result.warnings) == (1, (), ())
    os.close(producer)
    assert drain(lake).removed == ("slot-000",)


def test_rows_of_an_older_perfkit_get_the_defaults_of_what_it_did_not_know(lake: Path) -> None:
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(2))
        tamper(lake, "UPDATE batches_transfers SET schema_version = 3, body = ?", BODY_OF_VERSION_3)
        result = drain(lake)
    assert (result.rows, result.damaged) == ({"transfers": 2}, 0)
    rows = open_lake(lake).transfers.order_by("latency_ns").to_pyarrow().to_pylist()
    assert [(row["method"], row["decision_id"], row["latency_ns"]) for row in rows] == [
        ("uds", "v7:a", 7),
        ("shm_pool", "v7:b", 9),
    ]
    for row in rows:
        added = ("experiment", "variant", "propensity", "plan_version")
        assert [row[name] for name in added] == ["", "", 1.0, 0]


def test_rows_of_a_newer_perfkit_wait(lake: Path) -> None:
    with journal_of(lake) as journal:
        for latency_ns in (1, 2, 3):
            journal.append("transfers", transfers(2, latency_ns))
        tamper(lake, "UPDATE batches_transfers SET schema_version = 99 WHERE first_sequence = 3")
        result = drain(lake)
        assert (result.rows, result.held_back) == ({"transfers": 2}, 4)
        assert waiting(lake) == 4
        assert len(keys_of(lake, undrained=True)) == 2
        tamper(lake, "UPDATE batches_transfers SET schema_version = 1")
        assert drain(lake).rows == {"transfers": 4}


def test_full_disk_leaves_the_lake_and_the_journal_as_they_were(lake: Path) -> None:
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(3))
        drain(lake)
        count = 50_000
        journal.append("transfers", {**transfers(count), "latency_ns": list(range(count))})
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
        try:
            with pytest.raises(LakeError, match="free space"):
                drain(lake)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, ignored)
        assert len(keys_of(lake)) == 3
        assert waiting(lake) == count
        assert drain(lake).rows == {"transfers": count}


def test_lake_that_cannot_be_made_says_what_to_check(tmp_path: Path) -> None:
    with open_journal(tmp_path / "journal") as journal:
        journal.append("transfers", transfers(1))
    with pytest.raises(LakeError, match="permissions"):
        drain("/proc/lake", journal=tmp_path / "journal")
    assert drain(tmp_path / "lake").rows == {"transfers": 1}


def test_rows_of_another_journal_are_refused_and_stay_in_it(lake: Path, tmp_path: Path) -> None:
    """Another journal has a slot of the same name: the marks of the first would hide and trim its rows."""
    with open_journal(tmp_path / "other") as earlier:
        earlier.append("transfers", transfers(5))
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(1))
    assert drain(lake).removed == ("slot-000",)  # nothing waits in the first any more
    with pytest.raises(LakeError, match=r"takes its rows from the journal .*got .*other"):
        drain(lake, journal=tmp_path / "other")
    assert drain(tmp_path / "lake of its own", journal=tmp_path / "other").rows == {"transfers": 5}


def test_journal_that_gave_no_rows_yet_may_be_another(lake: Path, tmp_path: Path, monkeypatch: Any) -> None:
    for folder in (journal_folder(lake), tmp_path / "other"):
        with open_journal(folder) as journal:
            journal.append("transfers", transfers(1))
    with monkeypatch.context() as patched:
        patched.setattr(draining, "collect", lambda *_, **__: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            drain(lake)
    assert drain(lake, journal=tmp_path / "other").rows == {"transfers": 1}
    with pytest.raises(LakeError, match="takes its rows from"):
        drain(lake)


@pytest.mark.parametrize("move", ["together", "the lake, and leave a link", "remove the journal"])
def test_the_same_journal_is_known_after_a_move(lake: Path, tmp_path: Path, move: str) -> None:
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(1))
    drain(lake)
    if move == "together":
        lake = lake.parent.rename(tmp_path / "elsewhere") / "lake"
    elif move == "remove the journal":
        shutil.rmtree(journal_folder(lake))
    else:
        (tmp_path / "disk" / "of mine").mkdir(parents=True)
        lake.rename(tmp_path / "disk" / "of mine" / "lake")
        lake.symlink_to(tmp_path / "disk" / "of mine" / "lake")
    for _ in range(2):
        with journal_of(lake) as journal:
            journal.append("transfers", transfers(1))
        assert drain(lake).rows == {"transfers": 1}
    assert len(keys_of(lake)) == 3


def test_lake_of_an_older_schema_waits_for_its_migration(lake: Path) -> None:
    from deltalake import write_deltalake

    old = pa.table({"method": ["uds"], "payload_bytes": [1], "latency_ns": [1]})
    write_deltalake(lake / "transfers", old.cast(mark_schema(old.schema, 1)))
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(1))
        with pytest.raises(LakeError, match="perfkit migrate"):
            drain(lake)
        assert waiting(lake) == 1


def test_readers_write_nothing(lake: Path) -> None:
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(2))
        drain(lake)
        before = {path: path.stat().st_mtime_ns for path in lake.rglob("*")}
        opened = open_lake(lake, undrained=True)
        opened.transfers.to_pyarrow()
        opened.to_table()
        assert {path: path.stat().st_mtime_ns for path in lake.rglob("*")} == before


def test_result_can_be_kept_as_json_and_fits_a_terminal(lake: Path) -> None:
    kill_a_producer(lake)
    result = drain(lake)
    plain = json.loads(json.dumps(result.to_plain()))
    assert (plain["rows"], plain["lost"], plain["removed"]) == ({"transfers": 5}, 7, ["slot-000"])
    assert "7 rows lost" in str(result)
    assert max(map(len, str(result).splitlines())) <= 80
    assert "<table>" in result._repr_html_()


@pytest.mark.parametrize("table", ["transfers", "decisions", "events"])
def test_drained_tables_have_the_schema_of_today(lake: Path, table: str) -> None:
    required: dict[str, dict[str, Callable[[], Any] | Any]] = {
        "transfers": transfers(1),
        "decisions": {"decision_id": "a", "method": "uds", "payload_bytes": 1},
        "events": {"name": "x"},
    }
    with journal_of(lake) as journal:
        journal.append(
            table, {name: [value] if isinstance(value, str | int) else value for name, value in required[table].items()}
        )
    drain(lake)
    assert open_lake(lake)._snapshot(table).to_pyarrow().schema.names == arrow_schema(table).names

"""Slots: who has one, what a dead one left, and numbers that only grow."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfkit.errors import JournalError
from perfkit.journal import open_journal
from perfkit.journal.counter import read_counter
from perfkit.journal.reading import EpochState, list_slots, open_slot, remove_slot

ALL = 2**62
"""An epoch behind all others: every loss was told."""

Rows = Callable[..., list[tuple[str, int, int, Any]]]


def small(latencies: Any) -> dict[str, Any]:
    return {"method": "uds", "payload_bytes": 4096, "latency_ns": latencies}


def append_once(folder: Path, latency: int = 1) -> tuple[str, int]:
    with open_journal(folder) as journal:
        journal.append("transfers", small(latency))
        return journal.slot, journal.epoch


def positions(folder: Path) -> list[int]:
    with open_slot(list_slots(folder)[0].path) as reader:
        return [batch.position for batch in reader.batches("transfers")]


def trim_all(folder: Path) -> None:
    for slot in list_slots(folder):
        with open_slot(slot.path) as reader:
            reader.trim(dict.fromkeys(reader.tables(), 2**62))


def test_a_slot_is_taken_again_with_what_it_holds(folder: Path, rows_in: Rows) -> None:
    name, first = append_once(folder, 1)
    again, second = append_once(folder, 2)
    assert name == again == "slot-000"
    assert second == first + 1
    assert rows_in(folder) == [(name, first, 1, 1), (name, second, 1, 2)]
    assert positions(folder) == [positions(folder)[0], positions(folder)[0] + 1]


def test_numbers_grow_after_a_slot_was_drained_and_removed(folder: Path) -> None:
    _, first = append_once(folder)
    (position,) = positions(folder)
    trim_all(folder)
    assert remove_slot(list_slots(folder)[0].path, told_up_to_epoch=ALL)
    assert list_slots(folder) == ()
    _, second = append_once(folder)
    assert second > first
    assert positions(folder)[0] > position


def test_numbers_grow_after_the_folder_was_deleted(folder: Path) -> None:
    _, first = append_once(folder)
    (position,) = positions(folder)
    shutil.rmtree(folder)
    _, second = append_once(folder)
    assert second > first
    assert positions(folder)[0] > position


@pytest.mark.parametrize("counter", [None, b"", b"short", b"x" * 4096, bytes(4096)])
def test_numbers_grow_without_the_counter(folder: Path, counter: bytes | None) -> None:
    _, first = append_once(folder)
    (position,) = positions(folder)
    file = folder / "slot-000.counter"
    file.unlink() if counter is None else file.write_bytes(counter)
    _, second = append_once(folder)
    assert second > first
    assert positions(folder) == [position, position + 1]


def test_positions_grow_when_the_clock_goes_back(folder: Path) -> None:
    append_once(folder)
    (position,) = positions(folder)
    in_the_future = position + 10**12
    with sqlite3.connect(folder / "slot-000.sqlite") as connection:
        connection.execute("UPDATE epochs SET last_position = ?", (in_the_future,))
    connection.close()
    append_once(folder)
    assert positions(folder)[-1] == in_the_future + 1
    trim_all(folder)
    remove_slot(list_slots(folder)[0].path, told_up_to_epoch=ALL)
    append_once(folder)
    assert positions(folder) == [in_the_future + 2]


def test_a_producer_whose_folder_is_deleted_goes_on_in_a_new_one(folder: Path, rows_in: Rows) -> None:
    with open_journal(folder, flush_interval_s=3600) as journal:
        journal.append("transfers", small([1, 2]))
        first = journal.epoch
        writer = journal.writer("transfers", ("method", "payload_bytes", "latency_ns"))
        writer.offer(("uds", 1, 3))
        shutil.rmtree(folder)
        assert journal.append("transfers", small(4))
        assert journal.epoch > first
        assert journal.flush()
        total = journal.statistics()
        assert (total.accepted, total.committed, total.dropped) == (4, 4, 0)
        (state,) = _epochs(folder)
        assert (state.accepted, state.committed, state.lost) == (2, 2, 0)
    assert sorted(row[3] for row in rows_in(folder)) == [3, 4]


def test_a_slot_that_is_held_or_not_drained_is_not_removed(folder: Path) -> None:
    with open_journal(folder) as journal:
        journal.append("transfers", small(1))
        slot = list_slots(folder)[0]
        assert slot.is_alive
        assert not remove_slot(slot.path, told_up_to_epoch=ALL)
    assert not list_slots(folder)[0].is_alive
    assert not remove_slot(slot.path, told_up_to_epoch=ALL)
    trim_all(folder)
    assert remove_slot(slot.path, told_up_to_epoch=ALL)
    assert not remove_slot(slot.path, told_up_to_epoch=ALL)
    assert sorted(path.name for path in folder.iterdir()) == ["slot-000.counter", "slot-000.lock"]


def test_batches_are_read_from_a_position_and_up_to_a_limit(folder: Path) -> None:
    with open_journal(folder) as journal:
        for index in range(6):
            journal.append("transfers", small(range(index, index + 100)))
        with open_slot(list_slots(folder)[0].path) as reader:
            batches = list(reader.batches("transfers"))
            rest = list(reader.batches("transfers", after_position=batches[2].position))
            assert rest == batches[3:]
            limited = list(reader.batches("transfers", limit_bytes=len(batches[0].body) + 1))
            assert limited == batches[:2]
            assert list(reader.batches("transfers", limit_bytes=1)) == batches[:1]
            reader.trim({"transfers": batches[3].position, "events": 2**62})
            assert list(reader.batches("transfers")) == batches[4:]


def test_a_trim_while_batches_are_read_does_not_disturb(folder: Path) -> None:
    with open_journal(folder) as journal:
        for index in range(4):
            journal.append("transfers", small(index))
        with open_slot(list_slots(folder)[0].path) as reader:
            found = reader.batches("transfers")
            first = next(found)
            reader.trim({"transfers": first.position})
            journal.append("transfers", small(4))
            assert len(list(found)) == 3
            assert len(list(reader.batches("transfers"))) == 4


def test_no_folder_has_no_slots(folder: Path) -> None:
    assert list_slots(folder) == ()


def test_what_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="file cannot be read: Not a directory"):
        list_slots(tmp_path / "file")
    with (
        pytest.raises(JournalError, match=r"slot-000.sqlite cannot be read.*unable to open"),
        open_slot(tmp_path / "slot-000.sqlite"),
    ):
        pass


def _epochs(folder: Path) -> tuple[EpochState, ...]:
    with open_slot(list_slots(folder)[0].path) as reader:
        return reader.epochs()


def test_epochs_say_what_became_of_the_rows(folder: Path) -> None:
    with open_journal(folder, flush_interval_s=3600, buffer_rows=4) as journal:
        journal.append("transfers", small([1, 2]))
        writer = journal.writer("transfers", ("method", "payload_bytes", "latency_ns"))
        with journal._committer.lock:
            taken = sum(writer.offer(("uds", 1, index)) for index in range(30))
        epoch = journal.epoch
        assert _epochs(folder)[0].is_open
        assert _epochs(folder)[0].accepted == 32
        assert _epochs(folder)[0].lost == 0
    (state,) = _epochs(folder)
    assert state == EpochState(epoch, 32, 2 + taken, 30 - taken, 0, is_open=False)
    append_once(folder)
    assert _epochs(folder)[0] == state


def test_what_a_removed_slot_had_dropped_is_still_known(folder: Path) -> None:
    with open_journal(folder) as journal:
        writer = journal.writer("transfers", ("method", "payload_bytes", "latency_ns"))
        writer.offer(("uds", "not a number", 1))
        writer.offer(("uds", 1, 1))
    (state,) = _epochs(folder)
    assert (state.accepted, state.committed, state.dropped) == (2, 1, 1)
    trim_all(folder)
    remove_slot(list_slots(folder)[0].path, told_up_to_epoch=ALL)
    append_once(folder)
    assert _epochs(folder)[0] == state
    assert len(_epochs(folder)) == 2


def test_epochs_without_a_loss_are_not_kept_for_ever(folder: Path) -> None:
    for index in range(5):
        append_once(folder, index)
    assert len(_epochs(folder)) == 2  # the last, and the one before it: it knew the last position when that began


def test_a_slot_with_losses_that_were_not_told_stays(folder: Path) -> None:
    with open_journal(folder, max_bytes=2**16) as journal, pytest.raises(JournalError, match="is full"):
        journal.append("transfers", small([number**3 for number in range(30_000)]))
    (slot,) = list_slots(folder)
    with open_slot(slot.path) as reader:
        (epoch,) = reader.epochs()
    assert epoch.dropped == 30_000
    assert not remove_slot(slot.path, told_up_to_epoch=epoch.epoch - 1)
    assert remove_slot(slot.path, told_up_to_epoch=epoch.epoch)


def test_a_damaged_file_is_named_and_its_slot_left_alone(folder: Path) -> None:
    append_once(folder)
    file = folder / "slot-000.sqlite"
    file.write_bytes(b"this is no database" * 500)
    with (
        pytest.raises(JournalError, match=r"slot-000.sqlite cannot be read.*not a database; if it is damaged, move it"),
        open_slot(file),
    ):
        pass
    with pytest.raises(JournalError, match="not a database"):
        remove_slot(file, told_up_to_epoch=ALL)
    assert append_once(folder)[0] == "slot-001"


def test_a_damaged_page_is_named(folder: Path) -> None:
    with open_journal(folder) as journal:
        for index in range(50):
            journal.append("transfers", small(range(index, 3000 + index)))
    file = folder / "slot-000.sqlite"
    content = bytearray(file.read_bytes())
    content[4096 * 2 : 4096 * 12] = b"\x55" * (4096 * 10)
    file.write_bytes(content)
    with open_slot(file) as reader, pytest.raises(JournalError, match=r"slot-000.sqlite cannot be read"):
        list(reader.batches("transfers"))


def test_a_slot_of_a_newer_perfkit_is_named_and_left_alone(folder: Path) -> None:
    append_once(folder)
    file = folder / "slot-000.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JournalError, match=r"has format 99, this perfkit reads up to 1"), open_slot(file):
        pass
    assert append_once(folder)[0] == "slot-001"


def test_a_file_of_another_program_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    with sqlite3.connect(folder / "slot-000.sqlite") as connection:
        connection.execute("PRAGMA application_id = 5")
    connection.close()
    assert append_once(folder)[0] == "slot-001"
    with pytest.raises(JournalError, match="of another program"), open_slot(folder / "slot-000.sqlite"):
        pass


def test_the_counter_keeps_the_epochs_apart(folder: Path) -> None:
    _, epoch = append_once(folder)
    said = read_counter(folder / "slot-000.counter")
    assert (said.epoch, said.accepted, said.committed, said.dropped) == (epoch, 1, 1, 0)
    with open_journal(folder) as journal:
        said = read_counter(folder / "slot-000.counter")
        assert (said.epoch, said.accepted, said.committed) == (epoch + 1, 0, 0)
        journal.append("transfers", small([1, 2, 3]))
        assert read_counter(folder / "slot-000.counter").accepted == 3


WITHOUT_THE_RIGHTS_OF_ROOT = """
import ctypes, os, sys
for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: gone after the next exec; others have none
    ctypes.CDLL(None).prctl(24, right, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], sys.argv[2]])
"""
APPEND_ONE = """
import sys
from perfkit.journal import open_journal
with open_journal(sys.argv[1]) as journal:
    journal.append("transfers", {"method": ["uds"], "payload_bytes": 1, "latency_ns": 1})
    print(journal.slot)
"""


def append_as_another(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_THE_RIGHTS_OF_ROOT, APPEND_ONE, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("ending", ["lock", "sqlite", "counter"])
def test_a_slot_whose_files_belong_to_somebody_else_is_left_to_them(folder: Path, ending: str) -> None:
    append_once(folder)
    (folder / f"slot-000.{ending}").chmod(0)
    done = append_as_another(folder)
    assert done.stdout == "slot-001\n", done.stderr


def test_a_folder_that_belongs_to_somebody_else_is_told_of(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o500)
    done = append_as_another(folder)
    assert "cannot be written to" in done.stderr
    assert "make it writable" in done.stderr


def test_positions_grow_without_the_counter_also_when_all_is_drained(folder: Path) -> None:
    """A power cut may take what the counter's page said last."""
    append_once(folder)
    (position,) = positions(folder)
    trim_all(folder)
    open_journal(folder).close()
    (folder / "slot-000.counter").unlink()
    append_once(folder)
    assert positions(folder) == [position + 1]

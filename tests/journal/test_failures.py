"""A disk that is full, a folder that cannot be used: what is said, what is counted, and that it goes on afterwards."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfkit.errors import JournalError
from perfkit.journal import open_journal
from perfkit.journal.reading import list_slots, open_slot

Rows = Callable[..., list[tuple[str, int, int, Any]]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
Wait = Callable[..., None]
SMALL = ("method", "payload_bytes", "latency_ns")


def small(latencies: Any) -> dict[str, Any]:
    return {"method": "uds", "payload_bytes": 4096, "latency_ns": latencies}


FULL = """
import random
import resource, sys, time
from perfkit.errors import JournalError
from perfkit.journal import open_journal

def limit(file_bytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))

journal = open_journal(sys.argv[1], flush_interval_s=0.01, buffer_rows=200)
writer = journal.writer("transfers", ("method", "payload_bytes", "latency_ns"))
limit(200_000)  # no file grows beyond: as a disk that is full
appended = 0
try:
    while True:
        appended += len(journal.append("transfers", {"method": "uds", "payload_bytes": 1, "latency_ns": range(1000)}))
except JournalError as error:
    print(error)
limit(100)
offered = [writer.offer(("grpc", 1, index)) for index in range(300)]
assert not journal.flush(0.3) and not all(offered), "the disk is full"
during = journal.statistics()
assert during.committed == appended and during.buffered == sum(offered), during
limit(resource.RLIM_INFINITY)
assert journal.flush(20), journal.statistics()
assert len(journal.append("transfers", {"method": "uds", "payload_bytes": 1, "latency_ns": [1]})) == 1
after = journal.statistics()
assert after.committed == appended + sum(offered) + 1, after
assert after.dropped == 1000 + offered.count(False), after
assert after.failures >= 2 and after.last_error, after
journal.close()
print(after.committed)
"""


def test_a_full_disk_is_told_and_survived(folder: Path, run_python: Run, rows_in: Rows) -> None:
    message, committed = run_python(FULL, folder).stdout.splitlines()
    assert f"journal {folder} cannot be written to" in message
    assert "nothing was appended" in message
    rows = rows_in(folder)
    assert len(rows) == len({row[2] for row in rows}) == int(committed)


def test_a_disk_that_is_full_from_the_start_is_told(folder: Path, run_python: Run) -> None:
    code = """
import resource, sys
from perfkit.errors import JournalError
from perfkit.journal import open_journal
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
try:
    open_journal(sys.argv[1])
except JournalError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with open_journal(sys.argv[1]) as journal:
    journal.append("events", {"name": "published"})
    print(journal.slot)
"""
    message, slot = run_python(code, folder).stdout.splitlines()
    assert "cannot be written to" in message
    assert slot == "slot-000"


READ_ONLY = """
import os, sys
from perfkit.errors import JournalError
from perfkit.journal import open_journal
folder = "/proc/self/fd/%d" % os.open(sys.argv[1], os.O_RDONLY)
if os.getuid() == 0:
    os.setuid(65534)  # nobody: root may write everywhere
try:
    open_journal(folder)
except JournalError as error:
    print(error)
journal = open_journal(folder, lazy=True, flush_interval_s=0.01, buffer_rows=5)
writer = journal.writer("transfers", ("method", "payload_bytes", "latency_ns"))
offered = [writer.offer(("uds", 1, index)) for index in range(8)]
assert offered == [True] * 5 + [False] * 3, offered
assert not journal.flush(0.3)
journal.close()
print(journal.statistics().to_plain())
"""


def test_a_folder_that_cannot_be_written_to_is_told_and_a_service_goes_on(folder: Path, run_python: Run) -> None:
    folder.mkdir()
    folder.chmod(0o555)
    try:
        message, statistics = run_python(READ_ONLY, folder).stdout.splitlines()
    finally:
        folder.chmod(0o755)
    assert "Permission denied" in message
    assert "make it writable (ls -ld " in message
    assert "'accepted': 8, 'committed': 0, 'dropped': 8, 'buffered': 0" in statistics
    assert "Permission denied" in statistics
    assert not list(folder.iterdir())


def test_a_path_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match=r"cannot be written to: .*(File exists|Not a directory)"):
        open_journal(tmp_path / "file")
    with pytest.raises(JournalError, match="Not a directory"):
        open_journal(tmp_path / "file" / "journal")


def test_a_lazy_journal_counts_on_in_the_slot_that_it_gets(tmp_path: Path, rows_in: Rows, wait_until: Wait) -> None:
    folder = tmp_path / "journal"
    folder.write_text("in the way")
    with open_journal(folder, lazy=True, flush_interval_s=0.01, buffer_rows=4) as journal:
        writer = journal.writer("transfers", SMALL)
        taken = sum(writer.offer(("uds", 1, index)) for index in range(10))
        assert taken == 4
        wait_until(lambda: journal.statistics().failures > 0)
        with pytest.raises(JournalError, match="cannot be written to"):
            journal.append("transfers", small([1]))
        folder.unlink()
        assert journal.flush(20)
        with open_slot(list_slots(folder)[0].path) as reader:
            (state,) = reader.epochs()
    assert (state.accepted, state.committed, state.dropped) == (11, 4, 7)
    assert [row[2] for row in rows_in(folder)] == [8, 9, 10, 11]


def test_a_lazy_journal_claims_nothing_before_it_is_used(folder: Path) -> None:
    with open_journal(folder, lazy=True) as journal:
        assert not folder.exists()
        assert journal.slot == "slot-000"


def test_a_file_that_is_damaged_under_its_producer_is_left_and_the_next_slot_taken(
    folder: Path, wait_until: Wait
) -> None:
    with open_journal(folder, flush_interval_s=0.01) as journal:
        for index in range(3):
            journal.append("transfers", small(range(index, 5000 + index)))
        file = folder / "slot-000.sqlite"
        replaced = folder / "new"
        replaced.write_bytes(b"no database at all" * 1000)
        for ending in ("-wal", "-shm"):  # what a careless restore does
            (folder / f"slot-000.sqlite{ending}").unlink()
        replaced.replace(file)
        writer = journal.writer("transfers", SMALL)
        assert writer.offer(("uds", 1, 1))
        assert journal.flush(20)
        assert journal.slot == "slot-001"
        total = journal.statistics()
        assert total.accepted == total.committed == 15_001


def test_a_failed_append_is_counted_as_dropped_and_its_numbers_stay_free(folder: Path, run_python: Run) -> None:
    with open_journal(folder) as journal:
        journal.append("transfers", small([1, 2]))
        with pytest.raises(JournalError, match="of type str"):
            journal.append("transfers", small("x"))
        assert journal.append("transfers", small(3)) == range(3, 4)


def test_a_row_that_can_never_fit_is_dropped_and_holds_up_no_other(folder: Path) -> None:
    with open_journal(folder, max_bytes=2**16) as journal:
        writer = journal.writer("events", ("name", "message"))
        for length in (10, 2**17, 20):
            writer.offer(("x", random.Random(length).randbytes(length).hex()))
        assert journal.flush()
        figures = journal.statistics()
        assert (figures.committed, figures.dropped) == (2, 1)
        assert "more than the journal may hold" in figures.last_error

"""Appending, offering, counting: what a producer may rely on."""

from __future__ import annotations

import gc
import itertools
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfkit.errors import InputError, JournalError
from perfkit.journal import Journal, open_journal
from perfkit.journal.reading import list_slots, open_slot

SMALL = ("method", "payload_bytes", "latency_ns")
Rows = Callable[..., list[tuple[str, int, int, Any]]]
Wait = Callable[..., None]


def small(latencies: Any) -> dict[str, Any]:
    return {"method": "uds", "payload_bytes": 4096, "latency_ns": latencies}


def test_an_append_is_there_when_it_returns(journal: Journal, folder: Path, rows_in: Rows) -> None:
    assert journal.append("transfers", small([7, 8])) == range(1, 3)
    assert journal.append("transfers", small(9)) == range(3, 4)
    assert journal.append("events", {"name": "published"}) == range(4, 5)
    name, epoch = journal.slot, journal.epoch
    assert rows_in(folder) == [(name, epoch, 1, 7), (name, epoch, 2, 8), (name, epoch, 3, 9)]
    assert rows_in(folder, "events", "name") == [(name, epoch, 4, "published")]


def test_an_append_of_no_rows_does_nothing(journal: Journal) -> None:
    assert not journal.append("transfers", {"method": [], "payload_bytes": [], "latency_ns": []})
    assert journal.statistics().commits == 0


def test_a_refused_value_is_not_counted_and_the_next_append_works(journal: Journal) -> None:
    with pytest.raises(JournalError, match="latency_ns == 'fast'"):
        journal.append("transfers", small(["fast"]))
    assert journal.statistics().accepted == 0
    assert journal.append("transfers", small([1])) == range(1, 2)


def test_positions_grow_over_all_tables(journal: Journal, folder: Path) -> None:
    for index in range(3):
        journal.append("transfers", small(index))
        journal.append("events", {"name": "published"})
    with open_slot(list_slots(folder)[0].path) as reader:
        assert reader.tables() == ("events", "transfers")
        transfers = [batch.position for batch in reader.batches("transfers")]
        events = [batch.position for batch in reader.batches("events")]
        assert list(reader.batches("decisions")) == list(reader.batches("no such table")) == []
    assert list(itertools.chain(*zip(transfers, events, strict=True))) == list(range(transfers[0], transfers[0] + 6))


def test_a_large_append_is_one_commit_of_several_batches(journal: Journal, folder: Path, rows_in: Rows) -> None:
    assert journal.append("transfers", small(range(70_000))) == range(1, 70_001)
    assert journal.statistics().commits == 1
    assert [row[2:] for row in rows_in(folder)] == [(index + 1, index) for index in range(70_000)]


def test_offered_rows_are_committed_within_the_interval(journal: Journal, wait_until: Wait) -> None:
    writer = journal.writer("transfers", SMALL)
    assert all(writer.offer(("uds", 1, index)) for index in range(10))
    assert journal.statistics().accepted == 10
    wait_until(lambda: journal.statistics().committed == 10)
    assert journal.statistics().buffered == 0
    writer.offer(("uds", 1, 11))  # the thread sleeps now, and must be woken again
    wait_until(lambda: journal.statistics().committed == 11)


def test_offered_rows_are_committed_when_they_are_many(folder: Path, wait_until: Wait) -> None:
    with open_journal(folder, flush_interval_s=3600, buffer_rows=400) as journal:
        writer = journal.writer("transfers", SMALL)
        assert all(writer.offer(("uds", 1, index)) for index in range(100))
        wait_until(lambda: journal.statistics().committed == 100)


def test_flush_waits_for_all_writers(folder: Path, rows_in: Rows) -> None:
    with open_journal(folder, flush_interval_s=3600) as journal:
        first, second = journal.writer("transfers", SMALL), journal.writer("transfers", (*SMALL, "pool"))
        for index in range(2500):
            assert first.offer(("uds", 1, index))
            assert second.offer(("uds", 1, index, "ml"))
        assert journal.flush()
        assert sorted(row[3] for row in rows_in(folder)) == sorted([*range(2500)] * 2)
        assert sorted(row[2] for row in rows_in(folder)) == [*range(1, 5001)]


def test_a_writer_of_the_same_columns_is_the_same(journal: Journal) -> None:
    assert journal.writer("transfers", SMALL) is journal.writer("transfers", list(SMALL))
    assert journal.writer("transfers", SMALL) is not journal.writer("transfers", SMALL[::-1])


def test_a_writer_of_unknown_columns_is_refused(journal: Journal) -> None:
    with pytest.raises(InputError, match="unknown column of transfers 'latency'"):
        journal.writer("transfers", (*SMALL, "latency"))
    with pytest.raises(InputError, match="named twice"):
        journal.writer("transfers", (*SMALL, *SMALL))
    with pytest.raises(InputError, match="need latency_ns too"):
        journal.writer("transfers", SMALL[:2])


def test_a_full_buffer_drops_and_counts(folder: Path, rows_in: Rows) -> None:
    with open_journal(folder, buffer_rows=5, flush_interval_s=3600) as journal:
        writer = journal.writer("transfers", SMALL)
        holder = journal._committer.lock  # the disk does not answer
        with holder:
            taken = [writer.offer(("uds", 1, index)) for index in range(50)]
        assert journal.flush()
        kept = sum(taken)
        assert 5 <= kept < 50
        assert journal.statistics().dropped == 50 - kept
        assert writer.offer(("uds", 1, 50))
    rows = rows_in(folder)
    assert [row[3] for row in rows] == [index for index, was_taken in enumerate(taken) if was_taken] + [50]
    assert max(row[2] for row in rows) == 51  # dropped rows have numbers, too: the gaps tell of them


@pytest.mark.parametrize(
    "bad", [("uds", 1), ("uds", "big", 3), ("uds", 1, 2, 3), None, 7, ("\ud800", 1, 2), (["uds"], 1, 2)]
)
def test_a_row_that_does_not_fit_is_dropped_alone(journal: Journal, folder: Path, bad: Any, rows_in: Rows) -> None:
    writer = journal.writer("transfers", SMALL)
    for index in range(9):
        assert writer.offer(bad if index == 4 else ("uds", 1, index))
    assert journal.flush()
    assert [row[3] for row in rows_in(folder)] == [0, 1, 2, 3, 5, 6, 7, 8]
    statistics = journal.statistics()
    assert (statistics.accepted, statistics.committed, statistics.dropped, statistics.buffered) == (9, 8, 1, 0)
    assert "a row of transfers was dropped" in statistics.last_error


def test_threads_append_and_offer_at_the_same_time(folder: Path, rows_in: Rows) -> None:
    given: list[range] = []

    def work(journal: Journal, number: int) -> None:
        writer = journal.writer("transfers", SMALL)
        for index in range(40):
            base = 1000 * (40 * number + index)
            given.append(journal.append("transfers", small(range(base, base + 5))))
            for offset in range(5, 10):
                assert writer.offer(("uds", 1, base + offset))

    with open_journal(folder, flush_interval_s=0.005) as journal:
        threads = [threading.Thread(target=work, args=(journal, number)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert journal.flush()
        statistics = journal.statistics()
    rows = rows_in(folder)
    values = {row[3] for row in rows}
    assert values == {1000 * block + offset for block in range(240) for offset in range(10)}
    assert sorted(row[2] for row in rows) == [*range(1, 2401)]
    assert (statistics.accepted, statistics.committed, statistics.dropped) == (2400, 2400, 0)
    by_sequence = {row[2]: row[3] for row in rows}
    assert all(len({by_sequence[number] // 1000 for number in numbers}) == 1 for numbers in given)


def test_appends_that_wait_share_a_commit(journal: Journal) -> None:
    journal.append("transfers", small(0))
    threads = [threading.Thread(target=journal.append, args=("transfers", small([1]))) for _ in range(8)]
    with journal._committer.lock:
        for thread in threads:
            thread.start()
        while len(journal._committer._waiting) < 8:
            pass
    for thread in threads:
        thread.join()
    assert journal.statistics().commits == 2
    assert journal.statistics().committed == 9


def test_a_full_journal_refuses_and_counts_until_it_is_drained(folder: Path, wait_until: Wait) -> None:
    with open_journal(folder, max_bytes=2**17, flush_interval_s=0.01, buffer_rows=100) as journal:
        writer = journal.writer("transfers", (*SMALL, "session"))
        text = "x" * 3000
        two_rows = {**small([1, 2]), "session": ["a" + text, "b" + text]}
        while journal.statistics().file_bytes < 2**17 - 12_000:
            journal.append("transfers", two_rows)
        with pytest.raises(JournalError, match=r"slot-000.sqlite is full: .* allowed are 128KiB; run `perfkit drain`"):
            journal.append("transfers", {**small([1, 2]), "session": ["a" + 5 * text, "b" + text]})
        refused = journal.statistics()
        assert refused.dropped == 2
        assert refused.failures == 1
        assert refused.file_bytes <= 2**17
        for index in range(150):
            writer.offer(("uds", 1, index, f"{index}{text}"))
        wait_until(lambda: journal.statistics().failures > refused.failures)
        assert not journal.flush(0.2)
        assert journal.statistics().dropped >= 2 + 50
        with open_slot(list_slots(folder)[0].path) as reader:
            reader.trim({"transfers": 2**62})
        journal.append("transfers", small([1]))
        after = journal.statistics()
        assert after.file_bytes < refused.file_bytes
        assert after.accepted == after.committed + after.dropped + after.buffered


def test_the_file_does_not_grow_when_it_is_drained(folder: Path) -> None:
    with open_journal(folder) as journal:
        for _ in range(12):
            for _ in range(20):
                journal.append("transfers", small(range(0, 2**28, 2**16)))
            with open_slot(list_slots(folder)[0].path) as reader:
                reader.trim({"transfers": 2**62})
    appended_bytes = 12 * 20 * 4096 * 4
    assert (folder / "slot-000.sqlite").stat().st_size < appended_bytes / 4


def test_two_journals_of_a_process_have_two_slots(folder: Path, rows_in: Rows) -> None:
    with open_journal(folder) as first, open_journal(folder) as second:
        assert (first.slot, second.slot) == ("slot-000", "slot-001")
        first.append("transfers", small(1))
        second.append("transfers", small(2))
    assert [(row[0], row[3]) for row in rows_in(folder)] == [("slot-000", 1), ("slot-001", 2)]


def test_closing_commits_what_was_offered(folder: Path, rows_in: Rows) -> None:
    with open_journal(folder, flush_interval_s=3600) as journal:
        journal.writer("transfers", SMALL).offer(("uds", 1, 7))
    assert [row[3] for row in rows_in(folder)] == [7]
    assert not list_slots(folder)[0].is_alive


def test_a_closed_journal_refuses_and_counts(folder: Path) -> None:
    journal = open_journal(folder)
    writer = journal.writer("transfers", SMALL)
    journal.close()
    journal.close()
    assert not writer.offer(("uds", 1, 7))
    with pytest.raises(JournalError, match="closed in this process"):
        journal.append("transfers", small([1, 2]))
    assert journal.flush()
    assert (journal.statistics().accepted, journal.statistics().dropped) == (3, 3)


def test_a_signal_handler_may_offer(journal: Journal) -> None:
    writer = journal.writer("transfers", SMALL)
    offered = itertools.count()

    def offer(*_: object) -> None:
        writer.offer(("uds", 1, next(offered)))

    earlier = signal.signal(signal.SIGALRM, offer)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        own = sum(writer.offer(("uds", 1, index)) or True for index in range(60_000))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)
    assert journal.flush()
    total = journal.statistics()
    assert total.accepted == own + next(offered)
    assert total.accepted == total.committed + total.dropped


def test_a_finalizer_may_offer(journal: Journal) -> None:
    writer = journal.writer("transfers", SMALL)

    class Transfer:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            writer.offer(("uds", 1, 1))

    for _ in range(100):
        Transfer()
    gc.collect()
    assert journal.flush()
    assert journal.statistics().committed == 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_bytes": 10}, "max_bytes == 10, must be 65536 or more"),
        ({"buffer_rows": 0}, "buffer_rows == 0, must be 1 or more"),
        ({"flush_interval_s": 0}, "flush_interval_s == 0, must be above 0"),
        ({"flush_interval_s": float("nan")}, "flush_interval_s == nan, must be above 0"),
    ],
)
def test_options_outside_their_range_are_refused(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_journal(folder, **options)
    assert not folder.exists()


def test_statistics_render_themselves(journal: Journal) -> None:
    journal.append("transfers", small([1, 2]))
    statistics = journal.statistics()
    assert statistics.to_plain()["committed"] == 2
    assert "committed" in str(statistics)
    assert "<table" in statistics._repr_html_()

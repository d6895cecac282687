"""The counter's page: what it says after a kill, with lanes and without, and what earlier versions wrote."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from perfkit.journal import counter, open_journal
from perfkit.journal.counter import (
    ACCEPTED,
    COMMITTED,
    DROPPED,
    LANES,
    LANES_OFFSET,
    Counter,
    CounterState,
    EpochCells,
    read_counter,
)
from perfkit.journal.lanes import Lane, Token
from perfkit.journal.reading import list_slots, open_slot
from perfkit.journal.tally import Tally

SMALL = ("method", "payload_bytes", "latency_ns")


def page_without_lanes(numbers: Mapping[int, int]) -> bytes:
    """What perfkit wrote before there were lanes: 4096 bytes."""
    cells = [0] * 512
    cells[0] = int.from_bytes(b"PKCOUNT1", "little")
    for place, number in numbers.items():
        cells[place] = number
    return struct.pack("=512Q", *cells)


OF_BEFORE = {1: 41, 2: 9, 16: 100, 17: 60, 18: 10}
"""Epoch 41, position 9; accepted, committed, dropped."""


def record(lane: Lane, rows: int) -> None:
    for row in range(rows):
        lane.append((row,))
        lane.count = lane.cells[0] = lane.count + 1


def let_go(cells: EpochCells, page: Counter, *lanes: Lane) -> None:
    for lane in lanes:
        lane.count_apart()
    for view in (cells.figures, cells.lanes):
        view.release()
    page.close()


def test_a_page_of_before_is_read(tmp_path: Path) -> None:
    file = tmp_path / "slot-000.counter"
    file.write_bytes(page_without_lanes(OF_BEFORE))
    assert read_counter(file) == CounterState(41, 9, accepted=100, committed=60, dropped=10)


def test_a_page_of_before_is_counted_on_in(tmp_path: Path) -> None:
    file = tmp_path / "slot-000.counter"
    file.write_bytes(page_without_lanes(OF_BEFORE | {200: 77}))
    page = Counter(file)
    assert read_counter(file) == CounterState(41, 9, accepted=100, committed=60, dropped=10)
    cells = page.begin_epoch(42)
    assert read_counter(file) == CounterState(42, 9)
    cells.figures[ACCEPTED], cells.lanes[0], cells.lanes[LANES - 1] = 1, 2, 4
    assert read_counter(file) == CounterState(42, 9, accepted=7)
    let_go(cells, page)


def test_what_a_producer_of_before_lost_is_told(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.append("events", {"name": "published"})
        epoch = journal.epoch
    at = 8 if epoch % 2 else 16  # the next epoch's
    numbers = {1: epoch + 1, 2: 9, at: 100, at + 1: 0, at + 2: 10}
    (tmp_path / "slot-000.counter").write_bytes(page_without_lanes(numbers))
    with open_journal(tmp_path) as journal:
        assert journal.epoch == epoch + 2
    with open_slot(list_slots(tmp_path)[0].path) as reader:
        (state,) = [one for one in reader.epochs() if one.epoch == epoch + 1]
    assert (state.accepted, state.dropped, state.lost) == (100, 10, 90)


@pytest.mark.parametrize("cut", [0, 7, 160, 4095, 8192])
def test_a_page_cut_short_says_nothing(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "slot-000.counter"
    Counter(file).close()
    file.write_bytes(file.read_bytes()[:cut])
    assert read_counter(file) == CounterState()


def test_a_kill_while_an_epoch_begins_counts_too_few_and_never_too_many(tmp_path: Path) -> None:
    """Every store is a moment at which the process may have been killed."""
    file = tmp_path / "slot-000.counter"
    page, tally = Counter(file), Tally()
    tokens = [Token() for _ in range(3)]
    lanes = [tally.open_lane(token, 100) for token in tokens]
    for lane in lanes:
        record(lane, 5)
    tally.begin_epoch(page.begin_epoch(7))
    tally.end_epoch()
    seen: list[int] = []

    class Watched:
        def __init__(self, cells: memoryview) -> None:
            self.cells = cells

        def __setitem__(self, place: int, number: int) -> None:
            self.cells[place] = number
            seen.append(read_counter(file).accepted)

        def __getitem__(self, part: slice) -> Any:
            return self.cells[part]

        def __len__(self) -> int:
            return len(self.cells)

    cells = page.begin_epoch(8)
    tally.begin_epoch(EpochCells(Watched(cells.figures), Watched(cells.lanes)))  # type: ignore[arg-type]
    assert max(seen) == seen[-1] == read_counter(file).accepted == 15
    assert len(seen) >= 3
    record(lanes[1], 4)
    assert read_counter(file).accepted == tally.figures().accepted == 19
    let_go(cells, page, *lanes)


def test_lanes_go_on_counting_through_epochs(tmp_path: Path) -> None:
    file = tmp_path / "slot-000.counter"
    page, tally, token = Counter(file), Tally(), Token()
    lane = tally.open_lane(token, 3)
    record(lane, 2)
    for epoch in range(1, 6):
        tally.begin_epoch(page.begin_epoch(epoch))
        before = read_counter(file).accepted
        assert before == tally.figures().accepted == tally.figures().under_way
        record(lane, 10)
        tally.accept(1)
        assert read_counter(file).accepted == tally.figures().accepted == before + 11
        rows, dropped = lane.fetch(2)
        tally.drop(dropped)
        tally.commit(len(rows))
        assert read_counter(file) == CounterState(epoch, 0, before + 11, 2, dropped)
        final = tally.end_epoch()
        assert (final.accepted, final.under_way) == (2 + dropped, 0)
        said = read_counter(file)
        assert (said.accepted, said.committed, said.dropped) == (final.accepted, final.committed, final.dropped)
        record(lane, 1)
    total = tally.total()
    assert (total.accepted, total.committed) == (2 + 5 * 12, 10)
    assert total.under_way == len(lane.rows) + 5 + lane.take_drops()
    page.close()


def test_a_place_goes_on_counting_for_the_next_thread(tmp_path: Path) -> None:
    file = tmp_path / "slot-000.counter"
    page, tally = Counter(file), Tally()
    cells = page.begin_epoch(1)
    tally.begin_epoch(cells)
    for count in range(1, 6):
        token = Token()
        lane = tally.open_lane(token, 100)
        assert not lane.has_ended
        record(lane, 3)
        del token
        assert lane.has_ended
        assert len(lane.fetch(100)[0]) == 3
        tally.close_lane(lane)
        assert (len(tally.lanes), tally.open_lanes) == (1, 0)
        assert read_counter(file).accepted == tally.figures().accepted == 3 * count
    let_go(cells, page, *tally.lanes)


def test_lanes_without_a_cell_are_counted_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter, "LANES", 1)
    file = tmp_path / "slot-000.counter"
    page, tally, tokens = Counter(file), Tally(), [Token(), Token()]
    lanes = [tally.open_lane(token, 100) for token in tokens]
    record(lanes[1], 2)
    tally.begin_epoch(page.begin_epoch(1))
    record(lanes[0], 4)
    record(lanes[1], 8)
    assert read_counter(file).accepted == 2 + 4
    tally.count_late()
    assert read_counter(file).accepted == tally.figures().accepted == 2 + 4 + 8
    assert tally.end_epoch().accepted == read_counter(file).accepted == 0
    page.close()


def test_the_places_of_the_figures_are_those_of_before() -> None:
    """They are read in pages of earlier versions."""
    assert (ACCEPTED, COMMITTED, DROPPED, LANES_OFFSET) == (0, 1, 2, 3)

"""Readers that want the last second, too: what waits in the journal, each row once, whatever is drained meanwhile."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfkit.errors import InputError, LakeError
from perfkit.journal import Journal, open_journal
from perfkit.lake import drain, journal_folder, open_lake


def transfers(count: int) -> dict[str, Any]:
    return {"method": ["uds"] * count, "payload_bytes": 2**40, "latency_ns": 1}


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "data" / "lake"


def journal_of(lake: Path) -> Journal:
    return open_journal(journal_folder(lake))


def keys_of(lake: Path, *, undrained: bool = False) -> list[tuple[str, int, int]]:
    rows = open_lake(lake, undrained=undrained).transfers.to_pyarrow()
    columns = (rows.column(name).to_pylist() for name in ("producer", "epoch", "producer_sequence"))
    return sorted(zip(*columns, strict=True))


def test_undrained_rows_are_shown_once(lake: Path) -> None:
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(2))
        assert len(keys_of(lake, undrained=True)) == 2
        assert keys_of(lake) == []
        drain(lake)
        opened = open_lake(lake, undrained=True)
        journal.append("transfers", transfers(3))
        for _ in range(2):
            assert opened.find_transfer(journal.slot, journal.epoch, 5) is not None
            assert opened.find_transfer(journal.slot, journal.epoch, 6) is None
            assert len(set(keys_of(lake, undrained=True))) == 5
            drain(lake)


def test_earlier_versions_and_undrained_rows_exclude_each_other(lake: Path) -> None:
    """Rows that were drained in between would be in neither."""
    with pytest.raises(InputError, match=r"versions= and undrained=True exclude each other"):
        open_lake(lake, versions={"transfers": 0}, undrained=True)


@pytest.fixture
def drained_before(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], Any]], None]:
    """Do something just before a part of the reader is called."""

    def arrange(part: str, work: Callable[[], Any]) -> None:
        real = pkgutil.resolve_name(part)

        def after_it(*arguments: Any) -> Any:
            work()
            return real(*arguments)

        monkeypatch.setattr(part, after_it)

    return arrange


def test_rows_that_are_drained_while_a_reader_looks_are_not_missed(lake: Path, drained_before: Any) -> None:
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(2))
        drained_before("perfkit.lake.lake.read_undrained", lambda: drain(lake))
        assert len(set(keys_of(lake, undrained=True))) == 2


def test_transfer_that_is_drained_while_it_is_looked_for_is_found(lake: Path, drained_before: Any) -> None:
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(2))
        drained_before("perfkit.lake.lake.read_undrained", lambda: drain(lake))
        assert open_lake(lake, undrained=True).find_transfer(journal.slot, journal.epoch, 2) is not None


def test_slot_that_is_removed_while_a_reader_looks_has_nothing_any_more(lake: Path, drained_before: Any) -> None:
    with journal_of(lake) as journal:
        journal.append("transfers", transfers(2))
    drained_before("perfkit.lake.undrained.open_slot", lambda: drain(lake))
    assert len(set(keys_of(lake, undrained=True))) == 2


def test_reader_whom_a_drain_overtakes_every_time_gives_up(
    lake: Path, drained_before: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perfkit.lake.lake._READ_ATTEMPTS", 3)
    with journal_of(lake) as journal:

        def record_and_drain() -> None:
            journal.append("transfers", transfers(1))
            drain(lake)

        drained_before("perfkit.lake.lake.read_undrained", record_and_drain)
        opened = open_lake(lake, undrained=True)
        with pytest.raises(LakeError, match=r"changed 3 times while .* try again"):
            opened.find_transfer("slot-999", 1, 1)
        with pytest.raises(LakeError, match=r"changed 3 times while .* try again"):
            opened.transfers.count()

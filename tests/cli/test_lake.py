"""`perfkit drain`: what it says, and how it ends when it cannot."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfkit.journal import open_journal
from perfkit.lake import drain, open_lake
from perfkit.lake.lock import hold_lake


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal in which three rows wait."""
    with open_journal(tmp_path / "data" / "journal") as journal:
        journal.append("transfers", {"method": ["uds"] * 3, "payload_bytes": 1, "latency_ns": 1})
    return tmp_path / "data" / "journal"


def test_nothing_to_drain_is_no_failure(perfkit: Callable[..., Any]) -> None:
    outcome = perfkit("drain")
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert "Drained 0 rows of 0 slots" in outcome.stdout
    assert not Path("data").exists()


@pytest.mark.usefixtures("journal")
def test_waiting_rows_are_moved_and_told(perfkit: Callable[..., Any]) -> None:
    outcome = perfkit("drain", "--json")
    assert outcome.exit_code == 0
    assert outcome.json()["rows"] == {"transfers": 3}
    assert outcome.json()["removed"] == ["slot-000"]
    assert open_lake().transfers.count().to_pyarrow().as_py() == 3


@pytest.mark.usefixtures("journal")
def test_other_lake_has_a_journal_of_its_own(perfkit: Callable[..., Any]) -> None:
    assert perfkit("drain", "--lake", "elsewhere", "--json").json()["rows"] == {}


@pytest.mark.usefixtures("journal")
def test_held_lake_is_a_failure_that_names_its_holder(
    perfkit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perfkit.lake.drain", functools.partial(drain, wait_s=0.05))
    with hold_lake(Path("data/lake"), "maintain"):
        outcome = perfkit("drain", "--json")
    assert outcome.exit_code == 1
    assert f"held by process {os.getpid()} (maintain" in outcome.json()["error"]["message"]
    assert perfkit("drain").exit_code == 0


def test_lake_that_cannot_be_written_is_a_failure(perfkit: Callable[..., Any], journal: Path) -> None:
    (journal.parent / "lake").write_text("")
    outcome = perfkit("drain")
    assert outcome.exit_code == 1
    assert "permissions" in outcome.stderr

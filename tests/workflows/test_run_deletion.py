"""Runs are deleted whole, or refused; what a kill left undone is done by the next call."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import perfkit
from perfkit.errors import InputError, JournalError, LakeError
from perfkit.journal import open_journal
from perfkit.lake import drain, journal_folder
from perfkit.lake.lock import hold_lake
from perfkit.lake.pins import pin_run, pinned_runs
from perfkit.workflows.run_lock import hold_run
from perfkit.workflows.tune import fit_run

KILLED_BETWEEN_THE_TABLES = """
import os, signal, sys
import perfkit.lake.run_rows as run_rows
import perfkit
real, calls = run_rows.delete_rows, []
def kill_at_the_second(table, predicate):
    calls.append(predicate)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(table, predicate)
run_rows.delete_rows = kill_at_the_second
perfkit.delete_runs([sys.argv[1]], lake=sys.argv[2])
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Without thresholds."""
    monkeypatch.chdir(tmp_path)


def left(lake) -> tuple[list[str], int]:
    opened = perfkit.open_lake(lake.path)
    ids = [run["run_id"][-4:] for run in opened.runs.to_pyarrow().to_pylist()]
    return ids, opened.transfers.count().to_pyarrow().as_py()


def test_observations_and_records_go_and_the_lake_tells_of_it(runs_lake):
    deleted = perfkit.delete_runs(["20261120-21", "20261121"], lake=runs_lake.path)
    assert deleted.observations == {"20261120-210000-aaaa": 6, "20261121-070000-cccc": 6}
    assert left(runs_lake) == (["bbbb"], 6)
    assert deleted.warnings == ()
    drain(runs_lake.path)
    events = runs_lake.events.to_pyarrow().to_pylist()
    assert {(event["name"], event["subject"][-4:]) for event in events} == {
        ("run deleted", "aaaa"),
        ("run deleted", "cccc"),
    }
    assert json.loads(events[0]["details"])["observations"] == 6
    assert "perfkit maintain" in str(deleted)


def test_earlier_versions_still_have_what_was_deleted(runs_lake):
    versions = runs_lake.versions()
    perfkit.delete_runs(["latest"], lake=runs_lake.path)
    before = perfkit.open_lake(runs_lake.path, versions=versions)
    assert before.transfers.count().to_pyarrow().as_py() == 18


def test_a_dry_run_deletes_nothing(runs_lake):
    preview = perfkit.delete_runs(["latest"], lake=runs_lake.path, dry_run=True)
    assert preview.observations == {"20261120-220000-bbbb": 6}
    assert "Would delete 1 run" in str(preview)
    assert left(runs_lake) == (["cccc", "bbbb", "aaaa"], 18)


def test_a_pinned_run_is_refused_and_with_it_all_others(runs_lake):
    pin_run(runs_lake, "20261120-220000-bbbb")
    with pytest.raises(InputError, match="pinned: 20261120-220000-bbbb; release with `perfkit runs unpin`"):
        perfkit.delete_runs(["20261121", "latest"], lake=runs_lake.path)
    assert left(runs_lake)[1] == 18
    perfkit.delete_runs(["latest"], lake=runs_lake.path, force=True)
    assert left(runs_lake) == (["cccc", "aaaa"], 12)
    assert pinned_runs(runs_lake) == frozenset()


def test_the_run_behind_the_thresholds_in_force_is_refused(runs_lake):
    perfkit.publish(fit_run(runs_lake.path), force=True)
    with pytest.raises(InputError, match=r"thresholds.toml rests on 20261120-220000-bbbb"):
        perfkit.delete_runs(["latest"], lake=runs_lake.path)
    perfkit.delete_runs(["latest~1"], lake=runs_lake.path)
    perfkit.delete_runs(["latest"], lake=runs_lake.path, force=True)
    assert left(runs_lake) == (["cccc"], 6)


def test_thresholds_that_cannot_be_read_may_rest_on_anything(runs_lake):
    Path("thresholds.toml").write_text("schema = ")
    with pytest.raises(InputError, match=r"thresholds.toml"):
        perfkit.delete_runs(["latest"], lake=runs_lake.path)
    assert left(runs_lake)[1] == 18


def test_a_run_that_is_being_measured_is_refused_even_by_force(runs_lake):
    refused = pytest.raises(LakeError, match="20261121-070000-cccc is being measured")
    with hold_run(runs_lake.path, "20261121-070000-cccc"), refused:
        perfkit.delete_runs(["20261121"], lake=runs_lake.path, force=True)
    assert left(runs_lake)[1] == 18


def test_no_name_deletes_nothing(runs_lake):
    with pytest.raises(InputError, match="no run is named"):
        perfkit.delete_runs([], lake=runs_lake.path)


def test_killed_between_the_tables_the_same_call_does_the_rest(runs_lake):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_BETWEEN_THE_TABLES, "latest", str(runs_lake.path)],
        capture_output=True,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL
    assert left(runs_lake) == (["cccc", "bbbb", "aaaa"], 12)
    again = perfkit.delete_runs(["latest"], lake=runs_lake.path)
    assert again.observations == {"20261120-220000-bbbb": 0}
    assert left(runs_lake) == (["cccc", "aaaa"], 12)


def test_an_event_that_cannot_be_told_is_a_warning(runs_lake, monkeypatch):
    def refusing(folder):
        raise JournalError(f"journal {folder} cannot be written to")

    monkeypatch.setattr("perfkit.workflows.events.open_journal", refusing)
    deleted = perfkit.delete_runs(["latest"], lake=runs_lake.path)
    assert left(runs_lake)[1] == 12
    assert "the lake's events do not tell of it" in deleted.warnings[0]


def test_rows_that_cannot_be_drained_stop_it_as_they_would_come_back(runs_lake, monkeypatch):
    with open_journal(journal_folder(runs_lake.path)) as journal:
        row = {"method": ["uds"], "payload_bytes": 1, "latency_ns": 1, "run_id": "20261120-220000-bbbb"}
        journal.append("transfers", row)
    with monkeypatch.context() as patched, hold_lake(runs_lake.path, "maintain"):
        patched.setattr("perfkit.workflows.fresh.drain", functools.partial(drain, wait_s=0.1))
        with pytest.raises(LakeError, match=r"could not be moved .* is held by .*perfkit drain"):
            perfkit.delete_runs(["latest"], lake=runs_lake.path)
    assert left(runs_lake)[1] == 18
    assert perfkit.delete_runs(["latest"], lake=runs_lake.path).observations == {"20261120-220000-bbbb": 7}
    drain(runs_lake.path)
    assert left(runs_lake) == (["cccc", "aaaa"], 12)


def test_a_slot_that_cannot_be_read_is_told_of(runs_lake):
    slot = journal_folder(runs_lake.path) / "slot-007.sqlite"
    slot.parent.mkdir()
    slot.write_bytes(b"no database" * 1000)
    assert "slot-007" in perfkit.delete_runs(["latest"], lake=runs_lake.path).warnings[0]

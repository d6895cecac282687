"""A run taken to another lake is the same run, of the same host, once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

import perfkit
from perfkit.errors import InputError, LakeError
from perfkit.lake import drain, open_lake
from perfkit.lake.run_files import RUN_FILE_FORMATS, read_run_file
from perfkit.workflows.run_lock import hold_run
from perfkit.workflows.runs import resolve_run
from perfkit.workflows.tune import fit_run

KILLED_BEFORE_THE_RECORD = """
import os, signal, sys
from perfkit.lake import Lake
import perfkit
Lake.append_run = lambda self, record: os.kill(os.getpid(), signal.SIGKILL)
perfkit.import_run(sys.argv[1], lake=sys.argv[2])
"""


@pytest.fixture
def elsewhere(tmp_path):
    """The folder of a lake on another machine."""
    return tmp_path / "elsewhere"


def export_latest(lake, tmp_path, ending="parquet"):
    path = tmp_path / f"run.{ending}"
    perfkit.export_run("latest", path, lake=lake.path)
    return path


@pytest.mark.parametrize("ending", RUN_FILE_FORMATS)
def test_there_and_back_the_file_is_the_same_to_the_byte(runs_lake, elsewhere, tmp_path, ending):
    path = export_latest(runs_lake, tmp_path, ending)
    assert perfkit.import_run(path, lake=elsewhere).imported
    back = tmp_path / f"back.{ending}"
    exported = perfkit.export_run("2026", back, lake=elsewhere)
    assert (exported.observations, exported.file_bytes) == (6, path.stat().st_size)
    assert back.read_bytes() == path.read_bytes()


def test_the_run_keeps_its_name_its_record_and_its_host(runs_lake, add_run, elsewhere, tmp_path):
    add_run(runs_lake, "20261121-080000-dddd", 700, fingerprint='{"kernel": "2.4"}')
    imported = perfkit.import_run(export_latest(runs_lake, tmp_path), lake=elsewhere)
    assert imported.run_id == "20261121-080000-dddd"
    assert imported.host_differences[0].startswith("kernel: measured on 2.4")
    assert "! another host" in str(imported)
    assert resolve_run(open_lake(elsewhere), "latest") == resolve_run(runs_lake, "latest")
    assert fit_run(elsewhere).curves.fingerprint == {"kernel": "2.4"}
    assert perfkit.runs(elsewhere).entries[0].marks == "H"


def test_its_rows_cannot_be_taken_for_those_of_a_slot_here(runs_lake, elsewhere, tmp_path):
    """Both machines have a slot-000 with an epoch 1: the three of them still name one row each."""
    path = export_latest(runs_lake, tmp_path)
    perfkit.import_run(path, lake=elsewhere)
    rows = open_lake(elsewhere).transfers.to_pyarrow().to_pylist()
    assert {row["producer"] for row in rows} == {"20261120-220000-bbbb/slot-000"}
    assert {row["producer"] for row in read_run_file(path).observations.to_pylist()} == {"slot-000"}
    assert perfkit.open_lake(elsewhere).find_transfer("slot-000", 1, 1) is None


def test_importing_twice_changes_nothing(runs_lake, elsewhere, tmp_path):
    path = export_latest(runs_lake, tmp_path)
    perfkit.import_run(path, lake=elsewhere)
    again = perfkit.import_run(path, lake=elsewhere)
    assert not again.imported
    assert "already, exactly as in the file" in str(again)
    assert not perfkit.import_run(path, lake=runs_lake.path).imported
    assert open_lake(elsewhere).transfers.count().to_pyarrow().as_py() == 6


def test_another_run_of_the_same_name_is_refused(runs_lake, elsewhere, tmp_path):
    path = export_latest(runs_lake, tmp_path, "json")
    perfkit.import_run(path, lake=elsewhere)
    whole = json.loads(path.read_text())
    whole["transfers"]["latency_ns"][0] += 1
    path.write_text(json.dumps(whole))
    with pytest.raises(InputError, match="has a run 20261120-220000-bbbb that differs"):
        perfkit.import_run(path, lake=elsewhere)
    assert open_lake(elsewhere).transfers.count().to_pyarrow().as_py() == 6


def test_rows_that_retention_removed_come_back(runs_lake, tmp_path):
    path = export_latest(runs_lake, tmp_path)
    from perfkit.lake.delta import open_table
    from perfkit.lake.rewriting import delete_rows

    delete_rows(open_table(runs_lake.path / "transfers"), "run_id = '20261120-220000-bbbb'")
    with pytest.raises(InputError, match="retention removed them"):
        perfkit.export_run("latest", tmp_path / "none.csv", lake=runs_lake.path)
    assert perfkit.import_run(path, lake=runs_lake.path).imported
    assert len(runs_lake.observations_of("20261120-220000-bbbb")) == 6
    assert len(perfkit.runs(runs_lake.path).entries) == 3


def test_a_deleted_run_can_be_imported_again(runs_lake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = export_latest(runs_lake, tmp_path, "arrow")
    perfkit.delete_runs(["latest"], lake=runs_lake.path)
    assert perfkit.import_run(path, lake=runs_lake.path).imported
    assert len(runs_lake.observations_of("20261120-220000-bbbb")) == 6


def test_killed_before_the_record_the_same_call_does_the_rest(runs_lake, elsewhere, tmp_path):
    path = export_latest(runs_lake, tmp_path)
    command = [sys.executable, "-c", KILLED_BEFORE_THE_RECORD, str(path), str(elsewhere)]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == -signal.SIGKILL
    assert perfkit.runs(elsewhere).entries == ()
    assert perfkit.import_run(path, lake=elsewhere).imported
    assert open_lake(elsewhere).transfers.count().to_pyarrow().as_py() == 6
    assert len(perfkit.runs(elsewhere).entries) == 1


def test_the_lake_tells_of_it(runs_lake, elsewhere, tmp_path):
    perfkit.import_run(export_latest(runs_lake, tmp_path), lake=elsewhere)
    drain(elsewhere)
    (event,) = open_lake(elsewhere).events.to_pyarrow().to_pylist()
    assert (event["name"], event["subject"]) == ("run imported", "20261120-220000-bbbb")
    assert json.loads(event["details"])["file"] == "run.parquet"


def test_a_run_that_is_being_measured_is_not_exported(runs_lake, add_run, tmp_path):
    add_run(runs_lake, "20261121-080000-dddd", 700, status="running")
    with hold_run(runs_lake.path, "20261121-080000-dddd"), pytest.raises(LakeError, match="is being measured"):
        perfkit.export_run("20261121-08", tmp_path / "run.csv", lake=runs_lake.path)
    after_a_kill = perfkit.export_run("20261121-08", tmp_path / "run.csv", lake=runs_lake.path)
    assert after_a_kill.observations == 6


def test_rows_of_before_there_were_producers_keep_none(runs_lake, elsewhere, tmp_path):
    path = export_latest(runs_lake, tmp_path, "json")
    whole = json.loads(path.read_text())
    for column in ("producer", "epoch", "producer_sequence"):
        del whole["transfers"][column]
    path.write_text(json.dumps(whole))
    perfkit.import_run(path, lake=elsewhere)
    assert set(open_lake(elsewhere).transfers.to_pyarrow().column("producer").to_pylist()) == {""}
    assert not perfkit.import_run(path, lake=elsewhere).imported


def test_a_run_of_which_rows_wait_is_not_exported(runs_lake, tmp_path):
    (tmp_path / "journal").write_text("a file where the journal's folder should be")
    with pytest.raises(LakeError, match=r"could not be moved into the lake: .*perfkit drain"):
        export_latest(runs_lake, tmp_path)
    assert not (tmp_path / "run.parquet").exists()


def test_a_run_with_fewer_observations_than_its_record_says_is_not_exported(runs_lake, tmp_path):
    from perfkit.lake.delta import open_table
    from perfkit.lake.rewriting import delete_rows

    delete_rows(open_table(runs_lake.path / "transfers"), "run_id = '20261120-220000-bbbb' AND launch = 0")
    with pytest.raises(LakeError, match=r"has 6 observations, .* has 4 of them; run `perfkit drain`"):
        export_latest(runs_lake, tmp_path)

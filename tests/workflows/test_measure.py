"""`perfkit.bench`: kept in the lake, resumed after an interruption, honest about what it could not do."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys

import pytest

import perfkit
from perfkit.errors import InputError, JournalError, LakeError
from perfkit.journal import Journal
from perfkit.lake import drain
from perfkit.measurement.ratios import RATIOS, compute_ratios
from perfkit.transfer.platform import headroom
from perfkit.workflows.run_lock import hold_run


@pytest.fixture
def lake(tmp_path):
    return tmp_path / "lake"


def runs_of(lake):
    return perfkit.open_lake(lake).runs.to_pyarrow().to_pylist()


def interrupt_after(launch: str):
    def progress(progress):
        if progress.label.startswith(f"launch {launch}"):
            raise KeyboardInterrupt

    return progress


OPTIONS = {"preset": "smoke", "methods": ["uds"], "budget_s": 1}


@pytest.fixture(scope="module")
def interrupted_once(tmp_path_factory):
    """A run that Ctrl-C ended in its second launch, to be copied; and its lake."""
    lake = tmp_path_factory.mktemp("interrupted") / "lake"
    return perfkit.bench(**OPTIONS, lake=lake, progress=interrupt_after("2/2")), lake


@pytest.fixture
def interrupted(interrupted_once, lake):
    """The run that is interrupted in `lake`."""
    first, made = interrupted_once
    shutil.copytree(made, lake)
    return first


def test_interrupted_run_is_resumed(interrupted, lake):
    """Ctrl-C in the second launch: what was measured is in the lake; the same call goes on and ends as one run."""
    options, first = {**OPTIONS, "lake": lake}, interrupted
    assert first.status == "interrupted"
    assert [run["status"] for run in runs_of(lake)] == ["interrupted"]
    kept = perfkit.open_lake(lake).transfers.count().to_pyarrow().as_py()
    assert kept == len(first.observations) > 0

    second = perfkit.bench(**options)
    assert second.run_id == first.run_id
    assert second.launches == 3  # the one that was cut short counts, and the next is a fresh one
    assert len(second.observations) > kept
    (run,) = runs_of(lake)
    assert run["status"] in ("complete", "budget")
    assert run["observations"] == len(second.observations)
    assert perfkit.open_lake(lake).transfers.count().to_pyarrow().as_py() == len(second.observations)

    keys = [(row["scenario"], row["launch"], row["round"], row["sequence"]) for row in second.observations.to_pylist()]
    assert len(set(keys)) == len(keys)

    third = perfkit.bench(**options, progress=interrupt_after("1/2"))
    assert third.run_id != first.run_id  # a finished run is not gone on with


def test_run_that_is_still_running_is_left_alone(interrupted, lake):
    """Another driver holds the run: a second one begins a run of its own; once it is let go, it is gone on with."""
    with hold_run(lake, interrupted.run_id) as is_held:
        assert is_held
        other = perfkit.bench(**OPTIONS, lake=lake, progress=interrupt_after("1/2"))
        assert other.run_id != interrupted.run_id
    assert list((lake / ".running").iterdir()) == []


def test_held_run_cannot_be_held_twice(tmp_path):
    with hold_run(tmp_path, "run") as first, hold_run(tmp_path, "run") as second:
        assert (first, second) == (True, False)
    with hold_run(tmp_path, "run") as again:
        assert again


def test_free_memory_does_not_prevent_going_on(interrupted, lake, monkeypatch):
    """Less memory at the second start: the same run goes on, with fewer scenarios."""
    less = dataclasses.replace(headroom(), available_bytes=2**20)
    monkeypatch.setattr("perfkit.workflows.measure.headroom", lambda: less)
    second = perfkit.bench(**OPTIONS, lake=lake)
    assert second.run_id == interrupted.run_id
    assert "left out" in str(second)


def test_interrupted_again_before_anything_was_measured_is_still_resumed(interrupted, lake):
    """Ctrl-C twice, the second time at once: the third start goes on with the same run."""
    options, first = {**OPTIONS, "lake": lake}, interrupted
    at_once = perfkit.bench(**options, progress=interrupt_after(""))
    assert (at_once.run_id, at_once.status) == (first.run_id, "interrupted")
    assert len(at_once.observations) >= len(first.observations)
    assert perfkit.bench(**options).run_id == first.run_id


def test_interrupted_before_the_first_batch_is_no_failure(lake, monkeypatch):
    """Nothing was measured yet: the result says so, and can be shown."""

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("perfkit.measurement.sweep.start_launch", interrupt)
    result = perfkit.bench(preset="smoke", methods=["uds"], lake=lake)
    assert (result.status, len(result.observations)) == ("interrupted", 0)
    assert "interrupted: 0 sends" in str(result)


def test_run_that_failed_midway_is_resumed(lake, monkeypatch):
    """The journal could not be written to after the first launch: what it holds is gone on with."""
    options = {**OPTIONS, "lake": lake}
    append, calls = Journal.append, []

    def full_disk(self, table, columns):
        calls.append(table)
        if len(calls) == 2:
            raise JournalError("no space left; free some, then run again")
        return append(self, table, columns)

    monkeypatch.setattr(Journal, "append", full_disk)
    with pytest.raises(JournalError, match="no space left"):
        perfkit.bench(**options)
    (run,) = runs_of(lake)
    assert run["status"] == "failed"
    assert perfkit.bench(**options).run_id == run["run_id"]


def test_lake_that_cannot_take_observations_leaves_them_in_the_journal(lake, monkeypatch):
    """The disk of the lake is full, say: the run goes on, says so, and loses nothing."""

    def full_disk(lake):
        raise LakeError("no space left; free some, then run again")

    monkeypatch.setattr("perfkit.workflows.keeping.drain", full_disk)
    result = perfkit.bench(**OPTIONS, lake=lake)
    assert any("`perfkit drain` moves them: no space left" in warning for warning in result.warnings)
    assert perfkit.open_lake(lake).transfers.count().to_pyarrow().as_py() == 0
    assert perfkit.open_lake(lake, undrained=True).transfers.count().to_pyarrow().as_py() == len(result.observations)
    assert drain(lake).rows == {"transfers": len(result.observations)}


KILLED_BEFORE_DRAIN = """
import os, signal, sys
import perfkit, perfkit.workflows.keeping
perfkit.workflows.keeping.drain = lambda lake: os.kill(os.getpid(), signal.SIGKILL)
perfkit.bench(preset="smoke", methods=["uds"], budget_s=2, lake=sys.argv[1])
"""


def test_run_that_was_killed_between_journal_and_lake_loses_nothing(lake):
    """What was appended before the kill is drained when the same run is asked for again, and gone on with."""
    killed = subprocess.run([sys.executable, "-c", KILLED_BEFORE_DRAIN, str(lake)], timeout=100)
    assert killed.returncode == -signal.SIGKILL
    (run,) = runs_of(lake)
    assert run["status"] == "running"
    appended = perfkit.open_lake(lake, undrained=True).transfers.count().to_pyarrow().as_py()
    assert appended > 0

    second = perfkit.bench(preset="smoke", methods=["uds"], budget_s=2, lake=lake)
    assert second.run_id == run["run_id"]
    kept = perfkit.open_lake(lake).transfers.to_pyarrow()
    assert kept.num_rows == len(second.observations) > appended
    keys = [(row["scenario"], row["launch"], row["round"], row["sequence"]) for row in kept.to_pylist()]
    assert len(set(keys)) == len(keys)


def test_other_parameters_begin_a_new_run(lake):
    first = perfkit.bench(preset="smoke", methods=["uds"], budget_s=2, lake=lake, progress=interrupt_after("1/2"))
    second = perfkit.bench(preset="smoke", methods=["uds"], sizes=[2048], budget_s=1, lake=lake)
    assert second.run_id != first.run_id


def test_result_says_what_it_is(lake):
    result = perfkit.bench(preset="smoke", methods=["uds", "shm_pool"], budget_s=2, lake=lake)
    plain = json.loads(json.dumps(result.to_plain()))
    assert plain["run"] == result.run_id
    assert plain["launches"] == 2
    assert plain["ratios"]["shm_pool_vs_ping_1KiB"]["low"] > 0
    assert plain["composition_error"]["n"] >= 1
    assert "2 launches tell little" in str(result)
    assert "<table>" in result._repr_html_()
    assert json.loads(runs_of(lake)[0]["fingerprint"]) == dict(result.fingerprint)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "quik"}, "Did you mean 'quick'"),
        ({"scenarios": "x.toml", "sizes": [1]}, "leave --methods and --sizes out"),
        ({"background_share": 0.0}, "background share == 0.0"),
        ({"scenarios": "none.toml"}, "no such file"),
    ],
)
def test_bad_input_is_named_before_anything_starts(lake, options, message):
    with pytest.raises(InputError, match=message):
        perfkit.bench(lake=lake, **options)
    assert not lake.exists()


def test_background_measures_its_impact():
    """With a generous share, so that the test is short: the impact is an interval around a ratio near one."""
    result = perfkit.bench(preset="smoke", methods=["uds"], budget_s=1, background_share=0.9, lake=None)
    impact = result.background_impact
    assert impact is not None
    assert impact.value > 0
    assert impact.low <= impact.value <= impact.high  # 0 to infinity where the run was over within one stretch
    assert "impact on the host" in str(result)
    assert set(result.observations.column("source").to_pylist()) == {"background"}


def test_ratios_name_scenarios_of_the_limits_preset():
    """Every ratio finds both of its scenarios among what the preset measures."""
    from perfkit.measurement.presets import make_sweep

    names = {scenario.name for scenario in make_sweep("limits").scenarios}
    for numerator, denominator, sentence in RATIOS.values():
        assert {numerator.name, denominator.name} <= names
        assert sentence


def test_ratios_need_both_sides():
    result = perfkit.bench(preset="smoke", methods=["uds"], budget_s=1, lake=None)
    assert compute_ratios(result.observations) == {}

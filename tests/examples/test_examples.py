"""The examples run, and say what their pages say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from perfkit.measurement.scenario_files import load_sweep
from perfkit.workflows.publish import publish

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_every_example_is_listed():
    listed = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.iterdir():
        assert path.name == "README.md" or path.name.startswith("__") or f"`{path.name}`" in listed


def test_service_decides_without_thresholds(tmp_path):
    """With no file at all the defaults apply: a method for every payload, and the reason."""
    command = [sys.executable, str(EXAMPLES / "decide.py"), str(tmp_path / "perfkit.toml")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "4,096 bytes: tensor by grpc, table by grpc" in output
    assert "100,000,000 bytes: tensor by shm_pool" in output
    assert "nothing published" in output


def test_workload_can_be_measured():
    sweep = load_sweep(EXAMPLES / "workload.toml")
    wholes = [scenario for scenario in sweep.scenarios if scenario.stage == "whole"]
    assert len(wholes) == 3 + 3 * 2 * 2
    assert {scenario.interval_ns for scenario in wholes} == {0, 5_000_000}


class Fitted:
    def __init__(self, curves):
        self.curves = curves


@pytest.fixture
def predicted(tmp_path, make_curves):
    """What `perfkit predict --json` prints of published curves: 2 ms for 1 MiB by shared memory."""
    publish(
        Fitted(make_curves({"uds": (10_000, 8.0), "shm_pool": (902_848, 1.046142578125)})),
        path=tmp_path / "thresholds.toml",
        force=True,
    )
    (tmp_path / "perfkit.toml").write_text("")
    command = [sys.executable, "-m", "perfkit", "predict", "1KiB", "1MiB", "--in-flight", "2", "--json"]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout


def plan(predictions, per_second):
    command = [sys.executable, str(EXAMPLES / "plan_transfers.py"), "--per-second", per_second]
    return subprocess.run(command, input=predictions, capture_output=True, text=True)


def test_a_planning_tool_reads_what_predict_prints(predicted):
    """2 ms each, two at a time: 500 a second keep them busy half of the time, 900 too much of it."""
    some, many = plan(predicted, "500"), plan(predicted, "900")
    assert (some.returncode, many.returncode) == (0, 1), some.stderr + many.stderr
    small, large, *_ = some.stdout.splitlines()
    assert "1,024 bytes by uds: busy 0.5% of the time" in small
    assert "1,048,576 bytes by shm_pool: busy 50.0% of the time" in large
    assert large.endswith("fits")
    assert "busy 90.0% of the time" in many.stdout
    assert "median up to 2.04 ms (95%)" in large


def test_a_planning_tool_says_what_nobody_knows():
    unknown = {"payload_bytes": 1024, "method": "uds", "in_flight": 1}
    unknown |= dict.fromkeys(("latency_ns", "cpu_ns", "resident_bytes"))
    said = plan(f"note\n{json.dumps({'predictions': [unknown], 'warnings': ['thin']})}\n", "5")
    assert (said.returncode, said.stdout.splitlines()[1]) == (1, "! thin")
    assert "nobody knows how long they take" in said.stdout
    assert "no plan: no model" in plan(json.dumps({"error": {"message": "no model"}}), "5").stderr
    assert "no plan: nothing to read" in plan("", "5").stderr

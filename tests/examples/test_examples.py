"""The examples run, and say what their pages say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from perfkit.measurement.scenario_files import load_sweep

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

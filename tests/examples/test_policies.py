"""The example of policies: its files are in order, and every policy decides what its page says."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from perfkit.engine.policies import find_policy
from perfkit.workflows.publish import publish

POLICIES = Path(__file__).parents[2] / "examples" / "policies"
README = (POLICIES / "README.md").read_text()
LATENCY = {"uds": (10_000, 0.3), "shm_pool": (40_000, 0.15), "grpc": (500_000, 2.0)}
PROCESSOR_TIME = {"uds": (5_000, 0.05), "shm_pool": (90_000, 0.2), "grpc": (600_000, 3.0)}
"""The socket takes at most twice as long as shared memory, and less processor time at any size."""


class Fitted:
    def __init__(self, curves: object) -> None:
        self.curves = curves


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The example in a folder of its own, where what it records stays."""
    ignored = shutil.ignore_patterns("__pycache__", "data")
    return Path(shutil.copytree(POLICIES, tmp_path / "policies", ignore=ignored))


def shown(folder: Path, thresholds: Path) -> str:
    command = [sys.executable, str(folder / "show.py"), str(thresholds)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_files_are_in_order(copied: Path):
    command = [sys.executable, "-m", "perfkit", "check"]
    ended = subprocess.run(command, cwd=copied, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    assert "experiment earlier-blocks" in ended.stdout


def test_policies_decide_by_what_was_measured(copied: Path, tmp_path: Path, make_curves):
    curves = make_curves(LATENCY, cpu=PROCESSOR_TIME)
    publish(Fitted(curves), path=tmp_path / "thresholds.toml", force=True)
    printed = shown(copied, tmp_path / "thresholds.toml")
    found = re.findall(r"^(\S+) +(\S+): (\S+) +by (\w+)$", printed, re.MULTILINE)
    decided = {(pool, size): (method, source) for pool, size, method, source in found}
    assert decided["images", "95.4MiB"] == ("shm_pool", "policy")
    assert decided["images", "1000B"][1] in ("model", "exploration")
    assert decided["carts", "1000B"] == ("uds", "policy")
    for size in ("1000B", "977KiB", "95.4MiB"):
        assert decided["batch-sales", size] == ("uds", "policy")
    assert "Not followed: model, shm_pool" in " ".join(printed.split())
    assert "Engine: ok" in printed


def test_page_shows_what_is_printed_before_anything_is_measured(copied: Path, tmp_path: Path):
    (page,) = re.findall(r"^```text\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert shown(copied, tmp_path / "none.toml").startswith(page)


def test_policy_of_the_page_can_be_registered():
    (page,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    exec(compile(ast.parse(page), "README.md", "exec"), {})
    assert find_policy("large over shared memory").breakpoints == (16 * 2**20,)

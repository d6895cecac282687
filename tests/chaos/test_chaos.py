"""Kill anything at any moment: nothing committed is lost, nothing is counted twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("harness.py")


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_killed_writers_and_drainers_lose_and_double_nothing() -> None:
    """`CHAOS_ROUNDS` rounds, 30 without it; the seed of a run that fails is in what it prints."""
    done = subprocess.run([sys.executable, str(HARNESS), "--json"], capture_output=True, text=True, timeout=290)
    assert done.stdout, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert not figures["failures"], figures["failures"]
    assert figures["ok"], figures
    assert figures["rows"] > 0
    assert all(kind["kills"] >= kind["rounds"] for kind in figures["by_kind"].values())

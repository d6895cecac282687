"""Kill anything at any moment: nothing committed is lost, nothing is counted twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("harness.py")


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_killed_writers_and_drainers_lose_and_double_nothing(tmp_path: Path) -> None:
    """`CHAOS_ROUNDS` rounds, 15 without it; the seed of a run that fails is in what it prints."""
    command = [sys.executable, str(HARNESS), "--json"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # stays there when it takes too long and is killed
    done = subprocess.run(command, capture_output=True, text=True, timeout=290, env=environment)
    assert done.stdout, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert not figures["failures"], figures["failures"]
    assert figures["ok"], figures
    assert figures["rows"] > 0
    assert all(kind["kills"] >= kind["rounds"] for kind in figures["by_kind"].values())


COUNTED_WITH_NOTHING_IN_THE_LAKE = """
import json, sys, tempfile
from pathlib import Path
import pyarrow as pa
import harness
with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
    place = harness.Place(Path(folder))
    place.notes.mkdir()
    page = harness.shared_page(place.notes / "slot-000-7.counts")
    page[0] = page[1] = 5
    (place.notes / "slot-000-7.appends").write_text("started 1 5 0 0\\nreturned 1 5 1 5\\n")
    names = ("producer", "epoch", "producer_sequence", "method", "payload_bytes")
    types = (pa.string(), pa.int64(), pa.int64(), pa.string(), pa.int64())
    rows = pa.table({name: pa.array([], type) for name, type in zip(names, types)})
    print(json.dumps(harness.count(place, rows, [])))
"""


def test_the_count_sees_an_epoch_of_which_nothing_arrived(tmp_path: Path) -> None:
    """A harness that cannot fail proves nothing."""
    command = [sys.executable, "-c", COUNTED_WITH_NOTHING_IN_THE_LAKE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=HARNESS.parent)
    assert done.stdout, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["missing"], figures["disagreeing"]) == (5, 1)

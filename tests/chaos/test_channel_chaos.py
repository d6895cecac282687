"""Kill clients and servers of a channel at any moment: nothing hangs, nothing is left behind, nothing is damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("channel_harness.py")


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_killed_clients_and_servers_leave_nothing_behind(short_path: Path) -> None:
    """`CHANNEL_CHAOS_RUNS` runs, 25 without it; the seed of a run that fails is in what it prints."""
    environment = {**os.environ, "TMPDIR": str(short_path)}  # stays there when it takes too long and is killed
    done = subprocess.run(
        [sys.executable, str(HARNESS), "--json"], capture_output=True, text=True, timeout=290, env=environment
    )
    assert done.stdout, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["ok"], figures
    assert figures["kills"] >= figures["runs"] >= int(os.environ.get("CHANNEL_CHAOS_RUNS", "25"))
    assert figures["answers"] > figures["runs"]
    assert figures["errors"]["PeerLostError"] > 0


BROKEN = """
import json, os, time
import channel_harness, channel_parties

handle, rest = channel_parties.Handler.__call__, channel_parties.Sender.rest

def answers_wrongly(self, payload, request):
    answer = handle(self, payload, request)
    if request.session == "digest":
        return [*answer[:2], answer[2] + 1]
    if request.session == "echo":
        time.sleep(1.8)
    return answer

def keeps_a_descriptor(self, *, closes):
    os.dup(0)
    return rest(self, closes=closes)

channel_parties.Handler.__call__ = answers_wrongly
channel_parties.Sender.rest = keeps_a_descriptor
channel_harness.CLOSES_EVERY = 1
channel_harness.KINDS = {name: channel_harness.KINDS[name] for name in ("client",)}
figures = channel_harness.run(4, 1)
print(json.dumps(figures))
"""


@pytest.mark.slow
def test_the_harness_sees_wrong_answers_hanging_sends_and_what_is_left_behind() -> None:
    """A harness that cannot fail proves nothing."""
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], capture_output=True, text=True, timeout=110, cwd=HARNESS.parent
    )
    assert done.stdout, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["wrong"] > 0
    assert figures["hung"] > 0
    assert any("'fds': " in failure for failure in figures["failures"]), figures["failures"]

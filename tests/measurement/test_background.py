"""Who belongs to a measurement: every descendant, whichever thread started it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from perfkit.measurement.background import _descendants


def test_children_of_other_threads_and_their_children_are_found():
    """A grandchild below a child that another thread started, while that thread lives."""
    started, ended = threading.Event(), threading.Event()
    script = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True); input()"
    pids: list[int] = []

    def work() -> None:
        child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with child:
            pids.extend((child.pid, int(child.stdout.readline())))
            started.set()
            ended.wait(20)
            os.kill(pids[1], 9)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert started.wait(20)
        assert set(pids) <= set(_descendants(os.getpid()))
    finally:
        ended.set()
        thread.join()

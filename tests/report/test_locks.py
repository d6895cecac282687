"""One run per reports folder; a lock never outlives its holder; a lost run is told from one under way."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from perfkit.errors import ReportError
from perfkit.report.running import locks
from perfkit.report.running.locks import hold_reports, hold_run, is_under_way, name_run

HOLD = """\
import pathlib, sys, time
from perfkit.report.running.locks import hold_reports, hold_run, name_run
folder = pathlib.Path(sys.argv[1])
with hold_reports(folder.parent, "nightly") as lock, hold_run(folder):
    name_run(lock, "nightly", folder.name)
    print("held", flush=True)
    time.sleep(600)"""


def test_a_second_run_is_told_who_holds_the_reports_until_that_process_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "20261120T120000Z-ab12"
    assert not is_under_way(folder)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder.stdout:
        holder.stdout.readline()
        assert is_under_way(folder)
        said: list[str] = []
        expected = rf"in use by pipeline nightly \(run {folder.name}, process {holder.pid}, since .*--wait 1h"
        with pytest.raises(ReportError, match=expected), hold_reports(folder.parent, "quick", 0.2, said.append):
            pass
        assert "waiting for pipeline nightly" in said[0]
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert not is_under_way(folder)
    with hold_reports(folder.parent, "quick"):
        pass


def test_who_gave_the_lock_back_is_not_named(tmp_path: Path) -> None:
    with hold_reports(tmp_path, "quick") as lock:
        name_run(lock, "quick", "one")
        assert "quick" in (tmp_path / locks.REPORTS_LOCK).read_text()
    assert (tmp_path / locks.REPORTS_LOCK).read_text() == ""
    with hold_run(tmp_path):
        assert is_under_way(tmp_path)
    assert not is_under_way(tmp_path)
    assert not (tmp_path / locks.RUN_LOCK).exists()


def test_a_file_system_without_locks_is_named_and_nothing_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ReportError, match=r"no locks: keep the reports on a local one"), hold_reports(tmp_path, "x", 9):
        pass
    (tmp_path / locks.RUN_LOCK).touch()
    assert is_under_way(tmp_path)  # nobody can tell: do not call it lost

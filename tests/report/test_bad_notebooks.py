"""Whatever a notebook does, its report says so in words that help, and the other points of its grid go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perfkit.report import run_pipeline
from perfkit.report.results import PipelineResult, read_run, write_run
from perfkit.report.running import process
from perfkit.report.running.process import Limits, run_process

WriteNotebook = Callable[[str, list[str]], Path]

MISBEHAVING = """\
import os, signal, sys, time
if preset == "leaves":
    sys.exit()
if preset == "is killed":
    os.kill(os.getpid(), signal.SIGKILL)
if preset == "prints, draws and swallows":
    os.system("setsid sleep 317 & echo $! > sleeper.pid")
    try: 1 / 0
    except ZeroDivisionError: pass
    for _ in range(20_000): print("x" * 999)
    print("the end")
    from IPython.display import HTML, display
    display(HTML("<p>" + "y" * 3_000_000 + "</p>"))
if preset == "takes memory":
    chunks = []
    while True: chunks.append(bytearray(2**24)); time.sleep(0.05)"""
SAID = {
    "leaves": ("failed", "it left in cell 4 with sys.exit(); the cells after it did not run"),
    "is killed": (
        "failed",
        "its kernel was killed in cell 4 (SIGKILL): somebody ended it, or this host ran out of memory (`sudo dmesg` "
        "says which)",
    ),
    "prints, draws and swallows": ("complete", ""),
    "takes memory": ("out of memory", "over its memory_limit of 256MiB; raise it, or give it less data"),
}
HANGING = """\
import collections, itertools, os, pathlib, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("kernel.pid").write_text(str(os.getpid()))
collections.deque(itertools.repeat(0), maxlen=0)"""  # it loops in C and lets nobody else run
FILLING = """\
import contextlib
with contextlib.suppress(OSError), open("../reports/filler", "wb", buffering=0) as file:
    while True: file.write(bytes(4096))
assert True"""
ON_A_SMALL_DISK = """\
mkdir "$1/small"
mount -t tmpfs -o size=6m tmpfs "$1/small" && cp -a "$1/reports/." "$1/small" || exit 77
mount --bind "$1/small" "$1/reports" || exit 77
"$2" -c "import sys; from perfkit.cli import main; sys.exit(main(['run', 'tune', '--json']))"
echo $? > "$1/exit_code"
rm "$1/reports/filler"
cp -a "$1/reports" "$1/after\""""


@pytest.fixture
def in_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_kind_of_misbehaviour_is_named(write_notebook: WriteNotebook, in_project: Path) -> None:
    write_notebook("30_tune", ["print('so far')", MISBEHAVING])
    (in_project / "perfkit.toml").write_text(
        f"[pipelines.bad]\nnotebooks = ['30_tune']\nmemory_limit = '256MiB'\ngrid = {{ preset = {list(SAID)} }}\n"
    )
    run = run_pipeline("bad")
    assert run.status == "failed"
    notebooks = {str(one.point["preset"]): one for one in run.notebooks}
    for case, (status, reason) in SAID.items():
        assert (case, notebooks[case].status) == (case, status)
        assert reason in notebooks[case].error
        page = (run.report_path / f"{notebooks[case].page_name}.html").read_text()
        assert "so far" in page
        assert len(page) < 3_000_000
    cut = notebooks["prints, draws and swallows"]
    assert not Path("/proc", (in_project / "notebooks" / "sleeper.pid").read_text().strip()).exists()
    for note in (
        "19MiB of what its cell 4 printed was left out; print less, or into a file",
        "a chart or table of 2.86MiB in its cell 4 was left out",
        "its last cell asserts nothing: an error that the notebook caught itself would not be seen",
        "it recorded no figure",
    ):
        assert any(note in one for one in cut.notes)
    page = (run.report_path / f"{cut.page_name}.html").read_text()
    assert "[perfkit left out 19MiB of output here, to keep the page small]" in page
    assert "the end" in page  # where the reason of a failure would stand
    peak_bytes = notebooks["takes memory"].peak_memory_bytes
    assert peak_bytes is not None
    assert 2**28 < peak_bytes < 2**32


def test_a_notebook_that_hangs_and_listens_to_no_signal_is_killed(
    write_notebook: WriteNotebook, in_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = write_notebook("30_tune", ["print('so far')", HANGING])
    marker = notebook.parent / "kernel.pid"

    class OnceItHangs:
        memory_bytes = None
        withheld_variables = frozenset[str]()

        @property
        def timeout_s(self) -> float:
            return 0.0 if marker.exists() else 60.0

    monkeypatch.setattr(process, "SHUTDOWN_S", 1.0)
    target = in_project / "executed.ipynb"
    with run_process(notebook, target, {}, in_project / "x.log", OnceItHangs(), lambda _: None) as outcome:
        pass
    assert outcome.status == "timed out"
    assert "which is its timeout; raise it, or give it less to do" in outcome.reason
    assert "so far" in target.read_text()
    assert not Path("/proc", marker.read_text()).exists()


def test_a_full_disk_fails_the_run_in_words_and_harms_nothing_that_was_there(
    write_notebook: WriteNotebook, in_project: Path
) -> None:
    reports = in_project / "reports"
    earlier = PipelineResult(
        "20261101T000000Z-ab12",
        "tune",
        "complete",
        "2026-11-01T00:00:00+00:00",
        1.0,
        reports / "20261101T000000Z-ab12",
        Path("thresholds.toml"),
        None,
        {},
        "",
        (),
    )
    earlier.report_path.mkdir(parents=True)
    write_run(earlier)
    (reports / "latest").symlink_to(earlier.run_id)
    write_notebook("30_tune", [FILLING])
    command = ["unshare", "-rm", "sh", "-c", ON_A_SMALL_DISK, "sh", str(in_project), sys.executable]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    except FileNotFoundError:
        pytest.skip("there is no unshare to make a small disk with")
    if not (in_project / "exit_code").exists():
        pytest.skip(f"no small disk can be mounted: {done.stderr}")

    assert (in_project / "exit_code").read_text() == "1\n"
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["status"] == "failed"
    assert "the disk is full (No space left on device): free space (df -h" in said["notebooks"][0]["error"]
    after = in_project / "after"
    assert os.readlink(after / "latest") == earlier.run_id  # noqa: PTH115 - where it leads, not what is there
    assert read_run(after / earlier.run_id).status == "complete"
    assert read_run(after / said["run"]).status == "failed"  # written into the space that was set aside
    index = (after / "index.html").read_text()
    assert index.rstrip().endswith("</html>")
    assert not list(after.rglob("*.partial"))


def test_what_the_host_killed_for_want_of_memory_is_told_from_what_somebody_killed(tmp_path: Path) -> None:
    answer = {"status": "failed", "reason": "its kernel was killed in cell 4 (SIGKILL)", "killed": True}
    status, reason = process._as_answered(answer, None, tmp_path / "x.log", lacked_memory=True)
    assert status == "out of memory"
    assert (
        "this host ran out of memory, and its kernel ended the largest process; give the notebook less data" in reason
    )
    assert process._as_answered(answer, None, tmp_path / "x.log", lacked_memory=False)[0] == "failed"
    assert process._as_answered({}, -9, tmp_path / "x.log", lacked_memory=True)[0] == "out of memory"
    crashed = ("failed", "the process that executed it ended with exit code -11, see x.log")
    assert process._as_answered({}, -11, tmp_path / "x.log", lacked_memory=True) == crashed


def test_a_notebook_does_not_get_what_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "secret")
    assert process._environment(frozenset()) == {**os.environ, "PERFKIT_REPORT": "1"}
    assert "MAIL_PASSWORD" not in process._environment(frozenset({"MAIL_PASSWORD"}))


def test_a_kernel_that_cannot_be_started_is_named(
    write_notebook: WriteNotebook, in_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = in_project / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text('{"argv": ["/absent/python"], "display_name": "x", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(folder.parents[1]))
    notebook, log = write_notebook("30_tune", []), in_project / "x.log"
    with run_process(notebook, in_project / "x.ipynb", {}, log, Limits(60.0), lambda _: None) as outcome:
        assert outcome.status == "failed"
    assert "its kernel (python3) could not be started" in outcome.reason
    assert "/absent/python" in outcome.reason

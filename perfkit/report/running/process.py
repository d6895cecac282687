"""The process of one notebook: started, watched, and ended with everything that it started."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import psutil

from perfkit.report.notebook.rendering import REPORT_VARIABLE
from perfkit.report.running.memory import MemoryWatch, kills_for_want_of_memory
from perfkit.units import format_bytes, format_duration

__all__ = ["Limits", "Outcome", "run_process"]

SHUTDOWN_S = 20.0
"""What an interrupted kernel gets to keep what it measured and to end its own processes; terminated at half of it."""

_GRACE_S = 5.0  # beyond `SHUTDOWN_S`, from asking a notebook to stop until all its processes are killed
_LOOK_S = 0.25


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What one notebook may take.

    Args:
        timeout_s: seconds.
        memory_bytes: resident memory of its kernel and all that this starts; None for no limit.
        withheld_variables: environment variables that it does not get, such as passwords.
    """

    timeout_s: float
    memory_bytes: int | None = None
    withheld_variables: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How the process of a notebook ended.

    Args:
        status: one of `perfkit.report.results.NOTEBOOK_STATUSES`.
        reason: why it did not complete, and what to do; empty where the notebook's own traceback says it.
        own_seconds: how long its cells took.
        peak_memory_bytes: the most resident memory that was seen; None when it ended before the first look.
        notes: what was left out of its output.
    """

    status: str
    reason: str = ""
    own_seconds: float = 0.0
    peak_memory_bytes: int | None = None
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def run_process(
    source: Path,
    target: Path,
    parameters: Mapping[str, Any],
    log: Path,
    limits: Limits,
    tell: Callable[[float], None],
) -> Iterator[Outcome]:
    """Execute a notebook in a process of its own; none of its processes is left when the block ends.

    The block begins as soon as the notebook is executed: its kernel may still be leaving.

    Args:
        source: the notebook.
        target: where the executed notebook goes; saved after every cell.
        parameters: what it is run with.
        log: gets what the process says beside the notebook.
        limits: it is stopped when it takes more.
        tell: called a few times a second with the seconds that it has run.

    Yields:
        How it went.

    Raises:
        OSError: the log cannot be written, or no process can be started.
    """
    killed_before = kills_for_want_of_memory()
    notebook = _Process(source, target, parameters, log, _environment(limits.withheld_variables))
    try:
        status, reason = "", ""
        try:
            status, reason = notebook.watch(limits, tell)
        except KeyboardInterrupt:
            status, reason = "interrupted", f"interrupted after {notebook.seconds:.0f} s"
        if status or not notebook.answer:
            notebook.stop(at_once=status == "out of memory")
        answer = notebook.answer
        if not status:
            lacked_memory = kills_for_want_of_memory() > killed_before
            status, reason = _as_answered(answer, notebook.exit_code, log, lacked_memory=lacked_memory)
        yield Outcome(
            status=status,
            reason=reason,
            own_seconds=answer.get("own_seconds", 0.0),
            peak_memory_bytes=notebook.memory.peak_bytes or None,
            notes=tuple(answer.get("notes", ())),
        )
    finally:
        notebook.stop()


def _as_answered(
    answer: Mapping[str, Any], exit_code: int | None, log: Path, *, lacked_memory: bool
) -> tuple[str, str]:
    unanswered = f"the process that executed it ended with exit code {exit_code}, see {log.name}"
    status, reason = answer.get("status", "failed"), answer.get("reason", unanswered)
    if not answer.get("killed", exit_code == -signal.SIGKILL):
        return status, reason
    if lacked_memory:
        return "out of memory", (
            f"{reason}: this host ran out of memory, and its kernel ended the largest process; give the notebook less "
            "data, or set memory_limit for the pipeline in perfkit.toml, so that it is stopped before"
        )
    return status, f"{reason}: somebody ended it, or this host ran out of memory (`sudo dmesg` says which)"


def _environment(withheld: Set[str]) -> dict[str, str]:
    passed_on = {name: value for name, value in os.environ.items() if name not in withheld}
    return {**passed_on, REPORT_VARIABLE: "1"}


class _Process:
    """The process that executes a notebook, and what it answered."""

    def __init__(
        self, source: Path, target: Path, parameters: Mapping[str, Any], log: Path, environment: Mapping[str, str]
    ) -> None:
        self._began = time.monotonic()
        with log.open("wb") as output:
            # A session of its own: Ctrl-C reaches this process alone, which then stops the notebook in order.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "perfkit.report.running.execute", str(source), str(target)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        assert self._process.stdin is not None  # they are pipes
        assert self._process.stdout is not None
        self._asking, self._answering = self._process.stdin, self._process.stdout
        self._parameters = parameters
        self._said = b""
        self._has_ended = False
        self.memory = MemoryWatch(self._process.pid)

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self._began

    @property
    def exit_code(self) -> int | None:
        """None before `stop`."""
        return self._process.returncode

    @property
    def answer(self) -> dict[str, Any]:
        """What it said at its end; empty when it did not come to it."""
        line, ended, _ = self._said.partition(b"\n")
        return dict(json.loads(line)) if ended else {}

    def watch(self, limits: Limits, tell: Callable[[float], None]) -> tuple[str, str]:
        """Wait until it has answered, has ended, or has to be stopped; says why, or nothing."""
        with contextlib.suppress(BrokenPipeError):  # it ended at once; its exit code will say so
            self._asking.write(json.dumps({"parameters": self._parameters, "shutdown_s": SHUTDOWN_S}).encode() + b"\n")
            self._asking.flush()
        while not self._listen(_LOOK_S) and not self.answer:
            tell(self.seconds)
            if self.seconds > limits.timeout_s:
                allowed = format_duration(limits.timeout_s * 1e9)
                return "timed out", f"stopped after {allowed}, which is its timeout; raise it, or give it less to do"
            taken_bytes = self.memory.look(limits.memory_bytes)
            if limits.memory_bytes is not None and taken_bytes > limits.memory_bytes:
                return "out of memory", (
                    f"stopped at {format_bytes(taken_bytes)} of memory, over its memory_limit of "
                    f"{format_bytes(limits.memory_bytes)}; raise it, or give it less data"
                )
        return "", ""

    def stop(self, *, at_once: bool = False) -> None:
        """End all that is left of it: in order, or at once where waiting makes things worse. Again does nothing."""
        if self._process.returncode is not None:
            return
        started = self.memory.every_process()
        try:
            if at_once:
                _kill(started)
            if not self._said:
                self._process.send_signal(signal.SIGINT)  # it shuts its kernel down, and saves the notebook
            deadline = time.monotonic() + SHUTDOWN_S + _GRACE_S
            while not self._listen(_LOOK_S) and time.monotonic() < deadline:
                pass
        finally:  # also when somebody does not want to wait
            if not self._has_ended:
                started |= self.memory.every_process()
                self._process.kill()
            _kill(started)
            self._process.wait()
            self._answering.close()
            with contextlib.suppress(BrokenPipeError):
                self._asking.close()

    def _listen(self, timeout_s: float) -> bool:
        """Take what it says; whether it has ended."""
        if select.select([self._answering], [], [], timeout_s)[0]:
            said = os.read(self._answering.fileno(), 65_536)
            self._said += said
            self._has_ended = not said
        return self._has_ended


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):  # it has ended; another process of its number is not taken for it
            process.kill()

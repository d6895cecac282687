"""One launch: a fresh sender and a fresh receiver, told over standard input what to measure, answering line by line.

`python -m perfkit.measurement.launch` is the sender. It starts the receiver, answers each command with a JSON line per
scenario and ends when its standard input is closed; the receiver ends with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from perfkit.errors import (
    MeasurementError,
    NoRoomError,
    PayloadTooLargeError,
    PerfkitError,
)
from perfkit.measurement.footprints import Footprint
from perfkit.measurement.ladder_load import Load
from perfkit.measurement.measure import Batch, Bench
from perfkit.measurement.scenarios import CODEC_STAGES, CONTROL_GRPC, CONTROL_PING, Scenario
from perfkit.transfer.copying import CopyPlan, measure_copies, plan_copies
from perfkit.transfer.receiver import start_receiver
from perfkit.transfer.registry import get_method

__all__ = ["Failure", "Launch", "start_launch"]

_SILENCE_S = 600.0  # no batch takes that long; a process that is silent for longer hangs
_END_WITHIN_S = 20.0
_RECEIVER_ENDS_WITHIN_S = 3.0
_COPY_SPLIT_PAYS_FROM_BYTES = 2**21
_NOTHING_MORE: Mapping[str, str] = MappingProxyType({})


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """A scenario that could not be measured; `ends_launch` when the processes are of no further use."""

    error: str
    message: str
    ends_launch: bool


class Launch:
    """The driver's end of a running launch."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.copy_plan = CopyPlan()
        self.receiver_pid, self.receiver_folder = 0, ""
        threading.Thread(target=self._collect, daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id of the sender."""
        return self._process.pid

    def measure(self, indices: Sequence[int]) -> Iterator[tuple[int, Batch | Failure]]:
        """Measure scenarios by their index in the sweep, in the order given; yields each as soon as it is there."""
        for index, answer in self._ask("measure", indices):
            yield index, answer if isinstance(answer, Failure) else Batch(**answer)

    def probe(self, indices: Sequence[int]) -> Iterator[tuple[int, Footprint | Failure | None]]:
        """Measure the memory that scenarios take; see `Bench.footprint`. For a launch that was started for it."""
        for index, answer in self._ask("probe", indices):
            yield index, Footprint(**answer) if isinstance(answer, dict) else answer

    def load(self, indices: Sequence[int], seconds: float) -> Iterator[tuple[int, Load | Failure]]:
        """Put each scenario under load for so long, one after the other; see `Bench.load`."""
        for index, answer in self._ask("load", indices, seconds=seconds):
            yield index, answer if isinstance(answer, Failure) else Load(**answer)

    def _ask(self, task: str, indices: Sequence[int], **more: float) -> Iterator[tuple[int, Any]]:
        """The answers to a task, one by one, those that failed as `Failure`."""
        self._write({"task": task, "indices": list(indices), **more})
        for index in indices:
            try:
                answer = self._read()
            except MeasurementError as error:  # nobody is left to say so but the order of the questions
                answer = {"failure": dataclasses.asdict(Failure("MeasurementError", str(error), ends_launch=True))}
            if "failure" in answer:
                failure = Failure(**answer["failure"])
                yield index, failure
                if failure.ends_launch:
                    return
            else:
                yield index, answer["answer"]

    def _write(self, command: dict[str, Any]) -> None:
        assert self._process.stdin is not None  # asked for as a pipe
        # A process that died says so when its answer is read.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=_SILENCE_S)
        except queue.Empty:
            raise MeasurementError(
                f"the measuring process said nothing for {_SILENCE_S:.0f} s; it hangs, and is killed"
            ) from None
        if not line:
            raise MeasurementError(
                f"the measuring process died (exit code {self._process.wait()}); was it killed for lack of memory? "
                "If so, choose smaller --sizes"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _collect(self) -> None:
        """Hand over line by line what the process says, and at its end an empty one."""
        assert self._process.stdout is not None  # asked for as a pipe
        with self._process.stdout as lines:
            for line in lines:
                self._answers.put(line)
        self._answers.put("")


@contextlib.contextmanager
def start_launch(
    scenarios: Sequence[Scenario],
    *,
    modules: Sequence[str] = (),
    copy_plan: CopyPlan | None = None,
    environment: Mapping[str, str] = _NOTHING_MORE,
    gentle: bool = False,
) -> Iterator[Launch]:
    """Start a fresh pair of processes for `scenarios`; end both on the way out, however it is left.

    Args:
        scenarios: what `Launch.measure` refers to by index.
        modules: that both processes import first, for methods that are not built in.
        copy_plan: how to copy into shared memory; None: the launch measures it first (`Launch.copy_plan` then says).
        environment: variables of both processes beside those that this process has.
        gentle: let every other process on the machine go first.
    """
    with tempfile.TemporaryDirectory(prefix="perfkit-", ignore_cleanup_errors=True) as folder:
        variables = {**os.environ, "TMPDIR": folder, "GRPC_VERBOSITY": "NONE", "PYTHONHASHSEED": "0"}
        variables |= environment
        # A session of its own: Ctrl-C reaches the driver alone, which then ends the launch in good order.
        process = subprocess.Popen(
            [sys.executable, "-m", "perfkit.measurement.launch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=variables,
            start_new_session=True,
        )
        launch = Launch(process)
        try:
            launch._write(
                {
                    "scenarios": [dataclasses.asdict(scenario) for scenario in scenarios],
                    "modules": list(modules),
                    "copy_plan": None if copy_plan is None else dataclasses.asdict(copy_plan),
                    "folder": folder,
                    "gentle": gentle,
                }
            )
            answer = launch._read()
            if "failure" in answer:
                raise MeasurementError(f"a launch could not start: {answer['failure']}")
            launch.copy_plan = CopyPlan(**answer["copy_plan"])
            launch.receiver_pid, launch.receiver_folder = answer["receiver_pid"], answer["receiver_folder"]
            yield launch
        finally:
            _end(process)
            if launch.receiver_folder:
                _end_receiver(launch.receiver_pid)
                shutil.rmtree(launch.receiver_folder, ignore_errors=True)


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None  # asked for as a pipe
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(timeout=_END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_receiver(pid: int) -> None:
    """It ends with the sender, unless it was stopped. Its number may belong to another process by now."""
    deadline = time.monotonic() + _RECEIVER_ENDS_WITHIN_S
    with contextlib.suppress(OSError):  # it is gone
        while b"perfkit.transfer.receiver" in Path(f"/proc/{pid}/cmdline").read_bytes():
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.02)


# --- the sender's process --------------------------------------------------------------------------------------------


def main() -> None:
    """Measure what standard input asks for."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not end up between the answers
    setup = json.loads(sys.stdin.readline())
    scenarios = [Scenario(**fields) for fields in setup["scenarios"]]
    if setup["gentle"]:
        os.nice(19)  # the receiver inherits it
    try:
        for module in setup["modules"]:
            importlib.import_module(module)
        with start_receiver(
            _methods(scenarios),
            modules=[*_control_modules(scenarios), *setup["modules"]],
            allow_pickle=any(scenario.format == "pickle" for scenario in scenarios),
        ) as receiver:
            copy_plan = CopyPlan(**setup["copy_plan"]) if setup["copy_plan"] else _measured_copy_plan(scenarios)
            bench = Bench(receiver.folder, copy_plan)
            with contextlib.closing(bench):
                gc.collect()
                gc.freeze()
                ready = {"receiver_pid": receiver.pid, "receiver_folder": receiver.folder}
                _answer(output, {"copy_plan": dataclasses.asdict(copy_plan), **ready})
                _serve(bench, scenarios, output)
    except PerfkitError as error:
        _answer(output, {"failure": f"{type(error).__name__}: {error}"})
    finally:
        shutil.rmtree(setup["folder"], ignore_errors=True)  # a driver that was killed cannot


def _serve(bench: Bench, scenarios: Sequence[Scenario], output: IO[str]) -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        carry_out = _task(bench, asked)
        for index in asked["indices"]:
            try:
                result = carry_out(scenarios[index])
            except Exception as error:  # noqa: BLE001 - a method may be anybody's code; what it raises is its failure
                ends_launch = not isinstance(error, NoRoomError | PayloadTooLargeError)
                failure = Failure(type(error).__name__, str(error), ends_launch)
                _answer(output, {"failure": dataclasses.asdict(failure)})
                if ends_launch:
                    return
            else:
                _answer(output, {"answer": None if result is None else dataclasses.asdict(result)})


def _task(bench: Bench, asked: Mapping[str, Any]) -> Callable[[Scenario], Any]:
    if asked["task"] == "load":
        return lambda scenario: bench.load(scenario, asked["seconds"])
    return bench.footprint if asked["task"] == "probe" else bench.run


def _answer(output: IO[str], answer: dict[str, Any]) -> None:
    try:
        output.write(json.dumps(answer) + "\n")
        output.flush()
    except BrokenPipeError:
        raise SystemExit(1) from None  # the driver is gone: nobody wants the rest of the round


def _control_modules(scenarios: Sequence[Scenario]) -> list[str]:
    homes = {CONTROL_PING: "perfkit.measurement.controls", CONTROL_GRPC: "perfkit.measurement.grpc_control"}
    return sorted({homes[scenario.method] for scenario in scenarios if scenario.method in homes})


def _methods(scenarios: Sequence[Scenario]) -> list[str]:
    for module in _control_modules(scenarios):
        importlib.import_module(module)
    controls = {CONTROL_PING, CONTROL_GRPC}
    used = {s.method for s in scenarios if s.stage in ("transport", "whole") or s.method in controls}
    used |= {"uds"} if any(scenario.stage in CODEC_STAGES for scenario in scenarios) else set()
    return [get_method(name).name for name in sorted(used)]


def _measured_copy_plan(scenarios: Sequence[Scenario]) -> CopyPlan:
    if max(scenario.payload_bytes for scenario in scenarios) < _COPY_SPLIT_PAYS_FROM_BYTES:
        return CopyPlan()
    return plan_copies(measure_copies())


if __name__ == "__main__":
    main()

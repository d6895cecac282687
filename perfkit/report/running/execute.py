"""Execute one notebook, in a process of its own.

`python -m perfkit.report.running.execute INPUT OUTPUT`: what to do comes in on standard input as one line of JSON, how
it went leaves on standard output as another.

The runner holds the other end of standard input: when it goes away, however it ends, this process stops the notebook's
kernel and leaves. Nothing that the notebook started in the background is left then.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from perfkit.report.lean_imports import SLOW_FORMAT_CHECK, without

__all__ = ["main"]

_PR_SET_CHILD_SUBREAPER = 36
_END_S = 2.0


def main(source: str, target: str) -> int:
    """Execute the notebook `source` in its own folder into `target`, which is saved after every cell.

    Standard input: `parameters`, and `shutdown_s`, the seconds that an interrupted kernel gets to keep what it measured
    and to end its own processes; it is terminated at half of them.

    Standard output, one line: `status` ("complete" or "failed"), `reason` (empty where the notebook's traceback says
    it), `killed` (the kernel was killed from outside), `own_seconds` and `notes`, as
    `perfkit.report.running.process.Outcome` has them. Only the first line counts: what goes wrong after all cells have
    succeeded does no harm.

    Returns:
        0 when every cell succeeded, else 1.
    """
    for asked_to_stop in (signal.SIGINT, signal.SIGTERM):  # a shell may have started us with SIGINT ignored
        signal.signal(asked_to_stop, signal.default_int_handler)
    _adopt_orphans()
    answer = os.dup(1)
    os.dup2(2, 1)  # the kernel inherits standard output: what it writes there belongs into the log
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_the_runner, daemon=True).start()
    try:
        return _execute(source, target, asked["parameters"], asked["shutdown_s"], answer)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is leaving
        _end_descendants()


def _adopt_orphans() -> None:
    """Become the parent of what the kernel leaves behind; else that would belong to nobody, and to no memory limit."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # without it, what is still a descendant ends all the same
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_descendants() -> None:
    import psutil

    deadline = time.monotonic() + _END_S
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):  # there is none any more
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = psutil.Process().children(recursive=True)
        if not left:
            return
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.005)  # what they started comes to this process now


def _execute(source: str, target: str, parameters: dict[str, Any], shutdown_s: float, answer: int) -> int:
    with without(SLOW_FORMAT_CHECK, "pyarrow"):  # papermill takes pyarrow, where there is one, to write to Hadoop
        import papermill
        from papermill.exceptions import PapermillExecutionError
        from traitlets.config import Config

        from perfkit.report.running.engine import ENGINE, KernelEnded, KernelNotStarted, Watched, use_engine

    def say(status: str, reason: str = "", *, killed: bool = False) -> None:
        outcome = {"status": status, "reason": reason, "killed": killed}
        outcome |= {"own_seconds": round(watched.own_seconds, 3), "notes": watched.limit.notes}
        os.write(answer, json.dumps(outcome).encode() + b"\n")

    # Said as soon as it is true: the page is written while the kernel leaves.
    watched = Watched(when_complete=lambda: say("complete"))
    use_engine(Path(target), watched)
    try:
        executed = papermill.execute_notebook(
            source,
            target,
            parameters=parameters,
            cwd=str(Path(source).parent),
            engine_name=ENGINE,
            kernel_name="python3",
            progress_bar=False,
            config=Config(KernelManager={"shutdown_wait_time": shutdown_s}),
        )
        if left := _left_early(executed):
            say("failed", left)
        return 1 if left else 0
    except PapermillExecutionError:
        say("failed")
    except KernelEnded as ended:
        say("failed", _why_it_ended(ended.cell, ended.exit_code), killed=ended.exit_code == -signal.SIGKILL)
    except KernelNotStarted as error:
        say("failed", str(error))
    except KeyboardInterrupt:
        say("failed", "stopped")
    except OSError as error:
        say("failed", _why_not_written(error, target))
    except Exception as error:  # noqa: BLE001 - whatever it is, the page has to say it
        traceback.print_exc()
        say("failed", f"could not be executed: {type(error).__name__}: {error}")
    return 1


def _left_early(notebook: Any) -> str:
    """Papermill takes `sys.exit()` for the end of a notebook: but its last cell, which asserts, did not run."""
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(codes, start=1):
        if any(output.output_type == "error" for output in cell.get("outputs", ())):
            return f"it left in cell {number} with sys.exit(); the cells after it did not run"
    return ""


def _why_it_ended(cell: int, exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        with_code = "" if exit_code is None else f" with exit code {exit_code}"
        return f"its kernel ended in cell {cell}{with_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"its kernel was killed in cell {cell} ({name})"


def _why_not_written(error: OSError, target: str) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({error.strerror}): free space (df -h {Path(target).parent}), then run it again"
    return f"could not be executed: {error}"


def _leave_with_the_runner() -> None:
    sys.stdin.read()  # ends when the runner closes it, or dies
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # everything is written and nothing is left to tidy up; the runner waits

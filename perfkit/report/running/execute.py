"""Execute one notebook, in a process of its own.

`python -m perfkit.report.running.execute INPUT OUTPUT`, with the parameters on standard input.

The runner holds the other end of standard input: when it goes away, however it ends, this process stops the notebook's
kernel and leaves.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

__all__ = ["SHUTDOWN_S", "main"]

SHUTDOWN_S = 20.0
"""What an interrupted kernel gets to keep what it measured and to end its own processes; terminated at half of it."""


def main(source: str, target: str) -> int:
    """Execute the notebook `source` in its own folder into `target`, which is saved after every cell.

    Returns:
        0 when every cell succeeded, 1 when one failed; its traceback is in `target`.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    for asked_to_stop in (signal.SIGINT, signal.SIGTERM):  # a shell may have started us with SIGINT ignored
        signal.signal(asked_to_stop, signal.default_int_handler)
    parameters = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_the_runner, daemon=True).start()
    try:
        papermill.execute_notebook(
            source,
            target,
            parameters=parameters,
            cwd=str(Path(source).parent),
            kernel_name="python3",
            progress_bar=False,
            config=Config(KernelManager={"shutdown_wait_time": SHUTDOWN_S}),
        )
    except PapermillExecutionError:
        return 1
    return 0


def _leave_with_the_runner() -> None:
    sys.stdin.read()  # ends when the runner closes it, or dies
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

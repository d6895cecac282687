"""What this process has used: processor time and memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import time
from pathlib import Path

__all__ = ["cpu_time_ns", "memory_usage", "reset_peak_memory"]


def memory_usage() -> tuple[int, int]:
    """Resident bytes of this process now, and its peak since `reset_peak_memory`."""
    status = Path("/proc/self/status").read_text()
    fields = {line.split(":")[0]: line.split() for line in status.splitlines() if line.startswith(("VmRSS", "VmHWM"))}
    return int(fields["VmRSS"][1]) * 1024, int(fields["VmHWM"][1]) * 1024


def reset_peak_memory() -> None:
    """Let the peak of `memory_usage` begin anew, with what nobody uses any more given back to the system."""
    gc.collect()  # what waits in cycles would be freed while something is measured, and hide what that takes
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # a container may mount /proc read-only; the peak then never falls
        Path("/proc/self/clear_refs").write_text("5")


def cpu_time_ns() -> int:
    """Processor time of this process and all its threads."""
    return time.process_time_ns()

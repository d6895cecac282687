"""Descriptors of every sort that a peer may hand over, and what a process uses."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

__all__ = ["DESCRIPTORS", "descriptors_open", "resident_bytes"]


def _make_descriptors() -> dict[str, int]:
    made = {}
    for name, size_bytes in (("region", 4096), ("small", 100)):
        made[name] = os.memfd_create("hostile", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.posix_fallocate(made[name], 0, size_bytes)
        fcntl.fcntl(made[name], fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    made["unsealed"] = os.memfd_create("hostile", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(made["unsealed"], 4096)
    made["folder"] = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
    made["pipe"], other = os.pipe2(os.O_CLOEXEC)
    os.close(other)
    return made


DESCRIPTORS = _make_descriptors()


def resident_bytes(pid: int | str = "self") -> int:
    """What a process has in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors_open(pid: int | str = "self") -> int:
    """How many descriptors a process has beside the regions of its own arenas, which grow when they like."""
    count = 0
    for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - Path.iterdir would hold one open meanwhile as well
        with contextlib.suppress(FileNotFoundError):  # it is closed by now
            count += not os.readlink(f"/proc/{pid}/fd/{name}").startswith("/memfd:perfkit")  # noqa: PTH115
    return count

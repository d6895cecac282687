"""A host made of files, whose resources a test sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.engine.resources import Reader

GIB = 2**30
SECOND_NS = 10**9


class FakeHost:
    """The files of ``/proc`` and ``/sys`` that the reader looks at, in a folder of the test."""

    def __init__(self, root: Path) -> None:
        self.root, self.now_ns = root, 1000 * SECOND_NS
        self.busy, self.idle, self.stolen = [0, 0], [0, 0], 0
        self.write("proc/self/status", "Name:\tservice\nCpus_allowed_list:\t0-1\nMems_allowed:\t1\n")
        self.memory(total=16 * GIB, available=12 * GIB)
        self.ticks()

    def write(self, path: str, text: str | bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)

    def remove(self, path: str) -> None:
        (self.root / path).unlink()

    def memory(self, *, total: int, available: int) -> None:
        text = f"MemTotal: {total // 1024} kB\nMemFree: 1 kB\nMemAvailable: {available // 1024} kB\nBuffers: 7 kB\n"
        self.write("proc/meminfo", text)

    def ticks(self) -> None:
        rows = [("", sum(self.busy), sum(self.idle))]
        rows += [
            (str(number), busy, idle) for number, (busy, idle) in enumerate(zip(self.busy, self.idle, strict=True))
        ]
        lines = [f"cpu{name}  {busy} 0 0 {idle} 0 0 0 {self.stolen} 0 0" for name, busy, idle in rows]
        self.write("proc/stat", "\n".join([*lines, "intr 12 0 0", "ctxt 99", ""]))

    def run(self, *shares: float, seconds: float = 1.0, stolen: int = 0) -> None:
        """Let time pass in which each processor is busy for its share."""
        self.now_ns += round(seconds * SECOND_NS)
        for number, share in enumerate(shares):
            self.busy[number] += round(100 * seconds * share)
            self.idle[number] += round(100 * seconds * (1 - share))
        self.stolen += stolen
        self.ticks()

    def version_2(self, membership: str = "/pod/service") -> None:
        self.write("proc/self/cgroup", f"0::{membership}\n")
        self.write("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n")

    def group(self, folder: str, **files: str) -> None:
        """Files of a group below ``sys/fs/cgroup``; ``__`` in a name stands for a dot."""
        for name, text in files.items():
            self.write(f"sys/fs/cgroup/{folder}/{name.replace('__', '.')}", text)

    def reader(self) -> Reader:
        return Reader(self.root, lambda: self.now_ns)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Two processors, 16 GiB of which 12 are available, no control groups."""
    return FakeHost(tmp_path)

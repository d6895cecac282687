"""What this machine has: which methods it can carry, why not the others, and how much memory may still be reserved.

A memfd is charged to the memory cgroup, and reserving beyond its limit kills the process instead of failing. So the
arena asks `headroom` before every reservation; it reads a handful of small kernel files and nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import os
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

__all__ = [
    "Capability",
    "CgroupMemory",
    "Headroom",
    "SharedMemorySpace",
    "capabilities",
    "find_cgroup_memory",
    "headroom",
    "shared_memory_space",
]

_LEAST_RESERVE_BYTES = 64 * 2**20
_RESERVE_SHARE = 0.05
_NO_LIMIT_BYTES = 2**60  # cgroup v1 writes "no limit" as a number just below 2**63
_SEAL_FUTURE_WRITE = 0x10  # F_SEAL_FUTURE_WRITE, which fcntl does not name


@dataclasses.dataclass(frozen=True, slots=True)
class Capability:
    """Whether this machine has a method; if not, why, and what would change that."""

    available: bool
    reason: str
    remedy: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Headroom:
    """Memory that may be reserved now without putting the process at risk.

    Args:
        available_bytes: what is left after the reserve, 0 or more.
        limit_source: what sets the bound: ``MemAvailable``, or the folder of the cgroup whose limit is tightest.
        reserve_bytes: kept back for everything else that runs under the same bound.
        left_bytes: what is left, the reserve included.
    """

    available_bytes: int
    limit_source: str
    reserve_bytes: int
    left_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class SharedMemorySpace:
    """Size and free space of the file system that holds named segments; a memfd ignores both."""

    path: str
    size_bytes: int
    free_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class CgroupMemory:
    """The memory cgroups above this process, innermost first, and the names of their files."""

    folders: tuple[str, ...]
    limit_name: str
    usage_name: str
    reclaimable_field: bytes


def headroom(root: str = "/") -> Headroom:
    """How much memory may be reserved now.

    The smallest of `MemAvailable` and, for every memory cgroup from this process up to the top, its limit less its
    usage; less a reserve of 5 % of that bound's total, at least 64 MiB. Where the system tells neither, a quarter of
    the physical memory.

    Args:
        root: where ``proc`` and ``sys`` are found.

    Returns:
        The bytes that are left, and what limits them. Takes tens of microseconds.

    >>> headroom().available_bytes >= 0
    True
    """
    meminfo = _read(f"{root.rstrip('/')}/proc/meminfo")
    total_bytes, left_bytes = parse_meminfo(meminfo) if meminfo else _without_proc()
    source = "MemAvailable" if meminfo else "physical memory"
    cgroup = find_cgroup_memory(root)
    for folder, limit_bytes in _limits(cgroup, int(time.monotonic())):
        folder_left_bytes = _left_bytes(cgroup, folder, limit_bytes, enough_bytes=left_bytes)
        if folder_left_bytes < left_bytes:
            total_bytes, left_bytes, source = limit_bytes, folder_left_bytes, folder
    reserve_bytes = max(round(total_bytes * _RESERVE_SHARE), _LEAST_RESERVE_BYTES)
    return Headroom(max(left_bytes - reserve_bytes, 0), source, reserve_bytes, max(left_bytes, 0))


@functools.lru_cache(maxsize=2)
def _limits(cgroup: CgroupMemory, second: int) -> tuple[tuple[str, int], ...]:
    """The cgroups that have a limit, with it. Read once a second: limits are set by people, usage changes by itself."""
    limits = ((folder, parse_limit(_read(f"{folder}/{cgroup.limit_name}"))) for folder in cgroup.folders)
    return tuple((folder, limit_bytes) for folder, limit_bytes in limits if limit_bytes is not None)


def _left_bytes(cgroup: CgroupMemory, folder: str, limit_bytes: int, *, enough_bytes: int) -> int:
    """What may still be charged to one cgroup: its limit, less usage that the kernel cannot simply drop."""
    left_bytes = limit_bytes - int(_read(f"{folder}/{cgroup.usage_name}") or 0)
    if left_bytes >= enough_bytes:
        return left_bytes
    # Page cache counts as usage but is dropped under pressure: without it a process that read a large file would be
    # told that it has no room. The file is slow to read, hence only where it matters.
    pattern = rb"^%s (\d+)" % cgroup.reclaimable_field
    reclaimable = re.findall(pattern, _read(f"{folder}/memory.stat"), re.MULTILINE)
    return left_bytes + (int(reclaimable[0]) if reclaimable else 0)


def parse_meminfo(meminfo: bytes) -> tuple[int, int]:
    """Total and available bytes in the text of ``/proc/meminfo``.

    >>> parse_meminfo(b"MemTotal:  2048 kB\\nMemFree: 100 kB\\nMemAvailable:  1024 kB\\n")
    (2097152, 1048576)
    """
    found: dict[bytes, bytes] = dict(
        re.findall(rb"^(MemTotal|MemAvailable|MemFree):\s*(\d+) kB", meminfo, re.MULTILINE)
    )
    total_kib = int(found.get(b"MemTotal", 0))
    return total_kib * 1024, int(found.get(b"MemAvailable", found.get(b"MemFree", 0))) * 1024


def parse_limit(text: bytes) -> int | None:
    """A cgroup's memory limit in bytes; None for no limit.

    >>> parse_limit(b"1048576\\n"), parse_limit(b"max\\n"), parse_limit(b"9223372036854771712\\n"), parse_limit(b"")
    (1048576, None, None, None)
    """
    text = text.strip()
    if not text.isdigit() or int(text) >= _NO_LIMIT_BYTES:
        return None
    return int(text)


@functools.cache
def find_cgroup_memory(root: str = "/") -> CgroupMemory:
    """The memory cgroups above this process; without folders where there are none (another system, nothing mounted).

    Found once per process: a process is hardly ever moved, while limits and usage are read every time.
    """
    base = root.rstrip("/")
    memberships = parse_memberships(_read(f"{base}/proc/self/cgroup").decode(errors="replace"))
    mounts = parse_cgroup_mounts(_read(f"{base}/proc/self/mountinfo").decode(errors="replace"))
    if "memory" in memberships and "memory" in mounts:
        folders = _folders_upwards(base, *mounts["memory"], memberships["memory"])
        return CgroupMemory(folders, "memory.limit_in_bytes", "memory.usage_in_bytes", b"total_inactive_file")
    if "" in memberships and "" in mounts:
        folders = _folders_upwards(base, *mounts[""], memberships[""])
        return CgroupMemory(folders, "memory.max", "memory.current", b"inactive_file")
    return CgroupMemory((), "", "", b"")


def parse_memberships(text: str) -> dict[str, str]:
    """The cgroup of this process per controller, from ``/proc/self/cgroup``; version 2 has the controller ``""``.

    >>> parse_memberships("4:memory:/pod/a\\n2:cpu,cpuacct:/\\n0::/pod\\n")
    {'memory': '/pod/a', 'cpu': '/', 'cpuacct': '/', '': '/pod'}
    """
    lines = [line.split(":", 2) for line in text.splitlines()]
    return {controller: fields[2] for fields in lines if len(fields) == 3 for controller in fields[1].split(",")}


def parse_cgroup_mounts(text: str) -> dict[str, tuple[str, str]]:
    """Mount point and mounted cgroup of the memory controller and of version 2 (``""``), from ``/proc/self/mountinfo``.

    >>> parse_cgroup_mounts("35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\\n")
    {'memory': ('/sys/fs/cgroup/memory', '/')}
    """
    mounts = {}
    for line in text.splitlines():
        mount, _, system = line.partition(" - ")
        mount_fields, system_fields = mount.split(), system.split()
        if len(mount_fields) < 5 or len(system_fields) < 3:
            continue
        if system_fields[0] == "cgroup2":
            mounts[""] = (mount_fields[4], mount_fields[3])
        elif system_fields[0] == "cgroup" and "memory" in system_fields[2].split(","):
            mounts["memory"] = (mount_fields[4], mount_fields[3])
    return mounts


def _folders_upwards(base: str, mount_point: str, mounted: str, membership: str) -> tuple[str, ...]:
    """Existing cgroup folders from the membership up to the mount point, innermost first."""
    inside = PurePosixPath(membership).is_relative_to(mounted)
    # Outside of what its namespace shows ("/../other"), only the mount itself can be read.
    parts = PurePosixPath(membership).relative_to(mounted).parts if inside and ".." not in membership else ()
    top = base + mount_point
    candidates = ["/".join([top, *parts[:depth]]) for depth in range(len(parts), -1, -1)]
    return tuple(folder for folder in candidates if Path(folder).is_dir())


def shared_memory_space(path: str = "/dev/shm") -> SharedMemorySpace | None:
    """Size and free space for named segments; None where there is no such file system."""
    try:
        status = os.statvfs(path)
    except (AttributeError, OSError):  # Windows has no statvfs, macOS no /dev/shm
        return None
    return SharedMemorySpace(path, status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)


@functools.cache
def capabilities() -> Mapping[str, Capability]:
    """Which of perfkit's own methods this machine has, and why not the others.

    Memory is not asked for here: it comes and goes, and `headroom` is checked at every reservation.

    >>> sorted(capabilities())
    ['grpc', 'grpc_stream', 'shm', 'shm_pool', 'uds']
    """
    grpc, uds, shared = _grpc_capability(), _uds_capability(), _shared_memory_capability()
    return {"grpc": grpc, "grpc_stream": grpc, "uds": uds, "shm": shared, "shm_pool": shared}


def _grpc_capability() -> Capability:
    missing = [package for module, package in (("grpc", "grpcio"), ("google.protobuf", "protobuf")) if not _has(module)]
    if missing:
        return Capability(False, f"{' and '.join(missing)} not installed", "pip install 'perfkit[transfer]'")
    return Capability(True, "grpcio and protobuf are installed")


def _uds_capability() -> Capability:
    if not hasattr(socket, "AF_UNIX"):
        return Capability(False, "this Python has no Unix sockets", "use grpc on this system")
    try:
        for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM):
            end.close()
    except OSError as error:
        return Capability(False, f"a Unix socket was refused: {error}", "allow AF_UNIX in the sandbox's profile")
    return Capability(True, "Unix sockets work")


def _shared_memory_capability() -> Capability:
    if hasattr(os, "memfd_create"):
        try:
            future_write = _probe_memfd()
        except OSError as error:
            return Capability(
                False, f"memfd_create or sealing was refused: {error}", "allow memfd_create in the sandbox's profile"
            )
        if future_write:
            return Capability(True, "sealed memfd: peers can neither truncate nor write")
        return Capability(True, "sealed memfd: peers cannot truncate; keeping them from writing needs Linux 5.1")
    if not _has("multiprocessing.shared_memory"):
        return Capability(False, "neither memfd nor named segments", "use a Python built with shared memory")
    return Capability(True, "named segments, because this system has no memfd")


def _probe_memfd() -> bool:
    """Create and seal a memfd; returns whether the kernel also knows the seal against later writable maps."""
    import fcntl

    descriptor = os.memfd_create("perfkit-probe", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        with contextlib.suppress(OSError):  # EINVAL before Linux 5.1: the pool works without it
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEAL_FUTURE_WRITE)
            return True
        return False
    finally:
        os.close(descriptor)


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False


def _without_proc() -> tuple[int, int]:
    """Total and presumably available bytes on a system without ``/proc``: a quarter of the memory, or of 4 GiB."""
    try:
        total_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        total_bytes = 4 * 2**30
    return total_bytes, total_bytes // 4


def _read(path: str) -> bytes:
    # os.open and os.read take half the time of open(): this is called before every reservation.
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        chunks = [os.read(descriptor, 65536)]
        while len(chunks[-1]) == 65536:
            chunks.append(os.read(descriptor, 65536))
        return b"".join(chunks)
    except OSError:
        return b""
    finally:
        os.close(descriptor)

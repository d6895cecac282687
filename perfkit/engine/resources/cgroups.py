"""The control groups above this process: what limits its memory and its processor time, and where use is counted.

Versions 1 and 2 are read, also side by side. A process stands under every limit from its own group up to the top.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from perfkit.engine.resources.files import counter_in, read_file

__all__ = ["Cgroups", "MemoryLimit", "ProcessorLimit", "find_cgroups", "memory_limits", "processor_limits"]

_NO_LIMIT_BYTES = 2**60  # version 1 writes "no limit" as a number just below 2**63
_LONGEST_PATH = 4096
_VERSION_2 = ""  # the controller's name of version 2 in /proc/self/cgroup
_CONTROLLERS = ("memory", "cpu")


@dataclasses.dataclass(frozen=True, slots=True)
class Cgroups:
    """The folders of a process's groups, innermost first; none where there are no groups.

    Args:
        memory: of the memory controller.
        memory_version: 1 or 2.
        processor: of the processor controller, each with the folder that counts its use.
        processor_version: 1 or 2.
        unified: of version 2, which has files on pressure.
    """

    memory: tuple[str, ...] = ()
    memory_version: int = 2
    processor: tuple[tuple[str, str], ...] = ()
    processor_version: int = 2
    unified: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryLimit:
    """One group's limit of memory: `limit_path` holds it, `reclaimable` is the cache that the kernel can drop."""

    limit_path: str
    limit_bytes: int
    usage_path: str
    stat_path: str
    reclaimable: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessorLimit:
    """One group's limit of processor time, in cores."""

    limit_path: str
    cores: float
    usage_path: str
    is_version_2: bool

    def used_ns(self) -> int | None:
        """Processor time used since the group began, in nanoseconds; None where it cannot be told."""
        text = read_file(self.usage_path)
        if not self.is_version_2:
            return counter_in(text)
        _, found, rest = text.partition(b"usage_usec ")
        used_us = counter_in(rest.partition(b"\n")[0]) if found else None
        return None if used_us is None else used_us * 1000


def find_cgroups(root: str) -> Cgroups:
    """The groups above this process.

    Args:
        root: folder in which ``proc`` and ``sys`` are; empty for the machine's own.
    """
    memberships = _memberships(os.fsdecode(read_file(f"{root}/proc/self/cgroup")))
    mounts = _mounts(os.fsdecode(read_file(f"{root}/proc/self/mountinfo")))
    chains = {
        controller: _chain(root, mounts[controller], memberships[controller])
        for controller in (*_CONTROLLERS, _VERSION_2)
        if controller in mounts and controller in memberships
    }
    unified = chains.get(_VERSION_2, ())
    processor: tuple[tuple[str, str], ...] = ()
    if "cpu" in chains and "cpuacct" in mounts:  # what a group used is counted under the same name
        counting = _chain(root, mounts["cpuacct"], memberships["cpu"])
        processor = tuple(zip(reversed(chains["cpu"]), reversed(counting), strict=False))
    return Cgroups(
        memory=chains.get("memory", unified),
        memory_version=1 if "memory" in chains else 2,
        processor=processor[::-1] if "cpu" in chains else tuple((folder, folder) for folder in unified),
        processor_version=1 if "cpu" in chains else 2,
        unified=unified,
    )


def memory_limits(cgroups: Cgroups) -> tuple[MemoryLimit, ...]:
    """The limits in force on memory; ``memory.high``, from which the kernel slows a process down, is one, too."""
    limits = []
    for folder in cgroups.memory:
        if cgroups.memory_version == 1:
            names, usage, reclaimable = ["memory.limit_in_bytes"], "memory.usage_in_bytes", b"total_inactive_file "
        else:
            names, usage, reclaimable = ["memory.max", "memory.high"], "memory.current", b"inactive_file "
        found = ((counter_in(read_file(f"{folder}/{name}")), f"{folder}/{name}") for name in names)
        bounds = [(limit, path) for limit, path in found if limit is not None and limit < _NO_LIMIT_BYTES]
        if bounds:
            limit_bytes, path = min(bounds)
            limits.append(
                MemoryLimit(path, limit_bytes, f"{folder}/{usage}", f"{folder}/memory.stat", b"\n" + reclaimable)
            )
    return tuple(limits)


def processor_limits(cgroups: Cgroups) -> tuple[ProcessorLimit, ...]:
    """The limits in force on processor time."""
    limits = []
    for folder, usage_folder in cgroups.processor:
        if cgroups.processor_version == 1:
            path, usage_path = f"{folder}/cpu.cfs_quota_us", f"{usage_folder}/cpuacct.usage"
            quota, period = counter_in(read_file(path)), counter_in(read_file(f"{folder}/cpu.cfs_period_us"))
        else:
            path, usage_path = f"{folder}/cpu.max", f"{folder}/cpu.stat"
            words = read_file(path).split()
            quota, period = (counter_in(words[0]), counter_in(words[1])) if len(words) == 2 else (None, None)
        if quota and period:
            limits.append(ProcessorLimit(path, quota / period, usage_path, cgroups.processor_version == 2))
    return tuple(limits)


def _memberships(text: str) -> dict[str, str]:
    """The group of this process for each controller, from ``/proc/self/cgroup``.

    >>> _memberships("4:memory:/pod/a\\n2:cpu,cpuacct:/\\n0::/pod\\n")
    {'memory': '/pod/a', 'cpu': '/', 'cpuacct': '/', '': '/pod'}
    """
    lines = [line.split(":", 2) for line in text.splitlines()]
    return {controller: fields[2] for fields in lines if len(fields) == 3 for controller in fields[1].split(",")}


def _mounts(text: str) -> dict[str, tuple[str, str]]:
    """Mount point and mounted group for each controller, from ``/proc/self/mountinfo``.

    >>> _mounts("35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\\n")
    {'memory': ('/sys/fs/cgroup/memory', '/')}
    """
    mounts: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        mount, _, system = line.partition(" - ")
        mount_fields, system_fields = mount.split(), system.split()
        if len(mount_fields) < 5 or len(system_fields) < 3 or system_fields[0] not in ("cgroup", "cgroup2"):
            continue
        is_version_2 = system_fields[0] == "cgroup2"
        controllers = (_VERSION_2,) if is_version_2 else tuple(system_fields[2].split(","))
        for controller in controllers:
            if controller in (*_CONTROLLERS, "cpuacct", _VERSION_2):
                mounts.setdefault(controller, (mount_fields[4], mount_fields[3]))
    return mounts


def _chain(root: str, mount: tuple[str, str], membership: str) -> tuple[str, ...]:
    """The existing folders from a group up to the mount point, innermost first."""
    mount_point, mounted = mount
    is_sound = ".." not in membership and len(membership) <= _LONGEST_PATH
    inside = is_sound and PurePosixPath(membership).is_relative_to(mounted)
    # Outside of what its namespace shows ("/../other"), only the mount itself can be read.
    parts = PurePosixPath(membership).relative_to(mounted).parts if inside else ()
    return tuple(folder for folder in _upwards(root + mount_point, parts) if _is_folder(folder))


def _upwards(top: str, parts: tuple[str, ...]) -> Iterator[str]:
    for depth in range(len(parts), -1, -1):
        yield "/".join([top, *parts[:depth]])


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL byte
        return False

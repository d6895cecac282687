"""What limits this host, and the command that fixes it.

Each check reads a few small files and returns one `Finding`. Nothing is changed; the commands are for a person to run.
"""

from __future__ import annotations

import dataclasses
import html
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from perfkit.config.fingerprint import UNKNOWN, collect_fingerprint, read_shmem_huge_pages
from perfkit.tables import ResultTable
from perfkit.transfer.platform import Capability, capabilities, find_cgroup_memory, headroom, shared_memory_space
from perfkit.units import format_bytes

__all__ = ["Diagnosis", "Finding", "diagnose"]

Level = Literal["ok", "note", "limit"]

_OLDEST_FULL_KERNEL = (5, 14)
_SMALL_SHARED_MEMORY_BYTES = 256 * 2**20
_SMALL_HEADROOM_BYTES = 2**30
_SOCKET_BUFFER_BYTES = 4 * 2**20
_FEW_DESCRIPTORS = 4096
_NOTICEABLE_STEAL = 0.01
_STEADY_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page")
_NON_TEMPORAL = "x86_non_temporal_threshold"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        topic: what was looked at.
        level: ``ok``; ``note``: worth knowing; ``limit``: it costs speed, size or steadiness here.
        finding: what was found, and what it means.
        command: what a person can run to change it; empty where there is nothing to run.
    """

    topic: str
    level: Level
    finding: str
    command: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings, the methods that this machine has, and its fingerprint."""

    findings: tuple[Finding, ...]
    methods: Mapping[str, Capability]
    fingerprint: Mapping[str, str]

    def to_plain(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "limits": sum(finding.level == "limit" for finding in self.findings),
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "methods": {name: dataclasses.asdict(capability) for name, capability in self.methods.items()},
            "fingerprint": dict(self.fingerprint),
        }

    def to_table(self) -> ResultTable:
        """The findings."""
        limits = sum(finding.level == "limit" for finding in self.findings)
        return ResultTable(
            f"This host: {limits} of {len(self.findings)} checks found a limit",
            ("", "what", "found"),
            tuple((finding.level, finding.topic, finding.finding) for finding in self.findings),
        )

    def to_remedies(self) -> tuple[str, ...]:
        """What would change the findings: the topic, then the command on a line of its own, to be copied."""
        commands = [(finding.topic, finding.command) for finding in self.findings if finding.command]
        return tuple(line for topic, command in commands for line in (f"{topic}:", f"  {command}"))

    def to_methods_table(self) -> ResultTable:
        """The methods, and why those that are missing are."""
        return ResultTable(
            "Methods",
            ("", "method", "why"),
            tuple(
                (
                    "ok" if capability.available else "limit",
                    name,
                    f"{capability.reason}. {capability.remedy}".strip(". "),
                )
                for name, capability in self.methods.items()
            ),
        )

    def _repr_html_(self) -> str:
        remedies = html.escape("\n".join(self.to_remedies()))
        return f"{self.to_table().to_html()}<pre>{remedies}</pre>{self.to_methods_table().to_html()}"

    def __str__(self) -> str:
        remedies = "\n".join(("What would change that", *self.to_remedies()))
        return f"{self.to_table()}\n\n{remedies}\n\n{self.to_methods_table()}"


def diagnose(root: str | Path = "/") -> Diagnosis:
    """Look at this host.

    Args:
        root: where ``proc`` and ``sys`` are found.

    Returns:
        One finding per topic, in the order from hardware to software, and the methods.

    >>> [finding.topic for finding in diagnose().findings][:3]
    ['kernel', 'cores', 'CPU governor']
    """
    root = Path(root)
    fingerprint = collect_fingerprint()
    findings = (
        check_kernel(_read(root / "proc/sys/kernel/osrelease")),
        check_cores(root),
        check_governor(_read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        check_steal(_read(root / "proc/stat")),
        check_load(_read(root / "proc/loadavg"), os.cpu_count() or 1),
        check_clock(_read(root / "sys/devices/system/clocksource/clocksource0/current_clocksource")),
        check_memory(root),
        check_huge_pages(root),
        check_shared_memory(str(root / "dev/shm")),
        check_socket_buffers(root),
        check_descriptors(),
        check_copy_tunable(fingerprint["copy_tunables"]),
        check_versions(fingerprint),
    )
    return Diagnosis(findings, capabilities(), fingerprint)


def check_kernel(release: str) -> Finding:
    """The kernel knows everything that sealed, prefaulted pools use.

    >>> check_kernel("4.18.0-513.el8").level
    'limit'
    """
    match = re.match(r"(\d+)\.(\d+)", release)
    if match is None:
        return Finding("kernel", "note", "not Linux: shared memory uses named segments, without seals or prefaulting")
    if (int(match[1]), int(match[2])) < _OLDEST_FULL_KERNEL:
        return Finding(
            "kernel", "limit", f"{release}: pools are not mapped ahead of use; Linux 5.14 or later does that"
        )
    return Finding("kernel", "ok", release)


def check_cores(root: Path) -> Finding:
    """Two ends of a transfer run at once: each wants a core, and what else runs wants one, too."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cpu_quota(root)
    if quota is not None and quota < cores:
        return Finding(
            "cores",
            "limit",
            f"{cores} cores, but a cgroup allows the time of {quota:g}: both ends are throttled",
            "docker update --cpus=2 CONTAINER",
        )
    if cores < 2:
        return Finding("cores", "limit", "1 core: sender and receiver take turns, so every method looks slower")
    if cores == 2:
        return Finding("cores", "note", "2 cores: both are busy while measuring; leave the machine alone meanwhile")
    return Finding("cores", "ok", f"{cores} cores")


def check_governor(governor: str) -> Finding:
    """A CPU that lowers its frequency between sends makes small payloads slow and unsteady."""
    if not governor:
        return Finding("CPU governor", "note", "not shown; on a virtual machine the host decides")
    if governor == "performance":
        return Finding("CPU governor", "ok", governor)
    return Finding(
        "CPU governor",
        "limit",
        f"{governor}: the frequency varies, small payloads are slow and unsteady",
        "sudo cpupower frequency-set --governor performance",
    )


def check_steal(stat: str) -> Finding:
    """The share of time, since boot, that the hypervisor gave to other guests.

    >>> check_steal("cpu 900 0 0 0 0 0 0 100 0 0").level
    'limit'
    """
    fields = stat.partition("\n")[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return Finding("noisy neighbours", "note", "not shown on this system")
    times = [int(field) for field in fields[1:9]]
    busy = sum(times) - times[3] - times[4]  # without idle and waiting for I/O
    steal = times[7] / busy if busy else 0.0
    if steal >= _NOTICEABLE_STEAL:
        return Finding(
            "noisy neighbours",
            "limit",
            f"other guests took {steal:.1%} of the busy time since boot: wide intervals, unless more launches",
            "perfkit bench --preset full",
        )
    return Finding("noisy neighbours", "ok", f"{steal:.1%} of the busy time since boot went to other guests")


def check_load(loadavg: str, cores: int) -> Finding:
    """What else runs now.

    >>> check_load("1.90 0.5 0.2 3/90 77", 2).level, check_load("0.10 0.5 0.2 1/90 77", 2).level
    ('limit', 'ok')
    """
    match = re.match(r"\d+\.\d+", loadavg)
    if match is None:
        return Finding("other work", "note", "not shown on this system")
    load = float(match.group())
    if load > 0.5 * cores:
        return Finding("other work", "limit", f"load {load:g} on {cores} cores: others disturb a measurement", "top")
    return Finding("other work", "ok", f"load {load:g} on {cores} cores")


def check_clock(clocksource: str) -> Finding:
    """Reading the clock must cost tens of nanoseconds; some virtual clocks cost microseconds."""
    if not clocksource:
        return Finding("clock", "note", "not shown on this system")
    if clocksource in _STEADY_CLOCKS:
        return Finding("clock", "ok", clocksource)
    return Finding(
        "clock",
        "limit",
        f"{clocksource}: reading it is slow and adds to every small payload",
        "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource",
    )


def check_memory(root: Path) -> Finding:
    """How large a pool may become, and what bounds it."""
    room = headroom(str(root))
    found = f"{format_bytes(room.available_bytes)} may be reserved, bounded by {room.limit_source}"
    if room.available_bytes >= _SMALL_HEADROOM_BYTES:
        return Finding("memory", "ok", found)
    bounded_by_cgroup = room.limit_source in find_cgroup_memory(str(root)).folders
    remedy = "docker update --memory=4g CONTAINER" if bounded_by_cgroup else "free -h"
    return Finding("memory", "limit", f"{found}: large payloads fall back to other methods", remedy)


def check_huge_pages(root: Path) -> Finding:
    """Whether pools get huge pages: fewer page faults on first use, fewer misses after it."""
    setting = read_shmem_huge_pages(root)
    if setting in ("always", "within_size", "force"):
        return Finding("huge pages", "ok", f"{setting}: pools get huge pages")
    if setting == UNKNOWN:
        return Finding("huge pages", "note", "this kernel does not offer them for shared memory")
    return Finding(
        "huge pages",
        "limit",
        f"{setting}: the first use of a pool's memory is slower than it need be",
        "echo within_size | sudo tee /sys/kernel/mm/transparent_hugepage/shmem_enabled",
    )


def check_shared_memory(path: str) -> Finding:
    """Room for named segments, as containers without a common memfd use them."""
    space = shared_memory_space(path)
    if space is None:
        return Finding("/dev/shm", "note", "there is none; perfkit's own pools do not need it on Linux")
    found = f"{format_bytes(space.free_bytes)} of {format_bytes(space.size_bytes)} free"
    if space.free_bytes >= _SMALL_SHARED_MEMORY_BYTES:
        return Finding("/dev/shm", "ok", found)
    return Finding(
        "/dev/shm",
        "note",
        f"{found}: little for named segments (perfkit's own pools are memfds, which ignore it)",
        "sudo mount -o remount,size=2G /dev/shm  # a container: docker run --shm-size=2g",
    )


def check_socket_buffers(root: Path) -> Finding:
    """The buffers that perfkit asks for on its sockets are granted in full."""
    texts = {name: _read(root / f"proc/sys/net/core/{name}") for name in ("wmem_max", "rmem_max")}
    small = {name: int(text) for name, text in texts.items() if text.isdigit() and int(text) < _SOCKET_BUFFER_BYTES}
    if not any(texts.values()):
        return Finding("socket buffers", "note", "not shown on this system")
    if not small:
        return Finding("socket buffers", "ok", f"at least {format_bytes(_SOCKET_BUFFER_BYTES)} allowed")
    sizes = ", ".join(f"{name} {format_bytes(size)}" for name, size in small.items())
    settings = " ".join(f"net.core.{name}={_SOCKET_BUFFER_BYTES}" for name in small)
    return Finding(
        "socket buffers",
        "limit",
        f"{sizes}: large payloads over uds take more wake-ups than with {format_bytes(_SOCKET_BUFFER_BYTES)}",
        f"sudo sysctl -w {settings}",
    )


def check_descriptors() -> Finding:
    """Each connection and each pool takes file descriptors."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return Finding("open files", "note", "not limited on this system")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _FEW_DESCRIPTORS:
        return Finding("open files", "ok", "no limit" if soft == resource.RLIM_INFINITY else f"up to {soft}")
    wanted = _FEW_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _FEW_DESCRIPTORS)
    return Finding(
        "open files",
        "note",
        f"up to {soft}: enough to measure, few for a service with many peers",
        f"ulimit -n {wanted}",
    )


def check_copy_tunable(tunables: str) -> Finding:
    """Whether large copies bypass the cache (x86 with glibc); only a measurement says whether that helps here."""
    if _NON_TEMPORAL in tunables:
        return Finding("large copies", "ok", f"chosen: {tunables}")
    if platform.machine() not in ("x86_64", "i686"):
        return Finding("large copies", "ok", "no tunable on this architecture")
    return Finding(
        "large copies",
        "note",
        "glibc's own threshold for bypassing the cache; a lower one can halve the time of large copies: measure both",
        f"GLIBC_TUNABLES=glibc.cpu.{_NON_TEMPORAL}=0x400000 perfkit bench --preset default",
    )


def check_versions(fingerprint: Mapping[str, str]) -> Finding:
    """What moves the payloads."""
    found = f"{fingerprint['python']}, grpcio {fingerprint['grpcio']}, perfkit {fingerprint['perfkit']}"
    if fingerprint["grpcio"] == "not installed":
        return Finding(
            "versions", "limit", f"{found}: only Unix sockets and shared memory", "pip install 'perfkit[transfer]'"
        )
    return Finding("versions", "ok", found)


def _cpu_quota(root: Path) -> float | None:
    """Cores' worth of time that the tightest cgroup allows; None without a limit."""
    quotas = []
    for folder in find_cgroup_memory(str(root)).folders:
        fields = _read(Path(folder) / "cpu.max").split()
        if len(fields) == 2 and fields[0].isdigit():
            quotas.append(int(fields[0]) / int(fields[1]))
    allowed_us = _read(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    if allowed_us.isdigit():
        quotas.append(int(allowed_us) / int(_read(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us")))
    return min(quotas, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

"""The fingerprint: what makes measurements of two hosts comparable.

It is collected when a run is measured, published with the thresholds, and compared when an engine loads them. Values
are as coarse as the costs that depend on them: a patch release of the kernel or a few reserved megabytes are no
difference, another CPU or another grpcio is one.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from perfkit.units import format_bytes

__all__ = ["FINGERPRINT_KEYS", "UNKNOWN", "collect_fingerprint", "differences"]

UNKNOWN = "unknown"
FINGERPRINT_KEYS: Mapping[str, str] = {
    "os": "operating system",
    "kernel": "kernel",
    "cpu": "CPU",
    "cores": "number of usable cores",
    "memory": "memory",
    "shmem_huge_pages": "huge pages for shared memory",
    "virtualisation": "virtualisation",
    "copy_tunables": "glibc's copy tunables",
    "python": "Python",
    "grpcio": "grpcio",
    "perfkit": "perfkit",
}
"""Every key of a fingerprint with the words that messages use for it."""

_ROOT = Path("/")


def collect_fingerprint() -> dict[str, str]:
    """Describe this host and the software that moves payloads on it.

    Collected once per process. What a system does not tell is ``"unknown"``, and never counts as a difference.

    Returns:
        A value for every key of `FINGERPRINT_KEYS`, in that order.

    >>> list(collect_fingerprint())[:3]
    ['os', 'kernel', 'cpu']
    """
    return dict(_collected())


def differences(published: Mapping[str, str], here: Mapping[str, str]) -> tuple[str, ...]:
    """Say in sentences where two fingerprints differ.

    Args:
        published: the fingerprint that the thresholds carry; keys that it lacks are not compared.
        here: the fingerprint of the host that is about to use them.

    Returns:
        One sentence per difference, in the order of `FINGERPRINT_KEYS`; empty when the hosts are comparable.

    >>> differences({"kernel": "6.12", "cpu": "EPYC"}, {"kernel": "6.18", "cpu": "EPYC"})
    ('kernel: measured on 6.12, here it is 6.18',)
    """
    return tuple(
        f"{words}: measured on {published[key]}, here it is {here[key]}"
        for key, words in FINGERPRINT_KEYS.items()
        if key in published
        and key in here
        and UNKNOWN not in (published[key], here[key])
        and published[key] != here[key]
    )


@functools.cache
def _collected() -> Mapping[str, str]:
    return {
        "os": platform.system() or UNKNOWN,
        "kernel": kernel_series(platform.release()),
        "cpu": _cpu_model(),
        "cores": _cores(),
        "memory": _memory(),
        "shmem_huge_pages": read_shmem_huge_pages(_ROOT),
        "virtualisation": read_virtualisation(_ROOT),
        "copy_tunables": copy_tunables(os.environ.get("GLIBC_TUNABLES", "")),
        "python": f"{platform.python_implementation()} {'.'.join(platform.python_version_tuple()[:2])}",
        "grpcio": _package_version("grpcio"),
        "perfkit": _package_version("perfkit"),
    }


def kernel_series(release: str) -> str:
    """The major and minor number of a kernel release.

    >>> kernel_series("6.18.5-generic"), kernel_series("10"), kernel_series("")
    ('6.18', '10', 'unknown')
    """
    match = re.match(r"\d+(\.\d+)?", release)
    return match.group() if match else UNKNOWN


def parse_cpu_model(cpuinfo: str) -> str:
    """The model name in the text of ``/proc/cpuinfo``; on ARM the implementer and part.

    >>> parse_cpu_model("vendor_id\\t: GenuineIntel\\nmodel name\\t: Intel(R)  Xeon(R) @ 2.50GHz\\n")
    'Intel(R) Xeon(R) @ 2.50GHz'
    """
    fields = {
        name.strip(): value.strip()
        for name, found, value in (line.partition(":") for line in cpuinfo.splitlines())
        if found
    }
    if "model name" in fields:
        return " ".join(fields["model name"].split())
    parts = [fields[key] for key in ("CPU implementer", "CPU part") if key in fields]
    return f"ARM {' '.join(parts)}" if parts else UNKNOWN


def read_shmem_huge_pages(root: Path) -> str:
    """The chosen word of ``shmem_enabled``: whether the kernel backs shared memory with huge pages."""
    text = _read(root / "sys/kernel/mm/transparent_hugepage/shmem_enabled")
    match = re.search(r"\[(\w+)\]", text)
    return match.group(1) if match else UNKNOWN


def read_virtualisation(root: Path) -> str:
    """``none``, ``virtual machine``, ``container``, or both; as far as files tell cheaply."""
    cpuinfo = _read(root / "proc/cpuinfo")
    if not cpuinfo:
        return UNKNOWN
    found = []
    if re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE):
        found.append("virtual machine")
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        found.append("container")
    return ", ".join(found) or "none"


def copy_tunables(glibc_tunables: str) -> str:
    """The tunables of GLIBC_TUNABLES that change how memory is copied, sorted; ``default`` when there are none.

    >>> copy_tunables("glibc.malloc.check=3:glibc.cpu.x86_non_temporal_threshold=0x400000")
    'x86_non_temporal_threshold=0x400000'
    """
    prefix = "glibc.cpu."
    chosen = sorted(t.removeprefix(prefix) for t in glibc_tunables.split(":") if t.startswith(prefix))
    return " ".join(chosen) or "default"


def _cpu_model() -> str:
    if platform.system() == "Linux":
        return parse_cpu_model(_read(_ROOT / "proc/cpuinfo"))
    if platform.system() == "Darwin":
        try:
            asked = subprocess.run(
                ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, timeout=5, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return UNKNOWN
        return asked.stdout.strip() or UNKNOWN
    return platform.processor() or UNKNOWN


def _cores() -> str:
    present = os.cpu_count() or 0
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else present
    if not present:
        return UNKNOWN
    return str(present) if usable == present else f"{usable} of {present}"


def _memory() -> str:
    try:
        total_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return UNKNOWN
    gibibyte = 2**30
    return format_bytes(max(round(total_bytes / gibibyte), 1) * gibibyte)


def _package_version(name: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

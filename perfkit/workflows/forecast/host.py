"""What serves the demand, and what would be otherwise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from perfkit.config.fingerprint import collect_fingerprint
from perfkit.errors import InputError, UnknownNameError
from perfkit.tables import plural
from perfkit.transfer.platform import headroom
from perfkit.units import format_bytes, parse_bytes, parse_duration

__all__ = ["Change", "Host", "completed", "described", "parse_change"]

_CHANGES = ("rate", "size", "workers", "cores", "memory")


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """What serves the demand, as far as it is known; None where it is not.

    Args:
        workers: how many transfers are served at once.
        cores: processor cores.
        memory_bytes: memory that payloads under way may take.
        latency_s: mean time of one transfer.
        cpu_s: processor time of one transfer, both sides.
        resident_bytes: memory of one transfer while it is under way.
    """

    workers: int | None = None
    cores: int | None = None
    memory_bytes: int | None = None
    latency_s: float | None = None
    cpu_s: float | None = None
    resident_bytes: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What would be otherwise.

    Args:
        rate: factor of the demand.
        size: factor of the sizes.
        workers: workers instead of the present ones; None for no change.
        cores: likewise.
        memory_bytes: likewise.
    """

    rate: float = 1.0
    size: float = 1.0
    workers: int | None = None
    cores: int | None = None
    memory_bytes: int | None = None

    def __str__(self) -> str:
        said = [f"{name} {value:g}x" for name, value in (("rate", self.rate), ("size", self.size)) if value != 1]
        said += [f"{name} {value}" for name, value in (("workers", self.workers), ("cores", self.cores)) if value]
        return ", ".join([*said, *([f"memory {format_bytes(self.memory_bytes)}"] if self.memory_bytes else [])])


def described(
    host: Host | None,
    *,
    workers: int | None = None,
    cores: int | None = None,
    memory: int | str | None = None,
    latency: int | str | None = None,
    cpu: int | str | None = None,
    resident: int | str | None = None,
) -> Host | None:
    """A host by the names of the command line; None where nothing is said of it.

    Raises:
        InputError: ``host`` is something else, says the same thing, or a value cannot be read.

    >>> described(None, workers=16, latency="5ms")
    Host(workers=16, cores=None, memory_bytes=None, latency_s=0.005, cpu_s=None, resident_bytes=None)
    """
    if host is not None and not isinstance(host, Host):
        raise InputError(f"host is of type {type(host).__name__}; leave it out and give workers=16, latency='5ms', …")
    named = {
        "workers": None if workers is None else _number("workers", workers, whole=True),
        "cores": None if cores is None else _number("cores", cores, whole=True),
        "memory_bytes": None if memory is None else parse_bytes(memory),
        "latency_s": None if latency is None else parse_duration(latency) / 1e9,
        "cpu_s": None if cpu is None else parse_duration(cpu) / 1e9,
        "resident_bytes": None if resident is None else parse_bytes(resident),
    }
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    twice = [name for name in given if host is not None and getattr(host, name) is not None]
    if twice:
        raise InputError(f"{twice[0]} is in host, too; give it once")
    return dataclasses.replace(host or Host(), **given) if given else host


def completed(host: Host) -> tuple[Host, tuple[str, ...]]:
    """A host with what this one has, where nothing is said of it and what a transfer takes of it is known.

    Args:
        host: as far as it is known.

    Returns:
        The host, and what was taken from this one.

    >>> completed(Host(workers=4, latency_s=0.001))
    (Host(workers=4, cores=None, memory_bytes=None, latency_s=0.001, cpu_s=None, resident_bytes=None), ())
    """
    said = []
    cores = _usable_cores()
    if host.cores is None and host.cpu_s and cores:
        host = dataclasses.replace(host, cores=cores)
        said.append(f"{plural(cores, 'core')} may be used here (--cores says otherwise)")
    if host.workers is None and host.latency_s and cores:
        host = dataclasses.replace(host, workers=cores)
        said.append(f"workers: supposed to be {cores}, one per usable core (--workers says otherwise)")
    if host.memory_bytes is None and host.resident_bytes and host.latency_s:
        left_bytes = headroom().available_bytes
        if left_bytes:
            host = dataclasses.replace(host, memory_bytes=left_bytes)
            said.append(f"memory: {format_bytes(left_bytes)} are left here now (--memory says otherwise)")
    return host, tuple(said)


def _usable_cores() -> int | None:
    first = collect_fingerprint()["cores"].split()[0]
    return int(first) if first.isdigit() else None


def parse_change(text: str | Mapping[str, Any]) -> Change:
    """Read what would be otherwise.

    Args:
        text: ``rate=2x,size=1.5x,workers=8,cores=4,memory=4GiB``, each optional, or a mapping of the same.

    Raises:
        UnknownNameError: there is nothing of that name to change.
        InputError: a value cannot be read, or is not above 0.

    >>> str(parse_change("rate=2x, workers=8, memory=4GiB"))
    'rate 2x, workers 8, memory 4GiB'
    """
    pairs = text.items() if isinstance(text, Mapping) else _split(text)
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in _CHANGES:
            raise UnknownNameError("change", name, _CHANGES, "For example rate=2x,workers=8.")
        if name == "memory":
            found["memory_bytes"] = parse_bytes(value)
        else:
            found[name] = _number(name, value, whole=name in ("workers", "cores"))
    if found.get("memory_bytes") == 0:
        raise InputError("memory=0 leaves nothing; give a size above 0")
    return Change(**found)


def _split(text: str) -> list[tuple[str, str]]:
    parts = [part.strip() for part in str(text).split(",") if part.strip()]
    if not parts:
        raise InputError("the what-if names no change; write rate=2x,size=1.5x,workers=8,memory=4GiB")
    for part in parts:
        if "=" not in part:
            raise InputError(f"what-if {part!r} has no value; write it as {part}=2x or as workers=8")
    return [(name.strip(), value.strip()) for name, _, value in (part.partition("=") for part in parts)]


def _number(name: str, value: Any, *, whole: bool) -> float | int:
    text = str(value).strip()
    try:
        number = float(text if whole else text.removesuffix("x"))
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0) or (whole and number != int(number)):
        allowed = "a whole number of 1 or more" if whole else "a factor above 0 such as 2x"
        raise InputError(f"{name}={value} cannot be used; give {allowed}")
    return int(number) if whole else number

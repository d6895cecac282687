"""`[slos.NAME]` of `perfkit.toml`: what is promised about the traffic of a pool, or about scenarios of a run."""

from __future__ import annotations

import dataclasses
import re

from perfkit.config.reading import Key, Section, read_keys
from perfkit.config.values import Days, Duration, Share, Size, Text

__all__ = ["SLO_KEYS", "Slo", "read_slos"]

_HOUR_NS = 3600 * 10**9
_QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,4})?)")
_PROMISES = ("latency", "error_rate", "throughput", "memory")
_MOST_NAME = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Slo:
    """One service-level objective: promises about the same transfers.

    Args:
        name: such as ``checkout``.
        pool: pools whose traffic it is about, where ``*`` stands for any text; None for scenarios of runs.
        scenario: scenarios of runs that it is about, likewise; None for traffic.
        quantile: share of the transfers that must keep `latency_ns`, between 0 and 1.
        latency_ns: nanoseconds that they may take at most; None promises nothing.
        error_rate: share of transfers that may fail, above 0; None promises nothing.
        throughput_bytes_per_s: bytes per second of transfer time, at least; None promises nothing.
        memory_bytes: memory that one transfer may hold at most; None promises nothing.
        window_days: days over which the traffic of a pool is judged.
    """

    name: str
    pool: str | None = None
    scenario: str | None = None
    quantile: float = 0.99
    latency_ns: int | None = None
    error_rate: float | None = None
    throughput_bytes_per_s: int | None = None
    memory_bytes: int | None = None
    window_days: int = 30


@dataclasses.dataclass(frozen=True, slots=True)
class _Quantile:
    """A quantile as people call it."""

    @property
    def allowed(self) -> str:
        """What may be written."""
        return "a quantile above p0 and below p100, such as 'p99' or 'p99.9'"

    def read(self, section: Section, key: str) -> float:
        """The share of transfers."""
        value = section.table[key]
        match = _QUANTILE.fullmatch(value) if isinstance(value, str) else None
        if match is None or not 0 < float(match[1]) < 100:
            section.refuse_value(key, self.allowed)
        return round(float(match[1]) / 100, 6)

    def written(self, value: float) -> str:
        """How it is written."""
        return f'`"p{value * 100:g}"`'


SLO_KEYS = (
    Key("pool", Text("the name of a pool, or a pattern such as 'ml-*'"), "whose traffic it is about", default="none"),
    Key(
        "scenario",
        Text("the name of a scenario, or a pattern such as 'transport uds *'", 200),
        "scenarios of a run that it is about; either this or `pool`",
        default="none",
    ),
    Key("quantile", _Quantile(), "of the latency; the rest of the transfers is its error budget"),
    Key(
        "latency",
        Duration(1, _HOUR_NS, "5ms"),
        "what the quantile may be at most",
        field="latency_ns",
        default="none",
    ),
    Key("error_rate", Share(positive=True), "of the transfers, at most", default="none"),
    Key(
        "throughput",
        Size(1),
        "bytes per second of transfer time, at least",
        field="throughput_bytes_per_s",
        default="none",
    ),
    Key("memory", Size(1), "that one transfer holds, at most", field="memory_bytes", default="none"),
    Key("window", Days(), "over which traffic is judged", field="window_days"),
)


def read_slos(whole: Section) -> tuple[Slo, ...]:
    """The promises that the file makes.

    Args:
        whole: the file.

    Raises:
        ConfigError: a key or value that does not exist, with its place; an SLO about nothing, about both a pool and
            scenarios, or without a promise.
    """
    tables = whole.inner("slos")
    slos = []
    for name in tables.table:
        if not name.strip() or not name.isprintable() or len(name) > _MOST_NAME:
            tables.refuse(name, f": {name[:60]!r} is no name; write printable text of 1 to {_MOST_NAME} characters")
        slos.append(_slo(tables.inner(name), name))
    return tuple(slos)


def _slo(table: Section, name: str) -> Slo:
    table.refuse_unknown(SLO_KEYS)
    if ("pool" in table.table) == ("scenario" in table.table):
        said = "names both a pool and scenarios" if "pool" in table.table else "names neither a pool nor scenarios"
        table.refuse("", f": {said}; write pool = 'default' (its traffic) or scenario = '*' (of a run)")
    if not any(promise in table.table for promise in _PROMISES):
        table.refuse("", f": promises nothing; add one of {', '.join(_PROMISES)}, such as latency = '5ms'")
    if "quantile" in table.table and "latency" not in table.table:
        table.refuse("quantile", ": is that of the latency, which is not promised; add latency = '5ms'")
    return Slo(name, **read_keys(table, SLO_KEYS))

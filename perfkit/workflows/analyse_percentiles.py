"""Percentiles of latency, whole and by what may make a difference."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from perfkit.stats.quantiles import LEVELS, Quantile, quantiles
from perfkit.workflows.analyse_rows import held

__all__ = ["PROFILES", "Percentiles", "Profile", "collect_percentiles", "collect_profile"]

PROFILES: Mapping[str, tuple[str, ...]] = {
    "size": (),
    "load": ("in_flight",),
    "codec": ("kind", "format", "compression"),
}
"""What each profile looks at beside size and method."""

_LIKE = (
    "method",
    "payload_bytes",
    "stage",
    "signalling",
    "placement",
    "touched",
    "temperature",
    "in_flight",
    "kind",
    "format",
    "compression",
    "entropy",
)
_WANTED = ("latency_ns", "cluster")
_PROFILE_LEVELS = (0.5, 0.95, 0.99)


@dataclasses.dataclass(frozen=True, slots=True)
class Percentiles:
    """The percentiles of one group of transfers.

    Args:
        group: value of each dimension that the rows were grouped by.
        latency_ns: one quantile per level, in nanoseconds, over the group's mixture of payloads.
        tail: the levels above the median again, of each latency as a multiple of the median of its like (same payload,
            same setting): how much worse than usual, whatever the mixture. Empty in a profile.
        n: transfers.
    """

    group: Mapping[str, Any]
    latency_ns: tuple[Quantile, ...]
    tail: tuple[Quantile, ...]
    n: int

    def to_plain(self) -> dict[str, Any]:
        """The percentiles as values that JSON can hold, by their names."""
        return {
            "group": dict(self.group),
            "n": self.n,
            "latency_ns": {one.name: one.to_plain() for one in self.latency_ns},
            "tail": {one.name: one.to_plain() for one in self.tail},
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """Latency along one dimension, size by size and method by method.

    Args:
        name: one of `PROFILES`.
        cells: groups of the profile's dimensions, size_class and method, in this order.
    """

    name: str
    cells: tuple[Percentiles, ...]


def collect_percentiles(rows: pl.DataFrame, by: Sequence[str], stages: Sequence[str]) -> tuple[Percentiles, ...]:
    """Percentiles of every group, in the order of the groups' values.

    Args:
        rows: what `analyse_rows.read_rows` gave.
        by: dimensions to group by; without any, there is one group.
        stages: stages of transfers to take.
    """
    shown = held(rows, stages, by).select({*by, *_LIKE, *_WANTED}).collect()
    relative = pl.col("latency_ns") / pl.col("latency_ns").median().over(_LIKE)
    return _grouped(shown.select(*by, *_WANTED, tail=relative), by, LEVELS)


def collect_profile(rows: pl.DataFrame, name: str, stages: Sequence[str]) -> Profile:
    """One of `PROFILES`; arguments as in `collect_percentiles`."""
    looked_at = PROFILES[name]
    by = (*looked_at, "size_class", "method")
    shown = held(rows, stages, looked_at).select(*by, *_WANTED).collect()
    return Profile(name, _grouped(shown, by, _PROFILE_LEVELS))


def _grouped(rows: pl.DataFrame, by: Sequence[str], levels: Sequence[float]) -> tuple[Percentiles, ...]:
    if rows.is_empty():
        return ()
    wanted = [name for name in (*_WANTED, "tail") if name in rows.columns]
    # One list per group, so that Python loops over groups and never over rows.
    groups = rows.group_by(by).agg(wanted).sort(by) if by else rows.select(pl.col(wanted).implode())
    names: list[dict[str, Any]] = groups.select(by).to_dicts() if by else [{}]
    tails = [level for level in levels if level > 0.5]
    found = []
    for index, group in enumerate(names):
        columns = {name: groups[name][index].to_numpy() for name in wanted}
        clusters = columns["cluster"]
        tail = quantiles(columns["tail"], tails, clusters=clusters) if "tail" in columns else ()
        tail = tuple(_from_the_median_on(one) for one in tail)
        latency = quantiles(columns["latency_ns"], levels, clusters=clusters)
        found.append(Percentiles(group, latency, tail, clusters.size))
    return tuple(found)


def _from_the_median_on(tail: Quantile) -> Quantile:
    """A multiple of the median is 1 or more, whatever few launches make of its interval."""
    value, low, high = (max(bound, 1.0) if tail.enough else bound for bound in (tail.value, tail.low, tail.high))
    return dataclasses.replace(tail, value=value, low=low, high=high)

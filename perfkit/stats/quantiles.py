"""Exact quantiles of rows, with intervals that respect that rows of one launch resemble each other.

Latencies of one launch of processes share that launch's luck, so that a thousand rows of three launches are nearer to
three independent figures than to a thousand. Where rows are told apart by cluster (a launch, a service process), the
interval is therefore over clusters; only rows of a single cluster are taken for independent.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from perfkit.errors import InputError

__all__ = [
    "LEVELS",
    "ROWS_BEYOND",
    "Quantile",
    "bounding_ranks",
    "quantile_name",
    "quantiles",
    "rows_needed",
    "too_few_rows",
]

Floats = npt.NDArray[np.float64]

LEVELS = (0.5, 0.95, 0.99, 0.999)
"""p50, p95, p99 and p99.9."""
ROWS_BEYOND = 4
"""Rows that must be expected beyond a quantile, ``n * min(q, 1 - q)``, before a figure is given for it."""

_CONFIDENCE = 0.95
_UNBIASED: Final = (
    "median_unbiased"  # the default, linear, lies a few percent too low when four rows are beyond the quantile
)


@dataclasses.dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile with its 95 % interval; where there are too few rows, that instead of a figure.

    Args:
        q: level, between 0 and 1.
        value: the estimate, in the unit of the values; NaN where `enough` is False.
        low, high: bounds of the interval; NaN where `enough` is False.
        n: rows.
        enough: whether there are rows enough to give a figure.
        method: ``order statistics`` (independent rows), ``histogram`` (the same from buckets), ``over clusters``,
            ``over joined clusters`` (neighbours put together until each had rows enough), or ``too few rows``.
        groups: independent figures that the interval rests on: rows, clusters or joined clusters.
    """

    q: float
    value: float
    low: float
    high: float
    n: int
    enough: bool
    method: str
    groups: int

    @property
    def name(self) -> str:
        """What people call it, such as p99.9."""
        return quantile_name(self.q)

    def to_plain(self) -> dict[str, float | int | str | bool | None]:
        """The quantile as values that JSON can hold; what is not known is None."""
        plain = dataclasses.asdict(self)
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value for name, value in plain.items()
        }


def quantile_name(q: float) -> str:
    """What people call a quantile.

    >>> quantile_name(0.5), quantile_name(0.999)
    ('p50', 'p99.9')
    """
    return f"p{q * 100:.6g}"


def rows_needed(q: float) -> int:
    """The smallest number of independent rows, or of rows in each cluster, for which a quantile is given.

    With `ROWS_BEYOND` rows expected beyond the quantile, the distribution-free interval always has both bounds.

    Raises:
        InputError: the level is not between 0 and 1.

    >>> rows_needed(0.5), rows_needed(0.99), rows_needed(0.999)
    (8, 400, 4000)
    """
    if not 0 < q < 1:
        raise InputError(f"quantile {q}, must be above 0 and below 1, for example 0.99")
    return math.ceil(ROWS_BEYOND / min(q, 1 - q) - 1e-6)  # 4 / (1 - 0.999) is a hair above 4000


def quantiles(
    values: npt.ArrayLike, levels: Sequence[float] = LEVELS, *, clusters: npt.ArrayLike | None = None
) -> tuple[Quantile, ...]:
    """Quantiles of rows with 95 % intervals.

    Args:
        values: positive numbers, one per row.
        levels: quantiles, each above 0 and below 1.
        clusters: for each row the cluster that it belongs to, as numbers; rows of different clusters are independent.
            Without clusters, or with a single one, all rows are taken for independent.

    Returns:
        One quantile per level. Independent rows: the order statistics that bound the quantile whatever the
        distribution. Clusters: every cluster's own quantile, their geometric mean and Student's interval over them on
        the log scale, as for medians of launches; where a cluster has too few rows of its own (`rows_needed`),
        neighbouring clusters are joined until they have enough. A quantile for which that leaves fewer than two groups
        is not given.

    Raises:
        InputError: a value is not a positive number, a level not between 0 and 1, or the lengths differ.

    Sources: Hahn and Meeker, *Statistical Intervals*, 1991, section 5.2 (order statistics); Hyndman and Fan, *Sample
    quantiles in statistical packages*, 1996 (definition 8, median-unbiased); Kalibera and Jones, *Rigorous benchmarking
    in reasonable time*, 2013 (launches as independent units). There is no bootstrap over clusters: with 3 or 5 of them
    its percentile interval covers 74 or 88 % (simulated), this one 95 %.

    >>> p50, p99 = quantiles(range(1, 101), (0.5, 0.99))
    >>> round(p50.value, 1), p50.low, p50.high, p50.method
    (50.5, 40.0, 61.0, 'order statistics')
    >>> p99.enough, p99.method
    (False, 'too few rows')
    >>> quantiles([10, 11, 12, 13] * 6, (0.5,), clusters=[0] * 12 + [1] * 12)[0].groups
    2
    """
    needed = [rows_needed(level) for level in levels]
    rows = np.asarray(values, float)
    if not (np.isfinite(rows) & (rows > 0)).all():
        raise InputError("a quantile needs positive numbers; drop or repair the others")
    ordered, ends = _by_cluster(rows, clusters)
    parts = np.split(ordered, ends[:-1])
    if len(parts) <= 1:
        ordered.sort()
        return tuple(_of_rows(ordered, level, least) for level, least in zip(levels, needed, strict=True))
    return tuple(_of_clusters(parts, level, least) for level, least in zip(levels, needed, strict=True))


def bounding_ranks(n: int, q: float) -> tuple[int, int]:
    """Ranks, counted from 1, of the ordered rows that bound a quantile in 95 of 100 cases whatever the distribution.

    Args:
        n: independent rows, `rows_needed` or more.
        q: level, above 0 and below 1.

    >>> bounding_ranks(100, 0.5)
    (40, 61)
    """
    tail = (1 - _CONFIDENCE) / 2
    first, last = stats.binom.ppf((tail, 1 - tail), n, q).astype(int)
    return int(first), int(last) + 1


def _by_cluster(rows: Floats, clusters: npt.ArrayLike | None) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The rows, those of a cluster next to each other, and where each cluster ends."""
    if clusters is None:
        return rows.copy(), np.array([rows.size])
    labels = np.asarray(clusters)
    if labels.shape != rows.shape:
        raise InputError(f"{rows.size} values, but clusters for {labels.size}; give one cluster for each value")
    order = np.argsort(labels, kind="stable")
    changes = np.flatnonzero(np.diff(labels[order])) + 1
    return rows[order], np.append(changes, rows.size)


def _of_rows(ordered: Floats, level: float, least: int) -> Quantile:
    n = ordered.size
    if n < least:
        return too_few_rows(level, n)
    first, last = bounding_ranks(n, level)
    value = float(np.quantile(ordered, level, method=_UNBIASED))
    low, high = float(ordered[first - 1]), float(ordered[last - 1])
    return Quantile(level, value, low, high, n, True, "order statistics", n)


def _of_clusters(parts: Sequence[Floats], level: float, least: int) -> Quantile:
    n = sum(part.size for part in parts)
    groups = _joined(parts, least)
    if len(groups) < 2:
        return too_few_rows(level, n)
    logs = np.log([np.quantile(group, level, method=_UNBIASED) for group in groups])
    reach = stats.t.ppf((1 + _CONFIDENCE) / 2, logs.size - 1) * logs.std(ddof=1) / math.sqrt(logs.size)
    value, low, high = np.exp([logs.mean(), logs.mean() - reach, logs.mean() + reach]).tolist()
    method = "over clusters" if len(groups) == len(parts) else "over joined clusters"
    return Quantile(level, value, low, high, n, True, method, len(groups))


def _joined(parts: Sequence[Floats], least: int) -> list[Floats]:
    """Clusters, neighbours joined until each group has at least `least` rows; what is left over joins the last one."""
    groups: list[list[Floats]] = [[]]
    for part in parts:
        if sum(member.size for member in groups[-1]) >= least:
            groups.append([])
        groups[-1].append(part)
    if sum(member.size for member in groups[-1]) < least:
        left_over = groups.pop()
        if not groups:
            return []
        groups[-1] += left_over
    return [np.concatenate(members) for members in groups]


def too_few_rows(level: float, n: int) -> Quantile:
    """What is said of a quantile instead of a figure."""
    return Quantile(level, math.nan, math.nan, math.nan, n, False, "too few rows", 0)

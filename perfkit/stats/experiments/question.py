"""What is asked of an experiment, checked before any row is read."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from perfkit.errors import InputError, UnknownNameError
from perfkit.stats.quantiles import quantile_name

__all__ = ["CORRECTIONS", "DIRECTIONS", "INFERENCES", "STATISTICS", "Metrics", "Question", "quantile_level"]

Metrics = Mapping[str, Sequence[str]] | Sequence[str]

STATISTICS = ("mean", "ratio", "rank")
"""Beside these, any quantile: p50, p95, p99.9 …"""
INFERENCES = ("fixed", "sequential")
CORRECTIONS = ("benjamini-hochberg", "holm", "none")
DIRECTIONS = ("less", "more")


@dataclasses.dataclass(frozen=True)
class Question:
    """Everything that is asked of an experiment; see `perfkit.ab` for what the fields mean."""

    unit: str
    variant: str
    control: str
    metrics: Mapping[str, tuple[str, ...]]
    guardrails: Mapping[str, tuple[str, ...]]
    inference: str
    alpha: float
    shares: Mapping[str, float] | None
    margins: Mapping[str, float]
    minimum: int
    covariate: str | None
    segments: tuple[str, ...]
    directions: Mapping[str, str]
    correction: str

    def __post_init__(self) -> None:
        if not self.metrics:
            raise InputError('metrics is empty; name at least one, for example {"latency_ns": ["mean", "p95"]}')
        _one_of("inference", self.inference, INFERENCES)
        _one_of("correction", self.correction, CORRECTIONS)
        _between("alpha", self.alpha, 0.5)
        for metric, margin in self.margins.items():
            _between(f"margin of {metric}", margin, 1)
        for metric, direction in self.directions.items():
            _one_of(f"direction of {metric}", direction, DIRECTIONS)
        if not isinstance(self.minimum, int | float) or not 0 <= self.minimum < math.inf:
            raise InputError(f"minimum == {self.minimum}, must be 0 or more observations per variant")
        for statistics in (*self.metrics.values(), *self.guardrails.values()):
            for one in statistics:
                quantile_level(one)

    @property
    def measured(self) -> tuple[str, ...]:
        """Columns that are measured, guardrails included."""
        return tuple(dict.fromkeys((*self.metrics, *self.guardrails)))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the frame must have."""
        covariate = (self.covariate,) if self.covariate else ()
        return (self.unit, self.variant, *self.measured, *covariate, *self.segments, *self.directions, *self.margins)

    def direction(self, metric: str) -> str:
        """Which is better: ``less`` or ``more``."""
        return self.directions.get(metric, "less")


def named_metrics(what: str, given: Metrics) -> dict[str, tuple[str, ...]]:
    """Metrics with their statistics; a metric without any gets its mean.

    >>> named_metrics("guardrails", ["resident_bytes"])
    {'resident_bytes': ('mean',)}
    """
    named = list(given.values()) if isinstance(given, Mapping) else [given]
    if isinstance(given, str) or not all(isinstance(one, Iterable) for one in named):
        example = given if isinstance(given, str) else "latency_ns"
        raise InputError(
            f'{what} == {given!r}, must name metrics with statistics, for example {{"{example}": ["mean"]}}'
        )
    if not isinstance(given, Mapping):
        return dict.fromkeys(given, ("mean",))
    return {
        name: (statistics,) if isinstance(statistics, str) else tuple(dict.fromkeys(statistics)) or ("mean",)
        for name, statistics in given.items()
    }


def quantile_level(statistic: str) -> float | None:
    """The level of a quantile; None for another statistic.

    Raises:
        UnknownNameError: there is no such statistic.

    >>> quantile_level("p99.9"), quantile_level("mean")
    (0.999, None)
    """
    if statistic in STATISTICS:
        return None
    found = re.fullmatch(r"p(\d{1,2}(?:\.\d+)?)", str(statistic))
    level = float(found[1]) / 100 if found else 0.0
    if not 0 < level < 1:
        allowed = (*STATISTICS, *(quantile_name(one) for one in (0.5, 0.95, 0.99, 0.999)))
        raise UnknownNameError("statistic", statistic, allowed, "Any quantile from p0.1 to p99.99 may be asked for.")
    return round(level, 12)


def _one_of(what: str, got: str, allowed: tuple[str, ...]) -> None:
    if got not in allowed:
        raise UnknownNameError(what, got, allowed)


def _between(what: str, got: float, below: float) -> None:
    if not isinstance(got, int | float) or not 0 < got < below:
        raise InputError(f"{what} == {got}, must be above 0 and below {below}, for example 0.05")

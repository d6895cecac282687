"""Does `perfkit.ab` keep its promise on this very data? Assign the units anew, many times, and count false alarms.

Between variants that are drawn by lot nothing can differ. A test at 5 % must therefore reject in one of twenty such
draws; where it rejects more often, units are not what was randomised, or a few of them decide everything.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from perfkit.errors import InputError
from perfkit.stats.experiments.comparing import ab
from perfkit.stats.experiments.question import Metrics, named_metrics
from perfkit.stats.experiments.units import Columns, code_labels, numbers
from perfkit.tables import ResultTable, plural

__all__ = ["RejectionRate", "SelfCheck", "ab_self_check"]

_TOLERANCE = 0.2
"""A rate from 4 to 6 % is what a good test at 5 % has on real data."""
_CERTAINTY = 0.999
"""So sure must we be that a rate is off before we say so: many statistics are checked, and most are fine."""
_MOST_ROWS = 50_000
_DEFAULT_METRICS: Mapping[str, tuple[str, ...]] = {"latency_ns": ("mean", "p50", "p95", "p99")}

AS_PROMISED, TOO_MANY, TOO_FEW, UNKNOWN = "as promised", "too many", "too few", "not enough data"


@dataclasses.dataclass(frozen=True, slots=True)
class RejectionRate:
    """How often one statistic found an effect where none can be.

    Args:
        metric: column that was measured.
        statistic: such as ``mean`` or ``p95``.
        rejections: draws in which the p-value was at most `alpha`.
        n: draws that gave a p-value.
        alpha: share that was promised.
        is_bound: whether fewer than promised are fine, as with a sequence at a single look.
    """

    metric: str
    statistic: str
    rejections: int
    n: int
    alpha: float
    is_bound: bool = False

    @property
    def value(self) -> float:
        """Share of the draws; NaN where none gave a p-value."""
        return self.rejections / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval, after Clopper and Pearson."""
        return _clopper_pearson(self.rejections, self.n, 0.95)

    @property
    def verdict(self) -> str:
        """``as promised``, ``too many``, ``too few`` or ``not enough data``."""
        if not self.n:
            return UNKNOWN
        low, high = _clopper_pearson(self.rejections, self.n, _CERTAINTY)
        if low > self.alpha * (1 + _TOLERANCE):
            return TOO_MANY
        return TOO_FEW if high < self.alpha * (1 - _TOLERANCE) and not self.is_bound else AS_PROMISED


@dataclasses.dataclass(frozen=True)
class SelfCheck:
    """Whether the statistics of an experiment keep their promise on its own data.

    Args:
        unit: column that names what the analysis counts.
        by: column that names what was drawn by lot.
        rates: one per metric and statistic.
        runs: draws.
        alpha: share of rejections that was promised.
        n: units that were drawn.
        n_observations: their rows.
        warnings: what makes the check hard to believe.
    """

    unit: str
    by: str
    rates: tuple[RejectionRate, ...]
    runs: int
    alpha: float
    n: int
    n_observations: int
    warnings: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """How the rates came about, for people."""
        return f"{plural(self.runs, 'draw')} of variants by lot, by {self.by}; 95 % intervals after Clopper and Pearson"

    @property
    def off(self) -> tuple[RejectionRate, ...]:
        """Statistics that reject more or less often than promised."""
        return tuple(one for one in self.rates if one.verdict in (TOO_MANY, TOO_FEW))

    @property
    def verdict(self) -> str:
        """``as promised``; ``too many`` where any statistic rejects too often; else ``too few``."""
        found = {one.verdict for one in self.off}
        return TOO_MANY if TOO_MANY in found else TOO_FEW if found else AS_PROMISED

    @property
    def sentence(self) -> str:
        """What it means."""
        if not self.off:
            return f"As promised: between variants drawn by lot, {self.alpha:.0%} are rejected, give or take chance."
        names = ", ".join(f"{one.metric} {one.statistic} {one.value:.1%}" for one in self.off)
        advice = {
            TOO_MANY: "Do not believe a small p-value: is the unit what was randomised, and are there enough of them?",
            TOO_FEW: "Real effects are missed: there are too few units, or most are alike.",
        }
        return f"Off ({self.verdict}; {self.alpha:.0%} promised): {names}. {advice[self.verdict]}"

    def to_table(self) -> ResultTable:
        """The rate of each statistic."""
        rows = tuple(
            (
                f"{one.metric} {one.statistic}",
                f"{one.value:.1%}" if one.n else "-",
                f"{100 * one.interval[0]:.1f} to {100 * one.interval[1]:.1f}%" if one.n else "-",
                str(one.n),
                one.verdict,
            )
            for one in self.rates
        )
        notes = (self.sentence, f"{self.method}.", *(f"! {warning}" for warning in self.warnings))
        title = f"Rejections between like variants of {plural(self.n, self.by)}"
        return ResultTable(title, ("statistic", "rejected", "95% interval", "draws", "verdict"), rows, notes, (1, 2, 3))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold; what is not known is None."""
        rates = [
            {
                **dataclasses.asdict(one),
                "value": one.value if one.n else None,
                "interval": list(one.interval),
                "verdict": one.verdict,
            }
            for one in self.rates
        ]
        found = {**dataclasses.asdict(self), "rates": rates, "warnings": list(self.warnings)}
        return {**found, "method": self.method, "verdict": self.verdict, "sentence": self.sentence}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def ab_self_check(
    frame: Any,
    *,
    unit: str = "session",
    by: str | None = None,
    metrics: Metrics = _DEFAULT_METRICS,
    inference: str = "fixed",
    alpha: float = 0.05,
    covariate: str | None = None,
    share: float = 0.5,
    runs: int = 500,
    seed: int = 0,
) -> SelfCheck:
    """Draw variants by lot again and again, and count how often `perfkit.ab` finds an effect between them.

    What variants the rows had does not matter; rows recorded before an experiment will do.

    Args:
        frame: one row per observation, as for `perfkit.ab`.
        unit: column that names what the analysis counts.
        by: column that names what is drawn by lot, where that is not the unit: shows what a wrong unit does.
        metrics: columns with the statistics that are asked for.
        inference: ``fixed`` or ``sequential``; of a sequence, a single look is checked.
        alpha: accepted share of wrong verdicts when nothing changed.
        covariate: column that means are adjusted by.
        share: share of the second variant, between 0 and 1.
        runs: how often variants are drawn; 500 tell 5 % from 10 %, 10 000 tell it from 6 %.
        seed: of the lots.

    Raises:
        InputError: the frame or an argument cannot be used; the message says what can.

    >>> rng = np.random.default_rng(1)
    >>> session = np.repeat(np.arange(100), 20)
    >>> latency_ns = 1e6 * rng.lognormal(0, 0.25, 100)[session] * rng.lognormal(0, 0.5, session.size)
    >>> frame = {"session": session, "request": np.arange(session.size), "latency_ns": latency_ns}
    >>> ab_self_check(frame, metrics={"latency_ns": ["mean"]}, runs=100).verdict
    'as promised'
    >>> ab_self_check(frame, unit="request", by="session", metrics={"latency_ns": ["mean"]}, runs=100).verdict
    'too many'
    """
    if not (isinstance(runs, int) and runs >= 1):
        raise InputError(f"runs == {runs}, must be 1 or more; 500 tell 5 % from 10 %")
    if not isinstance(share, int | float) or not 0 < share < 1:
        raise InputError(f"share == {share}, must be above 0 and below 1")
    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed == {seed!r}, must be a whole number, 0 or more")
    asked = named_metrics("metrics", metrics)
    drawn_by = by or unit
    measured, drawn, names, warnings = _drawable(frame, unit, drawn_by, (*asked, *((covariate,) if covariate else ())))
    second = round(names * share)
    if not 1 <= second < names:
        raise InputError(f"{plural(names, drawn_by)} cannot be drawn into two variants; give more, best 100 or more")
    rng, found = np.random.default_rng(seed), Counter[tuple[str, str]]()
    known = Counter[tuple[str, str]]()
    lots = np.where(np.arange(names) < second, "B", "A")
    for _ in range(runs):
        variants = rng.permutation(lots)[drawn]
        result = ab(
            {**measured, "variant": variants},
            unit="unit",
            metrics=asked,
            inference=inference,
            alpha=alpha,
            covariate=covariate,
            minimum=0,
        )
        for one in result.effects:
            known[one.metric, one.statistic] += one.is_known
            found[one.metric, one.statistic] += one.p_value <= alpha
    rates = tuple(
        RejectionRate(metric, one, found[metric, one], known[metric, one], alpha, inference == "sequential")
        for metric, statistics in asked.items()
        for one in statistics
    )
    return SelfCheck(unit, drawn_by, rates, runs, alpha, names, drawn.size, warnings)


def _drawable(
    frame: Any, unit: str, by: str, measured: tuple[str, ...]
) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.int64], int, tuple[str, ...]]:
    """What is measured in each row, with the code of its unit; the code of what is drawn; how many are drawn."""
    columns = Columns(frame)
    units, drawn = code_labels(columns[unit]), code_labels(columns[by])
    valid = (units.codes >= 0) & (drawn.codes >= 0)
    order = np.random.default_rng(0).permutation(drawn.n_labels)  # rows of a frame may be sorted by anything
    rows = np.bincount(drawn.codes[valid], minlength=drawn.n_labels)[order].cumsum()
    kept = max(int(np.searchsorted(rows, _MOST_ROWS, side="right")), min(2, drawn.n_labels))
    warnings: tuple[str, ...] = ()
    place = np.full(drawn.n_labels, -1)
    place[order[:kept]] = np.arange(kept)
    if kept < drawn.n_labels:
        valid &= place[drawn.codes] >= 0
        warnings = (f"checked on {kept} of {drawn.n_labels} units, drawn at random, to be done in time",)
    found = {name: numbers(columns[name], name)[valid] for name in measured}
    return {**found, "unit": units.codes[valid]}, place[drawn.codes[valid]], kept, warnings


def _clopper_pearson(found: int, n: int, confidence: float) -> tuple[float, float]:
    """Exact interval of a share."""
    if not n:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = float(special.betaincinv(found, n - found + 1, tail)) if found else 0.0
    high = float(special.betaincinv(found + 1, n - found, 1 - tail)) if found < n else 1.0
    return low, high

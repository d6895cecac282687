"""`OffPolicyValue`: what a candidate policy would have cost on explored traffic, with what that rests on."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from perfkit.stats.verdicts import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE
from perfkit.tables import ResultTable

__all__ = ["ESTIMATORS", "SCALES", "OffPolicyValue"]

ESTIMATORS = ("doubly_robust", "snips")
SCALES = ("geometric", "mean")


@dataclasses.dataclass(frozen=True, slots=True)
class OffPolicyValue:
    """What a candidate would have cost, and how that compares with another policy.

    Args:
        value: cost of a transfer under the candidate: geometric mean, or mean, as `scale` says; NaN where unknown.
        interval: of `value`.
        ratio: the candidate's cost over that of the other policy; 0.9 is a tenth cheaper.
        ratio_interval: of `ratio`; from 0 to infinity where nothing can be concluded.
        saving_low: one-sided lower bound of the saving, as a share of the other policy's cost: it is surely saved.
        level: confidence of intervals and bound.
        n: rows that count.
        n_changed: rows in which the two policies choose differently.
        matched: rows in which the candidate's choice was taken, of those in which it differs.
        effective_n: how many rows of equal weight they are worth.
        largest_weight: inverse of the smallest propensity among them.
        unsupported_share: share of the rows in which the candidate's choice cannot have been taken: left out.
        estimator: one of `ESTIMATORS`.
        scale: one of `SCALES`.
        against: what it is compared with: ``logged`` policy or ``other`` policy.
        warnings: what weakens it.
    """

    value: float
    interval: tuple[float, float]
    ratio: float
    ratio_interval: tuple[float, float]
    saving_low: float
    level: float
    n: int
    n_changed: int
    matched: int
    effective_n: float
    largest_weight: float
    unsupported_share: float
    estimator: str
    scale: str
    against: str
    warnings: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` where the whole interval of `ratio` says so, ``equivalent`` where nothing changes, of
        the rows that have support."""
        low, high = self.ratio_interval
        if low == high == 1.0:
            return INCONCLUSIVE if self.unsupported_share else EQUIVALENT
        return BETTER if high < 1 else WORSE if low > 1 else INCONCLUSIVE

    def to_table(self) -> ResultTable:
        """The estimate, and what it rests on."""
        rows = (
            ("cost against the other policy", _change(self.ratio), f"{_change(self.ratio_interval[0])} … "
             f"{_change(self.ratio_interval[1])}"),
            ("surely saved", f"{self.saving_low:+.1%}" if math.isfinite(self.saving_low) else "unknown", ""),
            ("rows that choose differently", f"{self.n_changed:,} of {self.n:,}", ""),
            ("of them taken as the candidate would", f"{self.matched:,}", f"worth {self.effective_n:,.0f}"),
            ("largest weight", f"{self.largest_weight:.3g}", ""),
        )  # fmt: skip
        title = f"Value of a candidate on explored traffic: {self.verdict}"
        interval = f"{self.level:.0%} interval"
        return ResultTable(title, ("", "value", interval), rows, self.warnings, align_right=(1,))

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON; what is unknown or infinite is None."""
        plain = {**dataclasses.asdict(self), "verdict": self.verdict}
        return {name: _finite(value) for name, value in plain.items()}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def _change(ratio: float) -> str:
    return f"{ratio - 1:+.1%}" if math.isfinite(ratio) else "unknown"


def _finite(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""By what the plan corrects the published costs, and what each change of that means."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["STEP", "CorrectionChange", "Corrections", "stepped"]

STEP = 1.05
"""Factors are rounded to whole powers of this, so that a plan is not compiled anew for noise."""

_NO_FACTORS: Mapping[str, float] = MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Corrections:
    """By what the cost of a method is multiplied, pool by pool. Equal when the factors are.

    Args:
        factors: by pool, then by method; what is not named is 1.

    >>> corrections = Corrections({"ml": {"uds": 1.34}})
    >>> dict(corrections.of("ml")), dict(corrections.of("other"))
    ({'uds': 1.34}, {})
    """

    factors: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=lambda: MappingProxyType({}))

    def of(self, pool: str) -> Mapping[str, float]:
        """The factor of each method of a pool that has one."""
        return self.factors.get(pool, _NO_FACTORS)


@dataclasses.dataclass(frozen=True, slots=True)
class CorrectionChange:
    """The plan corrected itself.

    Args:
        pool: pool of workers.
        method: transfer method.
        before: factor until now.
        after: factor from now on.
        n: outcomes behind it.
        sentence: what changed, why, and what it is expected to do.
    """

    pool: str
    method: str
    before: float
    after: float
    n: int
    sentence: str


def stepped(log_factor: float, max_factor: float) -> int:
    """The nearest whole number of steps, within the bound in both directions.

    >>> stepped(math.log(1.33), 2.0), stepped(math.log(9), 2.0), stepped(0.0, 2.0)
    (6, 14, 0)
    """
    most = math.floor(math.log(max_factor) / math.log(STEP) + 1e-9)
    return min(max(round(log_factor / math.log(STEP)), -most), most)

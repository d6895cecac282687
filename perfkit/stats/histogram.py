"""Histograms with logarithmic buckets: they can be merged, and every quantile is within 1 % of the exact one."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from perfkit.errors import InputError
from perfkit.tables import ResultTable, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from perfkit.stats.quantiles import Quantile

__all__ = ["GAMMA", "RELATIVE_ERROR", "ZERO_BUCKET", "LogHistogram", "merge_all"]

RELATIVE_ERROR = 0.01
GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
"""Ratio of the bounds of a bucket: bucket i holds the values above GAMMA^(i-1), up to GAMMA^i."""

ZERO_BUCKET = -(2**31)
"""Number of the bucket that holds nothing but zeros: they have no logarithm."""

_SHOWN_QUANTILES = (0.5, 0.95, 0.99, 0.999)


@dataclasses.dataclass(frozen=True, eq=False)
class LogHistogram:
    """How often values fell into buckets that grow by 2 %; the smallest and the largest value are exact.

    Merging is associative and commutative, and the empty histogram changes nothing: minutes merge to hours, hosts to a
    fleet, in any order, to exactly what one histogram of all values would be.

    Args:
        buckets: numbers of the buckets that are not empty, ascending.
        counts: values in each of them, 1 or more.
        minimum: the smallest value; infinite when there is none.
        maximum: the largest value; minus infinite when there is none.

    Raises:
        InputError: buckets and counts do not match, buckets do not ascend, or a count is not positive.

    Source: Masson, Rim and Lee, *DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees*,
    PVLDB 12(12), 2019. Buckets are never collapsed: from 1 ns to 1 h there are about 1 450.

    >>> morning, evening = LogHistogram.from_values([10_000] * 98), LogHistogram.from_values([90_000, 500_000])
    >>> day = morning.merge(evening)
    >>> day.count, day.maximum, round(day.quantile(0.5))
    (100, 500000.0, 10000)
    """

    buckets: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    minimum: float = math.inf
    maximum: float = -math.inf

    def __post_init__(self) -> None:
        buckets, counts = np.array(self.buckets, np.int64), np.array(self.counts, np.int64)
        if buckets.shape != counts.shape or buckets.ndim != 1:
            raise InputError(f"{buckets.size} buckets have {counts.size} counts; give one count per bucket")
        if (np.diff(buckets) <= 0).any():
            raise InputError("buckets are not ascending; give each number once, the smallest first")
        if (counts <= 0).any():
            raise InputError(f"the smallest count is {counts.min()}, must be 1 or more; leave empty buckets out")
        for name, array in (("buckets", buckets), ("counts", counts)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def from_values(cls, values: npt.ArrayLike) -> LogHistogram:
        """The histogram of some values.

        Args:
            values: 0 or more each, of any unit, in any order.

        Raises:
            InputError: a value is negative, infinite or not a number.

        >>> LogHistogram.from_values([0, 1, 1]).counts.tolist()
        [1, 2]
        """
        given = np.asarray(values, float).ravel()
        if given.size == 0:
            return cls(np.empty(0, np.int64), np.empty(0, np.int64))
        if not np.isfinite(given).all() or given.min() < 0:
            worst = given[~np.isfinite(given) | (given < 0)][0]
            raise InputError(f"value {worst} cannot be counted; values must be finite, and 0 or more")
        numbers = np.full(given.size, ZERO_BUCKET, np.int64)
        positive = given > 0
        numbers[positive] = np.ceil(np.log(given[positive]) / math.log(GAMMA)).astype(np.int64)
        buckets, counts = np.unique(numbers, return_counts=True)
        return cls(buckets, counts, float(given.min()), float(given.max()))

    @property
    def count(self) -> int:
        """How many values there are."""
        return int(self.counts.sum())

    def merge(self, other: LogHistogram) -> LogHistogram:
        """The histogram of the values of both.

        >>> LogHistogram.from_values([5]).merge(LogHistogram.from_values([7, 5])) == LogHistogram.from_values([5, 5, 7])
        True
        """
        return merge_all((self, other))

    def quantile(self, q: float) -> float:
        """The value that a share `q` of the values does not exceed, within 1 % of the exact order statistic.

        Args:
            q: share from 0 to 1. 0 gives the smallest value and 1 the largest, both exactly.

        Returns:
            The value, in the unit of the values; not a number for an empty histogram.

        Raises:
            InputError: `q` is outside 0 to 1.

        >>> histogram = LogHistogram.from_values(range(1, 1001))
        >>> round(histogram.quantile(0.99)), histogram.quantile(1)
        (983, 1000.0)
        """
        if not 0 <= q <= 1:
            raise InputError(f"q == {q}, must be from 0 to 1, such as 0.99")
        if not self.count:
            return math.nan
        rank = math.floor(q * (self.count - 1))  # of the lower order statistic, from 0
        if rank in (0, self.count - 1):
            return self.minimum if rank == 0 else self.maximum
        bucket = self._bucket_of(rank)
        # Relative to both of its bounds, this point of a bucket is RELATIVE_ERROR away.
        middle = 0.0 if bucket == ZERO_BUCKET else 2 * GAMMA**bucket / (GAMMA + 1)
        return min(max(middle, self.minimum), self.maximum)

    def interval(self, q: float) -> Quantile:
        """A quantile with its 95 % interval, or that there are too few values for one.

        Args:
            q: level, above 0 and below 1.

        Returns:
            The quantile. Its interval is what `perfkit.stats.quantiles` gives for independent rows, widened to the
            bounds of the buckets that the order statistics lie in: it covers the truth whatever the distribution, as
            long as values are independent. Merge histograms of single launches only for the value.

        Raises:
            InputError: `q` is not between 0 and 1.

        >>> histogram = LogHistogram.from_values(range(1, 1001))
        >>> p99 = histogram.interval(0.99)
        >>> p99.low < 984 and 996 < p99.high, histogram.interval(0.999).method
        (True, 'too few rows')
        """
        from perfkit.stats.quantiles import Quantile, bounding_ranks, rows_needed, too_few_rows

        if self.count < rows_needed(q):
            return too_few_rows(q, self.count)
        first, last = (self._bucket_of(rank - 1) for rank in bounding_ranks(self.count, q))
        low = 0.0 if first == ZERO_BUCKET else max(GAMMA ** (first - 1), self.minimum)
        high = 0.0 if last == ZERO_BUCKET else min(GAMMA**last, self.maximum)
        return Quantile(q, self.quantile(q), low, high, self.count, True, "histogram", self.count)

    def _bucket_of(self, rank: int) -> int:
        """The bucket of an order statistic; ranks count from 0."""
        return int(self.buckets[np.searchsorted(np.cumsum(self.counts), rank, side="right")])

    def to_table(self) -> ResultTable:
        """The usual quantiles."""
        shown = [self.interval(q) for q in _SHOWN_QUANTILES]
        rows = tuple((one.name, f"{one.value:,.4g}" if one.enough else "too few values") for one in shown)
        note = f"{plural(self.count, 'value')} from {self.minimum:,.4g} to {self.maximum:,.4g}; quantiles within 1 %"
        return ResultTable("Histogram", ("quantile", "value"), rows, (note,), align_right=(1,))

    def to_plain(self) -> dict[str, object]:
        """The histogram as values that JSON can hold."""
        return {
            "buckets": self.buckets.tolist(),
            "counts": self.counts.tolist(),
            "minimum": self.minimum if self.count else None,
            "maximum": self.maximum if self.count else None,
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LogHistogram) and self.to_plain() == other.to_plain()

    def __hash__(self) -> int:
        return hash((self.buckets.tobytes(), self.counts.tobytes(), self.minimum, self.maximum))


def merge_all(histograms: Iterable[LogHistogram]) -> LogHistogram:
    """The histogram of the values of all; the empty one when there is none.

    >>> merge_all([]).count, merge_all([LogHistogram.from_values([1, 2]), LogHistogram.from_values([3])]).count
    (0, 3)
    """
    parts: Sequence[LogHistogram] = tuple(histograms)
    if not parts:
        return LogHistogram.from_values(())
    buckets, position = np.unique(np.concatenate([part.buckets for part in parts]), return_inverse=True)
    counts = np.zeros(buckets.size, np.int64)
    np.add.at(counts, position, np.concatenate([part.counts for part in parts]))
    return LogHistogram(buckets, counts, min(part.minimum for part in parts), max(part.maximum for part in parts))

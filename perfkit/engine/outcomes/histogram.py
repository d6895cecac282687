"""How long transfers took: a histogram with logarithmic buckets that costs little to add to."""

from __future__ import annotations

import math
from array import array

__all__ = ["GAMMA", "LatencyHistogram", "outcomes_needed"]

GAMMA = 1.01 / 0.99
"""Ratio of the bounds of a bucket. The lake's rollups and `perfkit.stats.LogHistogram` use the same buckets (bucket i
holds the values above GAMMA^(i-1), up to GAMMA^i), so that what an engine says agrees with what a report says."""

_SCALE = 1 / math.log(GAMMA)
_LAST_BUCKET = math.ceil(math.log(3600 * 1e9) * _SCALE)
_GROWTH = 32
_OUTCOMES_BEYOND = 4


class LatencyHistogram:
    """Counts of latencies in buckets that grow by 2 %: every quantile is within 1 % of the exact one.

    Latencies from 1 ns to 1 h are told apart, which takes at most 12 KiB; what is beyond counts as these.

    >>> histogram = LatencyHistogram()
    >>> for latency_ns in (10_000, 10_000, 90_000, 90_000, 90_000, 90_000, 90_000, 90_000):
    ...     _ = histogram.add(latency_ns)
    >>> round(histogram.quantile(0.5), -3), histogram.quantile(0.99)
    (90000.0, None)
    """

    __slots__ = ("_counts", "_first", "latency_sum_ns", "maximum_ns", "n")

    def __init__(self) -> None:
        self._counts = array("Q")
        self._first = 0
        self.n = 0
        self.latency_sum_ns = 0.0
        self.maximum_ns = 0.0

    def add(self, latency_ns: float) -> float:
        """Count one latency, above 0; return its natural logarithm, which others need, too."""
        logarithm = math.log(latency_ns)
        bucket = math.ceil(logarithm * _SCALE)
        index = bucket - self._first
        if not 0 <= index < len(self._counts):
            index = self._make_room(bucket)
        self._counts[index] += 1
        self.n += 1
        self.latency_sum_ns += latency_ns
        if latency_ns > self.maximum_ns:
            self.maximum_ns = latency_ns
        return logarithm

    def merge(self, other: LatencyHistogram) -> None:
        """Add what another one counted."""
        for offset, count in enumerate(other._counts):
            if count:
                bucket = other._first + offset
                index = bucket - self._first
                if not 0 <= index < len(self._counts):
                    index = self._make_room(bucket)
                self._counts[index] += count
        self.n += other.n
        self.latency_sum_ns += other.latency_sum_ns
        self.maximum_ns = max(self.maximum_ns, other.maximum_ns)

    def copy(self) -> LatencyHistogram:
        """The same counts, which do not change when more is added here."""
        twin = LatencyHistogram()
        twin._counts, twin._first = self._counts[:], self._first
        twin.n, twin.latency_sum_ns, twin.maximum_ns = self.n, self.latency_sum_ns, self.maximum_ns
        return twin

    def buckets(self) -> dict[int, int]:
        """The count of each bucket that is not empty, by its number, ascending."""
        return {self._first + offset: count for offset, count in enumerate(self._counts) if count}

    def quantile(self, q: float) -> float | None:
        """The latency that a share `q` of the transfers does not exceed, in nanoseconds.

        Args:
            q: share above 0 and below 1.

        Returns:
            The latency, within 1 %; None where there are too few transfers to say (`outcomes_needed`).
        """
        if self.n < outcomes_needed(q):
            return None
        rank, seen = math.floor(q * (self.n - 1)), 0  # of the lower order statistic, from 0
        for offset, count in enumerate(self._counts):
            seen += count
            if seen > rank:
                return float(min(2 * GAMMA ** (self._first + offset) / (1 + GAMMA), self.maximum_ns))
        return float(self.maximum_ns)

    def _make_room(self, bucket: int) -> int:
        """Widen the counts so that they hold a bucket; return its index."""
        bucket = min(max(bucket, 0), _LAST_BUCKET)
        if not self._counts:
            self._first = max(bucket - _GROWTH // 2, 0)
        if bucket < self._first:
            start = max(bucket - _GROWTH, 0)
            self._counts = array("Q", bytes(8 * (self._first - start))) + self._counts
            self._first = start
        end = self._first + len(self._counts)
        if bucket >= end:
            self._counts.frombytes(bytes(8 * (min(bucket + _GROWTH, _LAST_BUCKET) + 1 - end)))
        return bucket - self._first


def outcomes_needed(q: float) -> int:
    """The fewest transfers for which a quantile is given: 4 of them are expected beyond it, on either side.

    >>> outcomes_needed(0.5), outcomes_needed(0.99), outcomes_needed(0.999)
    (8, 400, 4000)
    """
    return math.ceil(_OUTCOMES_BEYOND / min(q, 1 - q) - 1e-6)  # 4 / (1 - 0.999) is a hair above 4000

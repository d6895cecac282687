"""Whether the curves predict well enough to decide."""

from __future__ import annotations

import math
from collections.abc import Sequence

from perfkit.config.engine_settings import CalibrationSettings

__all__ = ["Trust"]

_FALL_BACK_NS = 10 * 10**9
_COME_BACK_NS = 60 * 10**9
_CLEARLY_BETTER = 0.8


class Trust:
    """Follows the typical error of a pool: the median factor between actual and predicted, in either direction.

    It is beyond `max_error` while over half of the last `min_outcomes` or so are. After 10 s of that the curves are not
    trusted; they are again after 60 s in which most outcomes were clearly better (within `max_error` to the power 0.8).

    Args:
        settings: the largest typical error, and how many outcomes count.
    """

    __slots__ = ("_far", "_limit", "_n", "_needed", "_not_near", "_since_ns", "trusted")

    def __init__(self, settings: CalibrationSettings) -> None:
        self._limit = math.log(settings.max_error)
        self._needed = max(settings.min_outcomes, 8)
        self._far = self._not_near = 0.0
        self._n = 0
        self._since_ns: int | None = None
        self.trusted = True

    def observe(self, log_ratios: Sequence[float], now_ns: int) -> None:
        """Take in natural logarithms of actual to predicted latency."""
        window = 1.5 * self._needed
        for ratio in log_ratios:
            self._n += 1
            share = 1 / min(self._n, window)
            size = abs(ratio)
            self._far += ((size > self._limit) - self._far) * share
            self._not_near += ((size > _CLEARLY_BETTER * self._limit) - self._not_near) * share
        asked = self._far > 0.5 and self._n >= self._needed if self.trusted else self._not_near < 0.4
        if not asked:
            self._since_ns = None
        elif self._since_ns is None:
            self._since_ns = now_ns
        elif now_ns - self._since_ns >= (_FALL_BACK_NS if self.trusted else _COME_BACK_NS):
            self.trusted, self._since_ns = not self.trusted, None

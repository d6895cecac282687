"""When an interval is too wide to say anything."""

from __future__ import annotations

import math

__all__ = ["is_vague"]

_VAGUE = 10.0


def is_vague(value: float, low: float, high: float) -> bool:
    """Whether an interval says little more than that there are too few launches: a bound is ten times off, or unknown.

    Args:
        value: estimate of something positive.
        low, high: bounds of its interval, in the same unit.

    >>> is_vague(2.0, 0.21, 19.0), is_vague(2.0, 0.2, 19.0), is_vague(2.0, 0.0, math.inf)
    (False, True, True)
    """
    if min(low, value) <= 0 or math.isinf(high):
        return True
    return max(high / value, value / low) >= _VAGUE

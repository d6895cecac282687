"""Are the units split as planned? Where not, units get lost in one variant, and no comparison is fair."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy import special

from perfkit.errors import InputError
from perfkit.stats.experiments.result import SampleRatio

__all__ = ["planned_shares", "sample_ratio"]

THRESHOLD = 0.001
"""So small, because the check is made in every experiment, and a false alarm costs the experiment."""
_EXACT_UP_TO = 1000


def planned_shares(shares: Mapping[str, float] | None, variants: tuple[str, ...]) -> dict[str, float]:
    """The share of the units that each variant should have; equal ones by default.

    Raises:
        InputError: a variant has no share, or the shares do not add up to 1.
    """
    if shares is None:
        return dict.fromkeys(variants, 1 / len(variants))
    missing = [name for name in variants if name not in shares]
    if missing:
        raise InputError(f"shares has no {', '.join(missing)}; give the planned share of each of {', '.join(variants)}")
    given = {str(name): float(share) for name, share in shares.items()}
    if any(not 0 < share < 1 for share in given.values()) or not math.isclose(sum(given.values()), 1, abs_tol=1e-6):
        raise InputError(f"shares == {given}, must each be above 0 and add up to 1, for example 0.9 and 0.1")
    return {name: given[name] for name in (*variants, *(one for one in given if one not in variants))}


def sample_ratio(units: Mapping[str, int], shares: Mapping[str, float]) -> SampleRatio:
    """Test the split of units.

    Args:
        units: units of each variant.
        shares: planned share of each, adding up to 1.

    Source: Fabijan and others, *Diagnosing sample ratio mismatch in online controlled experiments*, KDD 2019.

    >>> sample_ratio({"A": 310, "B": 290}, {"A": 0.5, "B": 0.5}).is_off
    False
    >>> sample_ratio({"A": 5100, "B": 4700}, {"A": 0.5, "B": 0.5}).is_off
    True
    """
    counts = np.array([units.get(name, 0) for name in shares], float)
    expected = counts.sum() * np.array(list(shares.values()))
    if len(shares) == 2 and counts.sum() <= _EXACT_UP_TO:
        first, n, share = counts[0], int(counts.sum()), expected[0] / counts.sum()
        tails = special.bdtr(first, n, share), special.bdtrc(first - 1, n, share)
        p_value = min(1.0, 2 * float(min(tails)))
        method = "exact binomial test"
    else:
        p_value = float(special.chdtrc(len(shares) - 1, ((counts - expected) ** 2 / expected).sum()))
        method = "chi-square test"
    return SampleRatio({name: int(units.get(name, 0)) for name in shares}, dict(shares), p_value, THRESHOLD, method)

"""Experiments with a known truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Frame = dict[str, npt.NDArray[Any]]


@pytest.fixture(scope="session")
def sessions() -> Callable[..., Frame]:
    """Makes requests of two variants in random order; sessions differ in size and speed."""

    def make(seed: int, n: int = 200, effect: float = 0.0, requests: float = 30.0, share: float = 0.5) -> Frame:
        rng = np.random.default_rng(seed)
        size = 1 + rng.poisson(rng.gamma(1.5, requests / 1.5, n))
        treated = rng.random(n) < share
        treated[:2] = True, False
        session = np.repeat(np.arange(n), size)[rng.permutation(size.sum())]
        latency_ns = 1e6 * rng.lognormal(0, 0.25, n)[session] * rng.lognormal(0, 0.5, session.size)
        return {
            "session": session,
            "variant": np.where(treated, "B", "A")[session],
            "latency_ns": latency_ns * np.where(treated, 1 + effect, 1.0)[session],
        }

    return make

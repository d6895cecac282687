"""A small world whose truth is known, and models of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from perfkit.learn.models import CostModel, train

METHODS = {"uds": (30e3, 0.30), "shm_pool": (60e3, 0.05)}


def observe(count: int = 60, *, seed: int = 0, noise: float = 0.1, busy: float = 1.0) -> dict[str, Any]:
    """Measurements of two methods in four launches; `busy` slows transfers of which 4 are under way."""
    rng = np.random.default_rng(seed)
    method = np.array(list(METHODS))[np.arange(count) % 2]
    sizes = 2.0 ** rng.integers(10, 24, count)
    in_flight = np.where(rng.random(count) < 0.5, 1, 4)
    fixed, per_byte = np.array([METHODS[name] for name in method]).T
    latency = (fixed + per_byte * sizes) * np.where(in_flight == 4, busy, 1.0) * np.exp(rng.normal(0, noise, count))
    return {
        "method": method,
        "payload_bytes": sizes.astype(np.int64),
        "wire_bytes": sizes.astype(np.int64),
        "in_flight": in_flight,
        "launch": np.arange(count) * 4 // count,
        "round": np.arange(count) * 12 // count % 3,
        "latency_ns": latency.astype(np.int64),
    }


@pytest.fixture(scope="session")
def small_model() -> CostModel:
    """Of too few observations for more than curves: quick to train and to store."""
    return train(observe())

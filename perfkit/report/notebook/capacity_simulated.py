"""A host whose truth is known: its ladder, its demand and a cost model of its traffic, where nothing was measured."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfkit.learn.models.report import ModelReport
    from perfkit.stats.capacity.queues import LittleCheck
    from perfkit.stats.capacity.scalability import Scalability

__all__ = ["simulated_demand", "simulated_ladder", "simulated_model", "true_values"]

_SEED = 60
_GAMMA, _ALPHA, _BETA = 900.0, 0.05, 0.004
_LEVELS, _LAUNCHES = (1, 2, 4, 8, 12, 16, 24, 32), 3
_DAYS, _FIRST, _PER_DAY, _WEEK = 84, 1800.0, 12.0, 0.15
_BEGIN = datetime.datetime(2026, 8, 1, tzinfo=datetime.UTC)
_METHODS = {"uds": (30e3, 0.30), "shm_pool": (60e3, 0.05)}
_TRANSFERS, _PAUSE_S, _BUSY_HOURS = 1600, 108, 0.3
"""More of the day than a curve of sizes can know: the model has something to learn, in a few seconds."""


def true_values(simulated: tuple[str, ...]) -> str:
    """What is true of the simulated parts, as a sentence.

    >>> true_values(("demand",))
    'Truly, demand grows by 12 a day; the rest is noise.'
    """
    said = {
        "ladder": f"the law has gamma {_GAMMA:g}, alpha {_ALPHA:g} and beta {_BETA:g}",
        "demand": f"demand grows by {_PER_DAY:g} a day",
        "cost model": f"transfers take up to {_BUSY_HOURS:.0%} more or less by the hour of the day",
    }
    return f"Truly, {'; '.join(said[one] for one in simulated)}; the rest is noise."


def simulated_ladder(seed: int) -> tuple[Scalability, LittleCheck]:
    """The law of a ladder of 3 launches, and the check of its figures."""
    import numpy as np

    from perfkit.stats.capacity.queues import little_check
    from perfkit.stats.capacity.scalability import scalability

    rng = np.random.default_rng(_SEED)
    levels = np.repeat(_LEVELS, _LAUNCHES).astype(float)
    true = _GAMMA * levels / (1 + _ALPHA * (levels - 1) + _BETA * levels * (levels - 1))
    throughput = true * np.exp(rng.normal(0, 0.02, levels.size))
    latency = levels / throughput * np.exp(rng.normal(0, 0.02, levels.size))
    return scalability(levels, throughput, seed=seed), little_check(levels, throughput, latency)


def simulated_demand() -> tuple[list[Any], list[float]]:
    """ISO times and transfers per second, a value a day."""
    import numpy as np

    day = np.arange(_DAYS)
    noise = np.exp(np.random.default_rng(_SEED).normal(0, 0.03, _DAYS))
    values = (_FIRST + _PER_DAY * day) * (1 + _WEEK * np.sin(2 * np.pi * day / 7)) * noise
    return [(_BEGIN + datetime.timedelta(days=int(one))).isoformat() for one in day], list(map(float, values))


def simulated_model(seed: int) -> ModelReport:
    """What a small cost model of simulated traffic is worth; learning it takes some seconds."""
    import numpy as np
    import pyarrow as pa

    from perfkit.learn.models import train

    rng = np.random.default_rng(_SEED)
    n = _TRANSFERS
    method = np.array(list(_METHODS))[np.arange(n) % len(_METHODS)]
    size = np.exp2(rng.uniform(10, 22, n)).astype(np.int64)
    fixed_ns, ns_per_byte = np.array([_METHODS[name] for name in method]).T
    hour = np.arange(n) * _PAUSE_S / 3600
    busy = 1 + _BUSY_HOURS * np.sin(2 * np.pi * hour / 24)
    latency_ns = (fixed_ns + ns_per_byte * size) * busy * rng.lognormal(0, 0.15, n)
    rows = {
        "source": ["service"] * n,
        "stage": ["whole"] * n,
        "method": method,
        "payload_bytes": size,
        "wire_bytes": size,
        "latency_ns": latency_ns.astype(np.int64),
        "observed_at": [_BEGIN + datetime.timedelta(seconds=_PAUSE_S * one) for one in range(n)],
    }
    return train(pa.table(rows), seed=seed).report

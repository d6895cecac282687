"""What a replay compares: tuned decisions, every fixed choice, and the best single threshold in hindsight."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from perfkit.config.settings import DEFAULT_POOL, PoolSettings, Settings
from perfkit.engine.plan import Cell, Publication, compile_cell
from perfkit.measurement.replay_workload import ReplayPayload, ReplaySetting
from perfkit.stats.regret import best_threshold
from perfkit.units import format_bytes

__all__ = [
    "BEST_EVERYWHERE",
    "BEST_STATIC",
    "TUNED",
    "always",
    "fall_back",
    "fixed_choices",
    "hindsight",
    "tuned_choices",
]

TUNED = "tuned"
BEST_STATIC = "best_static"
BEST_EVERYWHERE = "best_static everywhere"
STATIC_THRESHOLDS: Mapping[str, int] = MappingProxyType({"static:10MiB": 10 * 2**20, "static:100KiB": 100 * 2**10})
"""`grpc` below, `shm_pool` from there on: the specification's threshold, and the one that other systems ship."""

_BELOW, _ABOVE = "grpc", "shm_pool"


def always(method: str) -> str:
    """The name of the strategy that takes one method for everything."""
    return f"always:{method}"


def tuned_choices(
    publication: Publication, setting: ReplaySetting, payloads: Sequence[ReplayPayload], methods: Sequence[str]
) -> tuple[str, ...]:
    """What the plan of a publication decides for each payload in a setting, without any rule of a pool."""
    settings = Settings(pools=MappingProxyType({DEFAULT_POOL: PoolSettings(goal=setting.goal)}))

    @functools.cache
    def cell(context: object) -> Cell:
        return compile_cell(settings, publication, context)  # type: ignore[arg-type]  # cached by the context

    return tuple(cell(one.context(setting, methods)).at(one.payload_bytes).method for one in payloads)


def fixed_choices(
    setting: ReplaySetting, payloads: Sequence[ReplayPayload], methods: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """What every fixed strategy takes for each payload in a setting.

    Without an arena, what asks for the zero-copy family falls back to `grpc`, as the specification has it; a strategy
    that then takes nothing of its own any more (``always:shm_pool``) is the same as ``always:grpc``.
    """
    fallen_back = functools.partial(fall_back, setting, methods)
    choices = {always(method): (fallen_back(method),) * len(payloads) for method in methods}
    if _BELOW in methods and _ABOVE in methods:
        for name, threshold_bytes in STATIC_THRESHOLDS.items():
            choices[name] = tuple(
                fallen_back(_BELOW if one.payload_bytes < threshold_bytes else _ABOVE) for one in payloads
            )
    return choices


def fall_back(setting: ReplaySetting, methods: Sequence[str], method: str) -> str:
    """The method, or where the setting lacks it `grpc`, or what else there is."""
    available = setting.available(methods)
    return method if method in available else _BELOW if _BELOW in available else available[0]


def hindsight(
    payloads: Sequence[ReplayPayload], methods: Sequence[str], log_costs: npt.NDArray[np.float64]
) -> tuple[str, tuple[str, ...]]:
    """The best single threshold between any two methods, and what it takes for each payload.

    It is found on the very costs that it is judged by, which favours it: no service could have known it.

    Args:
        payloads: in the order of the rows of `log_costs`.
        methods: in the order of its columns.
        log_costs: logarithm of the cost of each payload by each method.
    """
    sizes = [float(one.payload_bytes) for one in payloads]
    below, threshold_bytes, above = best_threshold(sizes, log_costs)
    names = tuple(methods[below if size < threshold_bytes else above] for size in sizes)
    if not math.isfinite(threshold_bytes):
        return f"always {methods[below]}", names
    return f"{methods[below]} below {format_bytes(threshold_bytes)}, then {methods[above]}", names

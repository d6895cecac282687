"""A cost model on hosts whose costs are known: medians at sizes it never saw, and intervals of single transfers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.stats.worlds import METHODS, sweep, true_latency_ns
from perfkit.workflows.scoreboard.claims import Claim, Entry, mean

__all__ = ["ENTRIES"]

Floats = npt.NDArray[np.float64]

_SEEN = tuple(1024 * 4**step for step in range(8))
_BETWEEN = tuple(2 * size for size in _SEEN[:-1])
_LOADS = (1, 4, 16)
_KINDS = ("tensor", "text")
_MARGIN = 0.15
_GROWTH_SD, _KIND_SD = 0.2, 0.3


def predicts(seed: int, *, launches: int = 5, rounds: int = 100) -> dict[str, float]:
    """Train on one sweep of a host, and predict another of launches of its own at sizes between."""
    from perfkit.learn.models import read_rows, rows_of, train  # scikit-learn takes a second to import

    model = train(_observed(seed, 2 * seed, _SEEN, launches, rounds), seed=seed % 2**32)
    cells = [(name, size, load, kind) for name in METHODS for size in _BETWEEN for load in _LOADS for kind in _KINDS]
    names, sizes, loads, kinds = zip(*cells, strict=True)
    asked = rows_of(sizes, method=names, in_flight=loads, kind=kinds, format=["raw"] * len(cells), source="bench")
    true = [true_latency_ns(seed, name, size) for name, size, *_ in cells]
    truth = np.log(true) + _log_factor(seed, np.array(names), np.array(loads), np.array(kinds))
    off = np.abs(np.expm1(model.predict_rows(asked).log_median - truth))
    later = read_rows(_observed(seed, 2 * seed + 1, _BETWEEN, launches, max(rounds // 2, 1)))
    found = model.predict_rows(later)
    log_cost = np.log(later.targets["latency_ns"])
    held = (found.log_low <= log_cost) & (log_cost <= found.log_high)
    by_method = [held[later.is_called("method", name)].mean() for name in METHODS]
    return {
        "within_15": float((off <= _MARGIN).mean()),
        "held": float(held.mean()),
        "worst": float(min(by_method)),
        "is_model": float(model.targets["latency_ns"].champion == "model"),
    }


def _observed(host: int, seed: int, sizes: tuple[int, ...], launches: int, rounds: int) -> dict[str, Any]:
    """A sweep with loads and kinds of payload, which each method feels in its own way."""
    columns = dict(sweep(seed, host=host, launches=launches, rounds=rounds, sizes=sizes))
    rng = np.random.default_rng([seed, 1])
    n = columns["latency_ns"].size
    columns |= {"in_flight": rng.choice(_LOADS, n), "kind": rng.choice(_KINDS, n), "format": np.full(n, "raw")}
    factor = np.exp(_log_factor(host, columns["method"], columns["in_flight"], columns["kind"]))
    return {**columns, "stage": np.full(n, "whole"), "latency_ns": columns["latency_ns"] * factor}


def _log_factor(host: int, method: npt.NDArray[Any], load: npt.NDArray[Any], kind: npt.NDArray[Any]) -> Floats:
    rng = np.random.default_rng([host, 2])
    growth = np.clip(rng.normal(0.5, _GROWTH_SD, len(METHODS)), 0.0, 1.0)
    of_text = rng.normal(0.0, _KIND_SD, len(METHODS))
    at = np.array([METHODS.index(name) for name in method.tolist()])
    return np.asarray(growth[at] * np.log(load) + np.where(kind == "text", of_text[at], 0.0))


ENTRIES = (
    Entry(
        "predictions",
        "cost model of 20 000 sends on a host whose methods feel load and kind of payload differently, noise 20 %",
        predicts,
        (
            Claim("within 15 % of the true median at sizes never seen", ("within_15",), mean, 0.95, math.inf),
            Claim("90 % intervals of single sends, new launches", ("held",), mean, 0.885, 0.915),
            Claim("the same, worst method of each host", ("worst",), mean, 0.85, 1.0),
        ),
        run_s=10.0,
        small_runs=0,
        full_runs=16,
    ),
)

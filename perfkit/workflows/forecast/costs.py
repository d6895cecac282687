"""What one transfer takes: by the cost model in force or the published curves, over what the transfers are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.errors import InputError
from perfkit.units import format_bytes, format_duration
from perfkit.workflows.forecast.host import Host
from perfkit.workflows.predict import predict

__all__ = ["CONTEXT", "Costs", "Mix", "costs_of", "growth", "with_costs"]

CONTEXT = ("method", "kind", "format", "compression", "signalling", "placement", "in_flight")
_TARGETS = ("latency_ns", "cpu_ns", "resident_bytes")
_MOSTLY = 0.9
"""Share of the transfers whose costs have to be known to speak of all of them."""


@dataclasses.dataclass(frozen=True)
class Mix:
    """What transfers are.

    Args:
        columns: `CONTEXT` and payload_bytes, or those of them that are known, one entry per kind of transfer.
        weights: how many of each there are.
        source: where that is from.
    """

    columns: Mapping[str, Sequence[Any]]
    weights: npt.NDArray[np.float64]
    source: str

    @property
    def mean_bytes(self) -> float:
        """Mean payload."""
        return float(np.average(np.asarray(self.columns["payload_bytes"], float), weights=self.weights))

    def resized(self, factor: float) -> Mix:
        """With every size multiplied."""
        sizes = [max(1.0, one * factor) for one in self.columns["payload_bytes"]]
        return dataclasses.replace(self, columns={**self.columns, "payload_bytes": sizes})


@dataclasses.dataclass(frozen=True)
class Costs:
    """Means over the transfers of a mix; None where too little is known.

    Args:
        latency_s: time of one transfer.
        cpu_s: processor time, both sides.
        resident_bytes: memory while it is under way.
        source: what says so.
        warnings: what is not known.
    """

    latency_s: float | None
    cpu_s: float | None
    resident_bytes: float | None
    source: str
    warnings: tuple[str, ...] = ()


def costs_of(mix: Mix, models: str | Path | None = None, thresholds: str | Path = "thresholds.toml") -> Costs:
    """What one transfer of a mix takes: by the cost model in force, and where it cannot say by the published curves.

    Args:
        mix: what the transfers are.
        models: a cost model, or the folder of its versions; None for ``data/models``.
        thresholds: what is published.

    Returns:
        Means over the mix of what is typical (the median) of each kind of transfer; nothing, with a warning, where
        there is neither a model nor a publication.

    Raises:
        ModelError: a model was named and cannot be used.
    """
    methods = np.asarray(mix.columns["method"], np.str_)
    values = {name: np.full(len(methods), np.nan) for name in _TARGETS}
    origins: list[str] = []
    reasons: dict[str, list[str]] = {}
    for method in sorted(set(methods.tolist())):
        rows = np.flatnonzero(methods == method).tolist()
        frame = {name: [column[row] for row in rows] for name, column in mix.columns.items()}
        try:
            predicted = predict(frame, model=models, thresholds=thresholds)
        except InputError as error:
            reasons.setdefault(str(error), []).append(method)
            continue
        for name in _TARGETS:
            values[name][rows] = predicted.costs[name].value
        by_model = predicted.costs["latency_ns"].from_model
        origins.append(f"model {predicted.origin.model}" if by_model.all() else "the published curves")
    means = {name: _mean(column, mix.weights) for name, column in values.items()}
    warnings = [f"what a transfer by {' and '.join(names)} takes is not known: {why}" for why, names in reasons.items()]
    missing = [name for name, value in means.items() if value is None]
    if missing and not warnings:
        warnings.append(f"of most transfers these are not known: {', '.join(missing)}")
    latency_ns, cpu_ns, resident_bytes = (means[name] for name in _TARGETS)
    return Costs(
        None if latency_ns is None else latency_ns / 1e9,
        None if cpu_ns is None else cpu_ns / 1e9,
        resident_bytes,
        " and ".join(sorted(set(origins))),
        tuple(warnings),
    )


def _mean(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> float | None:
    known = np.isfinite(values)
    if not known.any() or weights[known].sum() < _MOSTLY * weights.sum():
        return None
    return float(np.average(values[known], weights=weights[known]))


def with_costs(host: Host, costs: Costs, mix: Mix) -> tuple[Host, tuple[str, ...]]:
    """A host with predicted costs where none were given, and what they are.

    >>> mix = Mix({"method": ["uds"], "payload_bytes": [1024]}, np.ones(1), "the ladder")
    >>> found, said = with_costs(Host(cpu_s=0.5), Costs(0.001, 0.002, None, "the published curves"), mix)
    >>> found.latency_s, found.cpu_s, said
    (0.001, 0.5, ('one transfer takes: latency 1ms; by the published curves, for the ladder',))
    """
    names = ("latency_s", "cpu_s", "resident_bytes")
    taken = {name: getattr(costs, name) for name in names if getattr(host, name) is None and getattr(costs, name)}
    if not taken:
        return host, costs.warnings
    shown = {
        "latency_s": lambda value: f"latency {format_duration(value * 1e9)}",
        "cpu_s": lambda value: f"processor time {format_duration(value * 1e9)}",
        "resident_bytes": lambda value: f"memory {format_bytes(round(value))}",
    }
    said = ", ".join(shown[name](value) for name, value in taken.items())
    note = f"one transfer takes: {said}; by {costs.source}, for {mix.source}"
    return dataclasses.replace(host, **taken), (note, *costs.warnings)


def growth(before: Costs, after: Costs, size: float) -> tuple[dict[str, float], tuple[str, ...]]:
    """How much more a transfer takes when sizes change: a part of every cost is fixed and does not grow with it.

    Args:
        before: costs at the present sizes.
        after: costs at the changed ones.
        size: factor of the sizes, for what is not known.

    Returns:
        A factor by name of the cost, and which of them are in proportion for want of anything better.
    """
    factors: dict[str, float] = {}
    unknown = []
    words = {"latency_s": "latency", "cpu_s": "processor time", "resident_bytes": "memory"}
    for name, word in words.items():
        old, new = getattr(before, name), getattr(after, name)
        factors[name] = new / old if old and new else size
        if not (old and new):
            unknown.append(word)
    if not unknown:
        return factors, ()
    return factors, (f"how {', '.join(unknown)} change with the size is not known: taken in proportion",)

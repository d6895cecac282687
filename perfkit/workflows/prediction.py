"""What a prediction shows: each cost with its interval, where it comes from, and what weakens it."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.tables import ResultTable
from perfkit.units import format_bytes, format_duration, format_rate

__all__ = ["CONDITIONS", "QUANTITIES", "CostPrediction", "CostPredictions", "Origin", "PredictedCost", "PredictedCosts"]

CONDITIONS = (
    "payload_bytes",
    "method",
    "kind",
    "format",
    "compression",
    "signalling",
    "placement",
    "in_flight",
    "available_bytes",
    "hour",
)
"""What a prediction is of; also the columns of a batch."""
QUANTITIES = ("latency_ns", "cpu_ns", "resident_bytes", "throughput_bytes_per_s")
SINGLE, MEDIAN = "single transfer", "median"
_SHOWN = 40
_WIDTH = 78


@dataclasses.dataclass(frozen=True, slots=True)
class PredictedCost:
    """One quantity of one transfer.

    Attributes:
        value: the median that is expected, in the unit of the quantity's name.
        low, high: the interval at `level`; infinite where too little was seen to tell.
        level: share of what `interval_of` names that the interval is to hold.
        interval_of: ``single transfer`` (of a model) or ``median`` (of published curves).
        source: ``model`` or ``curves``.
        n: observations behind it.
    """

    value: float
    low: float
    high: float
    level: float
    interval_of: str
    source: str
    n: int

    def to_plain(self) -> dict[str, Any]:
        """As values that JSON can hold; a bound that is unknown is None."""
        plain = dataclasses.asdict(self)
        return {key: None if isinstance(one, float) and not math.isfinite(one) else one for key, one in plain.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """What predicted.

    Attributes:
        model: version of the model, or its folder; empty without one.
        model_trained_at: when it was trained, in ISO format; empty without one.
        thresholds_version: of the published curves, where any row was taken from them; 0 without.
    """

    model: str = ""
    model_trained_at: str = ""
    thresholds_version: int = 0

    def __str__(self) -> str:
        """Both, for people.

        >>> print(Origin("v0003", "2026-11-25T08:00:00+00:00", 7))
        model v0003 of 2026-11-25, thresholds version 7
        """
        model = f"model {self.model} of {self.model_trained_at[:10]}" if self.model else ""
        curves = f"thresholds version {self.thresholds_version}" if self.thresholds_version else ""
        return ", ".join(part for part in (model, curves) if part)


@dataclasses.dataclass(frozen=True)
class PredictedCosts:
    """One quantity of many transfers, by row: arrays of the fields of `PredictedCost`; NaN where nothing is known."""

    value: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    level: npt.NDArray[np.float64]
    from_model: npt.NDArray[np.bool_]
    n: npt.NDArray[np.int64]

    def at(self, row: int) -> PredictedCost | None:
        """The cost of a row; None where nothing is known."""
        if math.isnan(self.value[row]):
            return None
        from_model = bool(self.from_model[row])
        source, interval_of = ("model", SINGLE) if from_model else ("curves", MEDIAN)
        value, low, high, level = (float(column[row]) for column in (self.value, self.low, self.high, self.level))
        return PredictedCost(value, low, high, level, interval_of, source, int(self.n[row]))


@dataclasses.dataclass(frozen=True)
class CostPrediction:
    """What one transfer is expected to cost.

    Attributes:
        conditions: of the transfer, by name (`CONDITIONS`); available_bytes and hour are None where not given.
        costs: by quantity (`QUANTITIES`); None where nothing is known of it.
        origin: what predicted.
        warnings: what weakens it.
    """

    conditions: Mapping[str, Any]
    costs: Mapping[str, PredictedCost | None]
    origin: Origin
    warnings: tuple[str, ...] = ()

    @property
    def latency_ns(self) -> PredictedCost | None:
        """Sender's call to acknowledgement, in nanoseconds."""
        return self.costs["latency_ns"]

    @property
    def cpu_ns(self) -> PredictedCost | None:
        """Processor time of both sides, in nanoseconds."""
        return self.costs["cpu_ns"]

    @property
    def resident_bytes(self) -> PredictedCost | None:
        """Memory held for the transfer on both sides, in bytes."""
        return self.costs["resident_bytes"]

    @property
    def throughput_bytes_per_s(self) -> PredictedCost | None:
        """Payload bytes per second with as many sends under way, by Little's law."""
        return self.costs["throughput_bytes_per_s"]

    def to_table(self) -> ResultTable:
        """One row per quantity."""
        rows = []
        for name, cost in self.costs.items():
            if cost is not None:
                rows.append(
                    (_LABELS[name], _shown(name, cost.value), _range(name, cost), _meaning(cost), f"{cost.n:,}")
                )
        title = f"{self.conditions['method']}, {_context_text(self.conditions)}"
        columns = ("quantity", "median", "interval", "interval of", "n")
        return ResultTable(title, columns, tuple(rows), _notes(self.origin, self.warnings), align_right=(1, 2, 4))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {**_entry(self), "origin": dataclasses.asdict(self.origin), "warnings": list(self.warnings)}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


@dataclasses.dataclass(frozen=True)
class CostPredictions:
    """What many transfers are expected to cost: a sequence of `CostPrediction`, kept by column.

    Attributes:
        conditions: columns by name (`CONDITIONS`); NaN in available_bytes and hour where not given.
        costs: by quantity (`QUANTITIES`).
        origin: what predicted.
        warnings: what weakens them.
    """

    conditions: Mapping[str, npt.NDArray[Any]]
    costs: Mapping[str, PredictedCosts]
    origin: Origin
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.conditions["payload_bytes"].size)

    def __getitem__(self, row: int) -> CostPrediction:
        row = range(len(self))[row]
        conditions = {name: _value(column[row]) for name, column in self.conditions.items()}
        costs = {name: columns.at(row) for name, columns in self.costs.items()}
        return CostPrediction(conditions, costs, self.origin, self.warnings)

    def __iter__(self) -> Iterator[CostPrediction]:
        return (self[row] for row in range(len(self)))

    @property
    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Conditions and figures as flat columns, such as ``latency_ns``, ``latency_ns_low``: for a frame."""
        figures: dict[str, npt.NDArray[Any]] = {}
        for name, costs in self.costs.items():
            figures |= {name: costs.value, f"{name}_low": costs.low, f"{name}_high": costs.high}
        return {**self.conditions, **figures}

    def to_table(self) -> ResultTable:
        """One row per transfer, the first 40 of them."""
        shown = [self[row] for row in range(min(len(self), _SHOWN))]
        rows = tuple(
            (format_bytes(one.conditions["payload_bytes"]), one.conditions["method"], *_figures(one)) for one in shown
        )
        contexts = {_context_text({**one.conditions, "payload_bytes": None}) for one in shown}
        several = "Expected costs (`--json`, in Python `conditions`, has each context)"
        title = f"Expected costs: {contexts.pop()}" if len(contexts) == 1 else several
        notes = list(_notes(self.origin, self.warnings))
        if shown and shown[0].latency_ns is not None:
            first = shown[0].latency_ns
            notes.insert(0, f"The interval is of the latency of {_meaning(first)}.")
        if len(self) > _SHOWN:
            notes.insert(0, f"The first {_SHOWN} of {len(self)} rows; --json (in Python `columns`) has every one.")
        columns = ("payload", "method", "latency", "interval", "CPU", "memory", "throughput")
        return ResultTable(title, columns, rows, tuple(notes), align_right=(0, 2, 3, 4, 5, 6))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        entries = [_entry(one) for one in self]
        origin = dataclasses.asdict(self.origin)
        return {"predictions": entries, "origin": origin, "warnings": list(self.warnings)}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


_LABELS = {
    "latency_ns": "latency",
    "cpu_ns": "CPU time",
    "resident_bytes": "memory",
    "throughput_bytes_per_s": "throughput",
}


def _entry(one: CostPrediction) -> dict[str, Any]:
    costs = {name: None if cost is None else cost.to_plain() for name, cost in one.costs.items()}
    return {**one.conditions, **costs}


def _value(value: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and math.isnan(plain) else plain


def _shown(name: str, value: float) -> str:
    if not math.isfinite(value):
        return "unknown"
    if name.endswith("_ns"):
        return format_duration(value)
    return format_rate(value) if name.endswith("per_s") else format_bytes(value)


def _range(name: str, cost: PredictedCost) -> str:
    if not (math.isfinite(cost.low) and math.isfinite(cost.high)):
        return "unknown"
    return f"{_shown(name, cost.low)} to {_shown(name, cost.high)}"


def _meaning(cost: PredictedCost) -> str:
    return f"{'one transfer' if cost.interval_of == SINGLE else 'the median'} ({cost.level:.0%})"


def _figures(one: CostPrediction) -> tuple[str, ...]:
    shown = {name: "" if cost is None else _shown(name, cost.value) for name, cost in one.costs.items()}
    interval = "" if one.latency_ns is None else _range("latency_ns", one.latency_ns)
    return shown["latency_ns"], interval, shown["cpu_ns"], shown["resident_bytes"], shown["throughput_bytes_per_s"]


def _context_text(conditions: Mapping[str, Any]) -> str:
    said = [] if conditions["payload_bytes"] is None else [format_bytes(conditions["payload_bytes"])]
    said += [f"{conditions['kind']}/{conditions['format']}/{conditions['compression']}", conditions["signalling"]]
    said += ["in place"] if conditions["placement"] == "in_place" else []
    said += [f"{conditions['in_flight']:g} under way"]
    if conditions["available_bytes"] is not None:
        said.append(f"{format_bytes(conditions['available_bytes'])} available")
    if conditions["hour"] is not None:
        said.append(f"at {conditions['hour']:g} o'clock UTC")
    return ", ".join(said)


def _notes(origin: Origin, warnings: tuple[str, ...]) -> tuple[str, ...]:
    said = [f"By {origin}."] if str(origin) else []
    said += [f"! {warning}" for warning in warnings]
    return tuple(line for note in said for line in textwrap.wrap(note, _WIDTH))

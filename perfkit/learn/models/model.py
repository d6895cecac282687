"""A cost model: curves, what they leave unexplained, and how far single transfers lie from both."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.config.curves import CurveSet
from perfkit.errors import InputError, UnknownNameError
from perfkit.learn.models.baseline import FLOORS, Adjustment, Baseline
from perfkit.learn.models.boosting import Booster
from perfkit.learn.models.encoding import FEATURES, Encoding
from perfkit.learn.models.familiarity import Familiarity, SeenContext, familiarity
from perfkit.learn.models.features import TARGETS, TEXTS, TransferRows, rows_of
from perfkit.learn.models.intervals import LEVELS, SpreadTable
from perfkit.learn.models.report import CURVES, MODEL, ModelReport
from perfkit.stats.conformal import Calibration
from perfkit.tables import ResultTable

__all__ = ["TARGETS", "CostModel", "Predicted", "Provenance", "SeenContext", "TargetModel"]

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Predicted:
    """Predictions as natural logarithms, one per row.

    Attributes:
        log_median: of the usual cost; NaN where nothing is known about the method.
        log_low, log_high: interval of a single transfer at the report's level.
        scale: spread that standardises errors: (log cost - log_median) / scale.
    """

    log_median: Floats
    log_low: Floats
    log_high: Floats
    scale: Floats


@dataclasses.dataclass(frozen=True)
class TargetModel:
    """What predicts one target.

    Attributes:
        baseline: curves adjusted to the transfers.
        residual: what the curves leave unexplained; None where the curves are the champion.
        corrections: of later updates, each on top of all before.
        scale: spread of the log error.
        calibration: standardised errors of held-out transfers.
        champion: ``model`` or ``curves``.
        n: transfers that it was learned from.
        metrics: figures on held-out transfers by name.
    """

    baseline: Baseline
    residual: Booster | None
    corrections: tuple[Booster, ...]
    scale: SpreadTable
    calibration: Calibration
    champion: str
    n: int
    metrics: Mapping[str, float]

    def log_median(self, rows: TransferRows, encoding: Encoding) -> Floats:
        """Logarithm of the usual cost of each row, nondecreasing in size."""
        log_cost = self.baseline.log_cost(rows)
        layers = [*([] if self.residual is None else [self.residual]), *self.corrections]
        if layers:
            matrix = encoding.matrix(rows)
            log_cost = np.add(log_cost, np.sum([layer.predict(matrix) for layer in layers], axis=0))
        return log_cost


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where a model comes from.

    Attributes:
        trained_at: ISO 8601, UTC.
        seed: of everything random.
        first_observed_at, last_observed_at: window of the data, ISO 8601, UTC; None where unknown.
        observations, launches, runs: how many.
        table_versions: of the tables that the data was read from.
        libraries: versions by name.
        schema: of the stored form.
        parent: version that it was updated from, or empty.
        warnings: what weakens the evidence.
    """

    trained_at: str
    seed: int
    first_observed_at: str | None
    last_observed_at: str | None
    observations: int
    launches: int
    runs: int
    table_versions: Mapping[str, int] = dataclasses.field(default_factory=dict)
    libraries: Mapping[str, str] = dataclasses.field(default_factory=dict)
    schema: int = 1
    parent: str = ""
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class CostModel:
    """Predicts what a transfer costs, with an interval that says how sure that is. `perfkit.train` makes one.

    Attributes:
        targets: by name, what predicts it; a target that was not measured is missing.
        encoding: names met in training.
        provenance: where it comes from.
        report: what it is worth on transfers that it had not seen.
        seen: contexts that occurred in training.
        memory_seen: 5 % and 50 % quantile of the available memory in training, in bytes; None where unknown.
    """

    targets: Mapping[str, TargetModel]
    encoding: Encoding
    provenance: Provenance
    report: ModelReport
    seen: tuple[SeenContext, ...] = ()
    memory_seen: tuple[float, float] | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods that occurred in training, by name."""
        return self.encoding.names["method"]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What weakens the evidence, each with the next step to take."""
        return self.report.warnings

    def predict_rows(self, rows: TransferRows, target: str = "latency_ns") -> Predicted:
        """Predict a target of rows. Intervals are wider where nothing like a row was seen: `familiarity`.

        Args:
            rows: of `rows_of` or `read_rows`.
            target: one of `TARGETS` that the model has.

        Raises:
            UnknownNameError: there is no such target.
        """
        one = self._target(target)
        median, scale = one.log_median(rows, self.encoding), one.scale.spread(rows)
        low, high = one.calibration.bounds()
        doubt = self.familiarity(rows, target).doubt * NormalDist().inv_cdf((1 + one.calibration.level) / 2)
        return Predicted(median, median - np.hypot(low * scale, doubt), median + np.hypot(high * scale, doubt), scale)

    def median(self, payload_bytes: npt.ArrayLike, *, target: str = "latency_ns", **conditions: Any) -> Floats:
        """The usual cost at sizes, in nanoseconds or bytes; NaN where nothing is known about the method.

        Args:
            payload_bytes: sizes before encoding.
            target: one of `TARGETS` that the model has.
            conditions: as in `rows_of`; ``method`` is required.

        Raises:
            UnknownNameError: there is no such target or condition.
            InputError: a figure is out of range, or no method is given.
        """
        known = {*TEXTS, "in_flight", "available_bytes", "hour", "recent"}
        for name in conditions:
            if name not in known:
                raise UnknownNameError("condition", name, sorted(known))
        if "method" not in conditions:
            raise InputError(f"no method given; one of {', '.join(self.methods)}")
        rows = rows_of(payload_bytes, **conditions)
        return np.exp(self._target(target).log_median(rows, self.encoding))

    def familiarity(self, rows: TransferRows, target: str = "latency_ns") -> Familiarity:
        """Whether the model was trained on the like of each row.

        Raises:
            UnknownNameError: there is no such target.
        """
        return familiarity(rows, self.seen, self._target(target).baseline.curves)

    def _target(self, target: str) -> TargetModel:
        if target not in self.targets:
            raise UnknownNameError("target", target, tuple(self.targets), "The model learned no other.")
        return self.targets[target]

    def parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The model as plain data that JSON can hold, and its estimators by name."""
        estimators: dict[str, Any] = {}
        targets = {}
        for name, one in self.targets.items():
            layers = {} if one.residual is None else {f"{name}.residual": one.residual}
            layers |= {f"{name}.correction{at}": layer for at, layer in enumerate(one.corrections)}
            estimators |= {key: layer.estimator for key, layer in layers.items()}
            targets[name] = _target_to_plain(one, {key: layer.n for key, layer in layers.items()})
        plain = {
            "features": list(FEATURES),
            "encoding": {text: list(names) for text, names in self.encoding.names.items()},
            "provenance": dataclasses.asdict(self.provenance),
            "report": self.report.to_plain(),
            "seen": [dataclasses.asdict(one) for one in self.seen],
            "memory_seen": None if self.memory_seen is None else list(self.memory_seen),
            "targets": targets,
        }
        # Through JSON, so that what is not finite shows here and not in a file.
        return json.loads(json.dumps(plain, allow_nan=False)), estimators

    @classmethod
    def from_parts(cls, plain: Mapping[str, Any], estimators: Mapping[str, Any]) -> CostModel:
        """Put a model together again.

        Raises:
            ValueError, KeyError, TypeError: these are not the parts of a model.
        """
        if tuple(plain["features"]) != FEATURES:
            raise ValueError(f"features {plain['features']!r}, this perfkit knows {FEATURES!r}")
        if "latency_ns" not in plain["targets"]:
            raise ValueError("no target latency_ns")
        least, usual = plain["memory_seen"] or (None, None)
        return cls(
            {str(name): _target_from_plain(name, one, estimators) for name, one in plain["targets"].items()},
            Encoding({text: tuple(map(str, plain["encoding"][text])) for text in TEXTS}),
            _provenance_from_plain(plain["provenance"]),
            ModelReport.from_plain(plain["report"]),
            tuple(_seen_from_plain(one) for one in plain["seen"]),
            None if least is None else (_finite(least), _finite(usual)),
        )

    def to_table(self) -> ResultTable:
        """Champion, accuracy and coverage per target."""
        return self.report.to_table()

    def to_plain(self) -> dict[str, Any]:
        """Provenance, report and contexts as values that JSON can hold."""
        plain, _ = self.parts()
        return {name: plain[name] for name in ("provenance", "report", "seen", "memory_seen")}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def _provenance_from_plain(plain: Mapping[str, Any]) -> Provenance:
    counts: dict[str, Any] = {
        name: _count(plain[name]) for name in ("seed", "observations", "launches", "runs", "schema")
    }
    texts: dict[str, Any] = {name: _text(plain[name]) for name in ("trained_at", "parent")}
    moments: dict[str, Any] = {
        name: None if plain[name] is None else _text(plain[name]) for name in ("first_observed_at", "last_observed_at")
    }
    return Provenance(
        **counts,
        **texts,
        **moments,
        # A table that nothing was ever appended to has version -1.
        table_versions={_text(name): _count(version, -1) for name, version in plain["table_versions"].items()},
        libraries={_text(name): _text(version) for name, version in plain["libraries"].items()},
        warnings=tuple(_text(one) for one in plain["warnings"]),
    )


def _seen_from_plain(plain: Mapping[str, Any]) -> SeenContext:
    names: dict[str, Any] = {name: _text(plain[name]) for name in TEXTS}
    figures: dict[str, Any] = {
        name: _finite(plain[name], lowest=0.0) for name in ("min_bytes", "max_bytes", "max_in_flight")
    }
    return SeenContext(**names, n=_count(plain["n"]), **figures)


def _target_to_plain(one: TargetModel, layers: Mapping[str, int]) -> dict[str, Any]:
    adjustments = [
        {"key": list(key), **dataclasses.asdict(adjustment)} for key, adjustment in one.baseline.adjustments.items()
    ]
    slices = [[[list(key), value] for key, value in level.items()] for level in one.scale.slices]
    return {
        "curves": one.baseline.curves.to_json(),
        "adjustments": adjustments,
        "layers": dict(layers),
        "spread": {"overall": one.scale.overall, "slices": slices},
        "calibration": {"errors": one.calibration.errors.tolist(), "level": one.calibration.level},
        "champion": one.champion,
        "n": one.n,
        "metrics": dict(one.metrics),
    }


def _target_from_plain(name: str, plain: Mapping[str, Any], estimators: Mapping[str, Any]) -> TargetModel:
    if name not in FLOORS or plain["champion"] not in (MODEL, CURVES):
        raise ValueError(f"target {name!r} with champion {plain['champion']!r}")
    adjustments = {}
    for entry in plain["adjustments"]:
        fixed, factor, per_byte = (_finite(entry[figure], lowest=0.0) for figure in ("fixed", "factor", "per_byte"))
        adjustments[tuple(map(str, entry["key"]))] = Adjustment(fixed, factor, per_byte, _count(entry["n"]))
    layers = {key: Booster(estimators[key], _count(n)) for key, n in plain["layers"].items()}
    residual = layers.pop(f"{name}.residual", None)
    corrections = tuple(layers[f"{name}.correction{at}"] for at in range(len(layers)))
    slices = tuple(
        {tuple(map(str, key)): _finite(value, lowest=1e-9) for key, value in level}
        for level in plain["spread"]["slices"]
    )
    if len(slices) != len(LEVELS):
        raise ValueError(f"{len(slices)} levels of spread, must be {len(LEVELS)}")
    calibration = plain["calibration"]
    errors = np.array([_finite(error) for error in calibration["errors"]], float)
    if (np.diff(errors) < 0).any() or not 0 < calibration["level"] < 1:
        raise ValueError("calibration errors are not sorted, or its level is out of range")
    return TargetModel(
        Baseline(name, CurveSet.from_json(plain["curves"]), adjustments),
        residual,
        corrections,
        SpreadTable(_finite(plain["spread"]["overall"], lowest=1e-9), slices),
        Calibration(errors, float(calibration["level"])),
        plain["champion"],
        _count(plain["n"]),
        {str(key): _finite(value) for key, value in plain["metrics"].items()},
    )


def _finite(value: Any, lowest: float = -math.inf) -> float:
    number = math.nan if isinstance(value, str | bool) else float(value)
    if not (math.isfinite(number) and number >= lowest):
        raise ValueError(f"{value!r} where a finite number is expected")
    return number


def _count(value: Any, lowest: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ValueError(f"{value!r} where a count is expected")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} where text is expected")
    return value

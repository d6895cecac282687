"""What transfers will cost: by the cost model in force, or where it cannot say, by the published curves."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from perfkit.config.curves import ANY, CurveSet
from perfkit.config.thresholds import Thresholds, curves_path, load_thresholds
from perfkit.engine.composing import Context, compose
from perfkit.engine.costs import Cost, cost_at
from perfkit.errors import ConfigError, InputError, ModelError, UnknownNameError
from perfkit.learn.models import CostModel, TransferRows, rows_of
from perfkit.learn.models.storing import BOOSTERS, PLAIN, load_model
from perfkit.units import format_bytes
from perfkit.workflows.learning.versions import MODELS, current_version, version_path
from perfkit.workflows.prediction import QUANTITIES, CostPrediction, CostPredictions, Origin, PredictedCosts
from perfkit.workflows.prediction_rows import conditions_of, conditions_of_frame, for_every_method, is_frame

if TYPE_CHECKING:
    from perfkit.workflows.prediction_rows import Conditions

__all__ = ["predict"]

_TARGETS = ("latency_ns", "cpu_ns", "resident_bytes")
_CURVE_LEVEL = 0.95
_GOALS = {"latency_ns": "latency", "cpu_ns": "cpu", "resident_bytes": "memory"}
_NS_PER_S = 1e9
_MOST_NAMED = 3
_MODEL_ADVICE = "`perfkit learn` trains one"


@overload
def predict(
    payload_bytes: int | float | str,
    *,
    method: str,
    kind: str = ...,
    format: str = ...,
    compression: str = ...,
    signalling: str = ...,
    placement: str = ...,
    in_flight: int = ...,
    available_bytes: int | float | str | None = ...,
    hour: float | None = ...,
    model: CostModel | str | Path | None = ...,
    thresholds: str | Path = ...,
) -> CostPrediction: ...


@overload
def predict(
    payload_bytes: Any,
    *,
    method: Sequence[str] | None = ...,
    kind: str = ...,
    format: str = ...,
    compression: str = ...,
    signalling: str = ...,
    placement: str = ...,
    in_flight: int = ...,
    available_bytes: int | float | str | None = ...,
    hour: float | None = ...,
    model: CostModel | str | Path | None = ...,
    thresholds: str | Path = ...,
) -> CostPredictions: ...


def predict(
    payload_bytes: Any,
    *,
    method: Any = None,
    kind: Any = "binary",
    format: Any = "raw",  # noqa: A002 - what the column is called
    compression: Any = "none",
    signalling: Any = "uds",
    placement: Any = "copied",
    in_flight: Any = 1,
    available_bytes: Any = None,
    hour: Any = None,
    model: CostModel | str | Path | None = None,
    thresholds: str | Path = "thresholds.toml",
) -> CostPrediction | CostPredictions:
    """What transfers are expected to cost: latency, processor time, memory and throughput, each with its interval.

    Args:
        payload_bytes: size before encoding, 0 or more bytes or text such as ``"10MiB"``; several sizes; or a frame with
            a column ``payload_bytes`` and any of the other arguments as columns.
        method: transfer method, or one per size; None for every method that is known, cheapest first.
        kind: tensor, dataframe, binary or text.
        format: numpy, arrow, pickle, msgpack, json or raw.
        compression: none, lz4 or zstd.
        signalling: how shared memory is announced: uds or grpc.
        placement: copied, or in_place for a payload that was born in a block of the pool.
        in_flight: sends under way at once, 1 or more.
        available_bytes: memory available on the host, above 0, or text such as ``"2GiB"``; None where it is as usual.
        hour: of the day in UTC, 0 to 24; None for no hour in particular.
        model: a cost model, the folder of one, or the folder of its versions; None for ``data/models``.
        thresholds: what is published: its curves answer where no model can be used, with a warning.

    Returns:
        One prediction for one size and one method; otherwise a sequence of them. Intervals of a model are of a single
        transfer, those of curves are of the median: `interval_of` says which.

    Raises:
        InputError: an argument is out of range, or there is neither a model nor a publication.
        UnknownNameError: there is no such kind, format, compression, signalling or placement, or nothing is known of
            the method.
        ModelError: a model was named and cannot be used.

    >>> import perfkit
    >>> line = {"method": ["uds"] * 60, "payload_bytes": [1024, 65536, 1048576] * 20, "launch": [0, 1, 2] * 20,
    ...         "latency_ns": [1e4, 3e4, 3e5] * 20}
    >>> predicted = predict("64KiB", method="uds", model=perfkit.learn.models.train(line))
    >>> 25_000 < predicted.latency_ns.value < 35_000, predicted.latency_ns.interval_of
    (True, 'single transfer')
    """
    given = {
        "method": method, "kind": kind, "format": format, "compression": compression, "signalling": signalling,
        "placement": placement, "in_flight": in_flight, "available_bytes": available_bytes, "hour": hour,
    }  # fmt: skip
    of_frame = is_frame(payload_bytes)
    asked = conditions_of_frame(payload_bytes, given) if of_frame else conditions_of(payload_bytes, given)
    source = _open(model, Path(thresholds))
    every_method = "method" not in asked
    if every_method:
        asked = for_every_method(asked, source.methods)
    unknown = sorted(set(asked["method"].tolist()) - set(source.methods))
    if unknown:
        raise UnknownNameError("method", unknown[0], source.methods, "Measure it with `perfkit bench`, then learn.")
    predicted = _predict(asked, source)
    if every_method:
        predicted = _cheapest_first(predicted, asked)
    nothing = np.isnan(predicted.costs["latency_ns"].value)
    is_single = not of_frame and np.ndim(payload_bytes) == 0 and isinstance(method, str)
    if len(predicted) == 0 or (nothing.all() and nothing.size):
        raise InputError(
            "nothing is known of any method under these conditions; measure them with `perfkit bench`, then "
            "`perfkit learn` or `perfkit publish`"
        )
    return predicted[0] if is_single else predicted


@dataclasses.dataclass(frozen=True)
class _Source:
    """What can answer: a model, published curves for what it does not know, and why one of them is missing."""

    model: CostModel | None
    name: str
    thresholds: Path
    warnings: tuple[str, ...]
    publication: Thresholds | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """Every method that is known, by name."""
        published = self.published()
        known = _transports(published.curves) if published else set()
        if self.model is not None:
            known |= set(self.model.encoding.names["method"])
            known |= {name for one in self.model.targets.values() for name in _transports(one.baseline.curves)}
        return tuple(sorted(known))

    def published(self) -> Thresholds | None:
        """What is published; None where nothing is, or where a model answers and it cannot be read."""
        if self.publication is not None:
            return self.publication
        try:
            return _load_published(self.thresholds)
        except ConfigError:
            return None


def _transports(curves: CurveSet) -> set[str]:
    return {key.method for key in curves.curves if key.stage == "transport"} - {ANY}


def _open(model: CostModel | str | Path | None, thresholds: Path) -> _Source:
    if isinstance(model, CostModel):
        return _Source(model, "given", thresholds, ())
    folder = Path(MODELS if model is None else model)
    is_one = (folder / PLAIN).exists()
    if not is_one and model is not None and not folder.is_dir():
        raise ModelError("there is no such folder", path=folder)
    why = f"there is no model in {folder}; {_MODEL_ADVICE}"
    try:
        if is_one:
            return _Source(_load(folder), folder.name, thresholds, ())
        standing = current_version(folder)
        if standing is not None and standing.state == "model":
            path = version_path(folder, standing.version)
            return _Source(_load(path), path.name, thresholds, ())
        if standing is not None:
            why = f"model version {standing.version} is out of force: {standing.reason}"
    except ModelError as error:
        if is_one:
            raise
        why = str(error).removesuffix(".")
    warning = f"{why}. Figures are of the published curves, intervals of medians instead of single transfers"
    try:
        return _Source(None, "", thresholds, (warning,), _load_published(thresholds))
    except ConfigError as error:
        raise InputError(
            f"nothing can be predicted: {why}; and of the published curves: {error}. "
            "`perfkit run` measures and publishes, `perfkit learn` trains a model"
        ) from error


def _load(folder: Path) -> CostModel:
    """A stored model, read again only when its files changed."""
    return _loaded(folder.absolute(), _identity(folder / PLAIN), _identity(folder / BOOSTERS))


def _load_published(path: Path) -> Thresholds:
    return _published(path.absolute(), _identity(path), _identity(curves_path(path)))


@functools.lru_cache(maxsize=4)
def _loaded(folder: Path, *identities: tuple[int, ...]) -> CostModel:
    return load_model(folder)


@functools.lru_cache(maxsize=4)
def _published(path: Path, *identities: tuple[int, ...]) -> Thresholds:
    return load_thresholds(path)


def _identity(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _predict(asked: Conditions, source: _Source) -> CostPredictions:
    costs: dict[str, PredictedCosts] = {}
    rows = rows_of(**asked)
    for target in _TARGETS:
        costs[target] = _by_model(rows, source.model, target)
    unknown = np.isnan(costs["latency_ns"].value)
    used, warnings = 0, source.warnings
    if any(np.isnan(one.value).any() for one in costs.values()):
        published = source.published()
        if published is not None:
            costs = {target: _filled(asked, one, published.curves, target) for target, one in costs.items()}
            used = published.version
            if source.model is not None and unknown.any():
                filled = int((unknown & ~np.isnan(costs["latency_ns"].value)).sum())
                warnings = (*warnings, f"the model knows nothing of {filled} rows; these are of the published curves")
    costs["throughput_bytes_per_s"] = _throughput(asked, costs["latency_ns"])
    if source.model is not None:
        warnings = (*source.model.warnings, *_beyond(rows, source.model), *warnings)
    trained_at = source.model.provenance.trained_at if source.model is not None else ""
    ordered = {name: costs[name] for name in QUANTITIES}
    return CostPredictions(asked, ordered, Origin(source.name, trained_at, used), warnings)


def _by_model(rows: TransferRows, model: CostModel | None, target: str) -> PredictedCosts:
    count = len(rows)
    if model is None or target not in model.targets:
        nothing = np.full(count, math.nan)
        return PredictedCosts(nothing, nothing, nothing, nothing, np.zeros(count, bool), np.zeros(count, np.int64))
    one = model.predict_rows(rows, target)
    with np.errstate(over="ignore"):  # a bound that is unknown is infinite
        value, low, high = (np.exp(logs) for logs in (one.log_median, one.log_low, one.log_high))
    n = np.full(count, model.targets[target].n)
    return PredictedCosts(value, low, high, np.full(count, model.report.level), ~np.isnan(value), n)


def _filled(asked: Conditions, costs: PredictedCosts, curves: CurveSet, target: str) -> PredictedCosts:
    """Costs with those rows taken from curves of which the model knows nothing."""
    columns = {name: getattr(costs, name).copy() for name in ("value", "low", "high", "level", "n")}
    seen: dict[tuple[Any, ...], Cost | None] = {}
    texts = ("method", "kind", "format", "compression", "signalling", "placement", "in_flight", "payload_bytes")
    for row in np.flatnonzero(np.isnan(costs.value)).tolist():
        key = tuple(asked[name][row].item() for name in texts)
        if key not in seen:
            seen[key] = _of_curves(curves, target, *key)
        found = seen[key]
        if found is not None:
            figures = (found.value, found.low, found.high, _CURVE_LEVEL, found.n)
            for name, figure in zip(columns, figures, strict=True):
                columns[name][row] = figure
    return dataclasses.replace(costs, **columns)


def _of_curves(curves: CurveSet, target: str, method: str, *rest: Any) -> Cost | None:
    kind, format_name, compression, signalling, placement, in_flight, payload_bytes = rest
    context = Context(
        "default", kind, format_name, compression, signalling, (method,), placement == "in_place", int(in_flight)
    )
    composition = compose(curves, method, context, _GOALS[target])
    if composition is None:
        return None
    # The goal ``memory`` also counts copied bytes; what is asked for here is one quantity.
    parts = tuple(part for part in composition.parts if part.key.quantity == target)
    return cost_at(dataclasses.replace(composition, parts=parts), payload_bytes) if parts else None


def _throughput(asked: Conditions, latency: PredictedCosts) -> PredictedCosts:
    """By Little's law: as many sends under way as were asked for, each of this latency."""
    moved = asked["in_flight"] * asked["payload_bytes"] * _NS_PER_S
    with np.errstate(divide="ignore", invalid="ignore"):
        value, low, high = moved / latency.value, moved / latency.high, moved / latency.low
    return dataclasses.replace(latency, value=value, low=np.where(np.isinf(latency.high), 0.0, low), high=high)


def _beyond(rows: TransferRows, model: CostModel) -> tuple[str, ...]:
    """Warnings about contexts, sizes, loads and memory that the model was not trained on."""
    if not model.seen:
        return ()
    known = model.familiarity(rows)
    warnings = []
    if known.unseen:
        few = ", ".join(known.unseen[:_MOST_NAMED])
        more = f" and {len(known.unseen) - _MOST_NAMED} more" if len(known.unseen) > _MOST_NAMED else ""
        warnings.append(
            f"the model never saw {few}{more}: a guess by what it saw of the method, with an interval as wide; "
            "`perfkit bench` measures it, and `perfkit learn` learns it from traffic"
        )
    if known.is_beyond_sizes.any():
        low, high = min(one.min_bytes for one in model.seen), max(one.max_bytes for one in model.seen)
        warnings.append(
            f"{_rows(known.is_beyond_sizes)} beyond the sizes that the model saw of the method in its context (of all "
            f"of them {format_bytes(low)} to {format_bytes(high)}): guesses, intervals widen with the distance"
        )
    if known.is_beyond_loads.any():
        heaviest = max(one.max_in_flight for one in model.seen)
        warnings.append(
            f"{_rows(known.is_beyond_loads)} beyond the sends under way that the model saw of the method (of all of "
            f"them at most {heaviest:g}): guesses, intervals widen with the distance"
        )
    available = rows.numbers["available_bytes"]
    if not np.isnan(available).all():
        if model.memory_seen is None:
            warnings.append("the model never saw how much memory was available: it changes nothing")
        elif (available < model.memory_seen[0]).any():
            least = format_bytes(model.memory_seen[0])
            warnings.append(f"the model hardly ever saw less than {least} available: what less costs is a guess")
    return tuple(warnings)


def _rows(chosen: npt.NDArray[np.bool_]) -> str:
    if chosen.size == 1:
        return "this is"
    return f"{int(chosen.sum())} of {chosen.size} rows {'is' if chosen.sum() == 1 else 'are'}"


def _cheapest_first(predicted: CostPredictions, asked: Mapping[str, npt.NDArray[Any]]) -> CostPredictions:
    """Rows of the same question by latency; without those that nothing is known of."""
    latency = predicted.costs["latency_ns"].value
    question = np.arange(latency.size) // max(np.unique(asked["method"]).size, 1)
    order = np.lexsort((latency, question))
    order = order[~np.isnan(latency[order])]
    conditions = {name: column[order] for name, column in predicted.conditions.items()}
    costs = {}
    for name, one in predicted.costs.items():
        columns = {field.name: getattr(one, field.name)[order] for field in dataclasses.fields(one)}
        costs[name] = PredictedCosts(**columns)
    return dataclasses.replace(predicted, conditions=conditions, costs=costs)

"""A learned model distilled into published curves, so that the engine stays a lookup.

A model predicts a whole transfer; the engine adds up encode, transport and decode. So what the model says of a codec's
whole transfers, less what the codec's own curves say, becomes a transport curve for that codec alone. Encode and decode
stay as they were measured, and everything that composes curves goes on as before.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from perfkit.config.curves import ANY, CostCurve, CurveKey, CurveSet, IntervalPoint, Piece
from perfkit.config.pool_settings import Weights
from perfkit.engine.composing import Composition, Context, Part, compose, transport_placement
from perfkit.engine.lines import known_methods
from perfkit.errors import InputError
from perfkit.learn.models.fidelity import CELLS_PER_DOUBLING, Fidelity, Judged, judge_fidelity
from perfkit.learn.pieces import straight_pieces
from perfkit.schema import SIGNALLINGS
from perfkit.tables import ResultTable

__all__ = ["TOLERANCE", "Distilled", "LearnedModel", "distil"]

Floats = npt.NDArray[np.float64]

TOLERANCE = 0.02
"""How far from the model straight pieces may be, as a share of the whole transfer; and what counts as no difference."""

_NORMAL = "normal"
_GRID_PER_DOUBLING = 4
_SMALLEST_SHARE = 1e-3
"""Of the whole: a transport costs at least this much, even where the codec's curves alone exceed the model."""
_GOALS: Mapping[str, tuple[str, Weights]] = {
    "latency_ns": ("latency", Weights()),
    "cpu_ns": ("cpu", Weights()),
    "resident_bytes": ("balanced", Weights(latency=0.0, cpu=0.0, memory=1.0)),
}
_SERVICE = "service"


class LearnedTarget(Protocol):
    """Of one target's model, what is needed here."""

    @property
    def champion(self) -> str:
        """``model`` or ``curves``."""


class Seen(Protocol):
    """A context that occurred in training: of a `perfkit.learn.models.model.SeenContext`, what is needed here."""

    @property
    def method(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def format(self) -> str: ...
    @property
    def compression(self) -> str: ...
    @property
    def signalling(self) -> str: ...
    @property
    def placement(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def min_bytes(self) -> float: ...
    @property
    def max_bytes(self) -> float: ...
    @property
    def max_in_flight(self) -> float: ...


class LearnedModel(Protocol):
    """Of a `CostModel`, what is needed here."""

    @property
    def targets(self) -> Mapping[str, LearnedTarget]:
        """By quantity."""

    @property
    def seen(self) -> tuple[Seen, ...]:
        """Contexts that occurred in training."""

    @property
    def memory_seen(self) -> tuple[float, float] | None:
        """5 % and 50 % quantile of the available memory in training; None where unknown."""

    def median(self, payload_bytes: npt.ArrayLike, *, target: str, **conditions: Any) -> Floats:
        """What whole transfers take at the median."""


@dataclasses.dataclass(frozen=True)
class Distilled:
    """Curves that say what a model says, as far as curves can. `perfkit.publish` takes it.

    Args:
        curves: the curves that were there, with those distilled from the model before them.
        fidelity: how close they are to the model.
        written: curves that were distilled; where the model agrees with a curve that is there, none is.
    """

    curves: CurveSet
    fidelity: Fidelity
    written: int

    def to_table(self) -> ResultTable:
        """How close the curves are to the model."""
        return self.fidelity.to_table()

    def to_plain(self) -> dict[str, Any]:
        """Everything but the curves as plain data for JSON."""
        return {
            "fidelity": self.fidelity.to_plain(),
            "written": self.written,
            "model": self.curves.evidence.model,
            "curves": self.curves.sha256(),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def distil(
    model: LearnedModel,
    curves: CurveSet,
    *,
    contexts: Iterable[Context] | None = None,
    name: str = "",
) -> Distilled:
    """Distil a model into curves, wherever it is the champion and has evidence.

    Where the model knows the available memory, it is asked with that of half the transfers, and for the state
    ``memory_pressure`` with that of the 5 % with the least; if it says the same, that state gets no curves.

    Args:
        model: a `CostModel`, or anything with its `targets`, `seen`, `memory_seen` and `median`.
        curves: what was fitted, whose codec curves stay; a method that it does not know is left out. What an earlier
            model was distilled to is forgotten first, so published curves serve as well as those of a fit.
        contexts: codec, signalling and load to distil for, over all sizes that the curves measured; by default what the
            model saw in training, over the sizes that it saw.
        name: how published files name the model; by default by when it was trained, and on what.

    Returns:
        The curves with how close they are to the model. Distilled ones are positive, never fall with size, and consist
        of straight pieces that are within 2 % of the whole transfer; beyond the sizes that the model saw, the curve
        that was there goes on in proportion.

    Raises:
        InputError: the curves hold no latency of any method.

    >>> class Slower:  # by a fifth than the curves say
    ...     targets, seen, memory_seen = {"latency_ns": type("Target", (), {"champion": "model"})}, (), None
    ...     def median(self, payload_bytes, *, target, **conditions):
    ...         return 12_000 + 0.6 * np.asarray(payload_bytes)
    >>> line = CostCurve((Piece(0, 10_000, 0.5),), (IntervalPoint(1, 0.9, 1.1),), 1024, 2**20, n=90, launches=3)
    >>> known = CurveSet({CurveKey("transport", "latency_ns", "uds", placement="copied"): line})
    >>> distilled = distil(Slower(), known, contexts=[Context()])
    >>> distilled.written, distilled.fidelity.within_5
    (1, 1.0)
    >>> part = compose(distilled.curves, "uds", Context()).parts[0]
    >>> round(part.curve.at(10_000))
    18000
    """
    if not any((key.stage, key.quantity) == ("transport", "latency_ns") for key in curves.curves):
        raise InputError("the curves hold no latency of any method; give what `perfkit.fit` returned")
    curves = _undistilled(curves)
    conditions = _conditions_of_states(model)
    given = None if contexts is None else tuple(contexts)
    written: dict[CurveKey, CostCurve] = {}
    judged: list[Judged] = []
    for target in _GOALS:
        if target in model.targets and model.targets[target].champion == "model":
            jobs = _jobs(model, curves, target, given)
            medians = _asked(model, target, jobs, conditions)
            for job, by_state in zip(jobs, medians, strict=True):
                written |= job.distilled(by_state)
            judged += _to_judge(model, target, jobs, conditions)
    if not written:
        return Distilled(curves, judge_fidelity(judged, curves), 0)
    evidence = dataclasses.replace(curves.evidence, model=name or _name(model))
    made = dataclasses.replace(curves, curves={**curves.curves, **written}, evidence=evidence)
    return Distilled(made, judge_fidelity(judged, made), len(written))


def _undistilled(curves: CurveSet) -> CurveSet:
    """The curves as they were before any model was distilled into them."""
    if not curves.is_distilled:
        return curves
    kept = {key: curve for key, curve in curves.curves.items() if not key.is_distilled}
    return dataclasses.replace(curves, curves=kept, evidence=dataclasses.replace(curves.evidence, model=""))


@dataclasses.dataclass(frozen=True)
class _Job:
    """One transport curve to distil.

    Args:
        key: what it is to be looked up by.
        context: whose whole transfers it is for.
        base: the composition that is there.
        part: its transport.
        asked: what the model is asked with, beside the state.
        sizes: payload sizes in bytes, ascending.
    """

    key: CurveKey
    context: Context
    base: Composition
    part: Part
    asked: Mapping[str, Any]
    sizes: Floats

    def distilled(self, medians: Mapping[str, Floats]) -> dict[CurveKey, CostCurve]:
        """Curves for every state in which the model differs from what is there."""
        at = [float(size) for size in self.sizes]
        others = np.array([sum(one.value_and_half_widths(size)[0] for one in self._others) for size in at])
        before = np.array([self.part.value_and_half_widths(size)[0] for size in at])
        found: dict[CurveKey, CostCurve] = {}
        for state, whole in medians.items():
            if not np.isfinite(whole).all():
                continue  # a method that the model never met
            values = np.maximum.accumulate(np.maximum(whole - others, _SMALLEST_SHARE * whole))
            if (np.abs(values - before) <= TOLERANCE * whole).all():
                continue
            key = self.key if state == _NORMAL else dataclasses.replace(self.key, state=state)
            found[key] = self._curve(values, TOLERANCE * whole)
            if state == _NORMAL:
                before = values  # what holds in every other state, unless it says otherwise
        return found

    @property
    def _others(self) -> tuple[Part, ...]:
        return tuple(one for one in self.base.parts if one is not self.part)

    def _curve(self, values: Floats, allowed: Floats) -> CostCurve:
        base, wire_sizes = self.part.curve, self.sizes * self.part.wire_ratio
        inner = straight_pieces(wire_sizes, values, allowed)
        first, last = float(wire_sizes[0]), float(wire_sizes[-1])
        below = [one for one in base.pieces if one.start_bytes < first]
        inside = [one for one in base.pieces if one.start_bytes <= last][-1:] or list(base.pieces[:1])
        above = [dataclasses.replace(inside[0], start_bytes=last), *(p for p in base.pieces if p.start_bytes > last)]
        pieces = (
            *_scaled(below, _ratio(float(values[0]), base.at(first))),
            *inner,
            *_scaled(above, _ratio(float(values[-1]), base.at(last))),
        )
        if not below:
            pieces = (Piece(0.0, float(values[0]), 0.0), *pieces)
        points = tuple(
            IntervalPoint(
                point.payload_bytes,
                max(1.0 - math.hypot(1.0 - point.low, TOLERANCE), 0.0),
                1.0 + math.hypot(point.high - 1.0, TOLERANCE),
            )
            for point in base.interval_points
        )
        low, high = min(base.min_bytes, first), max(base.max_bytes, last)
        return CostCurve(pieces, points, low, high, base.n, base.launches)


def _scaled(pieces: Sequence[Piece], factor: float) -> Iterator[Piece]:
    for piece in pieces:
        yield Piece(piece.start_bytes, piece.fixed * factor, piece.per_byte * factor)


def _ratio(value: float, base: float) -> float:
    return value / base if base > 0 else 1.0


def _conditions_of_states(model: LearnedModel) -> dict[str, dict[str, float]]:
    if model.memory_seen is None:
        return {_NORMAL: {}}
    low, usual = model.memory_seen
    return {_NORMAL: {"available_bytes": usual}, "memory_pressure": {"available_bytes": low}}


def _jobs(model: LearnedModel, curves: CurveSet, target: str, contexts: tuple[Context, ...] | None) -> tuple[_Job, ...]:
    """What is to be distilled for a target; each curve once."""
    found: dict[CurveKey, _Job] = {}
    goal, weights = _GOALS[target]
    asked_for = _seen_contexts(model.seen, curves) if contexts is None else contexts
    for context, method in itertools.product(asked_for, known_methods(curves)):
        base = compose(curves, method, context, goal, weights=weights)
        part = None if base is None else next((one for one in base.parts if one.stage == "transport"), None)
        if base is None or part is None or part.key.quantity != target or part.key.in_flight != context.in_flight:
            continue
        if context.born_in_block(method):
            continue  # its curve would be taken for a payload that is encoded into a block
        key = _key_for(curves, target, method, context, part)
        asked, sizes = _asked_over(context, method, part, model.seen if contexts is None else None)
        if key not in found and sizes.size:
            found[key] = _Job(key, context, base, part, asked, sizes)
    return tuple(found.values())


def _key_for(curves: CurveSet, target: str, method: str, context: Context, part: Part) -> CurveKey:
    signalling = ANY if part.key.signalling == ANY else context.signalling
    placement = transport_placement(curves, method, context)
    return CurveKey(
        "transport",
        target,
        method,
        signalling,
        placement,
        context.in_flight,
        kind=context.kind,
        format=context.format,
        compression=context.compression,
    )


def _seen_contexts(seen: Sequence[Seen], curves: CurveSet) -> Iterator[Context]:
    """Every codec that was seen, with every signalling and every load that the curves know."""
    loads = sorted({1, *(key.in_flight for key in curves.curves if key.stage == "transport")})
    highest: dict[tuple[str, str, str], float] = {}
    for one in seen:
        codec = (one.kind, one.format, one.compression)
        highest[codec] = max(highest.get(codec, 1.0), one.max_in_flight)
    for codec, signalling, in_flight in itertools.product(sorted(highest), SIGNALLINGS, loads):
        if in_flight <= highest[codec]:
            yield Context("default", *codec, signalling, in_flight=in_flight)


def _asked_over(
    context: Context, method: str, part: Part, seen: Sequence[Seen] | None
) -> tuple[dict[str, Any], Floats]:
    """What the model is asked with, over the sizes that it saw; no sizes where it saw nothing of the kind."""
    names = ("kind", "format", "compression", "signalling", "in_flight")
    asked: dict[str, Any] = {"method": method, **{name: getattr(context, name) for name in names}}
    if seen is None:
        low, high = part.curve.min_bytes / part.wire_ratio, part.curve.max_bytes / part.wire_ratio
        return asked, _grid(max(low, 1.0), max(high, 1.0))
    codec = (context.kind, context.format, context.compression)
    alike = [
        one
        for one in seen
        if (one.kind, one.format, one.compression) == codec
        and one.max_in_flight >= context.in_flight
        and one.placement != "in_place"
    ]
    # Methods are compared with each other: what services sent is followed only where it is known of all of them.
    served = {one.method for one in alike if one.source == _SERVICE}
    by_service = served == {one.method for one in alike}
    own = [one for one in alike if one.method == method and (one.source == _SERVICE) == by_service]
    fitting = [one for one in own if one.signalling == context.signalling]
    if part.key.signalling == ANY:  # announcing blocks is no part of this method
        fitting = fitting or own
    if not fitting:
        return asked, np.empty(0)
    most = max(fitting, key=lambda one: one.n)
    asked |= {"signalling": most.signalling, "source": most.source}
    return asked, _grid(max(most.min_bytes, 1.0), max(most.max_bytes, 1.0))


def _grid(low: float, high: float) -> Floats:
    count = max(math.ceil(_GRID_PER_DOUBLING * math.log2(high / low)), 1) + 1
    return np.asarray(np.geomspace(low, max(high, low * 2), count))


def _asked(
    model: LearnedModel, target: str, jobs: Sequence[_Job], conditions: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Floats]]:
    """The model's medians by job and state: asked once per state, since a model answers many rows as fast as one."""
    if not jobs:
        return []
    by_job: list[dict[str, Floats]] = [{} for _ in jobs]
    lengths = [job.sizes.size for job in jobs]
    names = dict.fromkeys(name for job in jobs for name in job.asked)
    columns = {name: np.repeat(np.array([job.asked[name] for job in jobs]), lengths) for name in names}
    sizes = np.concatenate([job.sizes for job in jobs])
    for state, given in conditions.items():
        medians = np.asarray(model.median(sizes, target=target, **columns, **given), float)
        for found, part in zip(by_job, np.split(medians, np.cumsum(lengths)[:-1]), strict=True):
            found[state] = part
    return by_job


def _to_judge(
    model: LearnedModel, target: str, jobs: Sequence[_Job], conditions: Mapping[str, Mapping[str, float]]
) -> list[Judged]:
    """Sizes between those that the curves were drawn through, with what the model says of them."""
    goal, weights = _GOALS[target]
    between = []
    for job in jobs:
        count = max(round(CELLS_PER_DOUBLING * math.log2(job.sizes[-1] / job.sizes[0])), 1)
        steps = (np.arange(count) + 0.5) / count
        between.append(dataclasses.replace(job, sizes=job.sizes[0] * (job.sizes[-1] / job.sizes[0]) ** steps))
    return [
        Judged(target, goal, weights, job.key.method, job.context, state, job.sizes, medians)
        for job, by_state in zip(between, _asked(model, target, between, conditions), strict=True)
        for state, medians in by_state.items()
        if np.isfinite(medians).all()
    ]


def _name(model: LearnedModel) -> str:
    provenance = getattr(model, "provenance", None)
    if provenance is None:
        return type(model).__name__
    return f"trained {provenance.trained_at} on {provenance.observations} observations"

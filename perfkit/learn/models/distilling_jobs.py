"""Which transport curves a model is to be distilled to: for every codec, signalling and load that it knows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from perfkit.config.curves import ANY, CurveKey, CurveSet
from perfkit.config.pool_settings import Weights
from perfkit.engine.composing import Context, Part, compose, transport_placement
from perfkit.engine.lines import known_methods
from perfkit.learn.models.distilled_curves import Job
from perfkit.learn.models.doubt import doubt_of
from perfkit.schema import SIGNALLINGS

__all__ = ["GOALS", "Seen", "jobs_of"]

Floats = npt.NDArray[np.float64]

GOALS: Mapping[str, tuple[str, Weights]] = {
    "latency_ns": ("latency", Weights()),
    "cpu_ns": ("cpu", Weights()),
    "resident_bytes": ("balanced", Weights(latency=0.0, cpu=0.0, memory=1.0)),
}
"""By target, the goal whose composed cost it is."""
_GRID_PER_DOUBLING = 4
_LOADS = (1, 2, 4, 8, 16, 32)
"""Sends in flight that get curves, as far as they were seen, whatever was measured."""
_SERVICE = "service"


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


def jobs_of(
    seen: Sequence[Seen],
    metrics: Mapping[str, float],
    curves: CurveSet,
    target: str,
    contexts: tuple[Context, ...] | None,
) -> tuple[Job, ...]:
    """What is to be distilled for a target; each curve once.

    Args:
        seen: contexts that occurred in the model's training.
        metrics: of the target's model, which tell how far it may be off.
        curves: what was fitted.
        target: one of `GOALS`.
        contexts: to distil for; by default those that were seen.
    """
    found: dict[CurveKey, Job] = {}
    goal, weights = GOALS[target]
    asked_for = _seen_contexts(seen, curves) if contexts is None else contexts
    for context, method in itertools.product(asked_for, known_methods(curves)):
        base = compose(curves, method, context, goal, weights=weights)
        part = None if base is None else next((one for one in base.parts if one.stage == "transport"), None)
        if base is None or part is None or part.key.quantity != target:
            continue
        if context.born_in_block(method):
            continue  # its curve would be taken for a payload that is encoded into a block
        key = _key_for(curves, target, method, context, part)
        asked, sizes = _asked_over(context, method, part, seen if contexts is None else None)
        if key not in found and sizes.size:
            found[key] = Job(key, context, base, part, asked, sizes, doubt_of(metrics, method, context.in_flight))
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
    """Every codec that was seen, with every signalling, and the loads that curves know or that traffic brings."""
    loads = sorted({*_LOADS, *(key.in_flight for key in curves.curves if key.stage == "transport")})
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

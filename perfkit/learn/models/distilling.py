"""A learned model distilled into published curves, so that the engine stays a lookup.

A model predicts a whole transfer; the engine adds up encode, transport and decode. So what the model says of a codec's
whole transfers, less what the codec's own curves say, becomes a transport curve for that codec alone. Encode and decode
stay as they were measured, and everything that composes curves goes on as before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from perfkit.config.curves import CostCurve, CurveKey, CurveSet
from perfkit.engine.composing import Context
from perfkit.errors import InputError
from perfkit.learn.models.distilled_curves import NORMAL, TOLERANCE, Job
from perfkit.learn.models.distilling_jobs import GOALS, Seen, jobs_of
from perfkit.learn.models.fidelity import Fidelity, Judged, judge_fidelity, lattice
from perfkit.tables import ResultTable

__all__ = ["TOLERANCE", "Distilled", "LearnedModel", "distil"]

Floats = npt.NDArray[np.float64]

_HOURS = (3.0, 9.0, 15.0, 21.0)
"""Plans hold all day long: the model is asked at these hours, and what it says is averaged."""


class LearnedTarget(Protocol):
    """Of one target's model, what is needed here."""

    @property
    def champion(self) -> str:
        """``model`` or ``curves``."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Figures on held-out transfers by name, for `perfkit.learn.models.doubt.doubt_of`."""


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
        that was there goes on in proportion. Their intervals are those of the model: how far the medians of launches
        that it had not seen lay from what it said, by method and load.

    Raises:
        InputError: the curves hold no latency of any method.

    >>> from perfkit.config.curves import IntervalPoint, Piece
    >>> from perfkit.engine.composing import compose
    >>> class Slower:  # by a fifth than the curves say
    ...     targets = {"latency_ns": type("Target", (), {"champion": "model", "metrics": {}})}
    ...     seen, memory_seen = (), None
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
    for target in GOALS:
        if target in model.targets and model.targets[target].champion == "model":
            jobs = jobs_of(model.seen, model.targets[target].metrics, curves, target, given)
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


def _conditions_of_states(model: LearnedModel) -> dict[str, dict[str, float]]:
    if model.memory_seen is None:
        return {NORMAL: {}}
    low, usual = model.memory_seen
    return {NORMAL: {"available_bytes": usual}, "memory_pressure": {"available_bytes": low}}


def _asked(
    model: LearnedModel, target: str, jobs: Sequence[Job], conditions: Mapping[str, Mapping[str, float]]
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
        by_hour = [model.median(sizes, target=target, hour=hour, **columns, **given) for hour in _HOURS]
        medians = np.exp(np.mean(np.log(np.asarray(by_hour, float)), axis=0))
        for found, part in zip(by_job, np.split(medians, np.cumsum(lengths)[:-1]), strict=True):
            found[state] = part
    return by_job


def _to_judge(
    model: LearnedModel, target: str, jobs: Sequence[Job], conditions: Mapping[str, Mapping[str, float]]
) -> list[Judged]:
    """Sizes between those that the curves were drawn through, with what the model says of them."""
    goal, weights = GOALS[target]
    between = [dataclasses.replace(job, sizes=lattice(float(job.sizes[0]), float(job.sizes[-1]))) for job in jobs]
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

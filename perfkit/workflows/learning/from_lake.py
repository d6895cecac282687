"""From what a lake keeps to a cost model in force, if it is better than the one that is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perfkit.config.curves import CurveSet
from perfkit.config.fingerprint import collect_fingerprint, differences
from perfkit.config.thresholds import load_thresholds
from perfkit.errors import ConfigError, FitError, ModelError
from perfkit.lake import Lake
from perfkit.learn.models import FEWEST_OBSERVATIONS, CostModel, read_rows, train
from perfkit.workflows.events import record_event
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.learning.learning_result import KEPT, NOT_KEPT, WOULD_BE_KEPT, LearnResult
from perfkit.workflows.learning.versions import MODELS, current_version, keep_version, load_version

if TYPE_CHECKING:
    import pyarrow

__all__ = ["LearnProgress", "learn_models"]

_MOST_ROWS = 1_000_000
_TRAINING_SHARE = 0.8
_FEWEST_HELD_OUT = 100


@dataclasses.dataclass(frozen=True, slots=True)
class LearnProgress:
    """How far learning has come: `done` of `total`, and what is being done."""

    done: float
    total: float
    label: str
    seconds_left: float | None = None


def learn_models(
    lake: str | Path = "data/lake",
    models: str | Path = MODELS,
    *,
    settings: str | Path | None = None,
    thresholds: str | Path = "thresholds.toml",
    seed: int = 0,
    dry_run: bool = False,
    publish: bool = False,
    progress: Callable[[LearnProgress], None] | None = None,
) -> LearnResult:
    """Train a cost model on what a lake keeps of this host, and put it into force if it is better than the one that is.

    Measurements of runs on this host and traffic of services count, the newest million of them. Both models are
    compared on the newest observations, which neither saw; then the new one is trained on everything.

    Args:
        lake: folder of the lake, drained before.
        models: folder of the versions.
        settings: the `perfkit.toml`, for publishing.
        thresholds: what is published: the model begins with these curves; without any, with curves fitted to the lake.
        seed: of everything random.
        dry_run: only say what would be kept.
        publish: also distil what was kept onto the published curves, and publish these through the gate.
        progress: called with how far it has come.

    Returns:
        What was learned, and whether it was kept. With fewer than 1000 observations nothing is, and the curves apply.

    Raises:
        LakeError: the lake cannot be read.
        FileError: the version cannot be written; what was in force stays in force.
    """
    opened = open_fresh_lake(lake)
    table, warnings = _read(opened)
    n = _usable(table)
    in_force, version, problems = _in_force(models)
    warnings += problems
    if n < FEWEST_OBSERVATIONS:
        reason = (
            f"{n} observations, a model needs {FEWEST_OBSERVATIONS}: the curves apply; measure more with "
            "`perfkit bench`, or let services record"
        )
        return LearnResult(NOT_KEPT, reason, version, n, warnings=warnings)
    curves = _published_curves(thresholds)
    learner = _Learner(curves, seed, dict(opened.versions()), progress)
    result = _compared(learner, table, in_force, version, n)
    if result.verdict == WOULD_BE_KEPT:
        model = result.model if in_force is None or dry_run else learner.train(table, 0.5)
        result = dataclasses.replace(result, model=model)
        if not dry_run and model is not None:
            kept = keep_version(model, models).version
            result = dataclasses.replace(result, verdict=KEPT, version=kept)
            message = f"version {kept}: {result.reason}"
            warnings += record_event(lake, "model kept", subject=str(models), message=message, details={"n": n})
            if publish:
                result, more = _publish(result, model, thresholds, settings, lake)
                warnings += more
    return dataclasses.replace(result, warnings=(*warnings, *(result.model.warnings if result.model else ())))


@dataclasses.dataclass(frozen=True)
class _Learner:
    curves: CurveSet | None
    seed: int
    table_versions: dict[str, int]
    progress: Callable[[LearnProgress], None] | None

    def train(self, table: pyarrow.Table, begin: float, share: float = 0.5) -> CostModel:
        def tell(done: float, what: str) -> None:
            if self.progress is not None:
                self.progress(LearnProgress(begin + share * done, 1.0, what))

        return train(table, curves=self.curves, seed=self.seed, progress=tell, table_versions=self.table_versions)


def _compared(
    learner: _Learner, table: pyarrow.Table, in_force: CostModel | None, version: int | None, n: int
) -> LearnResult:
    """Whether a model trained on the older observations is better on the newest ones than the model in force."""
    if in_force is None:
        return LearnResult(WOULD_BE_KEPT, "no model is in force", version, n, learner.train(table, 0.0, 1.0))
    older, newest = _split(table, in_force.provenance.last_observed_at)
    n_new = _usable(newest)
    if n_new < _FEWEST_HELD_OUT or _usable(older) < FEWEST_OBSERVATIONS:
        reason = (
            f"{n_new} observations that version {version} did not see, a comparison needs {_FEWEST_HELD_OUT} beside "
            f"{FEWEST_OBSERVATIONS} to train on"
        )
        return LearnResult(NOT_KEPT, reason, version, n)
    candidate = learner.train(older, 0.0)
    rows = read_rows(newest)
    observed = np.log(np.maximum(rows.targets["latency_ns"], 1.0))
    errors = [np.abs(observed - one.predict_rows(rows).log_median) for one in (candidate, in_force)]
    both = ~np.isnan(errors[0]) & ~np.isnan(errors[1])
    new_to_it = int((np.isnan(errors[1]) & ~np.isnan(errors[0])).sum())
    if not both.any():
        reason = f"version {version} knows none of the methods that were observed since"
        return LearnResult(WOULD_BE_KEPT, reason, version, n, candidate)
    new, old = (float(one[both].mean()) for one in errors)
    compared = int(both.sum())
    said = (
        f"mean error {np.expm1(new):.1%} on the newest {compared} observations, version {version} {np.expm1(old):.1%}"
    )
    is_better = new < old or new_to_it > 0
    said += f"; {new_to_it} more are of methods that version {version} does not know" if new_to_it else ""
    verdict = WOULD_BE_KEPT if is_better else NOT_KEPT
    return LearnResult(verdict, said, version, n, candidate, compared, new, old)


def _split(table: pyarrow.Table, last_seen: str | None) -> tuple[pyarrow.Table, pyarrow.Table]:
    """The older observations, and the newest ones, which a model that saw all until a moment did not see either."""
    import datetime

    import pyarrow as pa
    import pyarrow.compute as pc

    moments = pc.cast(table["observed_at"], pa.int64())
    known = moments.drop_null().to_numpy()
    cut = int(np.quantile(known, _TRAINING_SHARE)) if known.size else 0
    if last_seen:
        seen = datetime.datetime.fromisoformat(last_seen)
        seen = seen if seen.tzinfo else seen.replace(tzinfo=datetime.UTC)
        cut = max(cut, int((seen.timestamp() + 1) * 1e6))  # it is written in whole seconds
    is_new = pc.fill_null(pc.greater(moments, cut), False)
    return table.filter(pc.invert(is_new)), table.filter(is_new)


def _read(lake: Lake) -> tuple[pyarrow.Table, tuple[str, ...]]:
    """Measurements of this host and traffic of services, the newest of them; and which runs were left out."""
    here = collect_fingerprint()
    records = lake.read(lake.runs.select("run_id", "fingerprint")).to_pylist()
    foreign = [one["run_id"] for one in records if differences(json.loads(one["fingerprint"]), here)]
    rows = lake.transfers
    rows = rows.filter(rows.source != "replay")
    if foreign:
        rows = rows.filter(rows.run_id.notin(foreign))
    newest = rows.order_by(rows.observed_at.desc()).limit(_MOST_ROWS)
    said = f"{len(foreign)} runs are of another host, or of this one before it changed; they are left out"
    return lake.read(newest.order_by("observed_at")), (said,) if foreign else ()


def _usable(table: pyarrow.Table) -> int:
    """How many observations a model would learn from."""
    try:
        return len(read_rows(table)) if table.num_rows else 0
    except FitError:
        return 0


def _in_force(models: str | Path) -> tuple[CostModel | None, int | None, tuple[str, ...]]:
    """The model to compare with; None where there is none, it fell back to the curves, or it cannot be read."""
    try:
        standing = current_version(models)
        if standing is None:
            return None, None, ()
        if standing.state == "curves":
            return None, standing.version, ()
        return load_version(models, standing.version), standing.version, ()
    except ModelError as error:
        return None, None, (f"the model in force cannot be compared with: {error.path}: {error.cause}",)


def _published_curves(thresholds: str | Path) -> CurveSet | None:
    try:
        return load_thresholds(thresholds).curves
    except ConfigError:
        return None


def _publish(
    result: LearnResult, model: CostModel, thresholds: str | Path, settings: str | Path | None, lake: str | Path
) -> tuple[LearnResult, tuple[str, ...]]:
    from perfkit.learn.models.distilling import distil
    from perfkit.workflows.publish import publish_if_sound

    curves: Any = _published_curves(thresholds)
    if curves is None:
        return result, (f"{thresholds} has no curves to distil onto: `perfkit publish` makes it first",)
    done = publish_if_sound(distil(model, curves), path=thresholds, settings=settings, lake=lake)
    return dataclasses.replace(result, published=done), ()

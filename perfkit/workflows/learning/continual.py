"""One round of continual learning: what a lake holds that the model has not learned from, and what follows from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit.learn.models import FEWEST_OBSERVATIONS
from perfkit.workflows.events import record_event
from perfkit.workflows.learning.champion import Champion, read_champion
from perfkit.workflows.learning.contest import Contest, Learner, challenge
from perfkit.workflows.learning.evidence import THIS_HOST, Evidence, open_evidence, usable
from perfkit.workflows.learning.from_lake import learn_models
from perfkit.workflows.learning.learned import Learned
from perfkit.workflows.learning.learning_result import KEPT, LearnResult
from perfkit.workflows.learning.publishing import publish_model, published_curves
from perfkit.workflows.learning.refreshed import FELL_BACK, IDLE, NO_MODEL, RETRAINED, UPDATED, RefreshResult
from perfkit.workflows.learning.versions import MODELS, keep_version, version_path

if TYPE_CHECKING:
    import pyarrow

    from perfkit.learn.models.model import CostModel
    from perfkit.learn.models.updating import Update

__all__ = ["refresh"]

_FEWEST_NEW = 100
_MOST_BEFORE = 20_000


def refresh(
    lake: str | Path = "data/lake",
    models: str | Path = MODELS,
    *,
    host: str = THIS_HOST,
    publish: bool = False,
    thresholds: str | Path = "thresholds.toml",
    settings: str | Path | None = None,
    seed: int = 0,
) -> RefreshResult:
    """Bring the model in force up to date with what a lake holds that it has not learned from, however old.

    After a shift of its errors only what was observed after it counts. As soon as there is enough of that, a model is
    trained anew; it takes the place of the updated one if it is better on the newest observations, which neither saw.
    Otherwise that is tried again with twice as many. Where the trees became worse than the curves, the curves apply,
    and an event of severity ``error`` says so. Without a model, or with a damaged one, this is `learn_models`.

    Args:
        lake: folder of the lake.
        models: folder of the versions.
        host: whose transfers, as for `learn_models`.
        publish: also distil what changed, and publish it through the same gate as `perfkit publish`.
        thresholds: the thresholds file to publish to.
        settings: the `perfkit.toml`.
        seed: of everything random.

    Returns:
        What was done. Without a model and with too little to train one, ``no model``.

    Raises:
        UnknownNameError: there is no such host.
        LakeError: the lake cannot be read.
        FileError: a new version cannot be written.
    """
    from perfkit.learn.models.updating import update

    champion = read_champion(models)
    if champion.model is None or champion.standing is None:
        first = learn_models(
            lake, models, host=host, settings=settings, thresholds=thresholds, seed=seed, publish=publish
        )
        verdict, warnings = (RETRAINED, first.warnings) if first.verdict == KEPT else (NO_MODEL, _why(first))
        return RefreshResult(verdict, first.n, first.version, published=first.published, warnings=warnings)
    evidence = open_evidence(lake, host)
    new = _of_this_world(evidence.new_to(champion.learned), champion.learned)
    n = usable(new)
    if n < _FEWEST_NEW:
        return RefreshResult(IDLE, n, champion.version, warnings=_unusable(new, n))
    before = evidence.known_to(champion.learned, _MOST_BEFORE)
    name = version_path(models, champion.standing.version).name
    found = update(champion.model, new, seed=seed, before=before if before.num_rows else None, parent=name)
    learned = _learned(evidence, champion.learned, found)
    contest, learned = _contest(evidence, champion, learned, Learner(None, seed, {}), thresholds)
    model, verdict, fallen = found.model, UPDATED, ""
    if contest is not None and contest.comparison.is_better and contest.model is not None:
        model, verdict = contest.model, RETRAINED
    elif found.degraded:
        verdict, fallen = FELL_BACK, f"worse than the curves: {', '.join(found.degraded)}"
    kept = keep_version(model, models, learned=learned, fallen=fallen, instead_of=champion.standing)
    result = RefreshResult(verdict, n, kept.version, found, None if contest is None else contest.comparison)
    warnings, published = _told(lake, result), None
    if publish:  # after falling back, what was distilled from the trees that got worse is withdrawn
        published, problems = publish_model(model, thresholds, settings, lake)
        warnings += problems
    return dataclasses.replace(result, published=published, warnings=warnings)


def _of_this_world(new: pyarrow.Table, learned: Learned) -> pyarrow.Table:
    """New rows without those of before the last shift: what arrives late says nothing about how it is now."""
    if learned.shifted_at is None:
        return new
    import pyarrow as pa
    import pyarrow.compute as pc

    since = pa.scalar(learned.shifted_at, new.schema.field("observed_at").type)
    return new.filter(pc.fill_null(pc.greater(new["observed_at"], since), False))


def _learned(evidence: Evidence, before: Learned, found: Update) -> Learned:
    """What the model has learned from now; and after a shift, that it is to be trained anew."""
    waits = dataclasses.replace(
        evidence.everything(before),
        shifted_at=before.shifted_at,
        is_waiting=before.is_waiting or found.needs_retraining,
        next_attempt=before.next_attempt,
    )
    if not found.drifted:
        return waits
    return dataclasses.replace(waits, shifted_at=found.shifted_at or before.shifted_at, next_attempt=0)


def _contest(
    evidence: Evidence, champion: Champion, learned: Learned, learner: Learner, thresholds: str | Path
) -> tuple[Contest | None, Learned]:
    """Train anew where that is called for and there is enough; and what is to be waited for afterwards."""
    from perfkit.learn.models.updating import MOST_CORRECTIONS, update

    if not learned.is_waiting or champion.model is None:
        return None, learned
    count = evidence.count(since=learned.shifted_at)
    if count < max(learned.next_attempt, FEWEST_OBSERVATIONS):
        return None, learned
    in_force = champion.model

    def brought_up_to_date(rows: pyarrow.Table) -> CostModel:
        return update(in_force, rows, seed=learner.seed).model if usable(rows) else in_force

    # After a shift the published curves are of another world: they are fitted to what came after.
    curves = published_curves(thresholds) if learned.shifted_at is None else None
    learner = dataclasses.replace(learner, curves=curves, table_versions=dict(evidence.lake.versions()))
    table = evidence.newest(since=learned.shifted_at)
    is_full = any(len(one.corrections) >= MOST_CORRECTIONS for one in in_force.targets.values())
    contest = challenge(learner, table, champion, brought_up_to_date=brought_up_to_date, is_full=is_full)
    if contest.model is None:
        return None, learned
    waits = not contest.comparison.is_better
    return contest, dataclasses.replace(learned, is_waiting=waits, next_attempt=2 * count)


def _told(lake: str | Path, result: RefreshResult) -> tuple[str, ...]:
    """Events of what people should know: a fall back is an error, a shift a warning."""
    found = result.update
    if found is None or (result.verdict != FELL_BACK and not found.needs_retraining and result.comparison is None):
        return ()
    fell = result.verdict == FELL_BACK
    reasons = [*found.reasons, *([] if result.comparison is None else [result.comparison.reason])]
    return record_event(
        lake,
        "model degraded" if fell else "model drifted",
        subject=f"v{result.version:04d}",
        message=f"{result.verdict}: {'; '.join(reasons)}",
        details={"n": result.n},
        severity="error" if fell else "warning",
    )


def _unusable(new: pyarrow.Table, n: int) -> tuple[str, ...]:
    if new.num_rows - n < _FEWEST_NEW:
        return ()
    return (
        f"{new.num_rows} new rows, of which {n} count: a model learns from warm, successful, untouched requests, whole "
        "or transports",
    )


def _why(first: LearnResult) -> tuple[str, ...]:
    return (first.reason, *first.warnings)

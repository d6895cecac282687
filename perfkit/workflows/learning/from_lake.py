"""From what a lake keeps to a cost model in force, if it is better than the one that is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit.learn.models import FEWEST_OBSERVATIONS
from perfkit.workflows.events import record_event
from perfkit.workflows.learning.champion import Champion, read_champion
from perfkit.workflows.learning.contest import Contest, Learner, LearnProgress, challenge
from perfkit.workflows.learning.evidence import THIS_HOST, Evidence, open_evidence, usable
from perfkit.workflows.learning.learning_result import KEPT, NOT_KEPT, WOULD_BE_KEPT, LearnResult
from perfkit.workflows.learning.publishing import publish_model, published_curves
from perfkit.workflows.learning.versions import MODELS, keep_version

if TYPE_CHECKING:
    import pyarrow

__all__ = ["LearnProgress", "learn_models"]


def learn_models(
    lake: str | Path = "data/lake",
    models: str | Path = MODELS,
    *,
    host: str = THIS_HOST,
    settings: str | Path | None = None,
    thresholds: str | Path = "thresholds.toml",
    seed: int = 0,
    dry_run: bool = False,
    publish: bool = False,
    progress: Callable[[LearnProgress], None] | None = None,
) -> LearnResult:
    """Train a cost model on what a lake keeps of a host, and put it into force if it is better than the one that is.

    Measurements of runs and traffic of services count, the newest million of them; where costs moved, only what was
    observed after. Both models are compared on the newest observations, which neither saw; then the new one is trained
    on everything. It is kept where it is surely better, or no worse and either knows more contexts or the one in force
    fell back, became worse than its curves, or cannot be read.

    Args:
        lake: folder of the lake, drained before.
        models: folder of the versions.
        host: ``this``; ``any``; or the id of a run, for the host that measured it.
        settings: the `perfkit.toml`, for publishing.
        thresholds: what is published: the model begins with these curves; without any, with curves fitted to the lake.
        seed: of everything random.
        dry_run: only say what would be kept.
        publish: also distil what is in force afterwards onto the published curves, and publish these through the gate.
        progress: called with how far it has come.

    Returns:
        What was learned, and whether it was kept. With fewer than 1000 observations nothing is, and the curves apply.

    Raises:
        UnknownNameError: there is no such host.
        LakeError: the lake cannot be read.
        FileError: the version cannot be written; what was in force stays in force.
    """
    evidence, champion = open_evidence(lake, host), read_champion(models)
    result = _learned(evidence, champion, Learner(published_curves(thresholds), seed, {}, progress), dry_run)
    in_force = None if champion.has_fallen else champion.model
    if result.verdict == WOULD_BE_KEPT and not dry_run and result.model is not None:
        in_force, learned = result.model, evidence.everything(champion.learned)
        learned = dataclasses.replace(learned, shifted_at=champion.learned.shifted_at)
        version = keep_version(in_force, models, learned=learned, instead_of=champion.standing).version
        message = f"version {version}: {result.reason}"
        told = record_event(lake, "model kept", subject=str(models), message=message, details={"n": result.n})
        result = dataclasses.replace(result, verdict=KEPT, version=version, warnings=(*result.warnings, *told))
    if publish and not dry_run and in_force is not None:
        published, problems = publish_model(in_force, thresholds, settings, lake)
        failed = published is None or published.refused
        warnings = (*result.warnings, *problems)
        result = dataclasses.replace(result, published=published, is_unpublished=failed, warnings=warnings)
    return result


def _learned(evidence: Evidence, champion: Champion, learner: Learner, dry_run: bool) -> LearnResult:
    """What would be kept, and why."""
    table = _of_this_world(evidence, champion)
    warnings, n = (*evidence.warnings, *champion.problems), usable(table)
    if n < FEWEST_OBSERVATIONS:
        applies = "the curves apply" if champion.model is None else f"version {champion.version} stays"
        reason = (
            f"{n} observations, a model needs {FEWEST_OBSERVATIONS}: {applies}; measure more with `perfkit bench`, or "
            "let services record"
        )
        return LearnResult(NOT_KEPT, reason, champion.version, n, warnings=warnings)
    learner = dataclasses.replace(learner, table_versions=dict(evidence.lake.versions()))
    contest = challenge(learner, table, champion, is_trial=dry_run)
    return _result(contest, champion.version, n, warnings)


def _result(contest: Contest, version: int | None, n: int, warnings: tuple[str, ...]) -> LearnResult:
    found, model = contest.comparison, contest.model
    verdict = WOULD_BE_KEPT if found.is_better else NOT_KEPT
    warnings = (*warnings, *(model.warnings if model else ()))
    figures = (found.n, found.error_new, found.error_in_force, found.p_value)
    return LearnResult(verdict, found.reason, version, n, model, *figures, warnings=warnings)


def _of_this_world(evidence: Evidence, champion: Champion) -> pyarrow.Table:
    """What was observed since costs last moved, where that is enough; otherwise everything."""
    since = champion.learned.shifted_at
    if since is not None:
        table = evidence.newest(since=since)
        if usable(table) >= FEWEST_OBSERVATIONS:
            return table
    return evidence.newest()

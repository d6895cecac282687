"""A proposal: curves compiled with a pool's wishes beside what is in force, ready to be judged, shown and written."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib

from perfkit.config.curves import CurveSet
from perfkit.config.publication import Current
from perfkit.config.settings import Settings
from perfkit.config.thresholds import Thresholds, curves_path, to_toml
from perfkit.engine.plan import Cell, Publication
from perfkit.workflows.candidate import CompiledPlan, changes_between, compiled_plan, published_cells, published_table
from perfkit.workflows.published import PublishResult

__all__ = ["Proposal", "propose"]


@dataclasses.dataclass(frozen=True)
class Proposal:
    """What would be put in force.

    Args:
        current: what is in force, as it was read.
        thresholds: what would be written.
        plan_before: the plan in force, by context.
        plan_after: the plan that would be, by context.
        before: the plan in force of every context that is published.
        after: the plan that would be, of the same contexts.
        is_new: whether the file in force would say anything else than it does.
    """

    current: Current
    thresholds: Thresholds
    plan_before: CompiledPlan
    plan_after: CompiledPlan
    before: tuple[Cell, ...]
    after: tuple[Cell, ...]
    is_new: bool

    def result(self, *, dry_run: bool, published: bool = False) -> PublishResult:
        """What there is to show of it."""
        previous = self.current.thresholds
        evidence = self.thresholds.curves.evidence
        warnings = dict.fromkeys([*evidence.warnings, *(warning for cell in self.after for warning in cell.warnings)])
        if self.current.problem:
            warnings[f"the file in force is broken and goes into the history: {self.current.problem}"] = None
        return PublishResult(
            path=str(self.current.path),
            version=self.thresholds.version,
            previous_version=previous.version if previous else None,
            published=published,
            dry_run=dry_run,
            changes=changes_between(self.before, self.after),
            warnings=tuple(warnings),
            restores=self.thresholds.restores,
        )


def propose(current: Current, curves: CurveSet, settings: Settings, *, restores: Thresholds | None = None) -> Proposal:
    """Compile curves into what would be published.

    Args:
        current: what is in force.
        curves: the curves to publish.
        settings: pools and goals that the readable ranges are for.
        restores: the earlier version that a rollback brings back.
    """
    previous = current.thresholds
    plan_before = compiled_plan(settings, Publication.of(previous) if previous else Publication())
    plan_after = compiled_plan(settings, Publication(curves))
    after = published_cells(settings, Publication(curves), plan_after)
    thresholds = Thresholds(
        version=current.next_version,
        published_at=datetime.datetime.now(datetime.UTC),
        run=restores.run if restores else (curves.evidence.runs or ("",))[-1],
        curves=curves,
        curves_sha256=curves.sha256(),
        tables=tuple(published_table(cell) for cell in after if cell.ranges[0].evidence),
        restores=restores.version if restores else None,
    )
    return Proposal(
        current=current,
        thresholds=thresholds,
        plan_before=plan_before,
        plan_after=plan_after,
        before=tuple(plan_before(cell.context) for cell in after),
        after=after,
        is_new=previous is None or not _says_the_same(current, previous, thresholds),
    )


def _says_the_same(current: Current, previous: Thresholds, candidate: Thresholds) -> bool:
    """Whether the file in force would not change but for its version, its date and what was judged."""
    kept = {name: getattr(previous, name) for name in ("version", "published_at", "restores", "gate")}
    text = to_toml(dataclasses.replace(candidate, **kept), curves_name=curves_path(current.path).name)
    return hashlib.sha256(text.encode()).hexdigest() == current.digest

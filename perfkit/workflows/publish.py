"""Publish what a fit found, look at it first, and take it back: `thresholds.toml` with its curves and its history."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from perfkit.config.curves import CurveSet
from perfkit.config.publication import Current, earlier_versions, read_current, replace_current
from perfkit.config.settings import DEFAULT_POOL, Settings, read_settings
from perfkit.config.thresholds import PublishedRange, PublishedTable, Thresholds, curves_path, to_toml
from perfkit.engine.costs import method_cost
from perfkit.engine.decision import middle_bytes
from perfkit.engine.plan import Cell, PlanRange, Publication, compile_cell, known_contexts, known_methods
from perfkit.engine.view import RangeView, range_views
from perfkit.errors import PublishError, UnknownNameError
from perfkit.workflows.published import Change, History, PublishResult

__all__ = ["HasCurves", "history", "publish", "rollback"]


class HasCurves(Protocol):
    """What `publish` needs of a fit."""

    @property
    def curves(self) -> CurveSet:
        """The fitted curves with their evidence."""


def publish(
    fit: HasCurves,
    *,
    path: str | Path = "thresholds.toml",
    settings: str | Path | None = None,
    dry_run: bool = False,
    expected_version: int | None = None,
) -> PublishResult:
    """Put the curves of a fit in force: write `thresholds.toml` with its curves, and keep what was in force.

    Both files are replaced atomically, the curves first; an interruption at any moment leaves a consistent pair. What
    the file in force already says is not published again.

    Args:
        fit: what `perfkit.fit` returned, or anything with its `curves`.
        path: the thresholds file.
        settings: the `perfkit.toml` whose pools and goals the readable ranges are for; by default the one beside
            `path`, if there is one.
        dry_run: only show which ranges would move, with the expected effect.
        expected_version: the version that a preview was made against (0: nothing was published); another one in force
            is refused.

    Returns:
        What was, or would be, published, and which ranges move.

    Raises:
        PublishError: the evidence is too thin, the file changed meanwhile, or it cannot be written (what was in force
            stays in force).
        ConfigError: `perfkit.toml` cannot be used.
    """
    path = Path(path)
    current = read_current(path)
    _refuse_other_version(current, expected_version)
    _refuse_thin_evidence(fit.curves)
    return _put_in_force(current, fit.curves, _read_settings(path, settings, fit.curves), dry_run=dry_run)


def rollback(
    path: str | Path = "thresholds.toml",
    version: int | None = None,
    *,
    settings: str | Path | None = None,
    dry_run: bool = False,
) -> PublishResult:
    """Bring an earlier version back, as a new version: nothing is ever removed from the history.

    Args:
        path: the thresholds file.
        version: the version to bring back; by default the one before the version in force (after a rollback: before
            the version that it brought back).
        settings: as in `publish`.
        dry_run: only show which ranges would move.

    Raises:
        PublishError: there is no earlier version, or the files cannot be written.
        UnknownNameError: there is no such version.
    """
    path = Path(path)
    current = read_current(path)
    good = {number: entry for number, entry in earlier_versions(path).items() if isinstance(entry, Thresholds)}
    if version is None:
        now = current.thresholds
        before = math.inf if now is None else now.restores or now.version
        version = max(
            (number for number, entry in good.items() if number < before and not entry.restores), default=None
        )
        if version is None:
            raise PublishError(f"{path} has no earlier version to bring back; `perfkit publish --history` lists them")
    if version not in good:
        raise UnknownNameError("version", version, map(str, good), "`perfkit publish --history` lists them.")
    curves = good[version].curves
    chosen = _read_settings(path, settings, curves)
    return _put_in_force(current, curves, chosen, dry_run=dry_run, restores=good[version])


def history(path: str | Path = "thresholds.toml") -> History:
    """Every version that was published at `path` and can still be brought back, newest first."""
    path = Path(path)
    versions = earlier_versions(path)
    now = read_current(path).thresholds
    if now is not None:
        versions[now.version] = now
    return History(str(path), dict(sorted(versions.items(), reverse=True)), now.version if now else None)


def _put_in_force(
    current: Current, curves: CurveSet, settings: Settings, *, dry_run: bool, restores: Thresholds | None = None
) -> PublishResult:
    previous = current.thresholds
    after = _cells(settings, Publication(curves))
    candidate = Thresholds(
        version=current.next_version,
        published_at=datetime.datetime.now(datetime.UTC),
        run=restores.run if restores else (curves.evidence.runs or ("",))[-1],
        curves=curves,
        curves_sha256=curves.sha256(),
        tables=tuple(_published_table(cell) for cell in after if cell.ranges[0].evidence),
        restores=restores.version if restores else None,
    )
    before = Publication.of(previous) if previous else Publication()
    changes = [change for cell in after for change in _changes(compile_cell(settings, before, cell.context), cell)]
    new = previous is None or not _says_the_same(current, previous, candidate)
    if new and not dry_run:
        replace_current(current, candidate)
    warnings = dict.fromkeys([*curves.evidence.warnings, *(warning for cell in after for warning in cell.warnings)])
    if current.problem:
        warnings[f"the file in force is broken and goes into the history: {current.problem}"] = None
    return PublishResult(
        path=str(current.path),
        version=candidate.version,
        previous_version=previous.version if previous else None,
        published=new and not dry_run,
        dry_run=dry_run,
        changes=tuple(changes),
        warnings=tuple(warnings),
        restores=candidate.restores,
    )


def _read_settings(path: Path, settings: str | Path | None, curves: CurveSet) -> Settings:
    """The settings that the readable ranges are for: those of mode ``decide``, whatever the mode in force."""
    methods = known_methods(Publication(curves))
    found = read_settings(settings or path.parent / "perfkit.toml", measured_methods=methods)
    return dataclasses.replace(found, mode="decide")


def _refuse_other_version(current: Current, expected_version: int | None) -> None:
    in_force = current.thresholds.version if current.thresholds else 0
    if expected_version is not None and expected_version != in_force:
        raise PublishError(
            f"{current.path} holds version {in_force}, the preview was made against {expected_version}; preview again"
        )


def _refuse_thin_evidence(curves: CurveSet) -> None:
    evidence = curves.evidence
    if not any(key.stage == "transport" and key.quantity == "latency_ns" for key in curves.curves):
        raise PublishError("the fit holds no latency curve of any method; measure with `perfkit bench` first")
    if evidence.launches < 1 or evidence.observations < 1:
        raise PublishError(
            f"the fit rests on {evidence.observations} observations in {evidence.launches} launches, must be at least "
            "1 of each; measure with `perfkit bench` first"
        )


def _cells(settings: Settings, publication: Publication) -> tuple[Cell, ...]:
    """The cells to publish: a pool that wants what `default` wants needs none of its own."""
    default = settings.pools[DEFAULT_POOL]
    return tuple(
        compile_cell(settings, publication, context)
        for context in known_contexts(settings, publication)
        if context.pool == DEFAULT_POOL or settings.pool(context.pool) != default
    )


def _published_table(cell: Cell) -> PublishedTable:
    context = cell.context
    return PublishedTable(
        pool="*" if context.pool == DEFAULT_POOL else context.pool,
        goal=cell.goal,
        kind=context.kind,
        format=context.format,
        compression=context.compression,
        signalling=context.signalling,
        ranges=tuple(_published_range(view) for view in range_views(cell)),
    )


def _published_range(view: RangeView) -> PublishedRange:
    expected = view.expected
    return PublishedRange(
        up_to_bytes=view.part.end_bytes,
        method=view.part.method,
        expect_ns=expected.value if expected else 0.0,
        measured=expected is not None and expected.measured,
        interval=view.crossover,
        n=expected.n if expected else 0,
        alternatives={method: cost.value for method, cost in view.alternatives.items()},
    )


def _says_the_same(current: Current, previous: Thresholds, candidate: Thresholds) -> bool:
    """Whether the file in force would not change but for its version and date."""
    again = dataclasses.replace(
        candidate, version=previous.version, published_at=previous.published_at, restores=previous.restores
    )
    text = to_toml(again, curves_name=curves_path(current.path).name)
    return hashlib.sha256(text.encode()).hexdigest() == current.digest


def _changes(before: Cell, after: Cell) -> Iterator[Change]:
    """The stretches of sizes in which the two plans of a context take different methods."""
    starts = sorted({part.start_bytes for part in (*before.ranges, *after.ranges)})
    merged: list[tuple[float, float, str, str]] = []
    for start, end in zip(starts, [*starts[1:], math.inf], strict=True):
        old, new = before.at(start).method, after.at(start).method
        if merged and merged[-1][2:] == (old, new):
            merged[-1] = (merged[-1][0], end, old, new)
        else:
            merged.append((start, end, old, new))
    for start, end, old, new in merged:
        if old != new:
            at_bytes = middle_bytes(PlanRange(start, end, new, ""))
            expected = [_latency_ns(after, method, at_bytes) for method in (old, new)]
            yield Change(after.name, start, end, old, new, at_bytes, *expected)


def _latency_ns(cell: Cell, method: str, payload_bytes: float) -> float | None:
    curves = cell.publication.curves
    cost = method_cost(curves, method, cell.context, payload_bytes) if curves else None
    return cost.value if cost else None

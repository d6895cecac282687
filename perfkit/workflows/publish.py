"""Publish what a fit found when the evidence carries it, look at it first, and take it back."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, Protocol

from perfkit.config.curves import CurveSet
from perfkit.config.fingerprint import collect_fingerprint
from perfkit.config.gate_record import GateRecord
from perfkit.config.publication import Current, earlier_versions, read_current, replace_current
from perfkit.config.settings import Settings, read_settings
from perfkit.config.thresholds import Thresholds
from perfkit.engine.plan import Publication, known_methods
from perfkit.errors import PublishError, UnknownNameError
from perfkit.workflows.effect import CostDraws, Effect, expected_effect
from perfkit.workflows.events import record_event
from perfkit.workflows.off_policy import explored_effect, explored_traffic
from perfkit.workflows.proposal import Proposal, propose
from perfkit.workflows.publish_gate import Candidate, Refusal, changed_meanwhile, gate, unfaithful
from perfkit.workflows.published import History, PublishResult
from perfkit.workflows.replay_result import ReplayResult
from perfkit.workflows.replayed import replayed_effect, too_weak
from perfkit.workflows.workload import even_mix, measured_sizes, recorded_traffic

__all__ = ["HasCurves", "history", "publish", "publish_if_sound", "rollback"]


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
    replay: ReplayResult | None = None,
    lake: str | Path | None = None,
    dry_run: bool = False,
    force: bool = False,
    expected_version: int | None = None,
) -> PublishResult:
    """Put the curves of a fit in force: write `thresholds.toml` with its curves, and keep what was in force.

    The candidate is judged first (`perfkit.workflows.publish_gate`). Both files are replaced atomically, the curves
    first; an interruption at any moment leaves a consistent pair. What the file in force already says is not published
    again.

    Args:
        fit: what `perfkit.fit` or `perfkit.distil` returned, or anything with its `curves`. Where it has a `fidelity`,
            that is shown, and judged.
        path: the thresholds file.
        settings: the `perfkit.toml` whose pools and goals the readable ranges are for, and whose ``[publish]`` says
            what is asked of the evidence; by default the one beside `path`, if there is one.
        replay: what `perfkit.replay` measured: candidate and plan in force are judged by the sends of its held-out
            workload, which counts more than any expectation. One of another host, of too few launches, rounds or
            payloads is left out, with a warning.
        lake: where services record: what they sent during the last day is judged, what they explored during the last
            week (`perfkit.off_policy`), and the publication becomes an event there. None judges an even mix only and
            tells no lake.
        dry_run: only show which ranges would move, the expected effect and what is against it.
        force: override what may be overridden; the published file says what was.
        expected_version: the version that a preview was made against (0: nothing was published); another one in force
            is refused.

    Returns:
        What was, or would be, published, which ranges move, and with what effect.

    Raises:
        PublishError: the candidate is refused, the file changed meanwhile, or it cannot be written (what was in force
            stays in force). A dry run shows refusals and raises none.
        ConfigError: `perfkit.toml` cannot be used.
        LakeError: the lake cannot be read.
    """
    result = publish_if_sound(
        fit,
        path=path,
        settings=settings,
        replay=replay,
        lake=lake,
        dry_run=dry_run,
        force=force,
        expected_version=expected_version,
    )
    if result.refused and not dry_run:
        raise PublishError(result.refusal_text())
    return result


def publish_if_sound(
    fit: HasCurves,
    *,
    path: str | Path = "thresholds.toml",
    settings: str | Path | None = None,
    replay: ReplayResult | None = None,
    lake: str | Path | None = None,
    dry_run: bool = False,
    force: bool = False,
    expected_version: int | None = None,
) -> PublishResult:
    """As `publish`, but a refusal is a result: `refused`, with its reasons in `refusals`, and nothing was written.

    Args:
        fit: as in `publish`, like all that follow.
        path: the thresholds file.
        settings: the `perfkit.toml`.
        replay: what a replay measured.
        lake: where services record.
        dry_run: only show.
        force: override what may be overridden.
        expected_version: the version that a preview was made against.

    Raises:
        PublishError: the file changed at the very moment of writing, or cannot be written.
        ConfigError: `perfkit.toml` cannot be used.
        LakeError: the lake cannot be read.
    """
    current = read_current(Path(path))
    chosen = _read_settings(Path(path), settings, fit.curves)
    proposal = propose(current, fit.curves, chosen)
    fidelity = getattr(fit, "fidelity", None)
    if not proposal.is_new:
        return dataclasses.replace(proposal.result(dry_run=dry_run), fidelity=fidelity)
    host = collect_fingerprint()
    weakness = too_weak(replay, host) if replay else ""
    replay = None if weakness else replay
    effects = _effects(proposal, chosen, lake, replay)
    sizes, replayed_bytes = measured_sizes(fit.curves), _replayed_bytes(replay)
    judged = Candidate(fit.curves, proposal.after, proposal.before, effects, sizes, host, replayed_bytes)
    against = _refuse_other_version(current, expected_version)
    refusals = (*against, *gate(judged, chosen.publish), *unfaithful(fidelity))
    overridden = tuple(one.name for one in refusals if force and one.forcible)
    refused = len(overridden) < len(refusals)
    regret = {name: setting.tuned.value for name, setting in replay.settings.items()} if replay else {}
    record = GateRecord(overridden, tuple(effect.record() for effect in effects), regret)
    proposal = dataclasses.replace(proposal, thresholds=dataclasses.replace(proposal.thresholds, gate=record))
    if not dry_run and not refused:
        replace_current(current, proposal.thresholds)
    result = proposal.result(dry_run=dry_run, published=not dry_run and not refused)
    if weakness:
        ignored = f"the replay does not count: {weakness}; measure one here with `perfkit publish --replay`"
        result = dataclasses.replace(result, warnings=(*result.warnings, ignored))
    result = dataclasses.replace(result, effects=effects, refusals=refusals, overridden=overridden, fidelity=fidelity)
    return _told(result, lake)


def rollback(
    path: str | Path = "thresholds.toml",
    version: int | None = None,
    *,
    settings: str | Path | None = None,
    lake: str | Path | None = None,
    dry_run: bool = False,
    expected_version: int | None = None,
) -> PublishResult:
    """Bring an earlier version back, as a new version: nothing is ever removed from the history.

    It is what the gate let pass before, or what people forced: so nothing is judged again, and it is always possible.

    Args:
        path: the thresholds file.
        version: the version to bring back; by default the one before the version in force (after a rollback: before
            the version that it brought back).
        settings: as in `publish`.
        lake: where the rollback becomes an event; None tells no lake.
        dry_run: only show which ranges would move.
        expected_version: as in `publish`.

    Raises:
        PublishError: there is no earlier version, the file changed meanwhile, or the files cannot be written.
        UnknownNameError: there is no such version.
    """
    path = Path(path)
    current = read_current(path)
    for refusal in _refuse_other_version(current, expected_version):
        raise PublishError(str(refusal))
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
    proposal = propose(current, curves, _read_settings(path, settings, curves), restores=good[version])
    writes = proposal.is_new and not dry_run
    if writes:
        replace_current(current, proposal.thresholds)
    return _told(proposal.result(dry_run=dry_run, published=writes), lake)


def history(path: str | Path = "thresholds.toml") -> History:
    """Every version that was published at `path` and can still be brought back, newest first."""
    path = Path(path)
    versions = earlier_versions(path)
    now = read_current(path).thresholds
    if now is not None:
        versions[now.version] = now
    return History(str(path), dict(sorted(versions.items(), reverse=True)), now.version if now else None)


def _effects(
    proposal: Proposal, chosen: Settings, lake: str | Path | None, replay: ReplayResult | None
) -> tuple[Effect, ...]:
    """What was measured counts most, then what services explored and sent lately, then an even mix."""
    candidate, previous = proposal.thresholds.curves, proposal.current.thresholds
    publication = Publication(candidate)
    margin = chosen.publish.max_loss
    costs = CostDraws.of(candidate, previous.curves if previous else None)
    workloads = [even_mix(chosen, publication, measured_sizes(*costs.evidence))]
    if lake is not None:
        traffic = recorded_traffic(lake, publication)
        workloads = [traffic, *workloads] if traffic.sends else workloads
    plans = proposal.plan_before, proposal.plan_after
    expected = tuple(expected_effect(workload, *plans, costs, margin=margin) for workload in workloads)
    explored = None if lake is None else explored_effect(explored_traffic(lake), *plans, candidate, margin=margin)
    expected = expected if explored is None else (explored, *expected)
    if replay is None:
        return expected
    in_force = Publication.of(previous) if previous else Publication()
    return (replayed_effect(replay, in_force, publication, margin=margin), *expected)


def _replayed_bytes(replay: ReplayResult | None) -> tuple[float, ...]:
    settings = replay.settings.values() if replay else ()
    return tuple(float(one.payload_bytes) for setting in settings for one in setting.payloads)


def _told(result: PublishResult, lake: str | Path | None) -> PublishResult:
    """The result after the lake's events tell of it; where they cannot, what was published stands, with a warning."""
    if lake is None or not result.published:
        return result
    details: dict[str, Any] = {
        "version": result.version,
        "previous_version": result.previous_version,
        "restores": result.restores,
    }
    details |= {"overridden": list(result.overridden), "effects": [effect.to_plain() for effect in result.effects]}
    warnings = record_event(
        lake,
        "rolled back" if result.restores else "published",
        subject=result.path,
        message=result.to_table().title,
        details=details,
        severity="warning" if result.overridden else "info",
    )
    return dataclasses.replace(result, warnings=(*result.warnings, *warnings))


def _read_settings(path: Path, settings: str | Path | None, curves: CurveSet) -> Settings:
    """The settings that the readable ranges are for: those of mode ``decide``, whatever the mode in force."""
    methods = known_methods(Publication(curves))
    found = read_settings(settings or path.parent / "perfkit.toml", measured_methods=methods)
    return dataclasses.replace(found, engine=dataclasses.replace(found.engine, mode="decide"))


def _refuse_other_version(current: Current, expected_version: int | None) -> tuple[Refusal, ...]:
    in_force = current.thresholds.version if current.thresholds else 0
    if expected_version is None or in_force == expected_version:
        return ()
    return (changed_meanwhile(str(current.path), in_force, expected_version),)

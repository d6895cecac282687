"""Replay: prove on payloads that no sweep measured what tuned decisions are worth."""

from __future__ import annotations

import contextlib
import datetime
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from perfkit.config.fingerprint import collect_fingerprint
from perfkit.config.thresholds import load_thresholds
from perfkit.engine.plan import Publication
from perfkit.errors import InputError, UnknownNameError
from perfkit.learn import Fit
from perfkit.measurement.replay_workload import (
    DEFAULT_SEED,
    LARGEST_BYTES,
    REPLAY_SETTINGS,
    SMALLEST_BYTES,
    ReplayPayload,
    ReplaySetting,
    make_workload,
    replay_sweep,
)
from perfkit.measurement.scenarios import Sweep, within
from perfkit.measurement.sweep import Outcome, Progress, run_sweep
from perfkit.schema import SIMPLICITY_ORDER
from perfkit.tables import plural
from perfkit.transfer.platform import capabilities, headroom
from perfkit.workflows.keeping import keep_observations
from perfkit.workflows.replay_judgement import compare_with_fixed, judge_settings
from perfkit.workflows.replay_result import ReplayResult
from perfkit.workflows.replay_samples import check_writable, collect_samples, keep_judged, write_samples

__all__ = ["replay"]

SOURCE = "replay"
_SECONDS_PER_PAYLOAD = 3.75
_LARGEST_BYTES_PER_SECOND = 2**19  # of the budget: a large payload takes the time of many small ones
_FEWEST_PAYLOADS, _MOST_PAYLOADS = 16, 128
_TOLERATED_OVERTIME = 1.25


def replay(
    fit: Fit | None = None,
    *,
    thresholds: str | Path = "thresholds.toml",
    settings_of_replay: Sequence[str] = tuple(REPLAY_SETTINGS),
    payloads: int | None = None,
    seed: int = DEFAULT_SEED,
    budget_s: float = 240.0,
    lake: str | Path | None = "data/lake",
    samples: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ReplayResult:
    """Measure a held-out workload by every method, and judge tuned decisions against an oracle on it.

    Sizes that no preset measured, in all kinds, formats, compressions and entropy classes, are sent in two launches of
    fresh processes; the methods of a payload are measured next to each other, in at least eight rounds. The oracle
    takes what was cheapest in one half of the rounds, and all costs are read from the other half, both ways round.

    Memory is not measured in these sends, but in two probes per payload and method, in a launch of their own: the
    rounds of one half repeat the figure of the first probe, those of the other half the figure of the second.

    Args:
        fit: what to test; None tests what is published.
        thresholds: the published file, when no fit is given.
        settings_of_replay: ``uds`` (latency), ``grpc`` (latency, blocks announced over gRPC), ``memory`` (resident
            bytes), ``exhausted`` (no shared memory), ``busy`` (16 in flight).
        payloads: how many; by default as many as the budget allows.
        seed: of the workload and of the order in which it is measured.
        budget_s: seconds to spend, above 0; the eight rounds that the proof needs are finished even if they take
            longer, which the result then says.
        lake: where the sends are kept, with source ``replay``, which no fit takes; None keeps them only in the result.
        samples: Parquet file for every send of what was judged; the choices go to the file beside it that ends in
            ``.choices.parquet``.
        progress: called after every batch.

    Returns:
        Regret, accuracy and intervals by setting and strategy, and tuned against each fixed choice.

    Raises:
        ConfigError: the thresholds cannot be read.
        UnknownNameError: there is no such setting.
        InputError: the budget leaves no time, or no payload is asked for.
        FileError: the samples cannot be written there.
        MeasurementError: no payload was measured with every method.
        JournalError: what was measured could not be kept.
    """
    chosen = _settings(settings_of_replay)
    if budget_s <= 0:
        raise InputError(f"budget of {budget_s} s, must be above 0; for example 240 s")
    if samples is not None:
        check_writable(samples)
    publication, tested = _tested(fit, thresholds)
    methods = _methods()
    workload = _workload(seed, payloads, budget_s)
    planned = replay_sweep(workload, chosen, methods, seed=seed, budget_s=budget_s)
    sweep = within(planned, headroom().available_bytes)
    run_id = f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    with contextlib.nullcontext() if lake is None else keep_observations(lake) as keeper:
        outcome = run_sweep(
            sweep,
            run_id,
            keep=(lambda observations: None) if keeper is None else keeper.keep,
            progress=progress or (lambda _: None),
            source=SOURCE,
        )
    if outcome.status == "interrupted":
        raise KeyboardInterrupt  # half a replay proves nothing
    rows = collect_samples(outcome.observations, workload, chosen, methods)
    settings, warnings = judge_settings(rows, chosen, workload, publication, methods)
    result = ReplayResult(
        run_id=run_id,
        tested=tested,
        fingerprint=collect_fingerprint(),
        seed=seed,
        seconds=outcome.seconds,
        launches=outcome.launches,
        rounds=outcome.rounds,
        settings=settings,
        comparisons=compare_with_fixed(settings, methods),
        samples=keep_judged(rows, {name: one.costs.payloads for name, one in settings.items()}),
        warnings=(*sweep.warnings, *_overtime(outcome, sweep), *_failures(outcome), *warnings),
        asked=tuple(setting.name for setting in chosen),
    )
    if samples is not None:
        write_samples(result.samples, result.choices(), samples)
    return result


def _settings(names: Sequence[str]) -> tuple[ReplaySetting, ...]:
    for name in names:
        if name not in REPLAY_SETTINGS:
            raise UnknownNameError("setting of a replay", name, REPLAY_SETTINGS)
    if not names:
        raise InputError(f"no setting is named; allowed: {', '.join(REPLAY_SETTINGS)}")
    return tuple(REPLAY_SETTINGS[name] for name in dict.fromkeys(names))


def _tested(fit: Fit | None, thresholds: str | Path) -> tuple[Publication, str]:
    """The publication to test, and what to call it."""
    if fit is not None:
        runs = ", ".join(fit.curves.evidence.runs)
        return Publication(fit.curves), f"the fit of {f'run {runs}' if runs else 'a frame'}"
    published = load_thresholds(thresholds)
    return Publication.of(published), f"{thresholds}, version {published.version}"


def _methods() -> tuple[str, ...]:
    """The built-in methods that this machine has: the oracle may take any of them, measured before or not."""
    return tuple(name for name in SIMPLICITY_ORDER if capabilities()[name].available)


def _workload(seed: int, payloads: int | None, budget_s: float) -> tuple[ReplayPayload, ...]:
    """As many payloads, and as large ones, as the budget allows."""
    affordable = min(max(round(budget_s / _SECONDS_PER_PAYLOAD), _FEWEST_PAYLOADS), _MOST_PAYLOADS)
    largest_bytes = min(max(int(budget_s * _LARGEST_BYTES_PER_SECOND), 2 * SMALLEST_BYTES), LARGEST_BYTES)
    return make_workload(seed, affordable if payloads is None else payloads, largest_bytes=largest_bytes)


def _overtime(outcome: Outcome, sweep: Sweep) -> Iterator[str]:
    if outcome.seconds > sweep.budget_s * _TOLERATED_OVERTIME:
        yield (
            f"took {outcome.seconds:.0f} s instead of {sweep.budget_s:g} s: {plural(outcome.rounds, 'round')} of so "
            "many payloads take that long; give a longer --budget or fewer --payloads"
        )


def _failures(outcome: Outcome) -> Iterator[str]:
    for name, message in outcome.failures.items():
        yield f"not measured: {name}: {message}"

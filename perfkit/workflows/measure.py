"""Measure this machine: a sweep, kept in the lake as it goes, with what people need to judge it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import secrets
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from perfkit.config.fingerprint import collect_fingerprint
from perfkit.errors import FitError, InputError, LakeError
from perfkit.lake import Lake, RunRecord
from perfkit.learn import CompositionError, CrossedCell, fit, summarise_cells
from perfkit.measurement.background import ImpactProbe, keep_to_share
from perfkit.measurement.copies import TUNABLE, measure_non_temporal
from perfkit.measurement.presets import make_sweep
from perfkit.measurement.ratios import compute_ratios
from perfkit.measurement.scenario_files import load_sweep
from perfkit.measurement.scenarios import CONTROL_COPY, Sweep, within
from perfkit.measurement.summaries import round_medians
from perfkit.measurement.sweep import Outcome, Progress, Throttle, run_sweep
from perfkit.schema import arrow_schema
from perfkit.stats.hierarchical import Estimate
from perfkit.transfer.platform import headroom
from perfkit.transfer.registry import get_method
from perfkit.units import format_bytes, format_duration, parse_bytes
from perfkit.workflows.bench_result import BenchResult
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.keeping import ObservationKeeper, keep_observations
from perfkit.workflows.run_lock import hold_run

__all__ = ["bench"]

_RESUME_WITHIN = datetime.timedelta(hours=24)
_NOISY_SPREAD = 0.25
_WORTH_A_RESTART = 1.15
_LARGE_COPIES_FROM_BYTES = 32 * 2**20
_FEW_LAUNCHES = 3
_ENOUGH_ROUNDS = 4
_BACKGROUND_BUDGET_S = 1800.0


def bench(
    *,
    preset: str = "default",
    methods: Sequence[str] | None = None,
    sizes: Sequence[int | str] | None = None,
    scenarios: str | Path | None = None,
    budget_s: float | None = None,
    background_share: float | None = None,
    lake: str | Path | None = "data/lake",
    progress: Callable[[Progress], None] | None = None,
    resume: bool = True,
) -> BenchResult:
    """Measure real transfers between real processes.

    Args:
        preset: ``smoke`` (seconds), ``quick`` (a minute, up to 64 MiB), ``default`` (three, up to 128 MiB), ``full``
            (up to 1 GiB as memory allows) or ``limits`` (how near the methods are to what the machine can do).
        methods: only these; default: all that are built in. Registered methods may be named.
        sizes: payload sizes instead of the preset's, in bytes or as text such as ``"64KiB"``.
        scenarios: a scenario file (TOML) instead of a preset.
        budget_s: seconds to spend instead of the preset's.
        background_share: measure gently, with at most this share of the machine's processor time, and measure what that
            costs the host.
        lake: where observations are kept; None keeps them only in the result.
        progress: called after every batch.
        resume: go on with a run that was interrupted within the last day, asked for in the same way on this host.

    Returns:
        The run; after Ctrl-C what was measured until then, with status ``interrupted``.

    Raises:
        InputError: unknown preset or method; a size that is none; a scenario file that cannot be used.
        MeasurementError: nothing could be measured.
        JournalError: what was measured could not be made durable.
        LakeError: the lake cannot be written to.
    """
    in_background = background_share is not None
    asked = _sweep(preset, methods, sizes, scenarios, budget_s, background_share)
    sweep = within(asked, headroom().available_bytes)
    with contextlib.ExitStack() as stack:
        keeper = _Keeper.open(sweep, _parameters(asked, in_background), lake, stack, resume=resume)
        throttle, probe = _background(background_share, stack)
        outcome = _measure(sweep, keeper, progress, throttle, in_background)
        impact = None if probe is None else probe.impact()
        result = _result(sweep, keeper, outcome, impact)
        keeper.finish(result)
    return result


def _sweep(
    preset: str,
    methods: Sequence[str] | None,
    sizes: Sequence[int | str] | None,
    scenarios: str | Path | None,
    budget_s: float | None,
    background_share: float | None,
) -> Sweep:
    if background_share is not None and not 0 < background_share <= 1:
        raise InputError(f"background share == {background_share}, must be above 0 and at most 1, for example 0.05")
    if scenarios is not None and (methods is not None or sizes is not None):
        raise InputError("a scenario file names its own methods and sizes; leave --methods and --sizes out")
    if scenarios is not None:
        sweep = load_sweep(scenarios)
        return sweep if budget_s is None else dataclasses.replace(sweep, budget_s=budget_s)
    if background_share is not None and budget_s is None:
        budget_s = _BACKGROUND_BUDGET_S
    in_bytes = None if sizes is None else [parse_bytes(size) for size in sizes]
    return make_sweep(preset, methods=methods, sizes=in_bytes, budget_s=budget_s)


def _own_modules(sweep: Sweep) -> tuple[str, ...]:
    """Modules of methods that are not built in."""
    used = {scenario.method for scenario in sweep.scenarios if scenario.stage in ("transport", "whole")}
    own = {get_method(name).module for name in used}
    return tuple(sorted(module for module in own if not module.startswith("perfkit.")))


def _background(share: float | None, stack: contextlib.ExitStack) -> tuple[Throttle, ImpactProbe | None]:
    if share is None:
        return (lambda: None), None
    return keep_to_share(share), stack.enter_context(ImpactProbe.start())


def _measure(
    sweep: Sweep,
    keeper: _Keeper,
    progress: Callable[[Progress], None] | None,
    throttle: Throttle,
    in_background: bool,
) -> Outcome:
    try:
        return run_sweep(
            sweep,
            keeper.run_id,
            first_launch=keeper.first_launch,
            modules=_own_modules(sweep),
            keep=keeper.keep,
            progress=progress or (lambda _: None),
            throttle=throttle,
            source="background" if in_background else "bench",
        )
    except BaseException:
        # What went wrong first is what to tell; a lake that cannot be written to cannot record it either.
        with contextlib.suppress(LakeError):
            keeper.record("failed", 0.0, 0, 0, ())
        raise


def _result(sweep: Sweep, keeper: _Keeper, outcome: Outcome, impact: Estimate | None) -> BenchResult:
    observations = pa.concat_tables([*keeper.earlier, outcome.observations])
    composition, warnings = _composition_error(observations)
    return BenchResult(
        run_id=keeper.run_id,
        preset=sweep.name,
        status=outcome.status,
        fingerprint=keeper.fingerprint,
        seconds=outcome.seconds,
        launches=keeper.first_launch + outcome.launches,
        rounds=outcome.rounds,
        settled=outcome.settled,
        scenarios=len(sweep.scheduled),
        observations=observations,
        ratios=compute_ratios(observations),
        composition_error=composition,
        copy_plan=outcome.copy_plan,
        background_impact=impact,
        warnings=(
            *warnings,
            *_stability_warnings(sweep, outcome, observations),
            *_copy_advice(sweep, outcome),
            *keeper.warnings(),
        ),
    )


def _composition_error(observations: pa.Table) -> tuple[CompositionError | None, tuple[str, ...]]:
    if "whole" not in observations.column("stage").to_pylist():
        return None, ()
    cells: list[CrossedCell] = []
    for entropy in pc.unique(observations.filter(pc.field("stage") == "whole").column("entropy")).to_pylist():
        # A codec costs what its payload's entropy makes it cost: compare like with like.
        alike = observations.filter((pc.field("stage") == "transport") | (pc.field("entropy") == entropy))
        try:
            cells += fit(alike).composition_error(alike).cells
        except FitError as error:
            return None, (f"the composition error is unknown: {error}",)
    if not cells:
        return None, ("the composition error is unknown: no method was measured both whole and in its stages",)
    return summarise_cells(cells), ()


def _stability_warnings(sweep: Sweep, outcome: Outcome, observations: pa.Table) -> list[str]:
    warnings = [*sweep.warnings]
    warnings += [f"not measured: {name}: {message}" for name, message in outcome.failures.items()]
    copies = round_medians(observations).get(f"control {CONTROL_COPY} 1MiB", {})
    medians = [value for rounds in copies.values() for value in rounds.values()]
    if len(medians) >= _ENOUGH_ROUNDS:
        quarter, middle, three_quarters = statistics.quantiles(medians, n=4)
        if (spread := (three_quarters - quarter) / middle) > _NOISY_SPREAD:
            warnings.append(
                f"the machine was noisy: the control, a plain copy of 1 MiB, varied by {spread:.0%} between rounds "
                f"(middle half, median {format_duration(middle)}); stop other work and run again, or give a longer "
                "--budget"
            )
    if sweep.launches < _FEW_LAUNCHES:
        warnings.append(f"{sweep.launches} launches tell little about how launches differ; use --preset quick or more")
    return warnings


def _copy_advice(sweep: Sweep, outcome: Outcome) -> list[str]:
    """Whether non-temporal stores would copy large payloads faster; only processes started with them have them."""
    largest = max(scenario.payload_bytes for scenario in sweep.scenarios)
    if largest < _LARGE_COPIES_FROM_BYTES or outcome.status == "interrupted":
        return []
    try:
        measured = measure_non_temporal()
    except (OSError, subprocess.SubprocessError) as error:
        return [f"whether non-temporal copies would pay is unknown: {error}"]
    return [
        f"non-temporal stores copy {format_bytes(copy.payload_bytes)} {copy.speedup:.1f} times as fast: start services "
        f"and perfkit with GLIBC_TUNABLES={TUNABLE}"
        for copy in measured[-1:]
        if copy.speedup >= _WORTH_A_RESTART
    ]


# --- keeping ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Keeper:
    """Writes a run into the lake while it goes on; remembers where an earlier, interrupted one stopped."""

    run_id: str
    sweep: Sweep
    lake: Lake | None
    fingerprint: Mapping[str, str]
    parameters: str
    observations: ObservationKeeper | None = None
    first_launch: int = 0
    earlier: tuple[pa.Table, ...] = ()
    kept: int = 0

    @staticmethod
    def open(
        sweep: Sweep, parameters: str, lake: str | Path | None, stack: contextlib.ExitStack, *, resume: bool
    ) -> _Keeper:
        """Begin a run or go on with one; it is held against other drivers until `stack` is left."""
        # A run that was killed between its journal and the lake has rows that only a drain shows.
        opened = None if lake is None else open_fresh_lake(lake)
        fingerprint = collect_fingerprint()
        keeper = _Keeper(_new_run_id(), sweep, opened, fingerprint, parameters)
        if opened is not None and lake is not None and not (resume and keeper._resume(opened, lake, stack)):
            stack.enter_context(hold_run(lake, keeper.run_id))
        keeper.record("running", 0.0, keeper.first_launch, 0, ())
        if lake is not None:
            keeper.observations = stack.enter_context(keep_observations(lake))
        return keeper

    def _resume(self, lake: Lake, path: str | Path, stack: contextlib.ExitStack) -> bool:
        """Go on with an interrupted run, if there is one that nobody is at."""
        fingerprint = json.dumps(self.fingerprint, sort_keys=True)
        run = _interrupted_run(lake, self.parameters, fingerprint)
        if run is None:
            return False
        with contextlib.ExitStack() as attempt:
            is_held = attempt.enter_context(hold_run(path, run["run_id"]))
            # Looked up again: its driver may have finished it in the meantime.
            if not is_held or _interrupted_run(lake, self.parameters, fingerprint) != run:
                return False
            transfers = lake.transfers
            observations = transfers.filter(transfers.run_id == run["run_id"]).to_pyarrow()
            if not len(observations):
                return False
            last = max(observations.column("launch").to_pylist())
            self.run_id, self.earlier = run["run_id"], (observations.cast(arrow_schema()),)
            # The launch that was cut short counts: its rounds are as good as any. The next one is a fresh launch.
            self.first_launch = last + 1
            stack.enter_context(attempt.pop_all())
        return True

    def keep(self, observations: pa.Table) -> None:
        self.kept += len(observations)
        if self.observations is not None:
            self.observations.keep(observations)

    def warnings(self) -> tuple[str, ...]:
        """What people should know about where the observations are."""
        if self.observations is None or not self.observations.undrained:
            return ()
        return (f"some observations wait in the journal, `perfkit drain` moves them: {self.observations.undrained}",)

    def finish(self, result: BenchResult) -> None:
        self.record(result.status, result.seconds, result.launches, result.rounds, result.warnings)

    def record(self, status: str, seconds: float, launches: int, rounds: int, warnings: Sequence[str]) -> None:
        if self.lake is None:
            return
        self.lake.append_run(
            RunRecord(
                run_id=self.run_id,
                status=status,
                preset=self.sweep.name,
                parameters=self.parameters,
                fingerprint=json.dumps(self.fingerprint, sort_keys=True),
                git_revision=_git_revision(),
                seconds=seconds,
                launches=launches,
                rounds=rounds,
                observations=self.kept + sum(map(len, self.earlier)),
                warnings=json.dumps(list(warnings)),
            )
        )


def _interrupted_run(lake: Lake, parameters: str, fingerprint: str) -> dict[str, Any] | None:
    """The newest run asked for in the same way, if it is recent and did not end (killed: it is still ``running``)."""
    since = datetime.datetime.now(datetime.UTC) - _RESUME_WITHIN
    for run in lake.runs.to_pyarrow().to_pylist():
        if (run["parameters"], run["fingerprint"]) == (parameters, fingerprint):
            is_open = run["status"] in ("interrupted", "running", "failed") and run["recorded_at"] >= since
            return run if is_open else None
    return None


def _parameters(sweep: Sweep, in_background: bool) -> str:
    """What was asked for: not what fits into the memory that happens to be free, or a run could not be gone on with."""
    asked = dataclasses.asdict(sweep)
    scenarios = json.dumps(asked.pop("scheduled"), sort_keys=True)
    del asked["warnings"]
    fingerprints = {
        "in_background": in_background,
        "scenarios": len(sweep.scheduled),
        "scenarios_sha256": hashlib.sha256(scenarios.encode()).hexdigest(),
    }
    return json.dumps({**asked, **fingerprints}, sort_keys=True)


def _new_run_id() -> str:
    """Sorts by time, readable, unique: 20261120-2104-3f9c."""
    return f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _git_revision() -> str:
    """Revision of the working folder, where it is a git checkout and git is there."""
    try:
        command = ["git", "rev-parse", "--short", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""

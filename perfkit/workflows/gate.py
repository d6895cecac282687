"""The gate: may a candidate be released, or is it slower than what is?"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from perfkit.config.fingerprint import FINGERPRINT_KEYS, differences
from perfkit.config.slos import Slo
from perfkit.errors import InputError
from perfkit.lake import RunRecord
from perfkit.stats.comparison import common_levels
from perfkit.stats.release import (
    BLOCK,
    FEWEST_LAUNCHES,
    INCONCLUSIVE,
    PASS,
    ReleaseJudgement,
    Slowdown,
    judge_release,
    launches_needed,
)
from perfkit.stats.slo import BROKEN, KEPT, UNKNOWN
from perfkit.tables import plural
from perfkit.workflows.compare import compare_sides
from perfkit.workflows.comparison import Comparison
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.gate_result import GateCheck, GateResult, percent
from perfkit.workflows.run_sides import Levels, Run, Side, common_scenarios, pooled, read_side
from perfkit.workflows.runs import FINISHED, run_records
from perfkit.workflows.slo_result import PromiseStatus
from perfkit.workflows.slos import promises_of_run, promises_of_traffic, read_promises

__all__ = ["gate"]

Floats = npt.NDArray[np.float64]

_SOFTWARE = ("python", "grpcio", "perfkit")
"""What a release may change on the same host."""
_FILES = (".csv", ".parquet")
_MOST_FAILED = 0.01
_SLOWDOWN_THAT_MATTERS = 0.10
_NAMED = 3


def gate(
    candidate: Run,
    *,
    baseline: Run | Sequence[Run] | None = None,
    lake: str | Path = "data/lake",
    tolerance: float = 0.05,
    false_block_rate: float = 0.01,
    slos: str | Path | Sequence[Slo] | None = None,
    force: bool = False,
) -> GateResult:
    """Decide whether a candidate may be released.

    A release is blocked where its slow-down - over all methods, or of any one - is significant and above the tolerance,
    where transfers fail, or where a promise is broken. Launches of fresh processes are the units: three a side see a
    tenth over five methods; `GateResult.power` says what they see of yours.

    Args:
        candidate: the run to judge: a name as `perfkit.workflows.runs.resolve_run` takes it, a ``.csv`` or ``.parquet``
            file, a result of `perfkit.bench`, or a frame with columns of `perfkit.schema.TRANSFER_COLUMNS`.
        baseline: what it is judged by, likewise; several are pooled. None takes the newest run before the candidate
            with the same preset on the same host.
        lake: folder of the lake that names are looked up in; what waits in its journal is drained before.
        tolerance: largest slow-down that never blocks, from 0 to below 1.
        false_block_rate: accepted share of unchanged candidates that are blocked, above 0 and below 0.5.
        slos: ``perfkit.toml`` with promises, or the promises themselves: what is promised about scenarios must hold
            for the candidate, what is promised about pools for the traffic in the lake. None checks none.
        force: judge although the two were measured on different hosts.

    Returns:
        The decision with its checks, error rates and what to mind.

    Raises:
        InputError: no run is meant, there is no baseline, the runs share no scenario or come from different hosts, a
            side has a single launch, or a figure is out of range.
        LakeError: the lake cannot be read.

    Source: `perfkit.stats.release.judge_release`.

    >>> columns = {"method": ["uds", "grpc"] * 3, "payload_bytes": [1024] * 6, "launch": [0, 0, 1, 1, 2, 2]}
    >>> before = {**columns, "latency_ns": [1000, 9000, 1010, 9100, 990, 9050]}
    >>> after = {**columns, "latency_ns": [1300, 9900, 1310, 9800, 1290, 9950]}
    >>> result = gate(after, baseline=before)
    >>> result.blocked, result.verdict, round(result.value, 2)
    (True, 'block', 0.19)
    """
    judged = _read(candidate, "candidate", lake)
    if not judged.cells.height:
        raise InputError(
            f"{judged.name} has no transfer that succeeded and took longer than nothing ({judged.observations.height} "
            "rows); there is nothing to release. Measure it again"
        )
    sides = _baseline(baseline, judged, lake)
    released, hosts = pooled(sides), _host_differences(sides, judged)
    if hosts and not force:
        raise InputError(
            f"{judged.name} and {released.name} come from different hosts ({'; '.join(hosts)}): a slow-down of the "
            "host would count as one of the release. Measure both on one host; --force judges them as they are"
        )
    _refuse_few_launches(released, judged)
    comparison = compare_sides(released, judged, quantity="latency", margin=0.05, alpha=0.05)
    judgement, against_controls = _judge(released, judged, comparison, tolerance, false_block_rate)
    methods = tuple(_method_check(one, tolerance) for one in judgement.groups)
    promised, unjudged = _promises(slos, judged, lake)
    result = GateResult(
        candidate=judged.name,
        baseline=released.name,
        tolerance=tolerance,
        false_block_rate=false_block_rate,
        overall=judgement.overall,
        methods=judgement.groups,
        against_controls=against_controls,
        checks=(_overall_check(judgement.overall, tolerance), *methods, _failures_check(released, judged), *promised),
        comparison=comparison,
    )
    return dataclasses.replace(result, warnings=(*_warnings(result, released, judged, hosts), *unjudged))


# --- what is judged by what -------------------------------------------------------------------------------------------


def _read(run: Run, name: str, lake: str | Path) -> Side:
    path = Path(run) if isinstance(run, str | Path) else None
    if path is None or (path.suffix not in _FILES and isinstance(run, str)):
        return read_side(run, name, lake, "latency")
    try:
        frame = pl.read_csv(path, infer_schema_length=None) if path.suffix == ".csv" else pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path} cannot be read as observations: {error}; give a .csv or .parquet file") from error
    return read_side(frame.to_arrow(), str(path), lake, "latency")


def _baseline(baseline: Run | Sequence[Run] | None, judged: Side, lake: str | Path) -> list[Side]:
    if baseline is None:
        return [_read(_newest_comparable(judged, lake).run_id, "baseline", lake)]
    several = baseline if isinstance(baseline, list | tuple) and not _is_records(baseline) else [baseline]
    if not several:
        raise InputError("no baseline is given; name a run, several of them, or leave it out for the newest comparable")
    sides = [_read(run, "baseline", lake) for run in several]
    if judged.name in [side.name for side in sides]:
        raise InputError(f"{judged.name} is the candidate and a baseline, too; name another run as the baseline")
    return sides


def _is_records(value: Sequence[Any]) -> bool:
    """Whether a list is a frame, given as records."""
    return bool(value) and isinstance(value[0], dict) and not any(np.ndim(cell) for cell in value[0].values())


def _newest_comparable(judged: Side, lake: str | Path) -> RunRecord:
    """The newest finished run before the candidate with its preset on its host."""
    advice = "name one by --baseline (baseline=…)"
    if not judged.preset:
        raise InputError(f"{judged.name} is no run of the lake, so that none before it can be found; {advice}")
    opened = open_fresh_lake(lake)
    records = run_records(opened)
    known = [record for record in records if record.run_id == judged.name]
    for record in records:
        is_earlier = record.run_id != judged.name and (not known or record.recorded_at < known[0].recorded_at)
        if is_earlier and record.status in FINISHED and record.preset == judged.preset:
            hosts = _hardware(differences(json.loads(record.fingerprint), judged.fingerprint))
            if not hosts and opened.observations_of(record.run_id).num_rows:
                return record
    raise InputError(
        f"{lake} has no finished run before {judged.name} with preset {judged.preset!r} on the same host; measure what "
        f"is released (`perfkit bench --preset {judged.preset}`) before the candidate, or {advice}"
    )


def _hardware(sentences: Sequence[str]) -> tuple[str, ...]:
    software = tuple(FINGERPRINT_KEYS[key] for key in _SOFTWARE)
    return tuple(sentence for sentence in sentences if not sentence.startswith(software))


def _host_differences(released: Sequence[Side], judged: Side) -> tuple[str, ...]:
    """Where the hosts of the baselines differ from that of the candidate, as sentences."""
    found = (sentence for side in released for sentence in differences(side.fingerprint, judged.fingerprint))
    worded = (one.replace("measured on", "baseline").replace("here it is", "candidate") for one in found)
    return _hardware(tuple(dict.fromkeys(worded)))


def _refuse_few_launches(released: Side, judged: Side) -> None:
    for side, role in ((released, "baseline"), (judged, "candidate")):
        if side.launches < FEWEST_LAUNCHES:
            raise InputError(
                f"the {role} {side.name} has {plural(side.launches, 'launch', ['launches'])}: how launches differ is "
                "not known, so no change can be told from luck. Measure three or more launches (`perfkit bench` does)"
            )


# --- checks -----------------------------------------------------------------------------------------------------------


def _judge(
    released: Side, judged: Side, comparison: Comparison, tolerance: float, false_block_rate: float
) -> tuple[ReleaseJudgement, bool]:
    """The decision about the slow-down, and whether it is relative to the controls because these moved."""
    scenarios = common_scenarios(released, judged, is_control=False)
    machine = np.ones(scenarios.before.shape[1]), np.ones(scenarios.after.shape[1])
    moved = bool(comparison.moved_controls)
    if moved:
        controls = common_scenarios(released, judged, is_control=True)
        machine = common_levels(controls.before, controls.after)
    levels = {group: _group_levels(scenarios.of(group)) for group in sorted(set(scenarios.groups))}
    before, after = ({name: both[side] / machine[side] for name, both in levels.items()} for side in (0, 1))
    return judge_release(before, after, tolerance=tolerance, false_block_rate=false_block_rate), moved


def _group_levels(levels: Levels) -> tuple[Floats, Floats]:
    return common_levels(levels.before, levels.after)


def _overall_check(found: Slowdown, tolerance: float) -> GateCheck:
    change, most = _change(found), percent(tolerance, signed=False)
    sentence = {
        BLOCK: f"all methods together are slower: {change}.",
        PASS: f"all methods together are {change}; a slow-down of more than {most} is ruled out.",
        INCONCLUSIVE: f"all methods together are {change}, which does not rule out a slow-down of more than {most}"
        f"{_next_step(found, tolerance)}.",
    }[found.verdict]
    return _latency_check(found, "overall", "overall", tolerance, sentence)


def _method_check(found: Slowdown, tolerance: float) -> GateCheck:
    """A method by itself: where it does not block, that need not mean that it is no slower."""
    sentence = f"{found.name}{' is slower' if found.verdict == BLOCK else ''}: {_change(found)}."
    return _latency_check(found, f"method {found.name}", "method", tolerance, sentence)


def _latency_check(found: Slowdown, name: str, kind: str, tolerance: float, sentence: str) -> GateCheck:
    known = np.isfinite(found.high)
    interval = f"{percent(found.low)} to {percent(found.high)}" if known else "unknown"
    allowed = f"up to {percent(tolerance)}"
    return GateCheck(name, kind, found.verdict, percent(found.value), interval, allowed, sentence)


def _change(found: Slowdown) -> str:
    if not np.isfinite(found.high):
        return f"{percent(found.value)} (interval unknown)"
    return f"{percent(found.value)} ({percent(found.low)} to {percent(found.high)})"


def _next_step(found: Slowdown, tolerance: float) -> str:
    needed = launches_needed(found, max(_SLOWDOWN_THAT_MATTERS, 2 * tolerance), tolerance)
    more = needed > max(found.launches)
    return f": measure {needed} launches of each" if more else ": measure both again, or pool earlier baselines"


def _failures_check(released: Side, judged: Side) -> GateCheck:
    """Transfers that fail have no latency: without this check, what always fails would pass."""
    share, before = (side.failed / max(side.observations.height, 1) for side in (judged, released))
    lost = _scenarios_lost(released, judged)
    blocks = bool(lost) or share > max(_MOST_FAILED, before)
    found = f"{percent(share, signed=False)}"
    sentence = f"{plural(judged.failed, 'transfer')} of {judged.observations.height:,} failed."
    if lost:
        named = ", ".join(lost[:_NAMED]) + (f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else "")
        sentence = f"no transfer of {named} succeeded any more."
    elif blocks:
        sentence = f"{found} of the transfers failed, before it were {percent(before, signed=False)}."
    allowed = f"up to {percent(max(_MOST_FAILED, before), signed=False)}"
    return GateCheck("failed transfers", "failures", BLOCK if blocks else PASS, found, "", allowed, sentence)


def _scenarios_lost(released: Side, judged: Side) -> list[str]:
    """Scenarios that worked in the baseline, and of which the candidate has only failures."""
    tried = set(judged.observations["scenario"])
    return sorted((set(released.cells["scenario"]) & tried) - set(judged.cells["scenario"]))


def _promises(
    given: str | Path | Sequence[Slo] | None, judged: Side, lake: str | Path
) -> tuple[tuple[GateCheck, ...], tuple[str, ...]]:
    """A check per promise, and which promises could not be judged."""
    promised = () if given is None else read_promises(given)
    of_runs, of_pools = ([slo for slo in promised if (slo.pool is None) == is_run] for is_run in (True, False))
    statuses, unjudged = promises_of_run(of_runs, judged)
    if of_pools:
        found, missing = promises_of_traffic(of_pools, open_fresh_lake(lake))
        statuses, unjudged = (*statuses, *found), (*unjudged, *missing)
    return tuple(map(_promise_check, statuses)), unjudged


def _promise_check(status: PromiseStatus) -> GateCheck:
    """A broken promise blocks; a budget that burns too fast, or a promise that nobody can tell, is not settled."""
    verdict = {BROKEN: BLOCK, KEPT: INCONCLUSIVE if status.alert else PASS, UNKNOWN: INCONCLUSIVE}[status.verdict]
    name = f"slo {status.slo}: {status.subject}"
    return GateCheck(name, "slo", verdict, status.found, status.interval, status.promised, status.sentence)


def _warnings(result: GateResult, released: Side, judged: Side, hosts: Sequence[str]) -> tuple[str, ...]:
    warnings = [f"another host: {sentence}" for sentence in hosts]
    if released.preset != judged.preset and released.preset and judged.preset:
        warnings.append(f"measured with different presets: {released.preset} (baseline), {judged.preset} (candidate)")
    if result.comparison.only_in_a:
        missing = plural(len(result.comparison.only_in_a), "scenario")
        warnings.append(f"the candidate did not measure {missing} of the baseline; those are not judged")
    if result.against_controls:
        moved = ", ".join(f"{one.scenario} {one.change.value:+.0%}" for one in result.comparison.moved_controls)
        warnings.append(
            f"the machine changed between the runs ({moved}): changes are relative to the controls. Measure both "
            "again, one right after the other"
        )
    if not result.comparison.controls:
        warnings.append("no control was measured in both runs: whether the machine changed is not known")
    if result.overall.detectable > _SLOWDOWN_THAT_MATTERS:
        warnings.append(
            f"a slow-down of {percent(_SLOWDOWN_THAT_MATTERS)} would often get through"
            f"{_next_step(result.overall, result.tolerance)}"
        )
    return tuple(warnings)

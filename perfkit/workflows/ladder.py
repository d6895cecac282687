"""Measure how throughput grows with concurrency on this machine, and read such a ladder back from a lake."""

from __future__ import annotations

import contextlib
import datetime
import json
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa

from perfkit.config.fingerprint import collect_fingerprint
from perfkit.errors import InputError, LakeError
from perfkit.lake import Lake, RunRecord
from perfkit.measurement.ladder import LadderOutcome, LadderPlan, plan_ladder, run_ladder
from perfkit.measurement.scenarios import peak_bytes
from perfkit.measurement.sweep import Progress
from perfkit.tables import plural
from perfkit.transfer.platform import headroom
from perfkit.transfer.registry import get_method
from perfkit.units import format_bytes, parse_bytes
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.keeping import keep_observations
from perfkit.workflows.ladder_result import LadderPoint, LadderResult
from perfkit.workflows.run_lock import hold_run
from perfkit.workflows.runs import LADDER_PRESET, resolve_run, run_records

__all__ = ["bench_ladder", "ladder_of"]

_MOST_AT_ONCE = 64
_FEW_LAUNCHES = 3
_LEVELS_OF_A_LAW = 4
_FEWEST_SENDS = 20
"""Of one load: with fewer, its throughput says little."""


def bench_ladder(
    *,
    methods: Sequence[str] = ("uds", "shm_pool"),
    sizes: Sequence[int | str] = ("64KiB",),
    concurrency: Sequence[int] = (1, 2, 4, 8, 16, 32),
    budget_s: float = 60.0,
    launches: int = 3,
    seed: int = 0,
    lake: str | Path | None = "data/lake",
    progress: Callable[[Progress], None] | None = None,
) -> LadderResult:
    """Measure throughput over concurrency with real processes.

    One process sends, with as many threads as sends are to be under way, each sending again as soon as its last send is
    acknowledged; another receives.

    Args:
        methods: that are measured.
        sizes: payload sizes, in bytes or as text such as ``"64KiB"``.
        concurrency: sends under way at once, 1 to 64; a law takes at least 4 different ones.
        budget_s: seconds to spend, about; each level is measured at least once in each launch.
        launches: fresh pairs of processes.
        seed: of the order of levels.
        lake: where a part of the sends is kept, for `ladder_of`; None keeps them only in the result.
        progress: called after every load.

    Returns:
        The ladder; after Ctrl-C what was measured until then, with status ``interrupted``.

    Raises:
        InputError: an argument is out of range, or no payload fits into memory.
        UnknownNameError: there is no such method.
        MeasurementError: nothing could be measured.
        JournalError: what was measured could not be made durable.
        LakeError: the lake cannot be written to.
    """
    plan = _plan(methods, sizes, concurrency, budget_s, launches, seed)
    run_id = f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    report = progress or (lambda _: None)
    if lake is None:
        return _result(run_id, plan, run_ladder(plan, run_id, progress=report))
    opened = open_fresh_lake(lake)
    with contextlib.ExitStack() as stack:
        stack.enter_context(hold_run(lake, run_id))
        try:
            opened.append_run(_record(run_id, plan, "running"))
            keeper = stack.enter_context(keep_observations(lake))
            outcome = run_ladder(plan, run_id, keep=keeper.keep, progress=report)
        except BaseException as error:
            # What went wrong first is what to tell; a lake that cannot be written to cannot record it either.
            with contextlib.suppress(LakeError):
                status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
                opened.append_run(_record(run_id, plan, status))
            raise
        undrained = keeper.undrained
        waiting = (f"some observations wait in the journal, `perfkit drain` moves them: {undrained}",)
        result = _result(run_id, plan, outcome, waiting if undrained else ())
        opened.append_run(_record(run_id, plan, outcome.status, outcome, result.warnings))
    return result


def ladder_of(lake: Lake | str | Path, run_id: str | None = None) -> LadderResult:
    """A ladder that was measured before.

    Args:
        lake: the lake, or its folder.
        run_id: the run, or the beginning of its name; None takes the newest ladder that finished.

    Raises:
        LakeError: the lake has no such ladder, or its rows are gone.
        UnknownNameError: there is no such run.
        InputError: the run is none of `perfkit bench --ladder`.
    """
    opened = lake if isinstance(lake, Lake) else open_fresh_lake(lake)
    if run_id is None:
        found = [one for one in run_records(opened) if one.preset == LADDER_PRESET and one.status in _READABLE]
        if not found:
            raise LakeError(f"lake {opened.path} has no ladder; `perfkit bench --ladder` measures one")
        record = found[0]
    else:
        record = resolve_run(opened, run_id)
    if record.preset != LADDER_PRESET:
        raise InputError(f"run {record.run_id} is a {record.preset or 'run of unknown preset'}, not a ladder")
    transfers = opened.transfers
    points = points_of(transfers.filter(transfers.run_id == record.run_id).to_pyarrow())
    if not points:
        raise LakeError(f"run {record.run_id} has no rows in lake {opened.path}; measure again: perfkit bench --ladder")
    return LadderResult(record.run_id, record.status, points, record.seconds, tuple(json.loads(record.warnings)))


_READABLE = ("complete", "budget", "interrupted")


def points_of(observations: pa.Table) -> tuple[LadderPoint, ...]:
    """The loads behind observations of a ladder.

    Rows are a part of the sends of each load. Their `sequence` counts every send that ended, so that the first and the
    last row tell how many ended in the time between them.
    """
    if not observations.num_rows:
        return ()
    frame = pl.DataFrame(pl.from_arrow(observations))
    keys = ["method", "payload_bytes", "in_flight", "launch", "round"]
    ended = pl.col("observed_at").dt.epoch("us")
    loads = (
        frame.group_by(keys)
        .agg(
            sends=pl.col("sequence").max() - pl.col("sequence").min(),
            seconds=(ended.max() - ended.min()) / 1e6,
            mean_latency_ns=pl.col("latency_ns").mean(),
        )
        .filter((pl.col("sends") > 0) & (pl.col("seconds") > 0))
        .sort(keys)
    )
    return tuple(
        LadderPoint(
            row["method"],
            row["payload_bytes"],
            row["in_flight"],
            row["sends"] / row["seconds"],
            row["launch"],
            row["round"],
            row["mean_latency_ns"],
        )
        for row in loads.iter_rows(named=True)
    )


def _plan(
    methods: Sequence[str],
    sizes: Sequence[int | str],
    concurrency: Sequence[int],
    budget_s: float,
    launches: int,
    seed: int,
) -> LadderPlan:
    for name, values in (("methods", methods), ("sizes", sizes), ("concurrency", concurrency)):
        if isinstance(values, str) or not len(values):
            raise InputError(f"{name} == {values!r}, must be a list with at least one entry")
    for level in concurrency:
        if isinstance(level, bool) or not isinstance(level, int) or not 1 <= level <= _MOST_AT_ONCE:
            raise InputError(f"concurrency {level!r}, must be a whole number from 1 to {_MOST_AT_ONCE}")
    if not 0 < budget_s < float("inf"):
        raise InputError(f"budget of {budget_s} s, must be above 0; for example 60 s")
    if launches < 1:
        raise InputError(f"launches == {launches}, must be at least 1; 3 or more tell how launches differ")
    modules = {get_method(name).module for name in methods}
    own = tuple(sorted(module for module in modules if not module.startswith("perfkit.")))
    in_bytes = sorted({parse_bytes(size) for size in sizes})
    plan = plan_ladder(
        tuple(dict.fromkeys(methods)),
        in_bytes,
        sorted(set(concurrency)),
        budget_s=budget_s,
        launches=launches,
        seed=seed,
        modules=own,
    )
    largest, room_bytes = max(plan.scenarios, key=peak_bytes), headroom().available_bytes
    if peak_bytes(largest) > room_bytes:
        raise InputError(
            f"{largest.name} may take {format_bytes(peak_bytes(largest))} and {format_bytes(room_bytes)} may be used; "
            "choose smaller --sizes or a lower --concurrency"
        )
    return plan


def _result(run_id: str, plan: LadderPlan, outcome: LadderOutcome, more_warnings: Sequence[str] = ()) -> LadderResult:
    points = points_of(outcome.observations)
    warnings = [f"not measured: {name}: {message}" for name, message in outcome.failures.items()]
    levels = len({scenario.in_flight for scenario in plan.scenarios})
    if levels < _LEVELS_OF_A_LAW:
        warnings.append(f"{plural(levels, 'concurrency', ['concurrencies'])}: a law takes at least {_LEVELS_OF_A_LAW}")
    if plan.launches < _FEW_LAUNCHES:
        warnings.append(f"{plural(plan.launches, 'launch', ['launches'])}: 3 or more tell how launches differ")
    if outcome.seconds > 1.5 * plan.budget_s:
        warnings.append(
            f"took {outcome.seconds:.0f} s of a budget of {plan.budget_s:.0f} s: every level is measured once in each "
            "launch; give fewer levels, methods or sizes"
        )
    scarce = sorted({p.concurrency for p in points if p.throughput_per_s * plan.load_s < _FEWEST_SENDS * p.concurrency})
    if scarce:
        warnings.append(
            f"fewer than {_FEWEST_SENDS} sends per sender and load at concurrency {', '.join(map(str, scarce))}; give "
            "a longer --budget or smaller --sizes"
        )
    return LadderResult(run_id, outcome.status, points, outcome.seconds, (*warnings, *more_warnings))


def _record(
    run_id: str,
    plan: LadderPlan,
    status: str,
    outcome: LadderOutcome | None = None,
    warnings: Sequence[str] = (),
) -> RunRecord:
    parameters = {
        "methods": sorted({scenario.method for scenario in plan.scenarios}),
        "sizes": sorted({scenario.payload_bytes for scenario in plan.scenarios}),
        "concurrency": sorted({scenario.in_flight for scenario in plan.scenarios}),
        "launches": plan.launches,
        "rounds": plan.rounds,
        "load_s": plan.load_s,
        "budget_s": plan.budget_s,
        "seed": plan.seed,
    }
    return RunRecord(
        run_id=run_id,
        status=status,
        preset=LADDER_PRESET,
        parameters=json.dumps(parameters, sort_keys=True),
        fingerprint=json.dumps(collect_fingerprint(), sort_keys=True),
        seconds=0.0 if outcome is None else outcome.seconds,
        launches=0 if outcome is None else outcome.launches,
        rounds=0 if outcome is None else outcome.rounds,
        observations=0 if outcome is None else outcome.observations.num_rows,
        warnings=json.dumps(list(warnings)),
    )

"""Look at what was measured or observed: percentiles, profiles, stages, what dominates, what goes together."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from perfkit.errors import FitError, InputError, UnknownNameError
from perfkit.lake import DEFAULT_LAKE_PATH
from perfkit.learn import Fit, fit
from perfkit.schema import STAGES
from perfkit.tables import plural
from perfkit.workflows.analyse_costs import collect_dominance, collect_stages
from perfkit.workflows.analyse_percentiles import PROFILES, collect_percentiles, collect_profile
from perfkit.workflows.analyse_quality import DataQuality, judge_rows
from perfkit.workflows.analyse_relations import collect_relations
from perfkit.workflows.analyse_result import Analysis
from perfkit.workflows.analyse_rows import DIMENSIONS, keep_measured, read_rows
from perfkit.workflows.analyse_selection import lake_of, read_measured, read_selected, select_run, select_since

__all__ = ["AnalysisProgress", "analyse"]

_SHOWN_SIZES = (2**10, 2**16, 2**20, 2**24)
_PARTS = ("reading", "fitting", "percentiles", "profiles", "correlations")


@dataclasses.dataclass(frozen=True, slots=True)
class AnalysisProgress:
    """How far an analysis has come: parts done, of how many, and the one under way."""

    done: float
    total: float
    label: str
    seconds_left: float | None = None


def analyse(
    source: Any = DEFAULT_LAKE_PATH,
    *,
    run: str | None = None,
    since: str | datetime.datetime | None = None,
    by: Sequence[str] = ("method",),
    stage: Sequence[str] = ("transport", "whole"),
    progress: Callable[[AnalysisProgress], None] | None = None,
) -> Analysis:
    """Percentiles, profiles, stages, what dominates and what goes together, with intervals over launches.

    Measured rows are compared in the plain setting (raw bytes, copied, warm, one in flight, announced over a Unix
    socket) unless `by` names what differs; rows of services are all taken, as the traffic that they are.

    Args:
        source: path of a lake, a lake, or any frame with the columns of `perfkit.schema.TRANSFER_COLUMNS` (Arrow,
            polars, pandas, Ibis, a dictionary of arrays, a result of `perfkit.bench`).
        run: the run to analyse: its name, the beginning of it, ``latest``, ``latest~1`` and so on; None takes the
            newest one that finished. Only for a lake.
        since: instead of a run everything that was recorded since then: how long ago, such as ``"24h"``, or a moment
            with its time zone (as ISO 8601 where it is text). Only for a lake.
        by: what percentiles are grouped by, such as ``("method", "size_class")``; names of `DIMENSIONS`.
        stage: stages of transfers that are taken for percentiles, profiles and correlations.
        progress: called before every part.

    Returns:
        The analysis; parts for which these rows hold no evidence are empty, and a warning says so.

    Raises:
        UnknownNameError: there is no such run, dimension or stage.
        InputError: the frame cannot be used, or both a run and a period are given.
        LakeError: the lake has no transfers to analyse, or cannot be read.

    Sources: `perfkit.stats.quantiles` and `perfkit.stats.correlation` name those of the intervals.

    >>> rows = [(method, 1024, launch, 1000 * cost + 7 * send) for method, cost in (("uds", 20), ("grpc", 500))
    ...         for launch in range(3) for send in range(100)]
    >>> frame = dict(zip(("method", "payload_bytes", "launch", "latency_ns"), map(list, zip(*rows))))
    >>> analysis = analyse(frame)
    >>> [(one.group["method"], one.latency_ns[0].name, round(one.latency_ns[0].value)) for one in analysis.percentiles]
    [('grpc', 'p50', 500347), ('uds', 'p50', 20346)]
    """
    for what, names, allowed in (("dimension", by, DIMENSIONS), ("stage", stage, STAGES)):
        for name in names:
            if name not in allowed:
                raise UnknownNameError(what, name, allowed)

    def tell(part: str) -> None:
        if progress is not None:
            progress(AnalysisProgress(_PARTS.index(part), len(_PARTS), part))

    stages, by = tuple(dict.fromkeys(stage)), tuple(dict.fromkeys(by))
    tell("reading")
    found = _select(source, run, since)
    tell("fitting")
    learned, warnings = _learned(found.measured())
    rows = found.rows()
    quality = judge_rows(rows, stages)
    sizes = _sizes(learned) if learned else ()
    tell("percentiles")
    percentiles = collect_percentiles(rows, by, stages)
    tell("profiles")
    profiles = {name: collect_profile(rows, name, stages) for name in PROFILES}
    tell("correlations")
    relations = collect_relations(rows, stages)
    shares = collect_stages(learned, sizes) if learned else ()
    dominance = collect_dominance(learned, sizes) if learned else ()
    notes = (*(() if percentiles else (_why_nothing(quality),)), *quality.warnings, *warnings)
    return Analysis(found.subject, by, stages, percentiles, profiles, shares, dominance, relations, quality, notes)


@dataclasses.dataclass(frozen=True)
class _Selected:
    """What is analysed; read when it is asked for, since what was measured and all rows fill the memory one by one."""

    subject: str
    measured: Callable[[], pa.Table]
    rows: Callable[[], pl.DataFrame]


def _select(source: Any, run: str | None, since: str | datetime.datetime | None) -> _Selected:
    lake = lake_of(source)
    if run is not None and since is not None:
        raise InputError(f"run == {run!r} and since == {since!r}, must be one of them: a run is a period of its own")
    if lake is None:
        if run is not None or since is not None:
            raise InputError("run and since select from a lake; hand over the rows that are wanted, or a lake")
        rows = read_rows(source)
        if rows.is_empty():
            raise InputError("the frame has no rows; hand over some transfers")
        return _Selected(f"a frame of {plural(rows.height, 'row')}", lambda: keep_measured(rows), lambda: rows)
    selection = select_run(lake, run) if since is None else select_since(lake, since)
    return _Selected(selection.subject, lambda: read_measured(selection), lambda: read_selected(selection))


def _learned(measured: pa.Table) -> tuple[Fit | None, tuple[str, ...]]:
    """Curves of what was measured, the stages of which were measured apart; traffic is never fitted here."""
    if not measured.num_rows:
        return None, ("stages and what dominates are unknown: they need a sweep; `perfkit bench` measures one",)
    try:
        return fit(measured), ()
    except FitError as error:
        return None, (f"stages and what dominates are unknown: {error}",)


def _why_nothing(quality: DataQuality) -> str:
    """Why there is no percentile at all, and what to do."""
    if not quality.transfers:
        return (
            f"nothing can be compared: none of {plural(quality.rows, 'row')} is a transfer of the stages that were "
            "asked for, they are controls and codecs alone; `perfkit bench` measures transfers"
        )
    if sum(quality.failures.values()) == quality.transfers:
        reasons = ", ".join(f"{reason} {count}" for reason, count in quality.failures.items())
        return (
            f"nothing can be compared: every transfer failed ({reasons}); `perfkit doctor` says what this machine "
            "lacks, then measure again (`perfkit bench`)"
        )
    return (
        "nothing can be compared: no transfer is in the plain setting (raw bytes, copied, warm, one in flight, "
        "announced over a Unix socket); name what differs, such as `perfkit analyse --by in_flight`, or measure with a "
        "preset of `perfkit bench`"
    )


def _sizes(learned: Fit) -> tuple[int, ...]:
    """The sizes at which stages are shown: those within what was measured, the largest measured one in any case."""
    largest = max(curve.max_bytes for key, curve in learned.curves.curves.items() if key.stage == "transport")
    return tuple(size for size in _SHOWN_SIZES if size <= largest) or (int(largest),)

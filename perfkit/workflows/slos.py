"""Are the promises of `perfkit.toml` kept? On the traffic of pools in the lake, and on scenarios of a run."""

from __future__ import annotations

import dataclasses
import datetime
import fnmatch
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from perfkit.config.settings import load_perfkit_toml
from perfkit.config.slos import Slo
from perfkit.errors import InputError
from perfkit.lake import Lake
from perfkit.stats.hierarchical import median_of_launches
from perfkit.stats.histogram import GAMMA
from perfkit.stats.quantiles import quantile_name
from perfkit.stats.slo import BROKEN, KEPT, UNKNOWN, BurnRate, burn_rates, error_budget
from perfkit.tables import plural
from perfkit.units import format_bytes, format_duration, format_rate
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.run_sides import Run, Side, read_side
from perfkit.workflows.slo_result import PromiseStatus, SloReport

__all__ = ["promises_of_run", "promises_of_traffic", "read_promises", "slos"]

Floats = npt.NDArray[np.float64]

_BLOCKS = 30
"""Stretches of time that a window of traffic is cut into: what the spread between clusters is taken from."""


def slos(
    run: Run | None = None, *, settings: str | Path | Sequence[Slo] = "perfkit.toml", lake: str | Path = "data/lake"
) -> SloReport:
    """Say whether promises are kept, what is left of their error budgets and how fast these burn.

    A promise about a latency's quantile is one about a share: p99 of at most 5 ms allows one transfer in a hundred to
    take longer; these and failures are error budgets. A promise is ``kept`` or ``broken`` where the 95 % interval lies
    on one side of what is allowed, else ``not known``.

    Args:
        run: whose scenarios are judged, as `perfkit.compare` takes it; None judges only the traffic of pools.
        settings: ``perfkit.toml`` with ``[slos.NAME]``, or the promises themselves.
        lake: folder of the lake with the traffic; what waits in its journal is drained before.

    Raises:
        ConfigError: the settings cannot be read.
        InputError: they promise nothing, or no run is meant.
        LakeError: the lake cannot be read.

    >>> observations = {"method": ["uds"] * 500, "payload_bytes": [1024] * 500, "latency_ns": [20_000] * 500}
    >>> report = slos(observations, settings=[Slo("fast", scenario="*", latency_ns=1_000_000)])
    >>> report.verdict, report.statuses[0].promised
    ('kept', 'p99 up to 1ms')
    """
    promised = read_promises(settings)
    if not promised:
        raise InputError(f"{settings} promises nothing; add a table [slos.NAME], `perfkit init` shows one")
    of_runs, of_pools = ([slo for slo in promised if (slo.pool is None) == is_run] for is_run in (True, False))
    statuses: list[PromiseStatus] = []
    warnings: list[str] = []
    if of_pools:
        found, missing = promises_of_traffic(of_pools, open_fresh_lake(lake))
        statuses, warnings = [*found], [*missing]
    if of_runs and run is None:
        names = ", ".join(slo.name for slo in of_runs)
        warnings.append(f"{names}: about scenarios of a run; name one, such as `perfkit slos latest`")
    elif of_runs:
        found, missing = promises_of_run(of_runs, read_side(run, "run", lake, "latency"))
        statuses, warnings = [*statuses, *found], [*warnings, *missing]
    return SloReport(tuple(statuses), tuple(warnings))


def read_promises(settings: str | Path | Sequence[Slo]) -> tuple[Slo, ...]:
    """The promises of a settings file, or those that were given."""
    return load_perfkit_toml(settings).slos if isinstance(settings, str | Path) else tuple(settings)


# --- runs -------------------------------------------------------------------------------------------------------------


def promises_of_run(promised: Sequence[Slo], side: Side) -> tuple[tuple[PromiseStatus, ...], tuple[str, ...]]:
    """Judge promises about scenarios by a run; launches are the clusters.

    Returns:
        One status per promise and scenario, and which promises nothing was measured for.
    """
    rows = side.observations.filter(pl.col("stage") != "control").with_columns(
        pl.concat_str(["run_id", "launch"], separator=" ").alias("_cluster")
    )
    names = sorted(set(rows["scenario"]))
    statuses, missing = [], []
    for slo in promised:
        chosen = [name for name in names if fnmatch.fnmatchcase(name, slo.scenario or "")]
        if not chosen:
            missing.append(f"{slo.name}: run {side.name} measured no scenario like {slo.scenario!r}; nothing is judged")
        for name in chosen:
            counted = _counted(rows.filter(pl.col("scenario") == name), slo).sort("_cluster")
            statuses += _statuses(slo, name, counted, None, 0)
    return tuple(statuses), tuple(missing)


def _counted(rows: pl.DataFrame, slo: Slo) -> pl.DataFrame:
    """Per cluster: transfers, failures, those that were too slow, bytes, time, most memory."""
    limit = math.inf if slo.latency_ns is None else slo.latency_ns
    moved = pl.col("payload_bytes") * pl.col("in_flight")
    return rows.group_by("_cluster").agg(
        pl.len().alias("n"),
        (~pl.col("ok")).sum().alias("failed"),
        (pl.col("ok") & (pl.col("latency_ns") > limit)).sum().alias("slow"),
        moved.filter("ok").sum().alias("moved"),
        pl.col("latency_ns").filter("ok").sum().alias("time_ns"),
        pl.col("resident_bytes").cast(pl.Float64).max().alias("memory"),
    )


# --- traffic ----------------------------------------------------------------------------------------------------------


def promises_of_traffic(promised: Sequence[Slo], lake: Lake) -> tuple[tuple[PromiseStatus, ...], tuple[str, ...]]:
    """Judge promises about pools by what services recorded, until now.

    Returns:
        One status per promise and pool, and which promises there was no traffic for.
    """
    now = datetime.datetime.now(datetime.UTC)
    statuses, missing = [], []
    for slo in promised:
        since = now - datetime.timedelta(days=slo.window_days)
        minutes = _minutes(lake, slo, since)
        pools = sorted(pool for pool in set(minutes["pool"]) if fnmatch.fnmatchcase(pool, slo.pool or ""))
        if not pools:
            missing.append(
                f"{slo.name}: no traffic of pool {slo.pool!r} in the last {slo.window_days} days; services record it "
                "where [recorder] is enabled, `perfkit drain` brings it here"
            )
        for pool in pools:
            own = minutes.filter(pl.col("pool") == pool)
            statuses += _statuses(slo, f"pool {pool}", _blocks(own), own, int(now.timestamp() // 60) + 1)
    return tuple(statuses), tuple(missing)


def _minutes(lake: Lake, slo: Slo, since: datetime.datetime) -> pl.DataFrame:
    """Traffic by pool and minute: from rows where there are, from the rollups before."""
    limit = 2**62 if slo.latency_ns is None else slo.latency_ns
    rows = lake.transfers
    rows = rows.filter((rows.source == "service") & (rows.observed_at >= since))
    rows = rows.mutate(minute=(rows.observed_at.epoch_seconds() // 60).cast("int64"))
    counted = rows.group_by(["pool", "minute"]).aggregate(
        n=rows.count(),
        failed=(~rows.ok).sum(),
        slow=(rows.ok & (rows.latency_ns > limit)).sum(),
        moved=(rows.payload_bytes * rows.in_flight).sum(where=rows.ok),
        time_ns=rows.latency_ns.sum(where=rows.ok),
        memory=rows.resident_bytes.max(),
    )
    recent = _typed(pl.from_arrow(lake.read(counted)))
    first = recent["minute"].min()
    return pl.concat([_rolled_up(lake, limit, since, first), recent])


def _rolled_up(lake: Lake, limit: int, since: datetime.datetime, before: object) -> pl.DataFrame:
    """Minutes whose rows retention has deleted, from their histograms: too slow is known to 1 %."""
    rollups = lake.rollups
    chosen = rollups.filter((rollups.source == "service") & (rollups.minute >= since))
    columns = ("pool", "minute", "transfers", "failures", "payload_bytes", "latency_sum_ns", "in_flight")
    frame = pl.from_arrow(lake.read(chosen.select(*columns, "bucket", "bucket_transfers")))
    assert isinstance(frame, pl.DataFrame)  # a table is never a series
    minute = (pl.col("minute").dt.epoch("s") // 60).cast(pl.Int64)
    frame = frame.with_columns(minute.alias("minute"))
    if isinstance(before, int):
        frame = frame.filter(pl.col("minute") < before)
    last = math.ceil(math.log(limit) / math.log(GAMMA))
    slow = [
        sum(count for bucket, count in zip(buckets, counts, strict=True) if bucket > last)
        for buckets, counts in frame.select("bucket", "bucket_transfers").iter_rows()
    ]
    return _typed(
        frame.with_columns(pl.Series("slow", slow, pl.Int64))
        .group_by("pool", "minute")
        .agg(
            (pl.col("transfers") + pl.col("failures")).sum().alias("n"),
            pl.col("failures").sum().alias("failed"),
            pl.col("slow").sum(),
            (pl.col("payload_bytes") * pl.col("in_flight")).sum().alias("moved"),
            pl.col("latency_sum_ns").sum().alias("time_ns"),
            pl.lit(None, pl.Float64).alias("memory"),
        )
    )


def _typed(frame: object) -> pl.DataFrame:
    assert isinstance(frame, pl.DataFrame)  # a table is never a series
    counts = ("minute", "n", "failed", "slow", "moved", "time_ns")
    return frame.select(
        pl.col("pool").cast(pl.String),
        *(pl.col(name).cast(pl.Int64) for name in counts),
        pl.col("memory").cast(pl.Float64),
    )


def _blocks(minutes: pl.DataFrame) -> pl.DataFrame:
    """The traffic in stretches of time of the same length."""
    first, last = minutes.select(pl.col("minute").min().alias("a"), pl.col("minute").max().alias("b")).row(0)
    length = max(math.ceil((last - first + 1) / _BLOCKS), 1)
    sums = (pl.col(name).sum() for name in ("n", "failed", "slow", "moved", "time_ns"))
    block = ((pl.col("minute") - first) // length).alias("_cluster")
    return minutes.group_by(block).agg(*sums, pl.col("memory").max()).sort("_cluster")


# --- verdicts ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Share:
    """A promise about a share of transfers: which column counts the bad ones, and how people say it."""

    kind: str
    column: str
    allowed: float
    promised: str
    bad: str


def _shares(slo: Slo) -> tuple[_Share | None, _Share | None]:
    """The promises about latency and about errors, as far as there are any."""
    latency = errors = None
    if slo.latency_ns is not None:
        limit = format_duration(slo.latency_ns)
        allowed = round(1 - slo.quantile, 9)
        latency = _Share("latency", "slow", allowed, f"{quantile_name(slo.quantile)} up to {limit}", f"above {limit}")
    if slo.error_rate is not None:
        errors = _Share("errors", "failed", slo.error_rate, f"up to {slo.error_rate * 100:.4g}% failed", "failed")
    return latency, errors


def _statuses(
    slo: Slo, subject: str, clusters: pl.DataFrame, minutes: pl.DataFrame | None, now: int
) -> list[PromiseStatus]:
    statuses = [_of_share(slo, subject, share, clusters, minutes, now) for share in _shares(slo) if share is not None]
    if slo.throughput_bytes_per_s is not None:
        statuses.append(_throughput(slo, subject, clusters, slo.throughput_bytes_per_s))
    if slo.memory_bytes is not None:
        statuses.append(_memory(slo, subject, clusters, slo.memory_bytes))
    return statuses


def _of_share(
    slo: Slo, subject: str, share: _Share, clusters: pl.DataFrame, minutes: pl.DataFrame | None, now: int
) -> PromiseStatus:
    budget = error_budget(clusters[share.column], clusters["n"], allowed=share.allowed)
    burn: tuple[BurnRate, ...] = ()
    if minutes is not None:
        burn = burn_rates(minutes["minute"], minutes[share.column], minutes["n"], allowed=share.allowed, now=now)
    return PromiseStatus(
        slo=slo.name,
        subject=subject,
        kind=share.kind,
        promised=share.promised,
        found=f"{_percent(budget.share)} {share.bad}",
        interval=f"{_percent(budget.low)} to {_percent(budget.high)}",
        value=budget.share,
        low=budget.low,
        high=budget.high,
        n=budget.n,
        verdict=budget.verdict,
        spent=budget.spent,
        burn=burn,
        method=f"exact interval of a share, widened by the spread over {plural(budget.clusters, 'cluster')}",
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _throughput(slo: Slo, subject: str, clusters: pl.DataFrame, least: int) -> PromiseStatus:
    """Bytes per second of transfer time; clusters are the units."""
    known = clusters.filter(pl.col("time_ns") > 0)
    rates = (known["moved"] / known["time_ns"] * 1e9).to_numpy()
    rates = rates[rates > 0]
    value, low, high = math.nan, 0.0, math.inf
    if rates.size:
        estimate = median_of_launches([[rate] for rate in rates] if rates.size > 1 else [rates])
        value, low, high = estimate.value, estimate.low, estimate.high
    verdict = KEPT if low >= least else BROKEN if high < least else UNKNOWN
    return PromiseStatus(
        slo=slo.name,
        subject=subject,
        kind="throughput",
        promised=f"at least {format_rate(least)}",
        found=format_rate(value) if rates.size else "nothing",
        interval=f"{format_rate(low)} to {format_rate(high)}" if math.isfinite(high) else "",
        value=value,
        low=low,
        high=high,
        n=int(clusters["n"].sum()),
        verdict=verdict,
        spent=None,
        burn=(),
        method=f"geometric mean over {plural(int(rates.size), 'cluster')} with Student's interval",
    )


def _memory(slo: Slo, subject: str, clusters: pl.DataFrame, most: int) -> PromiseStatus:
    """The most that any transfer held: a bound, and so without an interval."""
    largest = clusters["memory"].max()
    value = float(largest) if isinstance(largest, int | float) else math.nan
    verdict = UNKNOWN if math.isnan(value) else BROKEN if value > most else KEPT
    return PromiseStatus(
        slo=slo.name,
        subject=subject,
        kind="memory",
        promised=f"up to {format_bytes(most)} held",
        found="not measured" if math.isnan(value) else format_bytes(value),
        interval="",
        value=value,
        low=value,
        high=value,
        n=int(clusters["n"].sum()),
        verdict=verdict,
        spent=None,
        burn=(),
        method="largest of all transfers",
    )

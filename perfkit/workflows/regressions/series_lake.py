"""Series of a lake: medians of runs, and medians of what services recorded in equal spans of time."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping

import numpy as np
import polars as pl

from perfkit.errors import InputError
from perfkit.lake import Lake
from perfkit.units import format_bytes
from perfkit.workflows.regressions.series import Series
from perfkit.workflows.runs import run_records

__all__ = ["LakeSeries", "RunFacts", "series_of_lake"]

_KEYS = (
    *("source", "stage", "method", "signalling", "placement", "touched", "temperature", "in_flight"),
    *("pool", "kind", "format", "compression", "entropy", "direction"),
)
_STAGES = ("encode_ns", "wait_ns", "copy_ns", "signal_ns", "handler_ns", "decode_ns")
_HARDWARE = ("os", "cpu", "cores", "memory", "virtualisation")
"""Keys of a fingerprint that make a host another one; what else differs is a change of the same host."""
_FEWEST_TRANSFERS = 10
"""Transfers that the median of a span of time is made of at least."""
_ALWAYS_NAMED = ("method", "size")
_WORDS = {"touched": {"true": "touched", "false": "untouched"}}


@dataclasses.dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known of a run that a point was measured in.

    Args:
        git_revision: revision of the code that measured; empty when unknown.
        fingerprint: the host.
    """

    git_revision: str
    fingerprint: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class LakeSeries:
    """The series of a lake, and what is known of the runs that they are made of."""

    series: tuple[Series, ...]
    runs: Mapping[str, RunFacts]


def series_of_lake(lake: Lake, *, since: datetime.datetime | None, bucket_ns: int) -> LakeSeries:
    """The series in a lake.

    A point of a measured series is a run: the geometric mean of the medians of its launches. A point of what services
    recorded is a span of time: the median of its transfers. Series are told apart by everything that costs depend on:
    source, stage, method, size (class), kind, format, settings, pool, and the hardware of the host. Kernel, Python and
    packages are no part of that: a change of theirs is a change of the same series.

    Args:
        lake: where they are; only transfers that succeeded count.
        since: leave out what ended before; None for everything.
        bucket_ns: length of a span of time.

    Raises:
        InputError: the span is shorter than a second.
        LakeError: the lake cannot be read.
    """
    if bucket_ns < 10**9:
        raise InputError(f"bucket of {bucket_ns} ns is too short, must be at least 1s")
    records = {record.run_id: record for record in run_records(lake)}
    ended = {name: int(record.recorded_at.timestamp()) for name, record in records.items()}
    points = _points(lake, since, bucket_ns, ended)
    runs = {name: RunFacts(one.git_revision, _read_json(one.fingerprint)) for name, one in records.items()}
    hosts = {name: " ".join(facts.fingerprint.get(key, "") for key in _HARDWARE) for name, facts in runs.items()}
    points = points.with_columns(host=pl.col("run_id").replace_strict(hosts, default="", return_dtype=pl.String))
    names = [*_KEYS, "size", "host"]
    parts = points.sort("at", "point", *names).partition_by(names, as_dict=True, maintain_order=True)
    attributes = [dict(zip(names, map(_written, key), strict=True)) for key in parts]
    varying = [name for name in names if name in _ALWAYS_NAMED or len({one[name] for one in attributes}) > 1]
    return LakeSeries(
        tuple(_series(part, one, varying) for part, one in zip(parts.values(), attributes, strict=True)), runs
    )


def _points(lake: Lake, since: datetime.datetime | None, bucket_ns: int, ended: Mapping[str, int]) -> pl.DataFrame:
    """A row per series and point: its median latency and stages."""
    import ibis

    transfers = lake.transfers
    is_timed = (transfers.run_id != "") | transfers.observed_at.notnull()
    wanted = transfers.filter(is_timed & transfers.ok & (transfers.source != "replay"))
    if since is not None:
        wanted = wanted.filter(wanted.observed_at >= since)
    seconds = bucket_ns // 10**9
    is_run = wanted.run_id != ""
    span = (wanted.observed_at.epoch_seconds() // seconds) * seconds
    # The whole power of two that a payload of a service fills at least half; a measured one has the size it was given.
    size_class = ibis.literal(2).pow(wanted.payload_bytes.fill_null(1).clip(lower=1).log2().floor()).cast("int64")
    rows = wanted.mutate(
        size=ibis.cases((is_run, wanted.payload_bytes), else_=size_class),
        span=ibis.cases((is_run, 0), else_=span),
    )
    launches = rows.group_by(*_KEYS, "size", "run_id", "launch", "span").aggregate(
        **{"latency_ns": rows.latency_ns.median(), "first": rows.observed_at.min().epoch_seconds()},
        **{stage: rows[stage].median() for stage in _STAGES},
        transfers=rows.count(),
    )
    found = pl.from_arrow(lake.read(launches))
    assert isinstance(found, pl.DataFrame)  # a table never becomes a column
    found = found.with_columns(pl.col(pl.Categorical).cast(pl.String)).filter(pl.col("latency_ns") > 0)
    run = found.filter(pl.col("run_id") != "")
    known = pl.col("run_id").replace_strict(ended, default=0, return_dtype=pl.Int64)
    began = run.group_by("run_id").agg(pl.col("first").min()).select("run_id", at=pl.col("first").fill_null(known))
    measured = (
        run.group_by(*_KEYS, "size", "run_id")
        .agg(pl.col("latency_ns").log().mean().exp(), pl.col(_STAGES).mean())
        .join(began, on="run_id")
        .with_columns(point=pl.col("run_id"))
    )
    recorded = found.filter(pl.col("run_id") == "", pl.col("transfers") >= _FEWEST_TRANSFERS).with_columns(
        at=pl.col("span"),
        point=pl.from_epoch("span").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    columns = [*_KEYS, "size", "run_id", "point", "at", "latency_ns", *_STAGES]
    # Spans of a launch each would be several points at one time: a service has launch 0 only.
    return pl.concat((measured.select(columns), recorded.select(columns)), how="vertical_relaxed")


def _series(part: pl.DataFrame, attributes: Mapping[str, str], varying: list[str]) -> Series:
    name = " ".join(_word(one, attributes[one]) for one in varying if attributes[one])
    stages = {stage: part[stage].cast(pl.Float64).fill_null(np.nan).to_numpy() for stage in _STAGES}
    return Series(
        name,
        part["latency_ns"].to_numpy(),
        part["point"].to_list(),
        np.arange(1, len(part) + 1),
        attributes,
        times=part["at"].cast(pl.Float64).to_numpy(),
        stages_ns={stage: values for stage, values in stages.items() if np.isfinite(values).any()},
    )


def _word(name: str, value: str) -> str:
    if name == "size":
        return format_bytes(int(value))
    if name == "host":
        return f"host {hashlib.sha256(value.encode()).hexdigest()[:4]}"
    return f"{value} in flight" if name == "in_flight" else _WORDS.get(name, {}).get(value, value)


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_json(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}

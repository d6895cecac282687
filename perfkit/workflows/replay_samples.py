"""The sends of a replay as plain rows: what each cost, in the unit of its setting's goal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from perfkit.engine.goals import GOALS, MAY_BE_MISSING
from perfkit.errors import FileError
from perfkit.measurement.replay_workload import ReplayPayload, ReplaySetting

__all__ = ["SAMPLE_COLUMNS", "check_writable", "choices_path", "collect_samples", "keep_judged", "write_samples"]

SAMPLE_COLUMNS = ("setting", "payload", "payload_bytes", "method", "half", "launch", "cost")
_PAYLOAD_COLUMNS = ("payload_bytes", "kind", "format", "compression", "entropy")


def collect_samples(
    observations: pa.Table,
    workload: Sequence[ReplayPayload],
    settings: Sequence[ReplaySetting],
    methods: Sequence[str],
) -> pa.Table:
    """Every send of a replay with its setting, payload, half and cost; `SAMPLE_COLUMNS`.

    Settings that agree in signalling and load share their sends. The rounds of each launch belong to the halves in
    turn. A send without a figure that the goal needs is left out. Of a send only the whole is known, so the goal
    ``throughput`` is judged by latency.

    Args:
        observations: what was measured.
        workload: its payloads.
        settings: the settings to judge.
        methods: the methods that were compared.
    """
    numbers = pl.DataFrame([dataclasses.asdict(one) for one in workload]).rename({"number": "payload"})
    sends = pl.from_arrow(observations.filter(pa.compute.field("ok")))
    assert isinstance(sends, pl.DataFrame)  # a table is never a series
    numbered = sends.join(numbers.unique(_PAYLOAD_COLUMNS, keep="first"), on=list(_PAYLOAD_COLUMNS)).with_columns(
        half=pl.col("round") % 2, cpu_ns=pl.col("cpu_sender_ns") + pl.col("cpu_receiver_ns")
    )
    frames = [_of_setting(numbered, setting, workload, methods) for setting in settings]
    return pl.concat(frames).sort("setting", "payload", "method", "launch", "half", maintain_order=True).to_arrow()


def _of_setting(
    sends: pl.DataFrame, setting: ReplaySetting, workload: Sequence[ReplayPayload], methods: Sequence[str]
) -> pl.DataFrame:
    ways = [
        (pl.col("method") == method) & (pl.col("signalling") == setting.signalling_of(method))
        for method in setting.available(methods)
    ]
    held = [one.number for one in workload if setting.holds(one)]
    cost = pl.sum_horizontal(
        *(_figure(sends, quantity) * weight for quantity, weight in GOALS[setting.goal].items()),
        ignore_nulls=False,
    )
    return (
        sends.filter(pl.any_horizontal(*ways), pl.col("in_flight") == setting.in_flight, pl.col("payload").is_in(held))
        .with_columns(setting=pl.lit(setting.name), cost=cost)
        .drop_nulls("cost")
        .select(SAMPLE_COLUMNS)
    )


def _figure(sends: pl.DataFrame, quantity: str) -> pl.Expr:
    """A quantity of every send; where nobody measured it, nothing if the goal can do without, as in a plan."""
    if quantity not in MAY_BE_MISSING:
        return pl.col(quantity).cast(pl.Float64)
    return pl.col(quantity).cast(pl.Float64).fill_null(0.0) if quantity in sends.columns else pl.lit(0.0)


def keep_judged(samples: pa.Table, judged: Mapping[str, Sequence[int]]) -> pa.Table:
    """The sends of the payloads that were judged: with those of others nobody could recompute the figures.

    Args:
        samples: sends, `SAMPLE_COLUMNS`.
        judged: numbers of the payloads that were judged, by setting.
    """
    pairs = [(setting, number) for setting, numbers in judged.items() for number in numbers]
    sends = pl.from_arrow(samples)
    assert isinstance(sends, pl.DataFrame)  # a table is never a series
    schema = {name: sends.schema[name] for name in ("setting", "payload")}
    wanted = pl.DataFrame(pairs, schema=schema, orient="row")
    return sends.join(wanted, on=list(schema), how="semi", maintain_order="left").to_arrow()


def check_writable(path: str | Path) -> None:
    """Refuse a place for samples before anything is measured for it; files that are there stay as they are.

    Raises:
        FileError: a file cannot be written there.
    """
    for place in (Path, choices_path):  # in turn: beside a path without a name there is no place for choices
        target = place(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            is_new = not target.exists()
            with target.open("ab"):
                pass
            if is_new:
                target.unlink()
        except OSError as error:
            raise _not_writable(target, error) from error


def choices_path(samples: str | Path) -> Path:
    """The file of choices beside a file of samples.

    >>> choices_path("build/replay.parquet").as_posix()
    'build/replay.choices.parquet'
    """
    return Path(samples).with_suffix(".choices.parquet")


def write_samples(samples: pa.Table, choices: pa.Table, path: str | Path) -> None:
    """Write every send, and what each strategy takes beside it.

    Raises:
        FileError: a file cannot be written.
    """
    for table, target in ((samples, Path(path)), (choices, choices_path(path))):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, target)
        except OSError as error:
            raise _not_writable(target, error) from error


def _not_writable(target: Path, error: OSError) -> FileError:
    return FileError(f"{target} cannot be written: {error.strerror or error}; choose another place")

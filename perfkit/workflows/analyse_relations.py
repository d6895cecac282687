"""What goes together with latency: rank correlations within each launch, with intervals over launches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import polars as pl

from perfkit.stats.correlation import Correlation, rank_correlation
from perfkit.workflows.analyse_rows import control_rounds

__all__ = ["FACTORS", "Relation", "collect_relations"]

_SETTING = ("stage", "signalling", "placement", "touched", "temperature", "kind", "format", "compression", "entropy")
FACTORS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "payload_bytes": ("payload", (*_SETTING, "in_flight")),
    "wire_bytes": ("wire bytes", (*_SETTING, "in_flight")),
    "in_flight": ("in flight", (*_SETTING, "size_class")),
    "cpu_sender_ns": ("CPU, sender", (*_SETTING, "size_class", "in_flight")),
    "cpu_receiver_ns": ("CPU, receiver", (*_SETTING, "size_class", "in_flight")),
    "copied_bytes": ("copied bytes", (*_SETTING, "in_flight")),
    "control_ns": ("control copy", (*_SETTING, "size_class", "in_flight")),
    "observed_at": ("time", (*_SETTING, "size_class", "in_flight")),
}
"""What is set against latency: how people call it, and what is held equal meanwhile."""


_MOST_PAIRS = 20_000  # of a method; a rank correlation of more is no surer, since intervals are over clusters


@dataclasses.dataclass(frozen=True, slots=True)
class Relation:
    """How latency and something else go together for one method. It says nothing about causes.

    Args:
        method: transfer method.
        factor: one of `FACTORS`.
        correlation: Spearman's, over rounds, within what is held equal.
    """

    method: str
    factor: str
    correlation: Correlation


def collect_relations(rows: pl.DataFrame, stages: tuple[str, ...]) -> tuple[Relation, ...]:
    """Correlations of every method with every factor that is known and varies.

    The unit is the median of a round, since the sends of a round share its processor figures; of traffic, which has no
    rounds, it is the single transfer. A quantity is set against latency relative to the median of what is held equal,
    so that a sweep's design does not pass for a finding. Of very many pairs some are taken, evenly over time.

    Args:
        rows: what `analyse_rows.read_rows` gave.
        stages: stages of transfers to take.
    """
    control = control_rounds(rows, pl.col("latency_ns").median().alias("control_ns")).collect()
    rounds = _rounds(rows.lazy().filter(pl.col("ok"), pl.col("stage").is_in(stages)), control)
    found = []
    for factor, (_, equal) in FACTORS.items():
        like = ("method", *equal)
        varied = rounds.filter(pl.col(factor).is_not_null()).with_columns(
            relative=pl.col("latency_ns") / pl.col("latency_ns").median().over(like),
            # A quantity that was measured beside latency depends on what is held equal as latency does.
            factor=pl.col(factor) / pl.col(factor).median().over(like) if factor.startswith("cpu") else pl.col(factor),
        )
        for (method,), some in varied.group_by("method", maintain_order=True):
            correlation = rank_correlation(some["factor"], some["relative"], clusters=some["cluster"])
            if correlation.is_known:
                found.append(Relation(str(method), factor, correlation))
    return tuple(sorted(found, key=lambda one: one.method))


def _rounds(rows: pl.LazyFrame, control: pl.DataFrame) -> pl.DataFrame:
    """The units of all methods; method by method, since their grouped rows take as much memory as all columns."""
    methods = rows.select(pl.col("method").unique()).collect().to_series().sort()
    if methods.is_empty():
        return _units(rows).with_columns(control_ns=pl.lit(None, pl.Float64))
    units = pl.concat([_units(rows.filter(pl.col("method") == method)) for method in methods])
    return units.join(control, on=("cluster", "round"), how="left", maintain_order="left")


def _units(rows: pl.LazyFrame) -> pl.DataFrame:
    like = ("method", "cluster", "round", *_SETTING, "size_class", "payload_bytes", "in_flight")
    measured = ("latency_ns", "wire_bytes", "cpu_sender_ns", "cpu_receiver_ns", "copied_bytes", "observed_at")
    known = rows.select(*like, "source", pl.col(measured[:-1]), pl.col("observed_at").cast(pl.Int64))
    is_traffic = pl.col("source") == "service"
    traffic = _thinned(known.filter(is_traffic).collect()).select(*like, pl.col(measured).cast(pl.Float64))
    medians = known.filter(~is_traffic).group_by(like, maintain_order=True).agg(pl.col(measured).median())
    return pl.concat([traffic, _thinned(medians.collect())])


def _thinned(units: pl.DataFrame) -> pl.DataFrame:
    every = pl.int_range(pl.len()) % (pl.len() // _MOST_PAIRS + 1) == 0
    return units.sort("cluster", "observed_at", maintain_order=True).filter(every.over("method"))

"""How far the rows of an analysis can be relied on."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import polars as pl

from perfkit.stats.hierarchical import Estimate, ratio_of_groups
from perfkit.tables import plural
from perfkit.workflows.analyse_rows import control_rounds

__all__ = ["DataQuality", "judge_rows"]

_NOISY = 1.25
_FEWEST_LAUNCHES = 3
_MANY_FAILURES = 0.001
_MANY_NOISY = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class DataQuality:
    """What the rows are, and what to mind about them.

    Args:
        rows: all rows, controls and codec stages included.
        transfers: rows that moved a payload.
        failures: transfers that failed, by the name of the exception.
        runs: runs of a sweep; rows of services have none.
        launches: launches of these runs and processes of services: what intervals are over.
        first_observed_at, last_observed_at: between which the rows were observed; None where that is unknown.
        rounds: rounds in which the control (a plain copy) was measured.
        noisy_rounds: those in which it took over 1.25 times its median.
        control_drift: the control's time in the last third of the rounds over that in the first third; None without
            controls enough.
        warnings: what to mind, each with the next step.
    """

    rows: int
    transfers: int
    failures: dict[str, int]
    runs: int
    launches: int
    first_observed_at: datetime.datetime | None
    last_observed_at: datetime.datetime | None
    rounds: int
    noisy_rounds: int
    control_drift: Estimate | None
    warnings: tuple[str, ...]

    def to_plain(self) -> dict[str, Any]:
        """The judgement as values that JSON can hold."""
        plain = dataclasses.asdict(self)
        for name in ("first_observed_at", "last_observed_at"):
            moment = getattr(self, name)
            plain[name] = None if moment is None else moment.isoformat()
        return {**plain, "warnings": list(self.warnings)}


def judge_rows(rows: pl.DataFrame, stages: tuple[str, ...]) -> DataQuality:
    """Look through all rows for what weakens them.

    Args:
        rows: what `analyse_rows.read_rows` gave.
        stages: stages of transfers that are analysed.
    """
    transfers = rows.lazy().filter(pl.col("stage").is_in(stages))
    counted = transfers.select(pl.len().alias("transfers"), pl.col("cluster").n_unique().alias("launches")).collect()
    failed = transfers.filter(~pl.col("ok")).group_by(pl.col("error").cast(pl.String).fill_null("unknown")).len()
    controls = _controls(rows)
    noisy = int((controls > _NOISY * (controls.median() or 0.0)).sum()) if len(controls) else 0  # type: ignore[operator]
    first, last = rows.select(pl.col("observed_at").min(), pl.col("observed_at").max().alias("last")).row(0)
    quality = DataQuality(
        rows=rows.height,
        transfers=counted["transfers"].item(),
        failures=dict(failed.sort("error").collect().iter_rows()),
        runs=int((rows["run_id"].unique().cast(pl.String) != "").sum()),
        launches=counted["launches"].item(),
        first_observed_at=first,
        last_observed_at=last,
        rounds=len(controls),
        noisy_rounds=noisy,
        control_drift=_drift(controls),
        warnings=(),
    )
    return dataclasses.replace(quality, warnings=tuple(_warnings(quality)))


def _controls(rows: pl.DataFrame) -> pl.Series:
    """The control's median in every round, in the order of time."""
    rounds = control_rounds(rows, pl.col("latency_ns").median(), pl.col("observed_at").min())
    return rounds.sort("observed_at", "cluster", "round").select("latency_ns").collect().to_series()


def _drift(controls: pl.Series) -> Estimate | None:
    third = len(controls) // 3
    return ratio_of_groups(controls[-third:].to_numpy(), controls[:third].to_numpy()) if third > 1 else None


def _warnings(quality: DataQuality) -> list[str]:
    warnings = []
    if quality.launches < _FEWEST_LAUNCHES:
        warnings.append(
            f"{plural(quality.launches, 'launch or process', ['launches or processes'])}: how they differ is hardly "
            "known, so intervals are wide, or over single sends as if these were independent; measure at least "
            f"{_FEWEST_LAUNCHES} (`perfkit bench`)"
        )
    failures = sum(quality.failures.values())
    if failures > _MANY_FAILURES * quality.transfers:
        reasons = ", ".join(f"{reason} {count}" for reason, count in quality.failures.items())
        warnings.append(
            f"{plural(failures, 'transfer')} of {quality.transfers:,} failed ({reasons}); they have no latency and are "
            "left out, so that percentiles flatter a method that fails"
        )
    if quality.noisy_rounds > _MANY_NOISY * quality.rounds:
        warnings.append(
            f"the machine was noisy: in {quality.noisy_rounds} of {quality.rounds} rounds the control, a plain copy, "
            f"took over {_NOISY:g} times its median; stop other work and measure again"
        )
    drift = quality.control_drift
    if drift is not None and (drift.low > 1.05 or drift.high < 0.95):
        warnings.append(
            f"the machine changed meanwhile: at the end the control took {drift.value:.2f} times as long as in the "
            f"beginning (95 %: {drift.low:.2f} to {drift.high:.2f}); compare methods within launches only"
        )
    return warnings

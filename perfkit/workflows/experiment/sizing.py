"""How long an experiment has to run: from the traffic that was recorded, before it starts."""

from __future__ import annotations

import dataclasses
import datetime
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from perfkit.config.experiment_plan import ExperimentPlan
from perfkit.errors import InputError
from perfkit.lake import DEFAULT_LAKE_PATH, Lake
from perfkit.stats.experiments.power import Design, Pilot, minimum_detectable_effect, pilot, power, units_needed
from perfkit.tables import ResultTable, plural
from perfkit.workflows.experiment.planned import find_experiment, load_settings
from perfkit.workflows.experiment.recorded import metric_columns, plain_text
from perfkit.workflows.experiment.report import PowerPoint
from perfkit.workflows.fresh import open_fresh_lake

__all__ = ["POWER", "Sizing", "days_text", "size_experiment"]

POWER = 0.8
"""Probability of finding the change that an experiment is sized for."""

_WIDTH = 78
_MULTIPLES = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
_STEPS = (1, 2, 3, 7, 14, 28)
_WINDOW_DAYS = 14
_SHORTEST_DAYS = 1 / 1440


@dataclasses.dataclass(frozen=True)
class Sizing:
    """What an experiment on this traffic could find, and after how many units.

    Args:
        metric: column that would be compared.
        pilot: the noise of its statistic, as it was recorded.
        design: how the experiment would be run and judged.
        change: relative change that it is to find.
        units_needed: units of all variants that find it with a probability of 80 %.
        minimum: observations per variant without which there is no conclusion.
        days: time in which the traffic was recorded.
        units_per_day: units that come newly per day and take part; NaN where the traffic is of a moment.
        curve: power over units, for the change that is to be found.
        detectable: after some days (some multiples of the units, where the traffic is of a moment): units, and the
            change that they find with a probability of 80 %.
    """

    metric: str
    pilot: Pilot
    design: Design
    change: float
    units_needed: int
    minimum: int
    days: float
    units_per_day: float
    curve: tuple[PowerPoint, ...]
    detectable: tuple[tuple[float, int, float], ...]

    @property
    def n(self) -> int:
        """Units that the estimate rests on."""
        return self.pilot.n_units

    @property
    def method(self) -> str:
        """How the figures came about, for people."""
        return self.pilot.method

    @property
    def units_wanted(self) -> int:
        """Units that find the change and have the fewest observations that a conclusion asks for."""
        least = min(self.design.share, 1 - self.design.share)
        return max(self.units_needed, math.ceil(self.minimum / least / self.pilot.rows_per_unit))

    @property
    def days_needed(self) -> float:
        """Days until enough units came; NaN where the traffic is of a moment."""
        return self.units_wanted / self.units_per_day if self.units_per_day > 0 else math.nan

    @property
    def sentence(self) -> str:
        """What it means."""
        takes = (
            f"A change of {self.metric} {self.pilot.statistic} by {self.change:.0%} is found with a probability of "
            f"{POWER:.0%} among {self.units_needed} sessions, {self.design.share:.0%} of them in the variant"
        )
        if self.units_wanted > self.units_needed:
            takes += f"; the minimum of {self.minimum} transfers per variant takes {self.units_wanted}"
        if math.isnan(self.days_needed):
            return f"{takes}."
        return f"{takes}: {days_text(self.days_needed)} at {self.units_per_day:.3g} new sessions a day."

    def to_table(self) -> ResultTable:
        """What is found after how long."""
        known = self.units_per_day > 0
        rows = tuple(
            (days_text(step) if known else f"{step:g}x the recorded", str(units), _change_text(change))
            for step, units, change in self.detectable
        )
        per_unit = f"{self.pilot.rows_per_unit:.3g} transfers per session, design effect {self.pilot.design_effect:.2g}"
        notes = [self.sentence, f"{self.pilot.method.capitalize()}: {per_unit}; {self.design.inference} inference."]
        wrapped = tuple(line for note in notes for line in textwrap.wrap(note, _WIDTH))
        columns = ("after", "sessions", f"change found ({POWER:.0%})")
        title = f"What an experiment could find: {self.metric} {self.pilot.statistic}"
        return ResultTable(title, columns, rows, wrapped, align_right=(1, 2))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        more = {"units_wanted": self.units_wanted, "days_needed": self.days_needed, "sentence": self.sentence}
        return {**dataclasses.asdict(self), **more, "n": self.n}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def size_experiment(
    name: str | None = None,
    *,
    metric: str = "",
    statistic: str = "",
    change: float | None = None,
    pools: Sequence[str] = (),
    lake: str | Path = DEFAULT_LAKE_PATH,
    settings: str | Path = "perfkit.toml",
    now: datetime.datetime | None = None,
) -> Sizing:
    """Say what an experiment on recorded traffic could find, and after how long.

    It takes the sessions of the last two weeks for those that will come.

    Args:
        name: of an experiment that is planned or running: its pools, its primary metric, its margin and the share of
            the sessions that take part. None for any traffic.
        metric: column to compare; by default the plan's primary one.
        statistic: such as ``mean`` or ``p95``; likewise.
        change: relative change that is to be found, above 0 and below 1; by default the plan's margin.
        pools: of which the traffic counts; none for those of the experiment, or all.
        lake: where services record.
        settings: the `perfkit.toml`.
        now: end of the two weeks; by default this moment.

    Raises:
        UnknownNameError: there is no such experiment or metric.
        InputError: there is too little traffic with sessions, or the change cannot be.
        LakeError: the lake cannot be read.
    """
    planned = find_experiment(name, settings) if name else None
    plan = planned.plan if planned else ExperimentPlan("")
    metric, statistic = metric or plan.primary[0], statistic or plan.primary[1]
    change = plan.margin if change is None else change
    if not 0 < change < 1:
        raise InputError(f"change == {change}, must be above 0 and below 1, for example 0.05")
    sections = tuple(pools) or (planned.pools if planned and planned.experiment else ())
    shares = [one.share for one in planned.experiment.variants] if planned and planned.experiment else [0.5, 0.5]
    share = shares[1] / (shares[0] + shares[1]) if shares[0] + shares[1] > 0 else 0.5
    since = (now or datetime.datetime.now(datetime.UTC)) - datetime.timedelta(days=_WINDOW_DAYS)
    rows = _traffic(open_fresh_lake(lake), metric, sections, load_settings(Path(settings)), since)
    if rows.num_rows == 0:
        raise InputError(
            f"{lake} has no transfers with a session of the last {_WINDOW_DAYS} days"
            f"{' in pools ' + ', '.join(sections) if sections else ''}; name sessions in `decide` and `record`"
        )
    design = Design(min(max(share, 0.001), 0.999), plan.alpha, plan.inference)
    return _size(rows, metric, statistic, change, math.fsum(shares) or 1.0, design, plan.minimum)


def days_text(days: float) -> str:
    """Days for people.

    >>> days_text(0.01), days_text(0.25), days_text(1), days_text(12.3), days_text(math.nan)
    ('under an hour', '6 hours', '1 day', '12 days', 'an unknown time')
    """
    if not math.isfinite(days):
        return "an unknown time"
    if days < 1 / 24:
        return "under an hour"
    return plural(math.ceil(24 * days), "hour") if days < 1 else plural(round(days), "day")


def _traffic(lake: Lake, metric: str, sections: Sequence[str], settings: Any, since: datetime.datetime) -> pa.Table:
    """Session, moment and metric of what services sent in some pools; failed transfers have no duration."""
    transfers = lake.transfers
    rows = transfers.filter(transfers.source == "service", transfers.session != "", transfers.observed_at >= since)
    if sections:
        seen = lake.read(rows.select("pool").distinct())["pool"].to_pylist()
        rows = rows.filter(rows.pool.isin([pool for pool in seen if (settings.section(pool) or "default") in sections]))
    columns = metric_columns(rows, [metric])
    chosen = rows.select(session=rows.session, observed_at=rows.observed_at, **columns)
    return plain_text(lake.read(chosen.order_by("observed_at")))


def _size(
    rows: pa.Table, metric: str, statistic: str, change: float, taking_part: float, design: Design, minimum: int
) -> Sizing:
    known = pilot(rows, metric, statistic)
    times = rows["observed_at"]
    days = (times[-1].as_py() - times[0].as_py()).total_seconds() / 86_400
    per_day = taking_part * known.n_units / days if days > _SHORTEST_DAYS else math.nan
    needed = units_needed(known, change, POWER, design)
    counts = sorted({max(3, round(needed * multiple)) for multiple in _MULTIPLES})
    steps = [(step, round(step * (per_day if per_day > 0 else known.n_units))) for step in _STEPS]
    return Sizing(
        metric=metric,
        pilot=known,
        design=design,
        change=change,
        units_needed=needed,
        minimum=minimum,
        days=days,
        units_per_day=per_day,
        curve=tuple(PowerPoint(count, change, power(known, count, change, design)) for count in counts),
        detectable=tuple(
            (float(step), count, minimum_detectable_effect(known, count, POWER, design))
            for step, count in steps
            if count > 2
        ),
    )


def _change_text(change: float) -> str:
    return f"±{change:.1%}" if math.isfinite(change) else "none"

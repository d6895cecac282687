"""What a run brought, ready to be read by people and programs."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pyarrow as pa

from perfkit.learn import CompositionError
from perfkit.measurement.ratios import RATIOS
from perfkit.measurement.summaries import Summary, summarise
from perfkit.stats.hierarchical import Estimate
from perfkit.tables import ResultTable, plural
from perfkit.transfer.copying import CopyPlan
from perfkit.units import format_bytes, format_duration

__all__ = ["BenchResult", "format_latency"]


@dataclasses.dataclass(frozen=True)
class BenchResult:
    """The observations of a run and what follows from them.

    Attributes:
        run_id: names the run in the lake.
        preset: preset or scenario file.
        status: ``complete``, ``budget`` (time was up before every interval was narrow enough) or ``interrupted``.
        fingerprint: the host.
        seconds: time it took.
        launches: fresh pairs of processes.
        rounds: interleaved passes, all launches together.
        settled: scenarios whose interval became narrow enough, of `scenarios`.
        observations: every send; columns of `perfkit.schema.TRANSFER_COLUMNS`.
        ratios: of the `limits` preset, by name.
        composition_error: how well composed costs predict transfers that were measured whole.
        copy_plan: how this machine copies fastest.
        background_impact: what a background measurement cost the host, as a ratio; None in the foreground.
        warnings: what to mind, each with the next step.
    """

    run_id: str
    preset: str
    status: str
    fingerprint: Mapping[str, str]
    seconds: float
    launches: int
    rounds: int
    settled: int
    scenarios: int
    observations: pa.Table
    ratios: Mapping[str, Estimate]
    composition_error: CompositionError | None
    copy_plan: CopyPlan
    background_impact: Estimate | None
    warnings: tuple[str, ...]

    @cached_property
    def summaries(self) -> tuple[Summary, ...]:
        """Median latency of every scenario with its interval."""
        return summarise(self.observations)

    def to_table(self) -> ResultTable:
        """Median latency by size and method: one transfer at a time, memory warm, not touched."""
        shown = [
            summary
            for summary in self.summaries
            if summary.stage == "transport"
            and summary.in_flight == 1
            and summary.temperature == "warm"
            and not summary.touched
            and summary.signalling == "uds"
        ]
        columns = sorted({_column(summary) for summary in shown})
        cells = {(summary.payload_bytes, _column(summary)): summary.latency_ns for summary in shown}
        rows = tuple(
            (format_bytes(size), *(format_latency(cells.get((size, column))) for column in columns))
            for size in sorted({size for size, _ in cells})
        )
        return ResultTable(
            f"Run {self.run_id}: median latency, one transfer at a time",
            ("payload", *(column.replace("_", " ") for column in columns)),
            rows,
            self._notes(),
            align_right=tuple(range(len(columns) + 1)),
        )

    def ratio_table(self) -> ResultTable:
        """The ratios of the `limits` preset with their 95 % intervals."""
        rows = tuple(
            (name, f"{ratio.value:.3g}", _interval(ratio), str(ratio.n), RATIOS[name][2])
            for name, ratio in self.ratios.items()
        )
        return ResultTable("Ratios", ("ratio", "value", "95 % interval", "n", "what it says"), rows, align_right=(1, 3))

    def _notes(self) -> tuple[str, ...]:
        extent = (
            f"{self.status}: {len(self.observations):,} sends, {plural(self.launches, 'launch', ['launches'])}, "
            f"{plural(self.rounds, 'round')}, {self.seconds:.0f} s"
        )
        half_widths = [summary.latency_ns.relative_half_width for summary in self.summaries]
        if known := [half_width for half_width in half_widths if math.isfinite(half_width)]:
            extent += f"; half of the intervals are within ±{statistics.median(known):.0%}"
        notes = [extent]
        if self.composition_error is not None:
            error = self.composition_error
            notes.append(
                f"composed costs miss transfers measured whole by {error.p50:.0%} (half of the cells), "
                f"{error.p90:.0%} (nine in ten); {plural(error.n, 'cell')}"
            )
        if self.background_impact is not None:
            impact = self.background_impact
            interval = f"{impact.low - 1:+.1%} to {impact.high - 1:+.1%}" if math.isfinite(impact.high) else "unknown"
            notes.append(
                f"impact on the host: a fixed piece of work took {impact.value - 1:+.1%} longer than before "
                f"(95 %: {interval})"
            )
        return (*notes, *(f"! {warning}" for warning in self.warnings))

    def to_plain(self) -> dict[str, Any]:
        """All but the raw observations, as values that JSON can hold."""
        composition = self.composition_error
        return {
            "run": self.run_id,
            "preset": self.preset,
            "status": self.status,
            "seconds": round(self.seconds, 1),
            "launches": self.launches,
            "rounds": self.rounds,
            "settled": self.settled,
            "scenarios": self.scenarios,
            "observations": len(self.observations),
            "fingerprint": dict(self.fingerprint),
            "ratios": {name: dataclasses.asdict(ratio) for name, ratio in self.ratios.items()},
            "composition_error": None if composition is None else composition.to_plain(),
            "copy_threads_from_bytes": self.copy_plan.threads_from_bytes,
            "background_impact": self.background_impact and dataclasses.asdict(self.background_impact),
            "summaries": [dataclasses.asdict(summary) for summary in self.summaries],
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html() + (self.ratio_table().to_html() if self.ratios else "")

    def __str__(self) -> str:
        return f"{self.to_table()}\n\n{self.ratio_table()}" if self.ratios else str(self.to_table())


def _column(summary: Summary) -> str:
    return "in place" if summary.placement == "in_place" else summary.method


def format_latency(estimate: Estimate | None) -> str:
    """A latency with the half-width of its interval, for a cell of a table; empty for None.

    >>> format_latency(Estimate(31_200.0, 30_000.0, 32_500.0, n=9, launches=3))
    '31.2us ±4%'
    >>> format_latency(Estimate(480.0, 0.0, math.inf, n=1, launches=1))
    '480ns (n=1)'
    """
    if estimate is None:
        return ""
    if math.isinf(estimate.relative_half_width):
        return f"{format_duration(estimate.value)} (n={estimate.n})"
    return f"{format_duration(estimate.value)} ±{estimate.relative_half_width:.0%}"


def _interval(ratio: Estimate) -> str:
    return "unknown" if math.isinf(ratio.high) else f"{ratio.low:.3g} to {ratio.high:.3g}"

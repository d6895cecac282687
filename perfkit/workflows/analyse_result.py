"""An analysis as people read it: one table per question."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from perfkit.stats.correlation import Correlation
from perfkit.stats.quantiles import LEVELS, Quantile, quantile_name, rows_needed
from perfkit.stats.vague import is_vague
from perfkit.tables import ResultTable, plural
from perfkit.units import format_bytes, format_duration, format_rate
from perfkit.workflows.analyse_costs import Dominance, StageShares, codec_name
from perfkit.workflows.analyse_percentiles import PROFILES, Percentiles, Profile
from perfkit.workflows.analyse_quality import DataQuality
from perfkit.workflows.analyse_relations import FACTORS, Relation

__all__ = ["Analysis"]

_MOST_ROWS = 40


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What rows of transfers say, part by part; made by `perfkit.analyse`.

    Args:
        subject: what was analysed: a run, a period, a frame.
        by: what percentiles are grouped by.
        stages: stages of transfers that were taken.
        percentiles: p50, p95, p99 and p99.9 of every group.
        profiles: latency by size alone, by load and by codec; see `PROFILES`.
        stage_shares: encoding, transport and decoding of every method, codec and size; empty where nothing was fitted.
        dominance: the fixed cost of every method against that of its bytes; empty likewise.
        relations: what goes together with latency.
        quality: how far the rows can be relied on.
        warnings: what to mind, each with the next step.
    """

    subject: str
    by: tuple[str, ...]
    stages: tuple[str, ...]
    percentiles: tuple[Percentiles, ...]
    profiles: Mapping[str, Profile]
    stage_shares: tuple[StageShares, ...]
    dominance: tuple[Dominance, ...]
    relations: tuple[Relation, ...]
    quality: DataQuality
    warnings: tuple[str, ...]

    def to_table(self) -> ResultTable:
        """Percentiles of latency, one row per group."""
        notes = []
        if "size_class" not in self.by:
            notes.append("over the mixture of payloads that was observed; group by size_class for like with like")
        return self._quantile_table("Percentiles of latency", LEVELS, notes, relative=False)

    def tail_table(self) -> ResultTable:
        """How many times the median of its like (same payload, same setting) the slow transfers take."""
        note = "1 is the median of the same payload in the same setting: sizes do not mix here"
        return self._quantile_table("Tails, as multiples of the median", LEVELS[1:], [note], relative=True)

    def _quantile_table(self, title: str, levels: Sequence[float], notes: list[str], *, relative: bool) -> ResultTable:
        shown = self.percentiles[:_MOST_ROWS]
        rows = tuple(
            (
                *(_value_text(name, one.group[name]) for name in self.by),
                f"{one.n:,}",
                *(_quantile_text(each, relative=relative) for each in (one.tail if relative else one.latency_ns)),
            )
            for one in shown
        )
        notes.append("± half of the 95 % interval, its wider side; vague: ten times the figure or more")
        lacking = [
            level for level in levels if any(q.q == level and not q.enough for one in shown for q in one.latency_ns)
        ]
        if lacking:
            needed = ", ".join(f"{rows_needed(level):,} rows for {quantile_name(level)}" for level in lacking)
            notes.append(f"too few: not enough data; each of two launches or more needs {needed}")
        if len(self.percentiles) > _MOST_ROWS:
            notes.append(f"{len(self.percentiles) - _MOST_ROWS} more groups are in the result")
        columns = (*(_heading(name) for name in self.by), "n", *map(quantile_name, levels))
        return ResultTable(title, columns, rows, tuple(notes), tuple(range(len(self.by), len(columns))))

    def profile_table(self, name: str) -> ResultTable:
        """Median latency by size, and by what a profile looks at beside it: one column per method.

        Args:
            name: ``size``, ``load`` or ``codec``.
        """
        cells = self.profiles[name].cells
        methods = sorted({cell.group["method"] for cell in cells})
        table: dict[tuple[str, ...], dict[str, Percentiles]] = {}
        for cell in cells:
            table.setdefault(_profile_key(name, cell.group), {})[cell.group["method"]] = cell
        rows = tuple(
            (*key, *(_quantile_text(found[method].latency_ns[0]) if method in found else "" for method in methods))
            for key, found in table.items()
        )
        notes = ["± half of the 95 % interval, its wider side; vague: ten times or more; p95 and p99 are in the result"]
        if len(rows) > _MOST_ROWS:
            notes.append(f"{len(rows) - _MOST_ROWS} more rows are in the result")
        before = {"size": (), "load": ("in flight",), "codec": ("codec",)}[name]
        columns = (*before, "payload from", *map(_words, methods))
        align_right = tuple(range(len(before), len(columns)))
        return ResultTable(f"Median latency by {name}", columns, rows[:_MOST_ROWS], tuple(notes), align_right)

    def stages_table(self, payload_bytes: int | None = None) -> ResultTable:
        """What encoding, transport and decoding take of the time, for payloads of one size.

        Args:
            payload_bytes: one of the sizes in `stage_shares`; None takes the one nearest to 1 MiB.
        """
        shown = self.stages_at(payload_bytes)
        methods = list(dict.fromkeys(one.method for one in shown))
        cells = {(one.codec, one.method): one for one in shown}
        rows = tuple(
            (codec, *(_stages_text(cells[codec, method]) if (codec, method) in cells else "" for method in methods))
            for codec in dict.fromkeys(one.codec for one in shown)
        )
        if not shown:
            return ResultTable("Where the time goes", (), (), (_NO_CURVES,))
        title = f"Where the time of a payload of {format_bytes(shown[0].payload_bytes)} goes"
        note = (
            "expected time, and the share of it that encoding and decoding take; (?) is an estimate; stages apart and "
            "intervals are in the result"
        )
        columns = ("codec", *map(_words, methods))
        return ResultTable(title, columns, rows, (note,), tuple(range(1, len(columns))))

    def stages_at(self, payload_bytes: int | None = None) -> tuple[StageShares, ...]:
        """The stage shares of the size nearest to `payload_bytes`; None means 1 MiB."""
        wanted = math.log(payload_bytes or 2**20)
        sizes = {one.payload_bytes for one in self.stage_shares}
        nearest = min(sizes, key=lambda size: abs(math.log(size) - wanted), default=0)
        return tuple(one for one in self.stage_shares if one.payload_bytes == nearest)

    def dominance_table(self) -> ResultTable:
        """Up to which size the fixed cost of a method dominates, and its share at some sizes."""
        title = "What dominates: the fixed cost of a transfer, or its bytes"
        if not self.dominance:
            return ResultTable(title, (), (), (_NO_CURVES,))
        sizes = self.dominance[0].sizes
        rows = tuple(
            (
                _words(one.method),
                format_duration(one.fixed_ns),
                format_bytes(one.even_bytes),
                f"{format_bytes(one.even_low)} to {format_bytes(one.even_high)}",
                *(f"{share:.0%}" for share in one.shares),
                format_rate(one.bytes_per_s),
            )
            for one in self.dominance
        )
        note = (
            "even: the size at which the bytes cost as much as the transfer as such; shares: of the fixed cost, for "
            f"payloads of that size; rate: of {format_bytes(sizes[-1])}; raw bytes, one in flight"
        )
        columns = ("method", "fixed", "even", "even (95 %)", *map(format_bytes, sizes), "rate")
        return ResultTable(title, columns, rows, (note,), tuple(range(1, len(columns))))

    def relations_table(self) -> ResultTable:
        """Rank correlations of latency with what may matter, one column per method."""
        methods = sorted({one.method for one in self.relations})
        found = {(one.factor, one.method): one.correlation for one in self.relations}
        rows = tuple(
            (
                title,
                *(_correlation_text(found[factor, method]) if (factor, method) in found else "" for method in methods),
            )
            for factor, (title, _) in FACTORS.items()
            if any((factor, method) in found for method in methods)
        )
        notes = (
            "Spearman's, all else equal; ± half of the 95 % interval, its wider side; in brackets: 0 lies within it",
            "what goes together need not be a cause: size moves processor time, bytes and latency alike",
        )
        columns = ("latency and", *map(_words, methods))
        return ResultTable("What goes together with latency", columns, rows, notes, tuple(range(1, len(columns))))

    def quality_table(self) -> ResultTable:
        """What the rows are, and what to mind about them."""
        quality = self.quality
        drift = quality.control_drift
        between = (
            f"{quality.first_observed_at:%Y-%m-%d %H:%M} to {quality.last_observed_at:%Y-%m-%d %H:%M} UTC"
            if quality.first_observed_at and quality.last_observed_at
            else "unknown"
        )
        rows = (
            ("rows", f"{quality.rows:,}, of these {quality.transfers:,} transfers"),
            ("observed", between),
            ("runs", f"{quality.runs}"),
            ("launches, or processes of services", f"{quality.launches}"),
            ("transfers that failed", f"{sum(quality.failures.values()):,}"),
            ("noisy rounds", f"{quality.noisy_rounds} of {quality.rounds}"),
            (
                "control, end against begin",
                "unknown" if drift is None else f"{drift.value:.2f} times [{drift.low:.2f}, {drift.high:.2f}]",
            ),
        )
        return ResultTable("The data", ("what", "is"), rows, tuple(f"! {warning}" for warning in self.warnings))

    def tables(self) -> tuple[ResultTable, ...]:
        """All tables, in the order in which they are printed."""
        return (
            self.to_table(),
            self.tail_table(),
            *(self.profile_table(name) for name in self.profiles),
            self.stages_table(),
            self.dominance_table(),
            self.relations_table(),
            self.quality_table(),
        )

    def to_plain(self) -> dict[str, Any]:
        """The analysis as values that JSON can hold."""
        return {
            "subject": self.subject,
            "by": list(self.by),
            "stages": list(self.stages),
            "percentiles": [one.to_plain() for one in self.percentiles],
            "profiles": {name: [cell.to_plain() for cell in one.cells] for name, one in self.profiles.items()},
            "stage_shares": [dataclasses.asdict(one) for one in self.stage_shares],
            "dominance": [one.to_plain() for one in self.dominance],
            "relations": [
                {"method": one.method, "factor": one.factor, **dataclasses.asdict(one.correlation)}
                for one in self.relations
            ],
            "quality": self.quality.to_plain(),
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self._title())}</p>" + "".join(table.to_html() for table in self.tables())

    def __str__(self) -> str:
        return "\n\n".join([self._title(), *map(str, self.tables())])

    def _title(self) -> str:
        return f"Analysis of {self.subject}: {plural(self.quality.transfers, 'transfer')}"


_NO_CURVES = "unknown: no curves over several sizes could be fitted to these rows; `perfkit bench` measures them"


def _quantile_text(quantile: Quantile, *, relative: bool = False) -> str:
    if not quantile.enough:
        return "too few"
    value = f"{quantile.value:.3g}" if relative else format_duration(quantile.value)
    if is_vague(quantile.value, quantile.low, quantile.high):
        return f"{value} (vague)"
    return f"{value} ±{max(quantile.high / quantile.value, quantile.value / quantile.low) - 1:.0%}"


def _stages_text(one: StageShares) -> str:
    estimate = "" if one.measured else " (?)"
    return f"{format_duration(one.total_ns)} {one.codec_share:.0%}{estimate}"


def _correlation_text(one: Correlation) -> str:
    text = f"{one.value:+.2f} ±{max(one.high - one.value, one.value - one.low):.2f}"
    return text if one.is_clear else f"({text})"


def _profile_key(name: str, group: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells of a profile's row that say what it is about."""
    payload = format_bytes(2.0 ** group["size_class"])
    if name == "codec":
        return codec_name(group["kind"], group["format"], group["compression"]), payload
    return (*(str(group[one]) for one in PROFILES[name]), payload)


def _value_text(dimension: str, value: Any) -> str:
    return format_bytes(2.0**value) if dimension == "size_class" else str(value)


def _heading(dimension: str) -> str:
    return "payload from" if dimension == "size_class" else _words(dimension)


def _words(name: str) -> str:
    """A name that a table may fold between its words."""
    return name.replace("_", " ")

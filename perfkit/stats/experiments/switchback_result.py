"""When variants take turns, and what that shows."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.stats.experiments.showing import write_p_value, write_value
from perfkit.stats.verdicts import BETTER, EQUIVALENT, WORSE
from perfkit.tables import ResultTable, plural
from perfkit.units import format_duration

__all__ = ["Block", "SwitchbackResult", "SwitchbackSchedule"]

_WIDTH = 78


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A stretch of time in which one variant has its turn.

    Args:
        index: place in the schedule, from 0.
        pair: place of its pair.
        variant: whose turn it is.
        start_ns: its first nanosecond since 1970.
        length_ns: its length.
    """

    index: int
    pair: int
    variant: str
    start_ns: int
    length_ns: int


@dataclasses.dataclass(frozen=True, slots=True)
class SwitchbackSchedule:
    """When which variant has its turn.

    Args:
        blocks: in order, without gaps, two of each pair.
        control: variant that the other is compared with.
        variant: the other.
    """

    blocks: tuple[Block, ...]
    control: str
    variant: str

    @property
    def n(self) -> int:
        """Pairs of blocks: they are what is drawn by lot."""
        return len(self.blocks) // 2

    def block_at(self, time_ns: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The index of the block that holds each moment; -1 outside the schedule."""
        moments = np.asarray(time_ns, np.int64)
        starts = np.array([one.start_ns for one in self.blocks], np.int64)
        found = np.searchsorted(starts, moments, side="right") - 1
        end = self.blocks[-1].start_ns + self.blocks[-1].length_ns
        return np.asarray(np.where(moments < end, found, -1), np.int64)

    def variant_at(self, time_ns: npt.ArrayLike) -> npt.NDArray[np.str_]:
        """The variant whose turn it is at each moment; empty outside the schedule."""
        return np.array([*(one.variant for one in self.blocks), ""])[self.block_at(time_ns)]

    def to_table(self) -> ResultTable:
        """The pairs in order."""
        origin = self.blocks[0].start_ns
        rows = tuple(
            (str(one.pair + 1), format_duration(one.start_ns - origin), one.variant, other.variant)
            for one, other in zip(self.blocks[0::2], self.blocks[1::2], strict=True)
        )
        note = f"Each block lasts {format_duration(self.blocks[0].length_ns)}; the order in each pair is drawn by lot."
        title = f"Turns of {self.control} (control) and {self.variant}, {plural(self.n, 'pair')} of blocks"
        return ResultTable(title, ("pair", "from", "first", "second"), rows, (note,), (0, 1))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {**dataclasses.asdict(self), "blocks": [dataclasses.asdict(one) for one in self.blocks], "n": self.n}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


@dataclasses.dataclass(frozen=True)
class SwitchbackResult:
    """What a variant changes on a host that it shares with the control by turns.

    Args:
        metric: column that was measured.
        statistic: ``mean`` or a quantile, of each block.
        control: variant that the other is compared with.
        variant: the other.
        relative: variant / control - 1, geometric mean over pairs of blocks, drift taken out.
        interval: bounds of `relative` at confidence 1 - `alpha`; infinite where too few orders could be drawn.
        p_value: share of the orders that could have been drawn that give a difference at least this large.
        verdict: ``better``, ``worse``, ``equivalent`` or ``inconclusive``.
        drift: by how much the second block of a pair differs from the first, whichever the variants.
        alpha: accepted share of wrong verdicts when nothing changed.
        margin: largest relative change that does not matter.
        n: pairs of blocks that count.
        n_observations: their rows.
        excluded: rows that do not count, by reason.
        per_block: statistic of each block in order, in the metric's unit; NaN where it has too few rows.
        warnings: what makes the result hard to believe.
    """

    metric: str
    statistic: str
    control: str
    variant: str
    relative: float
    interval: tuple[float, float]
    p_value: float
    verdict: str
    drift: float
    alpha: float
    margin: float
    n: int
    n_observations: int
    excluded: Mapping[str, int]
    per_block: tuple[float, ...]
    warnings: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        """The relative change."""
        return self.relative

    @property
    def method(self) -> str:
        """How the result came about, for people."""
        return "order of the blocks in each pair compared with other orders that could have been drawn"

    @property
    def sentence(self) -> str:
        """What it means."""
        low, high = self.interval
        by = f"{self.relative:+.1%} ({100 * low:+.1f} to {100 * high:+.1f}%; {plural(self.n, 'pair')} of blocks)"
        of = f"{self.metric} {self.statistic}"
        said = {
            BETTER: f"Better: {self.variant} changes {of} by {by}.",
            WORSE: f"Worse: {self.variant} changes {of} by {by}.",
            EQUIVALENT: f"Equivalent: {self.variant} changes {of} by less than ±{self.margin:.0%}: {by}.",
        }
        return said.get(self.verdict, f"Inconclusive: {of} of {self.variant} changed by {by}.")

    def to_table(self) -> ResultTable:
        """The change, and what was left out."""
        low, high = self.interval
        interval = f"{100 * low:+.1f} to {100 * high:+.1f}%"
        known = [one for one in self.per_block if math.isfinite(one)]
        typical = write_value(self.metric, float(np.median(known)))
        cells = (f"{self.metric} {self.statistic}", typical, f"{self.relative:+.1%}", interval)
        row = (*cells, write_p_value(self.p_value), self.verdict)
        columns = ("metric", "typical", "change", f"{1 - self.alpha:.0%} interval", "p", "verdict")
        notes = [self.sentence, f"From block to block of a pair it drifted by {self.drift:+.1%}, which is taken out."]
        if self.excluded:
            notes.append("Left out: " + ", ".join(f"{n} rows {reason}" for reason, n in self.excluded.items()) + ".")
        notes += [f"! {warning}" for warning in self.warnings]
        wrapped = tuple(line for note in notes for line in textwrap.wrap(note, _WIDTH))
        title = f"{self.variant} against {self.control} (control), by turns on one host"
        return ResultTable(title, columns, (row,), wrapped, (1, 2, 3, 4))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold; what is not known is None."""
        plain = dataclasses.asdict(self)
        plain["interval"] = [one if math.isfinite(one) else None for one in self.interval]
        plain["per_block"] = [one if math.isfinite(one) else None for one in self.per_block]
        return {**plain, "warnings": list(self.warnings), "method": self.method, "sentence": self.sentence}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()

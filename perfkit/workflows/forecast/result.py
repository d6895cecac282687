"""What a capacity forecast shows: scalability, demand, the date of a limit, and what gives way first."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from typing import Any

from perfkit.stats.capacity.demand import DemandForecast
from perfkit.stats.capacity.demand_result import figure
from perfkit.stats.capacity.limits import LimitDate
from perfkit.stats.capacity.scalability import Bounded, Scalability
from perfkit.tables import ResultTable
from perfkit.workflows.forecast.bottleneck import Bottleneck

__all__ = ["Forecast"]

_WIDTH = 78


@dataclasses.dataclass(frozen=True)
class Forecast:
    """How far this host carries.

    Args:
        usl: the law fitted to the ladder; None without a ladder.
        demand: the forecast of demand; None without one.
        limit: when demand reaches the limit that was asked for, else that of what gives way first; None without demand
            or limit.
        at: concurrency that was asked for, and the throughput there; None where none was.
        bottleneck: what gives way first; None where nothing is known of any resource.
        what_if: the same under the changes that were asked for; None without any.
        warnings: what limits the answer, that of every part included.
        notes: where figures are from that were not given: which ladder, which traffic, what one transfer takes.
        unit: of demand; empty where it is that of what was given.
    """

    usl: Scalability | None
    demand: DemandForecast | None
    limit: LimitDate | None
    at: tuple[float, Bounded] | None
    bottleneck: Bottleneck | None
    what_if: Bottleneck | None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unit: str = ""

    @property
    def sentence(self) -> str:
        """What it means, in one paragraph."""
        said = []
        if self.at is not None:
            said.append(f"At concurrency {self.at[0]:g} the throughput is {self.at[1]}.")
        first = self.bottleneck.first.reached if self.bottleneck else None
        own = None if self.limit is first else self.limit  # else the bottleneck's sentence has it
        said += [one.sentence for one in (self.demand, own, self.bottleneck, self.what_if) if one is not None]
        if self.usl is not None and not said:
            said.append(_peak(self.usl))
        return " ".join(said)

    def tables(self) -> tuple[ResultTable, ...]:
        """A table of each part."""
        return tuple(part.to_table() for part in self._parts)

    def to_table(self) -> ResultTable:
        """What is known of each resource; without that, of demand; without that, the law."""
        for part in (self.what_if, self.bottleneck, self.demand, self.usl):
            if part is not None:
                return part.to_table()
        raise AssertionError("a forecast has a ladder or demand")

    @property
    def _parts(self) -> tuple[Scalability | DemandForecast | LimitDate | Bottleneck, ...]:
        parts = (self.usl, self.demand, self.limit, self.bottleneck, self.what_if)
        return tuple(part for part in parts if part is not None)

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        demand = self.demand.to_plain() if self.demand else {}
        points = demand.pop("points", None)
        return {
            "usl": self.usl.to_plain() if self.usl else None,
            "at": {"concurrency": self.at[0], **dataclasses.asdict(self.at[1])} if self.at else None,
            "forecast": points,
            "mase": demand.get("mase"),
            "coverage_backtest": demand.get("coverage_backtest"),
            "demand": demand or None,
            "limit": self.limit.to_plain() if self.limit else None,
            "bottleneck": self.bottleneck.to_plain() if self.bottleneck else None,
            "what_if": self.what_if.to_plain() if self.what_if else None,
            "sentence": self.sentence,
            "unit": self.unit,
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    def _basis(self) -> tuple[ResultTable, ...]:
        shown = {one for part in self._parts for one in part.warnings}  # below the table of their part
        said = [*self.notes, *(f"! {one}" for one in self.warnings if one not in shown)]
        if not said:
            return ()
        lines = [line for one in said for line in textwrap.wrap(one, _WIDTH, subsequent_indent="  ")]
        return (ResultTable("What this rests on", (), (), tuple(lines)),)

    def _repr_html_(self) -> str:
        return "".join(table.to_html() for table in (*self.tables(), *self._basis()))

    def __str__(self) -> str:
        texts = [table.to_text() for table in self.tables()]
        if self.at is not None:
            texts.append(f"At concurrency {self.at[0]:g} the throughput is {self.at[1]}.")
        return "\n\n".join([*texts, *(table.to_text() for table in self._basis())])


def _peak(law: Scalability) -> str:
    peak, measured = law.peak_concurrency, law.measured[-1]
    if not math.isinf(peak.value):
        return f"Throughput peaks at a concurrency of {peak}."
    beyond = "" if math.isinf(peak.low) else f"; noise allows for one from {figure(peak.low)} on"
    return f"Throughput shows no peak up to {measured:g} (measured){beyond}."

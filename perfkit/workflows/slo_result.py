"""What became of promises: kept, broken or not known, with what is left of each error budget."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections import Counter
from typing import Any

from perfkit.stats.slo import BROKEN, KEPT, UNKNOWN, BurnRate
from perfkit.tables import ResultTable, plural

__all__ = ["PromiseStatus", "SloReport"]

_ORDER = (BROKEN, UNKNOWN, KEPT)
_WIDTH = 78


@dataclasses.dataclass(frozen=True, slots=True)
class PromiseStatus:
    """One promise about one pool or scenario.

    Args:
        slo: name of the SLO.
        subject: the pool or the scenario that it is about.
        kind: ``latency``, ``errors``, ``throughput`` or ``memory``.
        promised: what was promised, for people.
        found: what was found, for people.
        interval: 95 % interval of what was found, for people; empty where it is exact or unknown.
        value: what was found: share of bad transfers, bytes per second or bytes; NaN where nothing was.
        low: lower bound of its 95 % interval.
        high: upper bound of its 95 % interval.
        n: transfers.
        verdict: ``kept``, ``broken`` or ``not known``.
        spent: spent part of the error budget; None where there is none.
        burn: how fast it burns; empty for runs, which are over.
        method: how the verdict came about.
    """

    slo: str
    subject: str
    kind: str
    promised: str
    found: str
    interval: str
    value: float
    low: float
    high: float
    n: int
    verdict: str
    spent: float | None
    burn: tuple[BurnRate, ...]
    method: str

    @property
    def alert(self) -> str:
        """The most urgent alert that fires: ``page``, ``ticket`` or empty."""
        return next((rate.alert for rate in self.burn if rate.fires), "")

    @property
    def sentence(self) -> str:
        """What became of the promise."""
        sure = f" ({self.interval})" if self.interval else ""
        said = f"{self.slo}, {self.subject}: {self.promised} is {self.verdict}, "
        said += f"found {self.found}{sure} in {plural(self.n, 'transfer')}"
        if self.spent is not None and math.isfinite(self.spent):
            said += f"; {self.spent:.0%} of the error budget is spent"
        firing = next((rate for rate in self.burn if rate.fires), None)
        if firing:
            window = plural(firing.long_minutes // 60, "hour")
            said += f", {firing.long:.3g} times too fast in the last {window} ({firing.alert})"
        return f"{said}."

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {**dataclasses.asdict(self), "alert": self.alert, "sentence": self.sentence}


@dataclasses.dataclass(frozen=True)
class SloReport:
    """Every promise of a settings file, and what became of it.

    Args:
        statuses: one per promise and pool or scenario.
        warnings: what could not be judged, with the next step.
    """

    statuses: tuple[PromiseStatus, ...]
    warnings: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """``broken`` where any promise is; ``kept`` where all are; else ``not known``."""
        found = {status.verdict for status in self.statuses}
        return next((verdict for verdict in _ORDER if verdict in found), UNKNOWN)

    @property
    def ok(self) -> bool:
        """Whether no promise is broken and no alert fires."""
        return self.verdict != BROKEN and not any(status.alert for status in self.statuses)

    @property
    def n(self) -> int:
        """Promises that were judged."""
        return len(self.statuses)

    @property
    def sentence(self) -> str:
        """What to know."""
        if not self.statuses:
            return "No promise was judged."
        counts = Counter(status.verdict for status in self.statuses)
        said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _ORDER if counts[verdict])
        urgent = [status.sentence for status in self.statuses if status.verdict == BROKEN or status.alert]
        return " ".join([f"{plural(self.n, 'promise')}: {said}.", *urgent])

    def to_table(self) -> ResultTable:
        """One row per promise."""
        rows = tuple(
            (
                f"{status.slo}: {status.subject}",
                status.promised,
                status.found,
                "" if status.spent is None or math.isnan(status.spent) else f"{status.spent:.0%}",
                f"{status.verdict} ({status.alert})" if status.alert else status.verdict,
            )
            for status in sorted(self.statuses, key=lambda status: _ORDER.index(status.verdict))
        )
        said = (self.sentence, *(f"! {warning}" for warning in self.warnings))
        notes = tuple(line for note in said for line in textwrap.wrap(note, _WIDTH))
        columns = ("promise", "allowed", "found", "budget spent", "verdict") if rows else ()
        return ResultTable("Service-level objectives", columns, rows, notes, align_right=(2, 3))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {
            "verdict": self.verdict,
            "ok": self.ok,
            "n": self.n,
            "promises": [status.to_plain() for status in self.statuses],
            "sentence": self.sentence,
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()

"""What a round of continual learning did."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import TYPE_CHECKING, Any

from perfkit.tables import ResultTable

if TYPE_CHECKING:
    from perfkit.learn.models.updating import Update
    from perfkit.workflows.learning.contest import Comparison
    from perfkit.workflows.published import PublishResult

__all__ = ["FELL_BACK", "IDLE", "NO_MODEL", "RETRAINED", "UPDATED", "RefreshResult"]

IDLE, UPDATED, RETRAINED, FELL_BACK, NO_MODEL = "nothing new", "updated", "trained anew", "fell back", "no model"
"""What a round may end in."""
_WIDTH = 78


@dataclasses.dataclass(frozen=True)
class RefreshResult:
    """What a round of continual learning did.

    Attributes:
        verdict: ``nothing new``, ``updated``, ``trained anew``, ``fell back`` (to the curves) or ``no model``.
        n: new observations that count.
        version: the version in force afterwards; None without any.
        update: what the new observations showed; None where there was nothing to update.
        comparison: how a model trained anew compares with the updated one; None where none was trained.
        published: what publishing did; None where it was not asked for, or nothing changed.
        warnings: what could not be done, each with the next step to take.
    """

    verdict: str
    n: int
    version: int | None
    update: Update | None = None
    comparison: Comparison | None = None
    published: PublishResult | None = None
    warnings: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """How it is done, for people."""
        return "updated from new observations alone; trained anew after a shift, and kept if better than the update"

    def to_table(self) -> ResultTable:
        """What happened, and why."""
        rows = ((self.verdict, str(self.n), "none" if self.version is None else str(self.version)),)
        notes = list(() if self.update is None else self.update.reasons)
        notes += [] if self.comparison is None else [f"Trained anew: {self.comparison.reason}."]
        notes += [f"! {warning}" for warning in self.warnings]
        lines = [line for note in notes for line in textwrap.wrap(note, _WIDTH)]
        lines += [] if self.published is None else str(self.published).splitlines()
        return ResultTable("Continual learning", ("round", "new observations", "version"), rows, tuple(lines), (1, 2))

    def to_plain(self) -> dict[str, Any]:
        """The result as plain values."""
        return {
            "verdict": self.verdict,
            "n": self.n,
            "version": self.version,
            "update": None if self.update is None else self.update.to_plain(),
            "comparison": None if self.comparison is None else self.comparison.to_plain(),
            "published": None if self.published is None else self.published.to_plain(),
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()

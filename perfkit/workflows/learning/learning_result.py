"""What learning from a lake shows: the new model, how it compares with the one in force, and whether it was kept."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import TYPE_CHECKING, Any

from perfkit.tables import ResultTable

if TYPE_CHECKING:
    from perfkit.learn.models.model import CostModel
    from perfkit.workflows.published import PublishResult

__all__ = ["KEPT", "NOT_KEPT", "WOULD_BE_KEPT", "LearnResult"]

KEPT, WOULD_BE_KEPT, NOT_KEPT = "kept", "would be kept", "not kept"
_WIDTH = 78


@dataclasses.dataclass(frozen=True)
class LearnResult:
    """What was learned.

    Attributes:
        verdict: ``kept`` (and in force), ``would be kept`` (of a dry run) or ``not kept``.
        reason: why.
        version: the version in force afterwards; None without any.
        n: observations that count.
        model: what was trained; None where there was nothing to train on.
        n_held_out: newest observations on which it was compared with the model in force; 0 without a comparison.
        error_new: mean absolute log error of latency on them; None without a comparison.
        error_in_force: likewise of the model in force.
        p_value: of the test that the new model's errors are smaller; None without a comparison.
        published: what publishing did; None where it was not asked for, or there is nothing to publish.
        is_unpublished: publishing was asked for, and refused or impossible.
        warnings: what weakens the evidence, each with the next step to take.
    """

    verdict: str
    reason: str
    version: int | None
    n: int
    model: CostModel | None = None
    n_held_out: int = 0
    error_new: float | None = None
    error_in_force: float | None = None
    p_value: float | None = None
    published: PublishResult | None = None
    is_unpublished: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """How it was judged, for people."""
        return "trained on all but the newest fifth, compared on what neither model saw, then trained on everything"

    def to_table(self) -> ResultTable:
        """The targets of the model, and what became of it."""
        notes = [f"{self.verdict[:1].upper()}{self.verdict[1:]}: {self.reason}."]
        table = None if self.model is None else self.model.to_table()
        notes += [] if table is None else table.notes
        said = " ".join(notes)  # the table's notes are folded already
        notes += [f"! {warning}" for warning in self.warnings if f"! {warning}" not in said]
        wrapped = [line for note in notes for line in (textwrap.wrap(note, _WIDTH) if len(note) > _WIDTH else (note,))]
        lines = (*wrapped, *(() if self.published is None else str(self.published).splitlines()))
        if table is None:
            return ResultTable("Cost model", (), (), lines)
        return dataclasses.replace(table, notes=lines)

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        fields = ("verdict", "reason", "version", "n", "n_held_out", "error_new", "error_in_force", "p_value")
        return {
            **{name: getattr(self, name) for name in fields},
            "is_unpublished": self.is_unpublished,
            "model": None if self.model is None else self.model.to_plain(),
            "published": None if self.published is None else self.published.to_plain(),
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()

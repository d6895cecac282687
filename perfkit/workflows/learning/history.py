"""What the versions of a cost model show: which one is in force, and where each comes from."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Any, Literal

from perfkit.tables import ResultTable

__all__ = ["ModelHistory", "ModelVersion", "Standing"]

_WIDTH = 78


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """What is in force.

    Attributes:
        version: the newest version that was put into force.
        state: ``model``, or ``curves`` where the published curves apply instead of that version.
        reason: why, where it is not simply the newest one.
        since: since when, in ISO format.
    """

    version: int
    state: Literal["model", "curves"]
    reason: str
    since: str

    def __str__(self) -> str:
        """The standing as a sentence.

        >>> print(Standing(3, "curves", "drift", "2026-11-25T08:00:00+00:00"))
        the published curves instead of model version 3, since 2026-11-25T08:00: drift
        """
        what = f"model version {self.version}"
        what = what if self.state == "model" else f"the published curves instead of {what}"
        return f"{what}, since {self.since[:16]}" + (f": {self.reason}" if self.reason else "")


@dataclasses.dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version that is kept.

    Attributes:
        version: its number, from 1.
        path: its folder.
        trained_at: when, in ISO format; empty where it cannot be read.
        observations: what it was trained on.
        parent: what it was updated from; empty where it was trained anew.
        problem: why it cannot be used; empty where nothing is known against it.
    """

    version: int
    path: str
    trained_at: str
    observations: int
    parent: str
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class ModelHistory:
    """The versions in a folder, newest first.

    Attributes:
        folder: where they are kept.
        standing: what is in force; None where no model ever was, or `warnings` say why it is unknown.
        versions: those that are kept.
        warnings: what is wrong with the folder.
    """

    folder: str
    standing: Standing | None
    versions: tuple[ModelVersion, ...]
    warnings: tuple[str, ...] = ()

    def to_table(self) -> ResultTable:
        """One row per version."""
        rows = tuple(
            (
                f"{one.version}{self._mark(one.version)}",
                one.trained_at[:16].replace("T", " ") or "unknown",
                f"{one.observations}",
                "unknown" if one.problem else f"updated from {one.parent}" if one.parent else "trained anew",
                "damaged" if one.problem else "readable",
            )
            for one in self.versions
        )
        told = f"* In force: {self.standing}." if self.standing else "No model is in force: the published curves apply."
        notes = [told] if rows else [told, "`perfkit learn` trains the first version."]
        notes += [f"! version {one.version} is damaged: {one.problem}" for one in self.versions if one.problem]
        notes += [f"! {warning}" for warning in self.warnings]
        columns = ("version", "trained (UTC)", "observations", "origin", "state") if rows else ()
        lines = tuple(line for note in notes for line in textwrap.wrap(note, _WIDTH))
        return ResultTable(f"Models in {self.folder}, newest first", columns, rows, lines, align_right=(2,))

    def _mark(self, version: int) -> str:
        return " *" if self.standing and self.standing.version == version else ""

    def to_plain(self) -> dict[str, Any]:
        """The list as values that JSON can hold."""
        return {**dataclasses.asdict(self), "versions": [dataclasses.asdict(one) for one in self.versions]}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()

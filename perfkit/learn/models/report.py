"""What a model is worth, held against transfers that it had not seen."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Any

from perfkit.tables import ResultTable

__all__ = ["CURVES", "MODEL", "ModelReport", "SliceCoverage", "TargetReport"]

MODEL, CURVES = "model", "curves"
_WIDTH = 78
_NAMES = {"latency_ns": "latency", "cpu_ns": "processor time", "resident_bytes": "resident memory"}


@dataclasses.dataclass(frozen=True, slots=True)
class SliceCoverage:
    """How many single transfers lay within their interval.

    Attributes:
        slice: by what transfers are told apart, such as ``method``; ``all`` for all of them.
        name: which of them, such as ``uds``.
        coverage: share within the interval, 0 to 1.
        n: held-out transfers.
    """

    slice: str
    name: str
    coverage: float
    n: int


@dataclasses.dataclass(frozen=True, slots=True)
class TargetReport:
    """One target, judged on held-out transfers.

    Attributes:
        target: ``latency_ns``, ``cpu_ns`` or ``resident_bytes``.
        champion: ``model``, or ``curves`` where the model is not surely better.
        why: the reason, for people.
        n: transfers.
        cells: cells (method, context, size) with 5 held-out transfers or more, by group.
        within_15_model: share of cells whose median the model predicts within 15 %; None without a model.
        within_15_curves: likewise by the adjusted curves.
        error_model: median absolute relative error of single transfers by the model; None without a model.
        error_curves: likewise by the adjusted curves.
        coverage: overall and by slice.
    """

    target: str
    champion: str
    why: str
    n: int
    cells: int
    within_15_model: float | None
    within_15_curves: float
    error_model: float | None
    error_curves: float
    coverage: tuple[SliceCoverage, ...]

    @property
    def worst(self) -> SliceCoverage | None:
        """The slice of 500 transfers or more whose intervals hold least often; None without such slices."""
        large = [one for one in self.coverage if one.n >= 500 and one.slice != "all"]
        return min(large, key=lambda one: one.coverage, default=None)


@dataclasses.dataclass(frozen=True)
class ModelReport:
    """What a cost model is worth, per target.

    Attributes:
        level: share of single transfers that intervals are to hold.
        targets: one report per target that was learned.
        warnings: what weakens the evidence, each with the next step to take.
    """

    level: float
    targets: tuple[TargetReport, ...]
    warnings: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Transfers that were learned from."""
        return max((one.n for one in self.targets), default=0)

    @property
    def method(self) -> str:
        """How the figures came about, for people."""
        return (
            "Held-out launches and blocks of time; the model stays only where it beats the adjusted curves in a paired "
            f"test; intervals hold {self.level:.0%} of single transfers by split conformal prediction"
        )

    def to_table(self) -> ResultTable:
        """Champion, accuracy and coverage per target."""
        rows = tuple(
            (
                _NAMES.get(one.target, one.target),
                one.champion,
                f"{_share(one.within_15_model)} / {_share(one.within_15_curves)}",
                f"{_share(one.error_model)} / {_share(one.error_curves)}",
                _share(one.coverage[0].coverage) if one.coverage else "unknown",
                "" if one.worst is None else f"{one.worst.coverage:.1%} ({one.worst.name})",
                f"{one.n:,}",
            )
            for one in self.targets
        )
        notes = [f"{_NAMES.get(one.target, one.target)}: {one.why}" for one in self.targets]
        notes += [f"{self.method}.", *(f"! {warning}" for warning in self.warnings)]
        wrapped = tuple(line for note in notes for line in textwrap.wrap(note, _WIDTH))
        columns = ("target", "champion", "medians within 15 % *", "error *", "coverage", "worst slice", "n")
        return ResultTable("Cost model (* model / curves)", columns, rows, wrapped, align_right=(6,))

    def coverage_table(self) -> ResultTable:
        """Coverage of single transfers by slice."""
        rows = tuple(
            (_NAMES.get(one.target, one.target), part.slice, part.name, f"{part.coverage:.1%}", f"{part.n:,}")
            for one in self.targets
            for part in one.coverage
        )
        columns = ("target", "slice", "name", "coverage", "n")
        return ResultTable(f"Coverage of {self.level:.0%} intervals", columns, rows, align_right=(3, 4))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {
            "level": self.level,
            "targets": [dataclasses.asdict(one) for one in self.targets],
            "warnings": list(self.warnings),
        }

    @staticmethod
    def from_plain(plain: dict[str, Any]) -> ModelReport:
        """Read what `to_plain` gave. Raises `KeyError` or `TypeError` on anything else."""
        targets = tuple(
            TargetReport(**{**one, "coverage": tuple(SliceCoverage(**part) for part in one["coverage"])})
            for one in plain["targets"]
        )
        return ModelReport(float(plain["level"]), targets, tuple(plain["warnings"]))

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"

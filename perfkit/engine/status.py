"""What an engine says about itself: its health and its counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from perfkit.tables import ResultTable
from perfkit.units import format_duration

__all__ = ["Health", "Statistics"]


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """Whether the engine does what its files say.

    Args:
        status: ``ok`` (published curves are in force), ``default`` (nothing is published, the defaults hold), or
            ``degraded`` (a file or a plan could not be used: `errors` says which).
        mode: ``decide`` or ``observe``.
        settings_path: the `perfkit.toml` in force; None while the defaults hold.
        thresholds_path: the `thresholds.toml` in force; None while the defaults hold.
        version: the published version in force; None while the defaults hold.
        failures: how often a file or a plan could not be used.
        errors: what is wrong now, newest last; a file that is good again is no longer among it.
        warnings: what to know about the plan in force: thin evidence, another host.
    """

    status: str
    mode: str
    settings_path: str | None
    thresholds_path: str | None
    version: int | None
    failures: int
    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_table(self) -> ResultTable:
        """One row per fact; errors and warnings below."""
        rows = (
            ("mode", self.mode),
            ("settings", self.settings_path or "defaults (no perfkit.toml)"),
            ("thresholds", self.thresholds_path or "defaults (nothing published)"),
            ("version", "–" if self.version is None else str(self.version)),
            ("failures", str(self.failures)),
        )
        notes = (*(f"Error: {error}" for error in self.errors), *(f"Warning: {warning}" for warning in self.warnings))
        return ResultTable(f"Engine: {self.status}", ("what", "value"), rows, notes)

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return dataclasses.asdict(self)

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


@dataclasses.dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the engine was loaded. They are kept without a lock: under threads a few may be missed.

    Args:
        cells: contexts compiled of the plan in force.
        compile_ns: time spent compiling, and on reloads that brought a plan, in nanoseconds.
        unknown: decisions and bindings that named a ``pool``, ``codec`` or ``signalling`` which the plan does not know,
            and got the default for it.
        unknown_names: the first few of those names.
        failures: how often a file or a plan could not be used.
    """

    cells: int
    compile_ns: int
    unknown: Mapping[str, int]
    unknown_names: tuple[str, ...]
    failures: int

    def to_table(self) -> ResultTable:
        """One row per count."""
        counts = {"contexts compiled": self.cells, "failures": self.failures}
        counts |= {f"unknown {what}": count for what, count in self.unknown.items()}
        rows = (
            *((name, str(count)) for name, count in counts.items()),
            ("compile time", format_duration(self.compile_ns)),
        )
        notes = (f"Unknown: {', '.join(self.unknown_names)}.",) if self.unknown_names else ()
        return ResultTable("Engine statistics", ("what", "count"), rows, notes, align_right=(1,))

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return {**dataclasses.asdict(self), "unknown": dict(self.unknown)}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()

"""What publishing shows: the ranges that move, and the versions that there are."""

from __future__ import annotations

import dataclasses
import itertools
import math
import textwrap
from typing import TYPE_CHECKING, Any

from perfkit.config.thresholds import Thresholds
from perfkit.errors import ConfigError
from perfkit.tables import ResultTable, plural
from perfkit.units import format_bytes, format_duration
from perfkit.workflows.effect import EFFECT_COLUMNS, Effect
from perfkit.workflows.publish_gate import Refusal

if TYPE_CHECKING:  # what nobody distilled is published without loading models
    from perfkit.learn.models.fidelity import Fidelity

__all__ = ["Change", "History", "PublishResult"]


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """Sizes for which another method would be taken than so far, and what that is expected to change.

    Both latencies are those of the new curves at `at_bytes`; `before_ns` is None where they know nothing of the method.
    """

    context: str
    start_bytes: float
    end_bytes: float
    before: str
    after: str
    at_bytes: float
    before_ns: float | None
    after_ns: float | None

    @property
    def effect(self) -> float | None:
        """Expected change of the latency as a share: -0.5 is half of it."""
        if not self.before_ns or self.after_ns is None:
            return None
        return self.after_ns / self.before_ns - 1

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON; an open end is None."""
        end_bytes = self.end_bytes if math.isfinite(self.end_bytes) else None
        return {**dataclasses.asdict(self), "end_bytes": end_bytes, "effect": self.effect}


@dataclasses.dataclass(frozen=True)
class PublishResult:
    """What was, or would be, published.

    Args:
        path: the thresholds file.
        version: the new version; with `published` False, the one that publishing would make.
        previous_version: the version in force before; None when there was none.
        published: whether it is in force now.
        dry_run: whether only a preview was asked for.
        changes: where another method is taken than before.
        warnings: what weakens the evidence, or what was found on disk.
        restores: the earlier version that a rollback brought back.
        effects: what it is expected, or was measured, to do to the cost of workloads; the first one counts most.
        refusals: what is against it, overridden or not.
        overridden: names of the refusals that were overridden.
        fidelity: how close curves are to the model that they were distilled from; None for curves as they were fitted.
    """

    path: str
    version: int
    previous_version: int | None
    published: bool
    dry_run: bool
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]
    restores: int | None = None
    effects: tuple[Effect, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    overridden: tuple[str, ...] = ()
    fidelity: Fidelity | None = None

    @property
    def refused(self) -> bool:
        """Whether anything stands against it that was not overridden."""
        return len(self.overridden) < len(self.refusals)

    @property
    def not_published(self) -> str:
        """Why nothing was published, in a few words; empty where something was, or only a preview was asked for."""
        if self.refused:
            return f"refused ({', '.join(one.name for one in self.refusals)})"
        return "" if self.published or self.dry_run else f"version {self.previous_version} already says this"

    def refusal_text(self) -> str:
        """Every reason against it, and what overrides which, for people."""
        standing = [one for one in self.refusals if one.name not in self.overridden]
        forcible = ", ".join(one.name for one in standing if one.forcible)
        ending = f"`--force` (in Python `force=True`) overrides {forcible}" if forcible else "This cannot be forced"
        lines = [f"version {self.version} of {self.path} is refused; what was in force stays in force"]
        return "\n".join([*lines, *(f"- {one}" for one in standing), f"{ending}."])

    def effect_table(self) -> ResultTable:
        """What it does to the cost of each workload."""
        rows = tuple(effect.cells() for effect in self.effects)
        notes = tuple(dict.fromkeys(f"Cost {effect.method}." for effect in self.effects))
        return ResultTable("Effect on the cost", EFFECT_COLUMNS, rows, notes, align_right=(1, 2, 4))

    def to_table(self) -> ResultTable:
        """The ranges that move, with the expected effect."""
        rows = tuple((change.context, *_cells(change)) for change in self.changes)
        return ResultTable(self._title(), ("context", *_COLUMNS), rows, self._notes(), align_right=(3, 5))

    def _title(self) -> str:
        against = "the defaults" if self.previous_version is None else f"version {self.previous_version}"
        restored = f" (version {self.restores} again)" if self.restores else ""
        if self.refused and not self.dry_run:
            return f"Not published: version {self.version} of {self.path} against {against} is refused"
        if self.published:
            return f"Published version {self.version}{restored} to {self.path}; it replaces {against}"
        if self.dry_run:
            return f"Preview of version {self.version}{restored} of {self.path} against {against}; nothing was written"
        return f"Version {self.previous_version} of {self.path} already says this; nothing was written"

    def _notes(self) -> tuple[str, ...]:
        moved = plural(len(self.changes), "range moves", ["ranges move"]) if self.changes else "No range moves"
        reasons = (f"{'Overridden' if one.name in self.overridden else 'Refused'}: {one}" for one in self.refusals)
        warnings = (f"Warning: {warning}" for warning in self.warnings)
        expected = (
            f"With `--expected-version {self.previous_version or 0}` this holds only if nothing changes meanwhile."
        )
        distilled = [] if self.fidelity is None else [self.fidelity.sentence()]
        return (f"{moved}.", *distilled, *warnings, *reasons, *([expected] if self.dry_run else []))

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return plain | {
            "changes": [change.to_plain() for change in self.changes],
            "warnings": list(self.warnings),
            "effects": [effect.to_plain() for effect in self.effects],
            "effect": self.effects[0].to_plain() if self.effects else None,
            "refusals": [refusal.to_plain() for refusal in self.refusals],
            "overridden": list(self.overridden),
            "refused": self.refused,
            "fidelity": None if self.fidelity is None else self.fidelity.to_plain(),
        }

    def _repr_html_(self) -> str:
        effects = self.effect_table().to_html() if self.effects else ""
        return self.to_table().to_html() + effects

    def __str__(self) -> str:
        # One table per context: as a column, its name would not leave enough of a terminal for the rest.
        tables = [
            ResultTable(context, _COLUMNS, tuple(map(_cells, changes)), (), align_right=(2, 4)).to_text()
            for context, changes in itertools.groupby(self.changes, key=lambda change: change.context)
        ]
        if self.effects:
            tables.append(self.effect_table().to_text())
        notes = "\n".join(textwrap.fill(note, 80) for note in self._notes())
        return "\n\n".join([textwrap.fill(self._title(), 80), *tables, notes])


_COLUMNS = ("sizes", "method", "at", "expected latency", "effect")


def _cells(change: Change) -> tuple[str, ...]:
    start = format_bytes(change.start_bytes)
    end = "" if math.isinf(change.end_bytes) else format_bytes(change.end_bytes)
    before = "?" if change.before_ns is None else format_duration(change.before_ns)
    after = "?" if change.after_ns is None else format_duration(change.after_ns)
    effect = "?" if change.effect is None else f"{change.effect:+.0%}"
    methods = f"{change.before} → {change.after}"
    return f"{start}–{end}", methods, format_bytes(change.at_bytes), f"{before} → {after}", effect


@dataclasses.dataclass(frozen=True)
class History:
    """Every version of a thresholds file, newest first; a damaged one as the error that says what is wrong with it."""

    path: str
    versions: dict[int, Thresholds | ConfigError]
    in_force: int | None

    def to_table(self) -> ResultTable:
        """One row per version."""
        rows = []
        for version, entry in self.versions.items():
            mark = "→ " if version == self.in_force else "  "
            if isinstance(entry, ConfigError):
                rows.append((f"{mark}{version}", "damaged", "", "", str(entry)))
                continue
            evidence = entry.curves.evidence
            note = _history_note(entry)
            moment = f"{entry.published_at:%Y-%m-%d %H:%M}"
            rows.append((f"{mark}{version}", moment, entry.run, str(evidence.observations), note))
        columns = ("version", "published (UTC)", "run", "observations", "note")
        notes = () if rows else ("Nothing was published yet; `perfkit run` measures and publishes.",)
        return ResultTable(f"Versions of {self.path}", columns, tuple(rows), notes, align_right=(0, 3))

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        versions = []
        for version, entry in self.versions.items():
            if isinstance(entry, ConfigError):
                versions.append({"version": version, "damaged": str(entry)})
            else:
                published_at = entry.published_at.isoformat()
                facts: dict[str, Any] = {"published_at": published_at, "run": entry.run, "restores": entry.restores}
                facts["gate"] = dataclasses.asdict(entry.gate)
                versions.append({"version": version, **facts})
        return {"path": self.path, "in_force": self.in_force, "versions": versions}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def _history_note(entry: Thresholds) -> str:
    """What a version brought back, what it was expected to do, and what was overridden for it."""
    parts = [f"version {entry.restores} again"] if entry.restores else []
    parts += [f"{effect.ratio - 1:+.1%} on {effect.workload}" for effect in entry.gate.effects[:1]]
    parts += [f"forced: {', '.join(entry.gate.forced)}"] if entry.gate.forced else []
    return "; ".join(parts)

"""What an engine says about itself: its health and its counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from perfkit.engine.circumstances import NORMAL
from perfkit.engine.hooks import HookHealth
from perfkit.engine.outcomes import BreakerState, OutcomeStatistics
from perfkit.engine.recording.statistics import RecorderStatistics
from perfkit.tables import ResultTable, plural
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
        warnings: what to know about the plan in force (thin evidence, another host) and the host (a limit is near).
        generation: number of the plan in force, from 1.
        is_watching: whether the engine's thread runs.
        state: what the host has left, and since the last change why.
        breakers: methods that failed since their last success.
        untrusted_pools: pools whose predictions are too far off: rules, thresholds and defaults decide there.
        corrections: pools and methods whose predicted time is corrected, with the factor.
        experiments: experiments that are running.
        recorder: what became of what was recorded.
        hooks: how the functions that were added with `Engine.on` do.
    """

    status: str
    mode: str
    settings_path: str | None
    thresholds_path: str | None
    version: int | None
    failures: int
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    generation: int = 1
    is_watching: bool = False
    state: str = "normal"
    state_cause: str = ""
    breakers: tuple[BreakerState, ...] = ()
    untrusted_pools: tuple[str, ...] = ()
    corrections: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    experiments: tuple[str, ...] = ()
    recorder: RecorderStatistics | None = None
    hooks: HookHealth | None = None

    def to_table(self) -> ResultTable:
        """One row per fact; errors and warnings below."""
        is_broken = any("thresholds." in error for error in self.errors)
        rows = (
            ("mode", self.mode),
            ("settings", self.settings_path or f"defaults ({'see the errors' if self.errors else 'no perfkit.toml'})"),
            (
                "thresholds",
                self.thresholds_path or f"defaults ({'see the errors' if is_broken else 'nothing published'})",
            ),
            ("version", "–" if self.version is None else str(self.version)),
            ("failures", str(self.failures)),
            ("plan", f"{self.generation}, {'followed by a thread' if self.is_watching else 'followed by no thread'}"),
            ("state", f"{self.state}: {self.state_cause}" if self.state_cause else self.state),
            *(("breaker", _breaker(one)) for one in self.breakers),
            *(("not trusted", f"pool {pool}: predictions are too far off") for pool in self.untrusted_pools),
            *(("corrected", text) for text in self._corrected()),
            *(("experiment", name) for name in self.experiments),
            *(() if self.recorder is None else (("recorded", _recorded(self.recorder)),)),
        )
        notes = (*(f"Error: {error}" for error in self.errors), *(f"Warning: {warning}" for warning in self.warnings))
        return ResultTable(f"Engine: {self.status}{self._now()}", ("what", "value"), rows, notes)

    def _now(self) -> str:
        """What an operator should see before anything else."""
        left_alone = [one.method for one in self.breakers if one.state != "closed"]
        said = [f"without {', '.join(left_alone)} (breaker)"] if left_alone else []
        said += [self.state.replace("_", " ")] if self.state != NORMAL else []
        return "".join(f", {text}" for text in said)

    def _corrected(self) -> list[str]:
        return [
            f"pool {pool}: {method} × {factor:.2f}"
            for pool, methods in self.corrections.items()
            for method, factor in methods.items()
        ]

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain |= {"breakers": [dataclasses.asdict(one) for one in self.breakers]}
        plain |= {"corrections": {pool: dict(methods) for pool, methods in self.corrections.items()}}
        plain |= {"recorder": self.recorder and self.recorder.to_plain(), "hooks": self.hooks and self.hooks.to_plain()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def _breaker(one: BreakerState) -> str:
    last = f", last {one.error}" if one.error else ""
    again = f", tried again in {format_duration(one.retry_in_ns)}" if one.retry_in_ns else ""
    return f"{one.method} {one.state.replace('_', ' ')}: {plural(one.failures, 'failure')} in a row{last}{again}"


def _recorded(found: RecorderStatistics) -> str:
    return (
        f"{found.accepted:,} rows: {found.committed:,} kept, {found.dropped:,} dropped, {found.buffered:,} on their way"
    )


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
        outcomes: what transfers took, by pool and method, with corrections and regret; None before the first one.
        states: time spent in each state of the host, in nanoseconds.
        explored_ns: latency that exploring was expected to cost so far, in nanoseconds.
    """

    cells: int
    compile_ns: int
    unknown: Mapping[str, int]
    unknown_names: tuple[str, ...]
    failures: int
    outcomes: OutcomeStatistics | None = None
    states: Mapping[str, int] = dataclasses.field(default_factory=dict)
    explored_ns: float = 0.0

    def to_table(self) -> ResultTable:
        """One row per count."""
        counts = {"contexts compiled": self.cells, "failures": self.failures}
        counts |= {f"unknown {what}": count for what, count in self.unknown.items()}
        rows = (
            *((name, str(count)) for name, count in counts.items()),
            ("compile time", format_duration(self.compile_ns)),
            *((f"time in state {state}", format_duration(spent)) for state, spent in self.states.items() if spent),
            *((("cost of exploring", format_duration(self.explored_ns)),) if self.explored_ns else ()),
        )
        notes = (f"Unknown: {', '.join(self.unknown_names)}.",) if self.unknown_names else ()
        return ResultTable("Engine statistics", ("what", "count"), rows, notes, align_right=(1,))

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain |= {"unknown": dict(self.unknown), "unknown_names": list(self.unknown_names), "states": dict(self.states)}
        return {**plain, "outcomes": self.outcomes and self.outcomes.to_plain()}

    def _repr_html_(self) -> str:
        return "".join(table.to_html() for table in self._tables())

    def __str__(self) -> str:
        return "\n\n".join(table.to_text() for table in self._tables())

    def _tables(self) -> list[ResultTable]:
        return [self.to_table(), *([self.outcomes.to_table()] if self.outcomes and self.outcomes.methods else [])]

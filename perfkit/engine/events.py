"""What an engine tells of itself: events, each with a sentence for people and plain data for machines."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from perfkit.tables import plural
from perfkit.units import format_bytes, format_duration

if TYPE_CHECKING:
    from perfkit.engine.recording.rows import Outcome

__all__ = [
    "EVENTS",
    "BreakerClosed",
    "BreakerOpened",
    "DecisionExplored",
    "EngineEvent",
    "LimitApproached",
    "OutcomesRecorded",
    "PlanCorrected",
    "PlanReloaded",
    "ReloadRefused",
    "RowsDropped",
    "SessionExposed",
    "StateChanged",
    "TrustChanged",
]


@dataclasses.dataclass(frozen=True, slots=True)
class EngineEvent:
    """What every event has; `occurred_at_ns` is in nanoseconds since 1970."""

    name: ClassVar[str] = ""
    severity: ClassVar[str] = "info"

    occurred_at_ns: int = dataclasses.field(default_factory=time.time_ns, kw_only=True)

    @property
    def subject(self) -> str:
        """What it happened to: a method, a pool, a resource; empty for the engine as a whole."""
        return ""

    @property
    def message(self) -> str:
        """One sentence for people."""
        raise NotImplementedError

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
        return {"event": self.name, "severity": self.severity, "message": self.message, **plain}


@dataclasses.dataclass(frozen=True, slots=True)
class OutcomesRecorded(EngineEvent):
    """A batch of what `Engine.record` was told since the last one.

    Plain tuples stand for outcomes, in the order of `perfkit.engine.recording.Outcome`: moment_us, decision,
    payload_bytes, latency_ns, session, ok, error.
    """

    name: ClassVar[str] = "outcomes recorded"
    severity: ClassVar[str] = "debug"

    outcomes: Sequence[Outcome]

    @property
    def failures(self) -> int:
        """How many of them failed."""
        return sum(not ok for *_, ok, _ in self.outcomes)

    @property
    def message(self) -> str:
        """How many there are, and how many failed."""
        return f"{plural(len(self.outcomes), 'outcome')} recorded, {self.failures} failed"

    def to_plain(self) -> dict[str, Any]:
        """The counts; the outcomes themselves are rows of the lake."""
        plain = {"outcomes": len(self.outcomes), "failures": self.failures, "occurred_at_ns": self.occurred_at_ns}
        return {"event": self.name, "severity": self.severity, "message": self.message, **plain}


@dataclasses.dataclass(frozen=True, slots=True)
class StateChanged(EngineEvent):
    """What the host has left changed from one state to another one; `reason` names the figure that did it."""

    name: ClassVar[str] = "state changed"
    severity: ClassVar[str] = "warning"

    before: str
    after: str
    reason: str = ""

    @property
    def subject(self) -> str:
        """The new state."""
        return self.after

    @property
    def message(self) -> str:
        """From what to what, and why."""
        return f"state {self.before} → {self.after}" + (f": {self.reason}" if self.reason else "")


@dataclasses.dataclass(frozen=True, slots=True)
class PlanReloaded(EngineEvent):
    """Another plan is in force.

    Args:
        generation: its number, from 1.
        version: the published version that it rests on; None for the defaults.
        changes: what changed, in words.
    """

    name: ClassVar[str] = "plan reloaded"

    generation: int
    version: int | None
    changes: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """The version in force."""
        return "defaults" if self.version is None else f"version {self.version}"

    @property
    def message(self) -> str:
        """Which plan is in force, and what changed."""
        changes = f": {'; '.join(self.changes)}" if self.changes else ""
        return f"plan {self.generation} ({self.subject}) is in force{changes}"


@dataclasses.dataclass(frozen=True, slots=True)
class ReloadRefused(EngineEvent):
    """The files cannot be used; `instead` says what holds."""

    name: ClassVar[str] = "reload refused"
    severity: ClassVar[str] = "warning"

    errors: tuple[str, ...]
    instead: str = "the last good plan stays in force"

    @property
    def message(self) -> str:
        """What is wrong with the files."""
        return f"files refused, {self.instead}: {'; '.join(self.errors)}"


@dataclasses.dataclass(frozen=True, slots=True)
class PlanCorrected(EngineEvent):
    """The plan corrected itself by what transfers took.

    Args:
        pool: pool whose costs are corrected.
        method: method whose costs are corrected.
        before: factor on its predicted time until now.
        after: factor from now on.
        sentence: what changed, why, and what it is expected to do.
    """

    name: ClassVar[str] = "plan corrected"
    severity: ClassVar[str] = "warning"

    pool: str
    method: str
    before: float
    after: float
    sentence: str = ""

    @property
    def subject(self) -> str:
        """Pool and method."""
        return f"{self.pool}/{self.method}"

    @property
    def message(self) -> str:
        """What changed, or by how much."""
        factors = f"predicted time × {self.after:.3g} (was × {self.before:.3g})"
        return self.sentence or f"pool {self.pool}, {self.method}: {factors}"


@dataclasses.dataclass(frozen=True, slots=True)
class TrustChanged(EngineEvent):
    """The predictions for a pool became too bad to choose by, or good enough again."""

    name: ClassVar[str] = "trust changed"
    severity: ClassVar[str] = "warning"

    pool: str
    is_trusted: bool

    @property
    def subject(self) -> str:
        """The pool."""
        return self.pool

    @property
    def message(self) -> str:
        """What decides from now on."""
        if self.is_trusted:
            return f"pool {self.pool}: predictions are near enough again, the published curves decide"
        return (
            f"pool {self.pool}: predictions are too far from what transfers take; rules, thresholds and defaults "
            "decide. Measure this host with `perfkit run`"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class BreakerOpened(EngineEvent):
    """A method failed too often, and is left alone for a while.

    Args:
        method: the method.
        failures: consecutive failures.
        open_ns: how long until one transfer may try, in nanoseconds.
        error: name of the last exception; empty where nobody said.
    """

    name: ClassVar[str] = "breaker opened"
    severity: ClassVar[str] = "warning"

    method: str
    failures: int
    open_ns: int
    error: str = ""

    @property
    def subject(self) -> str:
        """The method."""
        return self.method

    @property
    def message(self) -> str:
        """How often it failed, and when it is tried again."""
        last = f", the last time with {self.error}" if self.error else ""
        count = plural(self.failures, "time")
        return f"{self.method} failed {count} in a row{last}; left alone for {format_duration(self.open_ns)}"


@dataclasses.dataclass(frozen=True, slots=True)
class BreakerClosed(EngineEvent):
    """A method works again; `open_ns` is how long it was left alone, in nanoseconds."""

    name: ClassVar[str] = "breaker closed"
    severity: ClassVar[str] = "info"

    method: str
    open_ns: int

    @property
    def subject(self) -> str:
        """The method."""
        return self.method

    @property
    def message(self) -> str:
        """For how long it was left alone."""
        return f"{self.method} works again, after {format_duration(self.open_ns)}"


@dataclasses.dataclass(frozen=True, slots=True)
class SessionExposed(EngineEvent):
    """A session met the variant of an experiment for the first time."""

    name: ClassVar[str] = "session exposed"
    severity: ClassVar[str] = "debug"

    session: str
    experiment: str
    variant: str
    pool: str = ""

    @property
    def subject(self) -> str:
        """The experiment."""
        return self.experiment

    @property
    def message(self) -> str:
        """Who meets what."""
        return f"session {self.session!r} takes part in {self.experiment} with variant {self.variant}"


@dataclasses.dataclass(frozen=True, slots=True)
class DecisionExplored(EngineEvent):
    """Another method was taken than the plan's, to learn what it costs.

    Args:
        decision_id: id of the decision that was handed out.
        pool: its pool.
        method: what was taken.
        instead_of: what the plan names.
        payload_bytes: size of the payload before encoding.
        propensity: probability with which it was taken.
    """

    name: ClassVar[str] = "decision explored"
    severity: ClassVar[str] = "debug"

    decision_id: str
    pool: str
    method: str
    instead_of: str
    payload_bytes: int
    propensity: float

    @property
    def subject(self) -> str:
        """The decision."""
        return self.decision_id

    @property
    def message(self) -> str:
        """What was taken instead of what."""
        size = format_bytes(self.payload_bytes)
        return f"{size} of pool {self.pool} took {self.method} instead of {self.instead_of}, to learn"


@dataclasses.dataclass(frozen=True, slots=True)
class LimitApproached(EngineEvent):
    """A resource comes near its limit.

    Args:
        resource: cpu, memory or arena.
        share: share in use, 0 to 1.
        limit: share from which the engine reacts, 0 to 1.
        sentence: how near it is, and how much would be enough.
    """

    name: ClassVar[str] = "limit approached"
    severity: ClassVar[str] = "warning"

    resource: str
    share: float
    limit: float
    sentence: str = ""

    @property
    def subject(self) -> str:
        """The resource."""
        return self.resource

    @property
    def message(self) -> str:
        """How near it is, and what to do."""
        return self.sentence or f"{self.resource} is {self.share:.0%} in use, pressure begins at {self.limit:.0%}"


@dataclasses.dataclass(frozen=True, slots=True)
class RowsDropped(EngineEvent):
    """What was recorded came faster than it could be kept: `rows` since the last event, `total` since the start."""

    name: ClassVar[str] = "rows dropped"
    severity: ClassVar[str] = "warning"

    rows: int
    total: int
    reason: str = ""

    @property
    def message(self) -> str:
        """How many, and why."""
        reason = f": {self.reason}" if self.reason else ""
        return f"{plural(self.rows, 'row')} dropped, {self.total} since the start{reason}"


EVENTS: tuple[type[EngineEvent], ...] = (
    OutcomesRecorded,
    StateChanged,
    PlanReloaded,
    ReloadRefused,
    PlanCorrected,
    TrustChanged,
    BreakerOpened,
    BreakerClosed,
    SessionExposed,
    DecisionExplored,
    LimitApproached,
    RowsDropped,
)
"""Every kind of event."""

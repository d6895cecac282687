"""From what a service handed in to columns of the journal: checked, and looked up, away from the hot path."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from perfkit.config.source import shown
from perfkit.engine.decision import Decision

__all__ = ["FACTS_KEPT", "Chosen", "Facts", "Outcome", "checked_chosen", "checked_outcomes"]

FACTS_KEPT = 4096
_LARGEST = 2**63 - 1
_NONE = type(None)


class Outcome(NamedTuple):
    """How a transfer that followed a decision ended; plain tuples of the same order stand for it.

    Args:
        moment_us: when, in microseconds since 1970 in UTC.
        decision: what was decided.
        payload_bytes: size of the payload before encoding.
        latency_ns: what the transfer took, in nanoseconds.
        session: the session; None for none.
        ok: whether it succeeded.
        error: name of the exception of one that failed; None for none.
    """

    moment_us: int
    decision: Decision
    payload_bytes: int
    latency_ns: int
    session: str | None
    ok: bool
    error: str | None


class Chosen(NamedTuple):
    """A decision that is kept with its reason; plain tuples of the same order stand for it."""

    moment_us: int
    decision: Decision
    payload_bytes: int
    session: str | None
    reason: str


def checked_outcomes(
    rows: Sequence[tuple[Any, ...]], pause: Callable[[], None]
) -> tuple[Sequence[tuple[Any, ...]], list[str]]:
    """What was recorded as outcomes, and what is wrong with those that cannot be.

    Args:
        rows: seconds since 1970, and the arguments of `Recorder.record`, whatever they are.
        pause: called between slow rows.
    """
    seconds, decisions, sizes, latencies, sessions, oks, errors = zip(*rows, strict=True)
    if (
        set(map(type, decisions)) == {Decision}
        and set(map(type, sizes)) == {int}
        and set(map(type, latencies)) == {int}
        and set(map(type, sessions)) <= {str, _NONE}
        and set(map(type, oks)) == {bool}
        and set(map(type, errors)) <= {str, _NONE}
        and 0 <= min(sizes) <= max(sizes) <= _LARGEST
        and 0 <= min(latencies) <= max(latencies) <= _LARGEST
    ):
        moments = [int(second * 1e6) for second in seconds]
        return list(zip(moments, decisions, sizes, latencies, sessions, oks, errors, strict=True)), []
    return _one_by_one(rows, _outcome, pause)


def checked_chosen(
    rows: Sequence[tuple[Any, ...]], pause: Callable[[], None]
) -> tuple[Sequence[tuple[Any, ...]], list[str]]:
    """The same for the arguments of `Recorder.record_decision`."""
    return _one_by_one(rows, _chosen, pause)


def _one_by_one(
    rows: Sequence[tuple[Any, ...]], check: Callable[..., tuple[Any, ...]], pause: Callable[[], None]
) -> tuple[list[tuple[Any, ...]], list[str]]:
    good, wrong = [], []
    for row in rows:
        try:
            good.append(check(*row))
        except Exception as error:  # noqa: BLE001 - a service's own types may raise anything
            wrong.append(f"a row was dropped: {_said(error)}")
        pause()
    return good, wrong


def _said(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except Exception:  # noqa: BLE001 - the same
        return type(error).__name__


def _outcome(
    second: float, decision: Any, size: Any, latency: Any, session: Any, ok: Any, error: Any
) -> tuple[Any, ...]:
    ok = bool(ok)
    latency_ns = 0 if latency is None and not ok else _whole("latency_ns", latency)
    known = (_decision(decision), _whole("payload_bytes", size), latency_ns, _session(session), ok, _error(error))
    return (int(second * 1e6), *known)


def _chosen(second: float, decision: Any, size: Any, session: Any, reason: Any) -> tuple[Any, ...]:
    known = (_decision(decision), _whole("payload_bytes", size), _session(session), _text("reason", reason))
    return (int(second * 1e6), *known)


def _decision(value: Any) -> Decision:
    if not isinstance(value, Decision):
        raise TypeError(f"decision == {shown(value)}, must be what decide() returned")
    return value


def _whole(name: str, value: Any) -> int:
    if isinstance(value, float) and math.isfinite(value):
        value = round(value)
    number = operator.index(value)
    if not 0 <= number <= _LARGEST:
        raise ValueError(f"{name} == {shown(value)}, must be from 0 to 2^63 - 1")
    return number


def _session(value: Any) -> str | None:
    return value if value is None else str(value) if isinstance(value, int) else _text("session", value)


def _error(value: Any) -> str | None:
    if isinstance(value, BaseException):
        return type(value).__name__
    if isinstance(value, type) and issubclass(value, BaseException):
        return value.__name__
    return value if value is None else _text("error", value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} == {shown(value)} of type {type(value).__name__}, must be text")
    value.encode()  # a lone surrogate cannot be written
    return str(value)


class Facts:
    """What the journal's rows say of a decision, looked up once per decision."""

    _OUTCOME = ("signalling", "placement", "in_flight", "pool", "kind", "format", "compression")

    def __init__(self) -> None:
        self._known: dict[int, tuple[Decision, dict[str, Any]]] = {}

    def of(self, decision: Decision) -> Mapping[str, Any]:
        """Columns that `transfers` and `decisions` share, and ``placement`` and ``goal``."""
        known = self._known.get(id(decision))
        if known is None:
            if len(self._known) >= FACTS_KEPT:
                self._known.clear()
            known = self._known[id(decision)] = (decision, _facts(decision))  # keeps it, and so its id
        return known[1]

    def transfers(self, rows: Sequence[tuple[Any, ...]], pause: Callable[[], None]) -> dict[str, Any]:
        """Outcomes as columns of `transfers`."""
        moments, decisions, sizes, latencies, sessions, oks, errors = map(list, zip(*rows, strict=True))
        columns = {
            "observed_at": moments,
            "source": "service",
            "stage": "whole",
            "payload_bytes": sizes,
            "latency_ns": latencies,
            "ok": oks,
            "error": errors,
            "session": [session or "" for session in sessions],
        }
        pause()
        return {**columns, **self._columns(decisions, _TRANSFER_FACTS, pause)}

    def decisions(self, rows: Sequence[tuple[Any, ...]], pause: Callable[[], None]) -> dict[str, Any]:
        """Decisions as columns of `decisions`."""
        moments, decisions, sizes, sessions, reasons = map(list, zip(*rows, strict=True))
        columns = {
            "decided_at": moments,
            "payload_bytes": sizes,
            "session": [session or "" for session in sessions],
            "reason": reasons,
        }
        pause()
        return {**columns, **self._columns(decisions, _DECISION_FACTS, pause)}

    def _columns(
        self, decisions: Sequence[Decision], names: Sequence[str], pause: Callable[[], None]
    ) -> dict[str, Any]:
        different = {id(decision): decision for decision in decisions}
        facts = {key: self.of(decision) for key, decision in different.items()}
        pause()
        columns: dict[str, Any] = {}
        keys = list(map(id, decisions))
        for name in names:
            values = {key: one[name] for key, one in facts.items()}
            one_for_all = next(iter(values.values()))
            is_same = all(value == one_for_all for value in values.values())
            columns[name] = one_for_all if is_same else [values[key] for key in keys]
            pause()
        return columns


_SHARED = (
    "decision_id", "method", "signalling", "in_flight", "pool", "kind", "format", "compression", "variant",
    "experiment", "propensity", "plan_version",
)  # fmt: skip
_TRANSFER_FACTS = (*_SHARED, "placement")
_DECISION_FACTS = (*_SHARED, "goal")


def _facts(decision: Decision) -> dict[str, Any]:
    cell = decision.cell
    context = cell.context
    return {
        "decision_id": decision.id,
        "method": decision.method,
        "signalling": context.signalling,
        "placement": "in_place" if context.in_place else "copied",
        "in_flight": context.in_flight,
        "pool": context.pool,
        "kind": context.kind,
        "format": context.format,
        "compression": context.compression,
        "variant": decision.variant,
        "experiment": decision.experiment,
        "propensity": decision.propensity,
        "plan_version": cell.publication.version or 0,
        "goal": cell.goal,
    }

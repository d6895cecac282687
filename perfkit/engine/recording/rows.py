"""From what a service handed in to columns of the journal: checked, and looked up, away from the hot path."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from perfkit.config.source import shown
from perfkit.engine.decision import Decision

__all__ = [
    "OUTCOME_VALUES",
    "Facts",
    "Outcome",
    "Row",
    "checked_chosen",
    "checked_outcomes",
    "error_name",
    "with_moments",
]

Row = tuple[Any, ...]

_FACTS_KEPT = 1024
_LARGEST = 2**63 - 1
_NONE = type(None)


OUTCOME_VALUES = 7


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


def checked_outcomes(rows: list[Row], pause: Callable[[], None]) -> tuple[list[Row], list[str]]:
    """What was recorded as outcomes, and what is wrong with those that cannot be.

    Args:
        rows: seconds since 1970, and the arguments of `Recorder.record`, whatever they are.
        pause: called between slow rows.
    """
    _, decisions, sizes, latencies, sessions, oks, errors = zip(*rows, strict=True)
    if (
        set(map(type, decisions)) == {Decision}
        and set(map(type, sizes)) == set(map(type, latencies)) == {int}
        and set(map(type, sessions)) <= {str, _NONE}
        and set(map(type, oks)) == {bool}
        and set(map(type, errors)) <= {str, _NONE}
        and 0 <= min(sizes) <= max(sizes) <= _LARGEST
        and 0 <= min(latencies) <= max(latencies) <= _LARGEST
    ):
        return rows, []
    return _one_by_one(rows, _outcome, pause)


def checked_chosen(rows: list[Row], pause: Callable[[], None]) -> tuple[list[Row], list[str]]:
    """The same for the arguments of `Recorder.record_decision`."""
    return _one_by_one(rows, _chosen, pause)


def with_moments(rows: list[Row]) -> list[Row]:
    """Outcomes with their moment in microseconds."""
    return [(int(second * 1e6), *rest) for second, *rest in rows]


def _one_by_one(rows: list[Row], check: Callable[..., Row], pause: Callable[[], None]) -> tuple[list[Row], list[str]]:
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


def _outcome(second: float, decision: Any, size: Any, latency: Any, session: Any, ok: Any, error: Any) -> Row:
    ok = bool(ok)
    latency_ns = 0 if latency is None and not ok else _whole("latency_ns", latency)
    size_bytes = _whole("payload_bytes", size)
    error = error if error is None else _text("error", error)
    return (second, _decision(decision), size_bytes, latency_ns, _session(session), ok, error)


def _chosen(second: float, decision: Any, size: Any, session: Any, reason: Any) -> Row:
    size_bytes = _whole("payload_bytes", size)
    return (second, _decision(decision), size_bytes, _session(session), _text("reason", reason))


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


def error_name(error: Any) -> Any:
    """The name of an exception, or of its type; anything else stays as it is. Never raises."""
    kind = type(error)
    if issubclass(kind, BaseException):
        return kind.__name__
    return error.__name__ if issubclass(kind, type) and issubclass(error, BaseException) else error


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} == {shown(value)} of type {type(value).__name__}, must be text")
    value.encode()  # a lone surrogate cannot be written
    return str(value)


class Facts:
    """What the journal's rows say of a decision, looked up once per decision."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Decision, dict[str, Any]]] = {}

    def of(self, decision: Decision) -> Mapping[str, Any]:
        """Columns that `transfers` and `decisions` share, and ``placement`` and ``goal``."""
        known = self._known.get(id(decision))
        if known is None:
            if len(self._known) >= _FACTS_KEPT:
                self._known.clear()
            known = self._known[id(decision)] = (decision, _facts(decision))  # keeps it, and so its id
        return known[1]

    def transfers(
        self, rows: list[Row], pause: Callable[[], None], available_bytes: int | None = None
    ) -> dict[str, Any]:
        """Outcomes as columns of `transfers`.

        Args:
            rows: what was recorded.
            pause: called between slow steps.
            available_bytes: memory that the host could still give a moment ago; None where nobody looked.
        """
        seconds, decisions, sizes, latencies, sessions, oks, errors = map(list, zip(*rows, strict=True))
        columns = {
            "observed_at": [int(second * 1e6) for second in seconds],
            "source": "service",
            "stage": "whole",
            "payload_bytes": sizes,
            "latency_ns": latencies,
            "ok": True if all(oks) else oks,  # one value for all rows is encoded in no time
            "error": errors if any(errors) else None,
            "session": [session or "" for session in sessions] if any(sessions) else "",
            "available_bytes": available_bytes,
        }
        pause()
        return {**columns, **self._columns(decisions, _TRANSFER_FACTS, pause)}

    def decisions(self, rows: list[Row], pause: Callable[[], None]) -> dict[str, Any]:
        """Decisions as columns of `decisions`."""
        seconds, decisions, sizes, sessions, reasons = map(list, zip(*rows, strict=True))
        columns = {
            "decided_at": [int(second * 1e6) for second in seconds],
            "payload_bytes": sizes,
            "session": [session or "" for session in sessions],
            "reason": reasons,
        }
        pause()
        return {**columns, **self._columns(decisions, _DECISION_FACTS, pause)}

    def _columns(self, decisions: list[Decision], names: tuple[str, ...], pause: Callable[[], None]) -> dict[str, Any]:
        keys = list(map(id, decisions))
        facts = {key: self.of(decision) for key, decision in dict(zip(keys, decisions, strict=True)).items()}
        pause()
        columns: dict[str, Any] = {}
        for name in names:
            values = {key: one[name] for key, one in facts.items()}
            is_same = len(set(values.values())) == 1
            columns[name] = next(iter(values.values())) if is_same else list(map(values.__getitem__, keys))
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

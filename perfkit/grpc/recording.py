"""One row of `transfers` per call."""

from __future__ import annotations

import dataclasses
import time

from perfkit.engine import Decision, Engine
from perfkit.journal import Journal

__all__ = ["Recorder", "Row"]

_COLUMNS = (
    "observed_at",
    "source",
    "stage",
    "method",
    "signalling",
    "in_flight",
    "pool",
    "kind",
    "format",
    "payload_bytes",
    "latency_ns",
    "handler_ns",
    "ok",
    "error",
    "fallback",
    "decision_id",
    "experiment",
    "variant",
    "propensity",
    "plan_version",
    "available_bytes",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """How a call went.

    Args:
        is_pooled: its request went through shared memory in the end.
        payload_bytes: what its `bytes` fields hold.
        latency_ns: duration of the last try, without the handler where that is known.
        handler_ns: time of the handler; None: the server did not say.
        in_flight: calls under way when it began, itself included.
        error: name of the status of a call that failed.
        fallback: why it went inline although it was large enough; empty otherwise.
        decision: what it follows; None where nothing was decided.
    """

    is_pooled: bool
    payload_bytes: int
    latency_ns: int
    handler_ns: int | None
    in_flight: int
    error: str | None
    fallback: str
    decision: Decision | None


class Recorder:
    """Hands the outcome of calls to a journal; never waits and never raises.

    Args:
        journal: takes the rows.
        pool: pool of workers that the client named.
        engine: looks at what the host has left; None without one.
    """

    def __init__(self, journal: Journal, pool: str, engine: Engine | None) -> None:
        self._engine = engine
        self._writer = journal.writer("transfers", _COLUMNS)
        self._pool = pool

    def record(self, row: Row) -> None:
        """Record a call that has ended."""
        now_us = time.time_ns() // 1000
        method = "shm_pool" if row.is_pooled else "grpc"
        fallback = f"shm_pool: {row.fallback}" if row.fallback else ""
        self._writer.offer(
            (
                now_us, "service", "whole", method, "grpc", row.in_flight, self._pool, "binary", "raw",
                row.payload_bytes, row.latency_ns, row.handler_ns, row.error is None, row.error, fallback,
                *_decided(row.decision), None if self._engine is None else self._engine.available_bytes,
            )
        )  # fmt: skip


def _decided(decision: Decision | None) -> tuple[str, str, str, float, int]:
    """Id, experiment, variant, propensity and version of the thresholds."""
    if decision is None:
        return "", "", "", 1.0, 0
    cell = decision.cell
    return decision.id, cell.experiment, cell.variant, decision.propensity, cell.publication.version or 0

"""One row of `transfers` per call."""

from __future__ import annotations

import dataclasses
import time

from perfkit.grpc.choosing import Chooser
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
    """

    is_pooled: bool
    payload_bytes: int
    latency_ns: int
    handler_ns: int | None
    in_flight: int
    error: str | None
    fallback: str


class Recorder:
    """Hands the outcome of calls to a journal; never waits and never raises."""

    def __init__(self, journal: Journal, pool: str, chooser: Chooser) -> None:
        self._writer = journal.writer("transfers", _COLUMNS)
        self._pool, self._chooser = pool, chooser

    def record(self, row: Row) -> None:
        """Record a call that has ended."""
        now_us = time.time_ns() // 1000
        method = "shm_pool" if row.is_pooled else "grpc"
        fallback = f"shm_pool: {row.fallback}" if row.fallback else ""
        decision_id = self._chooser.decision_id(row.payload_bytes)
        self._writer.offer(
            (
                now_us, "service", "whole", method, "grpc", row.in_flight, self._pool, "binary", "raw",
                row.payload_bytes, row.latency_ns, row.handler_ns, row.error is None, row.error, fallback, decision_id,
            )
        )  # fmt: skip

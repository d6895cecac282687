"""Every transfer as a row of the journal: what it carried, how, how long each stage took, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from perfkit.engine import Decision, Engine
from perfkit.errors import JournalError
from perfkit.journal import Journal, open_journal

__all__ = ["COLUMNS", "UNDECIDED", "Decided", "Recorder", "decided", "open_recorder"]

COLUMNS = (
    "observed_at", "source", "stage", "method", "signalling", "placement", "in_flight", "pool", "kind", "format",
    "compression", "payload_bytes", "wire_bytes", "latency_ns", "encode_ns", "wait_ns", "copy_ns", "signal_ns",
    "handler_ns", "decode_ns", "ok", "error", "fallback", "direction", "session", "decision_id", "experiment",
    "variant", "propensity", "plan_version", "available_bytes",
)  # fmt: skip
"""What a row of a service says, in this order; the other columns of `transfers` have their defaults."""
Decided = tuple[str, str, str, float, int]
"""What a row says of the decision that it follows: id, experiment, variant, propensity, version of the thresholds."""
UNDECIDED: Decided = ("", "", "", 1.0, 0)


class Recorder:
    """Hands rows to a journal. Never waits for the disk, never raises; what the journal drops, it counts.

    Args:
        journal: takes the rows.
        engine: looks at what the host has left.
        is_owned: close it with the recorder.
    """

    __slots__ = ("_engine", "_is_owned", "_offer", "failures", "journal")

    def __init__(self, journal: Journal, engine: Engine, *, is_owned: bool) -> None:
        self.journal, self._engine, self._is_owned = journal, engine, is_owned
        self._offer: Callable[[tuple[object, ...]], bool] = journal.writer("transfers", COLUMNS).offer
        self.failures = 0

    def record(
        self,
        method: str,
        placement: str,
        in_flight: int,
        pool: str,
        codec: tuple[str, str, str],
        payload_bytes: int,
        wire_bytes: int,
        latency_ns: int,
        stages: tuple[int | None, ...],
        error: str | None,
        fallback: str,
        direction: str,
        session: str,
        followed: Decided,
    ) -> None:
        """One transfer.

        Args:
            stages: encode, wait, copy, signal, handler, decode in nanoseconds, None for what is not known.
            followed: what `decided` says of its decision.
        """
        try:
            self._offer(
                (
                    time.time_ns() // 1000,
                    "service",
                    "whole",
                    method,
                    "uds",
                    placement,
                    in_flight,
                    pool,
                    *codec,
                    payload_bytes,
                    wire_bytes,
                    latency_ns,
                    *stages,
                    error is None,
                    error,
                    fallback,
                    direction,
                    session,
                    *followed,
                    self._engine.available_bytes,
                )
            )
        except Exception:  # noqa: BLE001 - a service must not suffer for its records; `health` shows the count
            self.failures += 1

    def close(self) -> None:
        """Commit what waits; the journal is closed if it was opened for this recorder."""
        if self._is_owned:
            self.journal.close()
        else:
            self.journal.flush()


def decided(decision: Decision) -> Decided:
    """What a row says of the decision that it follows."""
    cell = decision.cell
    return decision.id, cell.experiment, cell.variant, decision.propensity, cell.publication.version or 0


def open_recorder(record: bool | Journal | str | Path, engine: Engine) -> Recorder | None:
    """The recorder that a channel asked for.

    Args:
        record: True: the journal ``data/journal`` beside the engine's `perfkit.toml`, none where there is no such file;
            a journal, or the folder of one; False: none.
        engine: says where its settings are.
    """
    if isinstance(record, Journal):
        return Recorder(record, engine, is_owned=False)
    if record is False:
        return None
    if record is True:
        settings_path = engine.health().settings_path
        if settings_path is None:
            return None
        record = Path(settings_path).parent / "data" / "journal"
    try:
        # Lazy: a service starts whatever its disk says; rows are dropped and counted until the folder can be used.
        return Recorder(open_journal(record, lazy=True), engine, is_owned=True)
    except JournalError:
        return None

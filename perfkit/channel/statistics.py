"""What channels and servers say about themselves."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

from perfkit.tables import ResultTable
from perfkit.transfer.arena import ArenaStatistics
from perfkit.units import format_bytes

__all__ = ["ChannelStatistics", "Health", "ServerStatistics"]


class _Shown(abc.ABC):
    """A frozen result that is a table: in a terminal, in a notebook, as plain data."""

    __slots__ = ()

    @abc.abstractmethod
    def to_table(self) -> ResultTable:
        """One row per figure."""

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelStatistics(_Shown):
    """Counts since the channel was connected. Kept without a lock: under threads a few may be missed.

    Args:
        requests: sent and answered.
        failures: by the exception that `send` raised.
        methods: requests by the method that carried them.
        reply_methods: answers by the method that carried them.
        fallbacks: how often a method could not carry a request, by ``method: reason``.
        retries: requests sent again because the first try was surely not handled.
        reconnects: conversations begun anew after the first.
        lanes: connections that are open.
        lent_bytes: our blocks that the peer views.
        late_views: answers that were still viewed when they were counted as done.
        arena: our shared memory.
    """

    requests: int
    failures: Mapping[str, int]
    methods: Mapping[str, int]
    reply_methods: Mapping[str, int]
    fallbacks: Mapping[str, int]
    retries: int
    reconnects: int
    lanes: int
    lent_bytes: int
    late_views: int
    arena: ArenaStatistics

    def to_table(self) -> ResultTable:
        """One row per count."""
        rows = _traffic_rows(self, "failed")
        rows += [(name, f"{getattr(self, name):,}") for name in ("retries", "reconnects", "lanes")]
        rows += [("late views", f"{self.late_views:,}"), ("viewed by the peer", format_bytes(self.lent_bytes))]
        rows += [("shared memory", format_bytes(self.arena.reserved_bytes))]
        return ResultTable("Channel", ("what", "how many"), tuple(rows), align_right=(1,))


@dataclasses.dataclass(frozen=True, slots=True)
class ServerStatistics(_Shown):
    """Counts since the server was started. Kept without a lock: under threads a few may be missed.

    Args:
        requests: handled.
        failures: handlers that raised, by the exception.
        methods: requests by the method that carried them.
        reply_methods: answers by the method that carried them.
        fallbacks: how often a method could not carry an answer, by ``method: reason``.
        refused: connections ended because of what the peer sent, or who it was.
        last_refusal: the newest reason.
        peers: conversations that are open.
        lanes: connections that are open.
        mapped_bytes: memory of peers that is mapped here.
        lent_bytes: our blocks that peers view.
        late_views: requests whose payload was still viewed when the handler had answered.
        arena: our shared memory.
    """

    requests: int
    failures: Mapping[str, int]
    methods: Mapping[str, int]
    reply_methods: Mapping[str, int]
    fallbacks: Mapping[str, int]
    refused: int
    last_refusal: str
    peers: int
    lanes: int
    mapped_bytes: int
    lent_bytes: int
    late_views: int
    arena: ArenaStatistics

    def to_table(self) -> ResultTable:
        """One row per count."""
        rows = _traffic_rows(self, "handler raised")
        rows += [(name, f"{getattr(self, name):,}") for name in ("refused", "peers", "lanes")]
        rows += [("late views", f"{self.late_views:,}"), ("mapped of peers", format_bytes(self.mapped_bytes))]
        rows += [("viewed by peers", format_bytes(self.lent_bytes))]
        rows += [("shared memory", format_bytes(self.arena.reserved_bytes))]
        notes = (f"Last refusal: {self.last_refusal}",) if self.last_refusal else ()
        return ResultTable("Server", ("what", "how many"), tuple(rows), notes, align_right=(1,))


@dataclasses.dataclass(frozen=True, slots=True)
class Health(_Shown):
    """Whether a channel does what it is asked, and what it had to absorb.

    Args:
        status: ``ok``, ``degraded`` (something was absorbed: `notes` says what) or ``closed``.
        address: of the server.
        server_pid: of the process that answered last; 0 when there is none.
        journal: folder that transfers are recorded in; empty when they are not.
        rows_dropped: observations that could not be recorded.
        notes: what was absorbed, in sentences.
    """

    status: str
    address: str
    server_pid: int
    journal: str
    rows_dropped: int
    notes: tuple[str, ...]

    def to_table(self) -> ResultTable:
        """One row per fact; what was absorbed below."""
        rows = (
            ("address", self.address),
            ("server", f"process {self.server_pid}" if self.server_pid else "none"),
            ("observations", self.journal or "not recorded"),
            ("observations dropped", f"{self.rows_dropped:,}"),
        )
        return ResultTable(f"Channel: {self.status}", ("what", "value"), rows, self.notes)


def _traffic_rows(statistics: ChannelStatistics | ServerStatistics, failed: str) -> list[tuple[str, str]]:
    """What both ends count: requests and answers by method, what failed, and what another method had to carry."""
    rows = [("requests", f"{statistics.requests:,}")]
    rows += [(f"  by {method}", f"{count:,}") for method, count in statistics.methods.items()]
    rows += [(f"  answered by {method}", f"{count:,}") for method, count in statistics.reply_methods.items()]
    rows += [(f"{failed}: {name}", f"{count:,}") for name, count in statistics.failures.items()]
    return rows + [(f"fallback: {name}", f"{count:,}") for name, count in statistics.fallbacks.items()]

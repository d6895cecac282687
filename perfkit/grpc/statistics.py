"""What an interceptor has done: counted by every call, rendered for people."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from perfkit.tables import ResultTable
from perfkit.units import format_bytes

__all__ = ["InterceptorStatistics", "Tally"]


@dataclasses.dataclass(frozen=True, slots=True)
class InterceptorStatistics:
    """What an interceptor has done since it was made.

    Args:
        side: client or server.
        calls: calls that it has seen; a repeated one counts once.
        pooled_calls: calls whose request came to its handler through shared memory.
        sent_fields: fields that this side put into its own memory.
        sent_bytes: what they hold.
        received_fields: fields that this side copied out of its peers' memory.
        received_bytes: what they hold.
        repeated_calls: calls that were sent again inline, or whose answer was asked for again.
        held_blocks: blocks under lease now: calls under way, answers not yet confirmed, and `quarantined_blocks`.
        quarantined_blocks: blocks of calls that ended without a word from the server, which may still read them.
        peers: peers known now.
        mapped_regions: regions of peers that are mapped now.
        fallbacks: how often something that could have been pooled was not, or not at first, by reason.
    """

    side: str
    calls: int
    pooled_calls: int
    sent_fields: int
    sent_bytes: int
    received_fields: int
    received_bytes: int
    repeated_calls: int
    held_blocks: int
    quarantined_blocks: int
    peers: int
    mapped_regions: int
    fallbacks: Mapping[str, int]

    @property
    def inline_calls(self) -> int:
        """Calls whose request went inline."""
        return self.calls - self.pooled_calls

    def to_plain(self) -> dict[str, Any]:
        """The figures as plain data."""
        return dataclasses.asdict(self) | {"inline_calls": self.inline_calls}

    def to_table(self) -> ResultTable:
        """The figures as a table."""
        plain = self.to_plain()
        rows = [(name, f"{value:,}") for name, value in plain.items() if isinstance(value, int)]
        rows = [(name, format_bytes(plain[name])) if name.endswith("_bytes") else (name, text) for name, text in rows]
        rows += [(f"inline: {reason}", f"{count:,}") for reason, count in sorted(self.fallbacks.items())]
        return ResultTable(f"gRPC interceptor, {self.side}", ("what", "how many"), tuple(rows), align_right=(1,))

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


class Tally:
    """The counts behind `InterceptorStatistics`; safe to use from several threads.

    >>> tally = Tally()
    >>> tally.add(sent_fields=1, sent_bytes=4096)
    >>> tally.fall_back("no room")
    >>> tally.total("client").sent_bytes, dict(tally.total("client").fallbacks)
    (4096, {'no room': 1})
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._counts: Counter[str] = Counter()
        self._fallbacks: Counter[str] = Counter()

    def count_call(self) -> None:
        """Add to `calls`: by far the most frequent."""
        with self._lock:
            self._calls += 1

    def add(self, **counts: int) -> None:
        """Add to some counts, named as in `InterceptorStatistics`."""
        with self._lock:
            for name, count in counts.items():
                self._counts[name] += count

    def fall_back(self, reason: str) -> None:
        """Count something that stayed inline, or went inline in the end."""
        with self._lock:
            self._fallbacks[reason] += 1

    def total(self, side: str, **current: int) -> InterceptorStatistics:
        """The figures, with those that are looked up rather than counted."""
        with self._lock:
            counts: dict[str, Any] = dict(self._counts) | {"calls": self._calls}
            fallbacks = dict(self._fallbacks)
        names = [field.name for field in dataclasses.fields(InterceptorStatistics)]
        figures = dict.fromkeys(names, 0) | counts | current
        return InterceptorStatistics(**(figures | {"side": side, "fallbacks": fallbacks}))

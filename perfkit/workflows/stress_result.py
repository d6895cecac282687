"""What a stress test saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from perfkit.tables import ResultTable
from perfkit.units import format_bytes, format_duration, format_rate

__all__ = ["ALLOWED_BESIDE_ARENAS_BYTES", "StressResult"]

ALLOWED_BESIDE_ARENAS_BYTES = 200 * 10**6
"""Memory that a stress test may take beside the arenas."""


@dataclasses.dataclass(frozen=True, slots=True)
class StressResult:
    """Everything that must be nothing, and how much was done.

    Args:
        sends: payloads that were sent and answered.
        bytes: that these carried, one way.
        seconds: of sending.
        senders: at once.
        errors: sends that raised.
        lost: answered sends that the server did not see.
        reordered: payloads that came before an earlier one of their sender, and answers to another request.
        corrupted: payloads and answers whose checksum was wrong.
        leaked_bytes: shared memory that was still leased, lent or mapped when all was over.
        descriptors_grown: open descriptors of the server at its end, beyond those at its start.
        memory_bytes: peak of all processes together (shared pages once), beyond what they took before the first send.
        arena_bytes: that their arenas had reserved.
        latency_p50_ns: median of all sends.
        latency_p99_ns: 99th percentile.
        methods: sends by method.
        error_texts: the errors by what they said, the most frequent first.
    """

    sends: int
    bytes: int
    seconds: float
    senders: int
    errors: int
    lost: int
    reordered: int
    corrupted: int
    leaked_bytes: int
    descriptors_grown: int
    memory_bytes: int
    arena_bytes: int
    latency_p50_ns: int
    latency_p99_ns: int
    methods: Mapping[str, int]
    error_texts: Mapping[str, int]

    @property
    def memory_ok(self) -> bool:
        """Whether the memory stayed within the arenas and what is allowed beside them."""
        return self.memory_bytes <= self.arena_bytes + ALLOWED_BESIDE_ARENAS_BYTES

    @property
    def verdict(self) -> str:
        """``holds``, or what does not."""
        names = ("errors", "lost", "reordered", "corrupted", "leaked_bytes")
        broken = [name for name in names if getattr(self, name)] + ([] if self.memory_ok else ["memory"])
        if not self.sends:
            broken.append("nothing was sent")
        return "holds" if not broken else f"fails: {', '.join(broken)}"

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return {**dataclasses.asdict(self), "memory_ok": self.memory_ok, "verdict": self.verdict}

    def to_table(self) -> ResultTable:
        """One row per figure."""
        names = ("errors", "lost", "reordered", "corrupted")
        rows = [(name, f"{getattr(self, name):,}") for name in names]
        rows += [("leaked", format_bytes(self.leaked_bytes)), ("descriptors left", str(self.descriptors_grown))]
        rows += [
            ("memory at the peak", format_bytes(self.memory_bytes)),
            ("  of it arenas", format_bytes(self.arena_bytes)),
        ]
        rows += [("sends", f"{self.sends:,}"), ("rate", f"{self.sends / max(self.seconds, 1e-9):,.0f}/s")]
        rows += [("payload", format_rate(self.bytes / max(self.seconds, 1e-9)))]
        latencies = f"{format_duration(self.latency_p50_ns)}, {format_duration(self.latency_p99_ns)}"
        rows += [("latency p50, p99", latencies)]
        rows += [(f"  by {method}", f"{count:,}") for method, count in self.methods.items()]
        notes = tuple(f"{count:,} x {text}" for text, count in self.error_texts.items())
        title = f"Stress: {self.senders} senders for {self.seconds:.0f} s, every payload checked: {self.verdict}"
        return ResultTable(title, ("what", "how many"), tuple(rows), notes, align_right=(1,))

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()

"""For pools that work through the night: nobody waits, and processor time is what is paid for."""

from __future__ import annotations

from collections.abc import Mapping

import perfkit
from perfkit.engine.policies import MethodFigures, PolicyContext

PATIENCE = 3.0
"""Not more than this many times the latency of the quickest method."""


@perfkit.policy("least processor time")
def least_processor_time(context: PolicyContext, figures: Mapping[str, MethodFigures]) -> str | None:
    """The method with the least processor time of both sides, by figures, unless it takes ages."""
    if context.state == "memory_pressure":
        return None  # the host is short of something else: let the curves decide for it
    latencies = {method: known.latency_ns for method, known in figures.items() if known.latency_ns is not None}
    if not latencies:
        return None
    bearable = PATIENCE * min(latencies.values())
    times = {
        method: known.cpu_ns
        for method, known in figures.items()
        if known.cpu_ns is not None and latencies.get(method, float("inf")) <= bearable
    }
    return min(times, key=lambda method: times[method]) if times else None

"""What a service and its host look like, as one computed sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfkit.report.notebook.verdicts import Verdict
from perfkit.tables import plural
from perfkit.units import format_bytes

if TYPE_CHECKING:
    from perfkit.channel.statistics import ChannelStatistics
    from perfkit.config.check import CheckResult
    from perfkit.engine import Decision
    from perfkit.lake.drain_result import DrainResult
    from perfkit.workflows.doctor import Diagnosis

__all__ = ["channel_verdict", "check_verdict", "decision_verdict", "diagnosis_verdict", "drain_verdict"]


def diagnosis_verdict(diagnosis: Diagnosis) -> Verdict:
    """What limits a host, and which methods it has."""
    limits = [finding.topic for finding in diagnosis.findings if finding.level == "limit"]
    has = [name for name, capability in diagnosis.methods.items() if capability.available]
    limited = f"limited by {', '.join(limits)}" if limits else "without a limit that was found"
    return Verdict(f"This host has {', '.join(has) or 'no method'}; it is {limited}.")


def check_verdict(check: CheckResult) -> Verdict:
    """What a service will find in a folder."""
    said = "; ".join(f"{finding.file}: {finding.message}" for finding in check.findings)
    return Verdict(f"{'A service can start here' if check.ok else 'Not ready for a service'}. {said}.")


def decision_verdict(decision: Decision, payload_bytes: int) -> Verdict:
    """Which method a payload takes, and by how much."""
    margin = decision.explain(payload_bytes).margin
    compared = "" if margin is None else f"; the next best costs {abs(margin):.0%} {'more' if margin >= 0 else 'less'}"
    return Verdict(f"A payload of {format_bytes(payload_bytes)} takes {decision.method}: {decision.rule}{compared}.")


def channel_verdict(statistics: ChannelStatistics) -> Verdict:
    """How many requests took which method, and what failed."""
    methods = ", ".join(f"{count:,} by {method}" for method, count in statistics.methods.items())
    failed = sum(statistics.failures.values())
    return Verdict(
        f"{plural(statistics.requests, 'request')} ({methods or 'none carried'}), {failed} failed; "
        f"{plural(sum(statistics.fallbacks.values()), 'fallback')} to another method."
    )


def drain_verdict(drained: DrainResult) -> Verdict:
    """How many recorded rows came into the lake, and what of them was lost."""
    rows = sum(drained.rows.values())
    warned = f" Mind: {'; '.join(drained.warnings)}." if drained.warnings else ""
    return Verdict(f"{plural(rows, 'recorded row')} moved into the lake.{warned}")

"""What transfers took, for people and for JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from perfkit.engine.outcomes.regret import Regret
from perfkit.tables import ResultTable, plural
from perfkit.units import format_duration

__all__ = ["MethodStatistics", "OutcomeStatistics"]


@dataclasses.dataclass(frozen=True, slots=True)
class MethodStatistics:
    """What the transfers of a pool by one method took, since the engine was loaded.

    Args:
        n: transfers that succeeded.
        failures: transfers that failed; they have no latency.
        payload_bytes: bytes moved by those that succeeded.
        mean_ns: mean latency; None without a transfer.
        p50_ns: median latency, within 1 %; None where there are too few transfers to say, like those that follow.
        p95_ns: latency that 95 % do not exceed.
        p99_ns: latency that 99 % do not exceed.
        p999_ns: latency that 99.9 % do not exceed.
        factor: actual to predicted latency, of late; None where nothing is predicted, like the errors.
        error_p50: typical factor by which a transfer differs from its prediction, that factor taken into account.
        error_p90: the same for the worst tenth.
        correction: by what the plan multiplies the method's cost.
    """

    n: int
    failures: int
    payload_bytes: int
    mean_ns: float | None
    p50_ns: float | None
    p95_ns: float | None
    p99_ns: float | None
    p999_ns: float | None
    factor: float | None
    error_p50: float | None
    error_p90: float | None
    correction: float


@dataclasses.dataclass(frozen=True, slots=True)
class OutcomeStatistics:
    """What transfers took, by pool and method.

    Args:
        methods: statistics by pool, then by method.
        regret: by pool, for pools that explored.
        untrusted_pools: pools in which the curves are too far off to decide.
        unreadable: outcomes that were left out because they were not recorded as numbers.
    """

    methods: Mapping[str, Mapping[str, MethodStatistics]]
    regret: Mapping[str, Regret]
    untrusted_pools: tuple[str, ...] = ()
    unreadable: int = 0

    def to_table(self) -> ResultTable:
        """One row per pool and method; regret and doubts below."""
        rows = tuple(
            (
                pool,
                method,
                str(found.n),
                *(_duration(value) for value in (found.p50_ns, found.p99_ns, found.p999_ns)),
                _factor(found.factor),
                _factor(found.error_p50),
                _factor(found.correction),
            )
            for pool, methods in self.methods.items()
            for method, found in methods.items()
        )
        if not rows:
            return ResultTable("Outcomes: none was recorded", (), ())
        columns = ("pool", "method", "n", "p50", "p99", "p99.9", "ratio", "error", "fix")
        return ResultTable("Outcomes", columns, rows, tuple(self._notes()), align_right=tuple(range(2, len(columns))))

    def _notes(self) -> Iterator[str]:
        yield "ratio: actual to predicted. error: what a transfer typically differs by beside that."
        yield "fix: what the plan multiplies the cost by. –: too little data."
        for pool, methods in self.methods.items():
            for method, found in methods.items():
                if found.failures:
                    failed = plural(found.failures, "transfer")
                    yield f"Failed in pool {pool}: {failed} by {method}, beside {found.n} that succeeded."
        for pool, regret in self.regret.items():
            yield f"Regret in pool {pool}: {regret}."
        for pool in self.untrusted_pools:
            yield f"Warning: the curves are too far off to decide in pool {pool}; `perfkit run` measures anew."
        if self.unreadable:
            yield f"Warning: {plural(self.unreadable, 'outcome')} without readable figures, left out."

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return {
            "methods": {
                pool: {method: dataclasses.asdict(found) for method, found in methods.items()}
                for pool, methods in self.methods.items()
            },
            "regret": {pool: dataclasses.asdict(regret) for pool, regret in self.regret.items()},
            "untrusted_pools": list(self.untrusted_pools),
            "unreadable": self.unreadable,
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def _duration(value_ns: float | None) -> str:
    return "–" if value_ns is None else format_duration(value_ns)


def _factor(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"

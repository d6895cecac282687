"""Take in what was recorded, a little at a time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import MappingProxyType
from typing import Protocol

from perfkit.config.curves import CurveSet
from perfkit.config.engine_settings import CalibrationSettings
from perfkit.engine.outcomes.calibration import Calibrator
from perfkit.engine.outcomes.corrections import CorrectionChange, Corrections
from perfkit.engine.outcomes.histogram import LatencyHistogram
from perfkit.engine.outcomes.prediction import PlannedCell, Predictor
from perfkit.engine.outcomes.regret import Explored
from perfkit.engine.outcomes.statistics import MethodStatistics, OutcomeStatistics

__all__ = ["OTHER_POOLS", "Outcome", "Outcomes", "TakenDecision"]

OTHER_POOLS = "(other)"
"""The name under which pools are summed up once there are 1 000."""

_POOLS_KEPT = 1_000
_DECISIONS_KEPT = 4_096
_SLICE = 16
_COMPARED = 128
_COMPARED_EACH = 4
_COMPARED_SLICE = 4  # each may need a prediction that nobody asked for yet, some 30 us
_LONGEST_NS = 2**62
_LATENCY_GOALS = ("latency", "balanced")


class PlannedRange(Protocol):
    """Of a range of the plan, what is needed here."""

    @property
    def method(self) -> str: ...


class GoalCell(PlannedCell, Protocol):
    """Of a compiled cell, what is needed here."""

    @property
    def goal(self) -> str: ...


class TakenDecision(Protocol):
    """Of a decision, what is needed here."""

    @property
    def method(self) -> str: ...
    @property
    def propensity(self) -> float: ...
    @property
    def cell(self) -> GoalCell: ...
    @property
    def part(self) -> PlannedRange: ...


Outcome = tuple[int, TakenDecision, int, float | None, str | None, bool, str | None]
"""What was recorded of a transfer: moment in microseconds, decision, bytes, latency in nanoseconds, session, whether it
succeeded, and the name of the error."""

Sample = list[tuple[GoalCell, int, float]]  # cell, payload_bytes, natural logarithm of the latency


class _Counts:
    __slots__ = ("failures", "histogram", "payload_bytes")

    def __init__(self) -> None:
        self.failures = 0
        self.payload_bytes = 0
        self.histogram = LatencyHistogram()


class _Taken:
    """What is needed of a decision for each of its outcomes, looked up once."""

    __slots__ = ("cell", "counts", "curves", "decision", "name", "planned", "propensity")

    def __init__(self, decision: TakenDecision, name: tuple[str, str], counts: _Counts) -> None:
        self.decision = decision  # held, so that no other one takes its id
        self.name, self.counts, self.cell = name, counts, decision.cell
        self.curves = None if name[0] == OTHER_POOLS else self.cell.publication.curves
        self.planned, self.propensity = decision.part.method, decision.propensity
        if self.propensity >= 1 or self.cell.goal not in _LATENCY_GOALS:
            self.planned = ""


class Outcomes:
    """What transfers took: statistics, predicted against actual, regret.

    One thread takes outcomes in; others may ask for statistics at the same time. Memory is bounded: at most 1 000 pools
    are told apart.

    Args:
        settings: how far the plan may correct itself.
        seed: of the sample of outcomes that is compared with predictions.
        clock: monotonic nanoseconds.
    """

    def __init__(
        self, settings: CalibrationSettings, *, seed: int = 0, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._clock = clock
        self._random = random.Random(seed)
        self._lock = threading.RLock()
        self._counts: dict[tuple[str, str], _Counts] = {}
        self._pools: set[str] = set()
        self._taken: dict[int, _Taken] = {}
        self._predictor = Predictor()
        self._calibrator = Calibrator(settings)
        self._explored = Explored(seed)
        self._curves: CurveSet | None = None
        self._retired: CurveSet | None = None
        self._unreadable = 0

    def configure(self, settings: CalibrationSettings) -> None:
        """Follow other settings from now on; what was learned under the ones before is forgotten if they differ."""
        with self._lock:
            if settings != self._calibrator.settings:
                self._calibrator.reset("the settings of calibration were changed")
                self._calibrator.settings = settings

    def use_curves(self, curves: CurveSet | None) -> None:
        """Other curves may be in force: what was learned about the ones before is void unless they are equal."""
        with self._lock:
            if curves is not self._curves:
                self._begin_with(curves)

    def take(self, outcomes: Sequence[Outcome], pause: Callable[[], None] = lambda: None) -> None:
        """Take in outcomes.

        Args:
            outcomes: as they were recorded.
            pause: called after each slice of work, of well under 200 microseconds.
        """
        now_ns = self._clock()
        self._explored.begin(now_ns)
        comparable: dict[tuple[str, str], Sample] = {}
        for start in range(0, len(outcomes), _SLICE):
            with self._lock:
                self._count(outcomes[start : start + _SLICE], comparable)
            pause()
        for pool, ratios in self._compared(comparable, pause).items():
            with self._lock:
                self._calibrator.observe(pool, ratios, now_ns)
            pause()
        with self._lock:
            due = self._calibrator.due(now_ns)
        for pool in due:
            with self._lock:
                self._calibrator.settle(pool, now_ns)
            pause()

    def corrections(self) -> Corrections:
        """By what the plan is to be corrected; the same object as long as nothing changed."""
        with self._lock:
            return self._calibrator.corrections(self._clock())

    def changes(self) -> tuple[CorrectionChange, ...]:
        """What changed of the corrections since this was last asked, oldest first."""
        with self._lock:
            return self._calibrator.changes()

    def untrusted_pools(self) -> frozenset[str]:
        """Pools in which the curves are too far off to decide."""
        with self._lock:
            return self._calibrator.untrusted_pools()

    def statistics(self) -> OutcomeStatistics:
        """Counts and quantiles by pool and method, and the regret of pools that explored."""
        with self._lock:
            corrections = self._calibrator.corrections(self._clock())
            regret = self._explored.regret()
            untrusted = tuple(sorted(self._calibrator.untrusted_pools()))
            names = sorted(self._counts)
        methods: dict[str, dict[str, MethodStatistics]] = {}
        for pool, method in names:
            correction = corrections.of(pool).get(method, 1.0)
            methods.setdefault(pool, {})[method] = self._method_statistics(pool, method, correction)
        return OutcomeStatistics(MappingProxyType(methods), MappingProxyType(regret), untrusted, self._unreadable)

    def after_fork_in_child(self) -> None:
        """Make usable in a child what the parent's thread may have held while it forked."""
        self._lock = threading.RLock()

    def _count(self, outcomes: Iterable[Outcome], comparable: dict[tuple[str, str], Sample]) -> None:
        for outcome in outcomes:
            try:
                self._count_one(outcome, comparable)
            except (TypeError, ValueError, AttributeError, OverflowError):  # what a caller recorded may be anything
                self._unreadable += 1

    def _count_one(self, outcome: Outcome, comparable: dict[tuple[str, str], Sample]) -> None:
        _, decision, payload_bytes, latency_ns, _, ok, _ = outcome
        taken = self._taken.get(id(decision)) or self._look_up(decision)
        counts = taken.counts
        if not ok:
            counts.failures += 1
            return
        if latency_ns is None or not 0 < latency_ns < _LONGEST_NS:
            return
        counts.payload_bytes += payload_bytes
        log_latency = counts.histogram.add(latency_ns)
        if taken.curves is None or (taken.curves is not self._curves and not self._takes_force(taken.curves)):
            return
        rows = comparable.get(taken.name)
        if rows is None:
            rows = comparable[taken.name] = []
        rows.append((taken.cell, payload_bytes, log_latency))
        if taken.planned:
            self._explored.add(
                taken.name[0], taken.planned, taken.name[1], payload_bytes, log_latency, taken.propensity
            )

    def _look_up(self, decision: TakenDecision) -> _Taken:
        pool = decision.cell.context.pool
        if pool not in self._pools:
            if len(self._pools) >= _POOLS_KEPT:
                pool = OTHER_POOLS
            else:
                self._pools.add(pool)
        name = (pool, decision.method)
        if len(self._taken) >= _DECISIONS_KEPT:
            del self._taken[next(iter(self._taken))]
        taken = self._taken[id(decision)] = _Taken(decision, name, self._counts.setdefault(name, _Counts()))
        return taken

    def _takes_force(self, curves: CurveSet) -> bool:
        """Whether curves are those in force: others take the place of those of before, and what was learned is void.

        Decisions of the plan before may still come in; they are not compared any more.
        """
        if curves is self._retired:
            return False
        self._begin_with(curves)
        return True

    def _begin_with(self, curves: CurveSet | None) -> None:
        if curves != self._curves:
            self._predictor.clear()
            self._taken.clear()
            self._calibrator.reset("other curves are in force")
            self._explored.forget()
        self._retired, self._curves = self._curves, curves

    def _compared(
        self, comparable: dict[tuple[str, str], Sample], pause: Callable[[], None]
    ) -> dict[str, dict[str, list[float]]]:
        """Log ratios of actual to predicted of a sample of what came in, by pool and method."""
        each = max(_COMPARED_EACH, _COMPARED // max(len(comparable), 1))
        found: dict[str, dict[str, list[float]]] = {}
        for (pool, method), rows in comparable.items():
            sample = rows if len(rows) <= each else self._random.sample(rows, each)
            ratios: list[float] = []
            for start in range(0, len(sample), _COMPARED_SLICE):
                ratios += self._log_ratios(method, sample[start : start + _COMPARED_SLICE])
                pause()
            if ratios:
                found.setdefault(pool, {})[method] = ratios
        return found

    def _log_ratios(self, method: str, rows: Iterable[tuple[GoalCell, int, float]]) -> list[float]:
        found = []
        for cell, payload_bytes, log_latency in rows:
            predicted = self._predictor.log_latency(cell, method, payload_bytes)
            if predicted is not None and predicted == predicted:  # not where the curve is not above 0
                found.append(log_latency - predicted)
        return found

    def _method_statistics(self, pool: str, method: str, correction: float) -> MethodStatistics:
        with self._lock:
            counts = self._counts[pool, method]
            histogram, failures, payload_bytes = counts.histogram.copy(), counts.failures, counts.payload_bytes
            accuracy = self._calibrator.accuracy(pool, method)
        return MethodStatistics(
            n=histogram.n,
            failures=failures,
            payload_bytes=payload_bytes,
            mean_ns=histogram.latency_sum_ns / histogram.n if histogram.n else None,
            p50_ns=histogram.quantile(0.5),
            p95_ns=histogram.quantile(0.95),
            p99_ns=histogram.quantile(0.99),
            p999_ns=histogram.quantile(0.999),
            factor=accuracy.factor if accuracy else None,
            error_p50=accuracy.error_p50 if accuracy else None,
            error_p90=accuracy.error_p90 if accuracy else None,
            correction=correction,
        )

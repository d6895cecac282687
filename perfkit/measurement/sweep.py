"""Carrying out a sweep: launches, interleaved rounds, adaptive repetition against a budget."""

from __future__ import annotations

import dataclasses
import datetime
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping

import pyarrow as pa

from perfkit.errors import MeasurementError
from perfkit.measurement.footprints import ALLOCATOR, Footprint
from perfkit.measurement.launch import Failure, Launch, start_launch
from perfkit.measurement.measure import Batch
from perfkit.measurement.scenarios import Scenario, Scheduled, Sweep
from perfkit.schema import TRANSFER_COLUMNS, arrow_schema
from perfkit.transfer.copying import CopyPlan
from perfkit.transfer.platform import headroom

__all__ = ["Outcome", "Progress", "Throttle", "run_sweep"]

_Z95 = 1.96
_MAX_RESTARTS = 4
_DEFAULTS = {column.name: column.default for column in TRANSFER_COLUMNS if not column.required}


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a sweep is: seconds done of those planned, what is measured now, and an estimate of what is left."""

    done: float
    total: float
    label: str
    seconds_left: float


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a sweep brought.

    Attributes:
        status: ``complete`` (every scenario settled, or all rounds done), ``budget`` (time was up first) or
            ``interrupted``.
        settled: scenarios whose interval became narrow enough in every launch that was finished.
        failures: why scenarios (or launches) were given up, by their name.
    """

    status: str
    observations: pa.Table
    launches: int
    rounds: int
    settled: int
    seconds: float
    copy_plan: CopyPlan
    failures: Mapping[str, str]


Throttle = Callable[[], None]
"""Called after every batch; may sleep to keep the load low."""


class _Rows:
    """Observations of one launch, column by column."""

    def __init__(self, run_id: str, source: str) -> None:
        self._run_id, self._source = run_id, source
        self._rows: list[dict[str, object]] = []

    def add(self, scenario: Scenario, launch: int, round_: int, batch: Batch) -> None:
        shared = {
            **_DEFAULTS,
            **dataclasses.asdict(scenario),
            "run_id": self._run_id,
            "source": self._source,
            "observed_at": datetime.datetime.now(datetime.UTC),
            "scenario": scenario.name,
            "launch": launch,
            "round": round_,
            "pool": "default",
            "ok": True,
            "available_bytes": headroom().left_bytes,  # once per batch, after it
            **dataclasses.asdict(batch),
        }
        self._rows += [
            {**shared, "sequence": sequence, "latency_ns": latency_ns}
            for sequence, latency_ns in enumerate(batch.latency_ns)
        ]

    def take(self) -> pa.Table:
        """The rows so far, which are then forgotten."""
        rows, self._rows = self._rows, []
        return pa.Table.from_pylist(rows, schema=arrow_schema())


def run_sweep(
    sweep: Sweep,
    run_id: str,
    *,
    first_launch: int = 0,
    modules: tuple[str, ...] = (),
    keep: Callable[[pa.Table], None] = lambda observations: None,
    progress: Callable[[Progress], None] = lambda progress: None,
    throttle: Throttle = lambda: None,
    source: str = "bench",
) -> Outcome:
    """Measure a sweep.

    Args:
        sweep: what to measure, and how often.
        run_id: written into every observation.
        first_launch: number of the first launch; those before it were measured earlier (a resumed run).
        modules: that both processes import, for methods that are not built in.
        keep: called with the observations of each launch as soon as it ends, and with what there is when interrupted.
        progress: called after every scenario.
        throttle: called after every scenario.
        source: the column of that name; with ``background`` every other process goes first.

    Returns:
        What was measured; after Ctrl-C what was measured until then, which may be nothing.

    Raises:
        MeasurementError: nothing at all could be measured.
    """
    return _Run(sweep, run_id, first_launch, modules, keep, progress, throttle, source).carry_out()


class _Run:
    """The state of a sweep under way."""

    def __init__(
        self,
        sweep: Sweep,
        run_id: str,
        first_launch: int,
        modules: tuple[str, ...],
        keep: Callable[[pa.Table], None],
        progress: Callable[[Progress], None],
        throttle: Throttle,
        source: str,
    ) -> None:
        self.sweep, self.first_launch, self.modules = sweep, first_launch, modules
        self.keep, self.progress, self.throttle = keep, progress, throttle
        self.is_gentle = source == "background"
        self.footprints: dict[tuple[int, int], Footprint] = {}
        self.rows = _Rows(run_id, source)
        self.tables: list[pa.Table] = []
        self.failures: dict[int, str] = {}
        self.given_up: dict[str, str] = {}
        self.settled: set[int] | None = None
        self.is_out_of_time = False
        self.rounds = self.launches = 0
        self.copy_plan: CopyPlan | None = None
        self.started = time.monotonic()
        # A run that was cut short in its last launch still gets one: what there is of that launch stays as it is.
        self.last_launch = max(sweep.launches, first_launch + 1)

    def carry_out(self) -> Outcome:
        status = "complete"
        try:
            self._probe_memory()
            for launch in range(self.first_launch, self.last_launch):
                self._launch(launch)
                self._flush()
        except KeyboardInterrupt:
            status = "interrupted"
            self._flush()
        if not self.tables and status != "interrupted":
            reasons = "; ".join(sorted(set(self.failures.values()))) or "the sweep has no launch left"
            raise MeasurementError(f"nothing was measured: {reasons}")
        if status == "complete" and self.is_out_of_time:
            status = "budget"
        names = {index: scheduled.scenario.name for index, scheduled in enumerate(self.sweep.scheduled)}
        return Outcome(
            status,
            pa.concat_tables([arrow_schema().empty_table(), *self.tables]),
            self.launches,
            self.rounds,
            len((self.settled or set()) - self.failures.keys()),
            time.monotonic() - self.started,
            self.copy_plan or CopyPlan(),
            {**{names[index]: message for index, message in self.failures.items()}, **self.given_up},
        )

    def _flush(self) -> None:
        table = self.rows.take()
        if len(table):
            self.tables.append(table)
            self.keep(table)

    def _launch(self, number: int) -> None:
        """One launch; begun anew, without the scenario at fault, when that ends it early."""
        launches_left = self.last_launch - number
        budget_left_s = max(0.0, self.sweep.budget_s - (time.monotonic() - self.started))
        deadline = time.monotonic() + budget_left_s / launches_left
        rounds_before = self.rounds
        self.launches += 1
        for _ in range(_MAX_RESTARTS):
            self.rows.take()  # of an attempt that was cut short: this one counts its rounds anew
            self.rounds = rounds_before
            medians: dict[int, list[float]] = {}
            with start_launch(
                self.sweep.scenarios,
                modules=self.modules,
                copy_plan=self.copy_plan,
                gentle=self.is_gentle,
            ) as launch:
                self.copy_plan = launch.copy_plan
                is_finished = self._rounds(launch, number, medians, deadline)
            if is_finished:
                settled = {index for index, values in medians.items() if self._is_settled(values)}
                self.settled = settled if self.settled is None else self.settled & settled
                return
        self.given_up[f"launch {number + 1}"] = f"each of {_MAX_RESTARTS} attempts ended early; see the other failures"

    def _rounds(self, launch: Launch, number: int, medians: dict[int, list[float]], deadline: float) -> bool:
        """Rounds until all is settled or time is up; False when a failure ended the launch before its least rounds."""
        round_s = 0.0
        for round_ in range(self.sweep.max_rounds):
            if round_ >= self.sweep.min_rounds and self._is_all_done(medians):
                break
            if round_ >= self._min_rounds(round_s) and time.monotonic() + round_s / 2 > deadline:
                self.is_out_of_time = True
                break
            indices = [index for index in self._due(round_) if not self._is_done(index, medians)]
            round_started = time.monotonic()
            for index, answer in launch.measure(indices):
                scenario = self.sweep.scheduled[index].scenario
                if isinstance(answer, Failure):
                    self.failures[index] = f"{answer.error}: {answer.message}"
                    if answer.ends_launch:
                        return round_ >= self.sweep.min_rounds
                    continue
                self.rows.add(scenario, number, round_, self._with_memory(answer, index, number, round_))
                medians.setdefault(index, []).append(statistics.median(answer.latency_ns))
                self._report(number, round_, scenario, deadline)
                self.throttle()
            self.rounds += 1
            round_s = time.monotonic() - round_started
        return True

    def _min_rounds(self, round_s: float) -> int:
        """The sweep's least number of rounds, unless they alone would take twice the budget."""
        affordable = int(2 * self.sweep.budget_s / self.sweep.launches / max(round_s, 1e-3))
        return max(self.sweep.fewest_rounds, min(self.sweep.min_rounds, affordable))

    def _due(self, round_: int) -> list[int]:
        """The scenarios of a round, block by block, in a random order that is the same for the same seed."""
        due = [
            index
            for index, scheduled in enumerate(self.sweep.scheduled)
            if _is_due(scheduled, round_) and index not in self.failures
        ]
        generator = random.Random(f"{self.sweep.seed}/{round_}")
        generator.shuffle(due)
        block_of = {index: self.sweep.scheduled[index].block for index in due}
        # Sorting keeps the random order within a block; without blocks, all of it.
        place = {block: generator.random() for block in dict.fromkeys(block_of.values())}
        return sorted(due, key=lambda index: place[block_of[index]])

    def _probe_memory(self) -> None:
        """The memory of all that is probed, in a launch of its own; what fails there fails again where it counts."""
        indices = [i for i, one in enumerate(self.sweep.scenarios) if one.stage in self.sweep.probed_stages]
        if not indices:
            return
        with start_launch(
            self.sweep.scenarios,
            modules=self.modules,
            copy_plan=CopyPlan(),
            environment=ALLOCATOR,
            gentle=self.is_gentle,
        ) as launch:
            for number in range(self.sweep.memory_probes):
                for index, answer in launch.probe(indices):
                    if isinstance(answer, Footprint):
                        self.footprints[index, number] = answer
                    self.throttle()

    def _with_memory(self, batch: Batch, index: int, launch: int, round_: int) -> Batch:
        footprint = self.footprints.get((index, round_ % self.sweep.memory_probes))
        if footprint is None or (launch > self.first_launch and self.sweep.memory_probes == 1):
            return batch
        return dataclasses.replace(
            batch, resident_bytes=footprint.resident_bytes, peak_memory_bytes=footprint.peak_bytes
        )

    def _report(self, number: int, round_: int, scenario: Scenario, deadline: float) -> None:
        now = time.monotonic()
        later_launches = self.last_launch - number - 1
        left_s = max(0.0, deadline - now) + later_launches * self.sweep.budget_s / self.sweep.launches
        label = f"launch {number + 1}/{self.last_launch}, round {round_ + 1}: {scenario.name}"
        self.progress(Progress(now - self.started, now - self.started + left_s, label, left_s))

    def _is_control(self, index: int) -> bool:
        return self.sweep.scheduled[index].scenario.stage == "control"

    def _is_all_done(self, medians: Mapping[int, list[float]]) -> bool:
        """Whether only controls are left to measure, this round or a later one."""
        left = set(range(len(self.sweep.scheduled))) - self.failures.keys()
        return all(self._is_control(index) or self._is_done(index, medians) for index in left)

    def _is_done(self, index: int, medians: Mapping[int, list[float]]) -> bool:
        """Whether a scenario needs no more rounds of this launch; a control is in every round."""
        return not self._is_control(index) and self._is_settled(medians.get(index, []))

    def _is_settled(self, medians: list[float]) -> bool:
        return len(medians) >= self.sweep.min_rounds and relative_half_width(medians) <= self.sweep.target_half_width


def _is_due(scheduled: Scheduled, round_: int) -> bool:
    return scheduled.scenario.stage == "control" or round_ % scheduled.every_rounds == 0


def relative_half_width(medians: list[float]) -> float:
    """Half-width of the 95 % interval of the mean log of round medians: about the relative uncertainty within a launch.

    >>> round(relative_half_width([100.0, 110.0, 90.0, 100.0]), 3)
    0.08
    """
    if len(medians) < 2:
        return math.inf
    logs = [math.log(max(value, 1.0)) for value in medians]
    return _Z95 * statistics.stdev(logs) / math.sqrt(len(logs))

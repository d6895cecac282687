"""Measuring a ladder: throughput over concurrency, levels in random order within rounds, fresh processes per launch."""

from __future__ import annotations

import dataclasses
import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa

from perfkit.errors import MeasurementError
from perfkit.measurement.ladder_load import Load
from perfkit.measurement.launch import Failure, Launch, start_launch
from perfkit.measurement.scenarios import Scenario
from perfkit.measurement.sweep import Progress
from perfkit.schema import TRANSFER_COLUMNS, arrow_schema
from perfkit.transfer.platform import headroom

__all__ = ["LadderOutcome", "LadderPlan", "plan_ladder", "run_ladder"]

_DEFAULTS = {column.name: column.default for column in TRANSFER_COLUMNS if not column.required}
_SHORTEST_S, _LONGEST_S = 0.1, 1.0
_WANTED_S = 0.3
_MOST_ROUNDS = 10
_LAUNCH_S = 1.5
"""What starting and ending a pair of processes takes, about."""


@dataclasses.dataclass(frozen=True)
class LadderPlan:
    """What to measure.

    Args:
        scenarios: one for each method, payload size and concurrency.
        launches: fresh pairs of processes.
        rounds: passes over all scenarios in each launch.
        load_s: seconds that each scenario is under load in each round.
        budget_s: no round is begun that would end later, but for the first of each launch.
        seed: of the order within each round.
        modules: that both processes import, for methods that are not built in.
    """

    scenarios: tuple[Scenario, ...]
    launches: int
    rounds: int
    load_s: float
    budget_s: float
    seed: int
    modules: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class LadderOutcome:
    """What a ladder brought; after Ctrl-C what was measured until then.

    Args:
        status: ``complete``, ``budget`` (time was up before the last round) or ``interrupted``.
        observations: columns of `perfkit.schema.TRANSFER_COLUMNS`; of each load at most `MOST_KEPT` sends, whose
            `sequence` and `observed_at` tell the throughput.
        launches: that measured something.
        rounds: that were finished, all launches together.
        seconds: time it took.
        failures: why scenarios were given up, by name.
    """

    status: str
    observations: pa.Table
    launches: int
    rounds: int
    seconds: float
    failures: Mapping[str, str]


def plan_ladder(
    methods: Sequence[str],
    sizes: Sequence[int],
    concurrency: Sequence[int],
    *,
    budget_s: float,
    launches: int = 3,
    seed: int = 0,
    modules: tuple[str, ...] = (),
) -> LadderPlan:
    """Share a budget out: as many rounds as it allows with 0.3 s each, else fewer and shorter ones.

    >>> plan = plan_ladder(["uds"], [65536], [1, 2, 4, 8], budget_s=20)
    >>> plan.rounds, round(plan.load_s, 2)
    (4, 0.32)
    """
    scenarios = tuple(
        Scenario(size, method=method, in_flight=level)
        for method, size, level in itertools.product(methods, sizes, concurrency)
    )
    for scenario in scenarios:
        scenario.check()
    loads_s = max(budget_s - launches * _LAUNCH_S, _SHORTEST_S * launches * len(scenarios))
    per_launch = loads_s / launches / len(scenarios)
    rounds = min(_MOST_ROUNDS, max(1, round(per_launch / _WANTED_S)))
    load_s = min(_LONGEST_S, max(_SHORTEST_S, per_launch / rounds))
    return LadderPlan(scenarios, launches, rounds, load_s, budget_s, seed, modules)


def run_ladder(
    plan: LadderPlan,
    run_id: str,
    *,
    keep: Callable[[pa.Table], None] = lambda observations: None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> LadderOutcome:
    """Carry a plan out.

    Args:
        plan: what to measure.
        run_id: written into every observation.
        keep: called with the observations of each launch as soon as it ends, and with what there is when interrupted.
        progress: called after every load.

    Raises:
        MeasurementError: nothing at all could be measured.
    """
    return _Climb(plan, run_id, keep, progress).carry_out()


class _Climb:
    """The state of a ladder under way."""

    def __init__(
        self,
        plan: LadderPlan,
        run_id: str,
        keep: Callable[[pa.Table], None],
        progress: Callable[[Progress], None],
    ) -> None:
        self.plan, self.run_id, self.keep, self.progress = plan, run_id, keep, progress
        self.rows: list[dict[str, object]] = []
        self.tables: list[pa.Table] = []
        self.failures: dict[int, str] = {}
        self.launches = self.rounds = self.loads = 0
        self.started = time.monotonic()

    def carry_out(self) -> LadderOutcome:
        status = "complete"
        try:
            for number in range(self.plan.launches):
                self._launch(number)
                self._flush()
        except KeyboardInterrupt:
            status = "interrupted"
            self._flush()
        if not self.tables and status != "interrupted":
            raise MeasurementError(f"nothing was measured: {'; '.join(sorted(set(self.failures.values())))}")
        if status == "complete" and self.rounds < self.plan.launches * self.plan.rounds and not self.failures:
            status = "budget"
        observations = pa.concat_tables([arrow_schema().empty_table(), *self.tables])
        named = {self.plan.scenarios[index].name: message for index, message in self.failures.items()}
        return LadderOutcome(status, observations, self.launches, self.rounds, time.monotonic() - self.started, named)

    def _launch(self, number: int) -> None:
        until = self.started + self.plan.budget_s * (number + 1) / self.plan.launches
        with start_launch(self.plan.scenarios, modules=self.plan.modules) as launch:
            self.launches += 1
            round_s = 0.0
            for round_ in range(self.plan.rounds):
                if round_ and time.monotonic() + round_s / 2 > until:
                    return
                began = time.monotonic()
                for index, load in self._loads(launch, number, round_):
                    self._add(index, load, number, round_)
                    self._report(number, round_, self.plan.scenarios[index])
                self.rounds += 1
                round_s = time.monotonic() - began

    def _loads(self, launch: Launch, number: int, round_: int) -> Iterator[tuple[int, Load]]:
        order = [index for index in range(len(self.plan.scenarios)) if index not in self.failures]
        random.Random(f"{self.plan.seed}/{number}/{round_}").shuffle(order)
        for index, answer in launch.load(order, self.plan.load_s):
            if isinstance(answer, Failure):
                self.failures[index] = f"{answer.error}: {answer.message}"
            else:
                yield index, answer

    def _add(self, index: int, load: Load, number: int, round_: int) -> None:
        scenario = self.plan.scenarios[index]
        self.loads += 1
        shared = {
            **_DEFAULTS,
            **dataclasses.asdict(scenario),
            "run_id": self.run_id,
            "source": "bench",
            "scenario": scenario.name,
            "launch": number,
            "round": round_,
            "wire_bytes": scenario.payload_bytes,
            "available_bytes": headroom().left_bytes,  # once per load, after it
        }
        self.rows += [
            {**shared, "sequence": sequence, "observed_at": ended_us, "latency_ns": latency_ns}
            for sequence, ended_us, latency_ns in zip(load.sequence, load.ended_us, load.latency_ns, strict=True)
        ]

    def _flush(self) -> None:
        rows, self.rows = self.rows, []
        if rows:
            table = pa.Table.from_pylist(rows, schema=arrow_schema())
            self.tables.append(table)
            self.keep(table)

    def _report(self, number: int, round_: int, scenario: Scenario) -> None:
        done_s = time.monotonic() - self.started
        total = self.plan.launches * self.plan.rounds * len(self.plan.scenarios)
        left_s = min(done_s / self.loads * max(0, total - self.loads), max(0.0, self.plan.budget_s - done_s))
        label = f"launch {number + 1}/{self.plan.launches}, round {round_ + 1}/{self.plan.rounds}: {scenario.name}"
        self.progress(Progress(done_s, done_s + left_s, label, left_s))

"""What a replay showed: regret of every strategy in every setting, and tuned against each fixed choice."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from perfkit.measurement.replay_workload import LAUNCHES, ROUNDS_PER_LAUNCH, ReplayPayload
from perfkit.stats.regret import CostTable, RatioEstimate, Regret
from perfkit.tables import ResultTable, plural
from perfkit.workflows.replay_strategies import BEST_STATIC, TUNED

__all__ = ["DecadeRegret", "FixedComparison", "ReplayResult", "SettingResult"]

MAX_REGRET, MAX_REGRET_LOW, MIN_ACCURACY = 0.05, 0.02, 0.95
"""Tuned holds in a setting when its regret is at most the first, its lower bound at most the second, and it takes the
best method for at least the third share of the payloads for which that is resolved. Where that share is below, it
misses only if its whole interval is: one wrong of four says little."""

MAX_UNRESOLVED = 0.30
"""Where no method is clearly best for more of the payloads than this, the result says so: little is at stake there."""

MIN_GAIN = 0.05
"""How much better than any single fixed choice tuned has to be over all settings."""


@dataclasses.dataclass(frozen=True, slots=True)
class DecadeRegret:
    """Regret of every strategy for payloads from `start_bytes` to below `end_bytes`."""

    start_bytes: float
    end_bytes: float
    payloads: int
    strategies: Mapping[str, Regret]


@dataclasses.dataclass(frozen=True)
class SettingResult:
    """One setting of a replay.

    Args:
        name: ``uds``, ``grpc``, ``memory``, ``exhausted`` or ``busy``.
        goal: what the costs are: nanoseconds, or bytes for ``memory``.
        payloads: those of the workload that belong to the setting and were measured with every method.
        costs: median cost by half, payload (as in `payloads`) and method.
        choices: method taken for each payload, by strategy.
        strategies: regret, by strategy.
        decades: the same by size of the payload.
        best_static: the best single threshold in words.
    """

    name: str
    goal: str
    payloads: tuple[ReplayPayload, ...] = dataclasses.field(repr=False)
    costs: CostTable = dataclasses.field(repr=False)
    choices: Mapping[str, tuple[str, ...]] = dataclasses.field(repr=False)
    strategies: Mapping[str, Regret]
    decades: tuple[DecadeRegret, ...] = dataclasses.field(repr=False)
    best_static: str

    @property
    def tuned(self) -> Regret:
        """The regret of tuned decisions."""
        return self.strategies[TUNED]

    @property
    def unresolved_share(self) -> float:
        """Share of the payloads for which no method is best by 10 % in both halves."""
        return 1 - self.tuned.resolved / self.tuned.n

    @property
    def verdict(self) -> str:
        """``holds``, ``misses`` and what, or ``inconclusive``: too few payloads are resolved to tell."""
        tuned = self.tuned
        missed = []
        if tuned.value > MAX_REGRET or tuned.low > MAX_REGRET_LOW:
            missed.append("regret")
        if tuned.accuracy_interval[1] < MIN_ACCURACY:
            missed.append("accuracy")
        if missed:
            return f"misses {' and '.join(missed)}"
        return "holds" if tuned.resolved and tuned.accuracy >= MIN_ACCURACY else "inconclusive"

    def log_costs(self, strategy: str) -> npt.NDArray[np.float64]:
        """Logarithm of the cost of each payload as a strategy sends it, the mean of both halves."""
        column = {method: index for index, method in enumerate(self.costs.methods)}
        return self.costs.log_costs(np.array([column[method] for method in self.choices[strategy]]))

    def to_plain(self) -> dict[str, Any]:
        """The setting as JSON-able data."""
        return {
            "goal": self.goal,
            "payloads": self.tuned.n,
            "resolved": self.tuned.resolved,
            "unresolved_share": self.unresolved_share,
            "verdict": self.verdict,
            "best_static": self.best_static,
            "strategies": {name: _plain_regret(regret) for name, regret in self.strategies.items()},
            "decades": [
                {
                    "from_bytes": decade.start_bytes,
                    "to_bytes": decade.end_bytes,
                    "payloads": decade.payloads,
                    "strategies": {name: _plain_regret(regret) for name, regret in decade.strategies.items()},
                }
                for decade in self.decades
            ],
            "choices": {
                name: {str(one.number): method for one, method in zip(self.payloads, taken, strict=True)}
                for name, taken in self.choices.items()
            },
        }


@dataclasses.dataclass(frozen=True, slots=True)
class FixedComparison:
    """Tuned against one fixed strategy.

    Args:
        strategy: the fixed one.
        overall: its cost over that of tuned, all settings counting alike.
        by_setting: the same in each setting.
    """

    strategy: str
    overall: RatioEstimate
    by_setting: Mapping[str, RatioEstimate]

    @property
    def worse_in(self) -> tuple[str, ...]:
        """Settings in which tuned costs more than the fixed choice, beyond the interval."""
        return tuple(name for name, ratio in self.by_setting.items() if ratio.high < 1)

    @property
    def verdict(self) -> str:
        """``worse`` (in some setting), ``better`` (by 5 % or more over all settings) or ``inconclusive``."""
        if self.worse_in:
            return "worse"
        return "better" if self.overall.value >= 1 + MIN_GAIN and self.overall.low > 1 else "inconclusive"

    def to_plain(self) -> dict[str, Any]:
        """The comparison as JSON-able data."""
        return {
            "strategy": self.strategy,
            "ratio": self.overall.value,
            "ratio_ci": [self.overall.low, self.overall.high],
            "verdict": self.verdict,
            "worse_in": list(self.worse_in),
            "settings": {
                name: {"ratio": ratio.value, "ratio_ci": [ratio.low, ratio.high], "n": ratio.n}
                for name, ratio in self.by_setting.items()
            },
        }


@dataclasses.dataclass(frozen=True)
class ReplayResult:
    """What tuned decisions are worth on payloads that no sweep measured.

    Args:
        run_id: names the sends in the lake; their source is ``replay``, and no fit takes them.
        tested: what the tuned decisions come from.
        fingerprint: the host.
        seed: of the workload.
        seconds: time it took.
        launches: fresh pairs of processes.
        rounds: interleaved passes, all launches together.
        settings: results by name of the setting.
        comparisons: tuned against each fixed choice.
        samples: every send of what was judged: setting, payload, payload_bytes, method, half, launch, cost.
        warnings: what to mind, each with the next step.
        asked: names of the settings that were to be measured; one without a result is a miss.
    """

    run_id: str
    tested: str
    fingerprint: Mapping[str, str] = dataclasses.field(repr=False)
    seed: int
    seconds: float
    launches: int
    rounds: int
    settings: Mapping[str, SettingResult]
    comparisons: tuple[FixedComparison, ...]
    samples: pa.Table = dataclasses.field(repr=False)
    warnings: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Payloads measured in at least one setting."""
        return len({one.number for setting in self.settings.values() for one in setting.payloads})

    @property
    def verdict(self) -> str:
        """``holds`` when tuned holds in every setting that was asked for; otherwise what is wrong, and where.

        ``misses`` when tuned misses in a setting, or when one could not be measured; ``inconclusive`` when a setting
        is, or when there were fewer rounds or launches than a proof needs.
        """
        missed = [name for name, setting in self.settings.items() if setting.verdict.startswith("misses")]
        absent = [name for name in self.asked if name not in self.settings]
        if missed or absent:
            reasons = [f"in {', '.join(missed)}"] if missed else []
            reasons += [f"{', '.join(absent)} not measured"] if absent else []
            return f"misses{' ' if missed else ': '}{'; '.join(reasons)}"
        fewest_rounds = LAUNCHES * ROUNDS_PER_LAUNCH
        if self.launches < LAUNCHES or self.rounds < fewest_rounds:
            launched = plural(self.launches, "launch", ["launches"])
            return (
                f"inconclusive: {plural(self.rounds, 'round')} in {launched}, not {fewest_rounds} or more in {LAUNCHES}"
            )
        unclear = [name for name, setting in self.settings.items() if setting.verdict == "inconclusive"]
        return f"inconclusive in {', '.join(unclear)}" if unclear else "holds"

    def choices(self) -> pa.Table:
        """What every strategy takes: setting, strategy, payload, method."""
        rows = [
            {"setting": setting.name, "strategy": strategy, "payload": one.number, "method": method}
            for setting in self.settings.values()
            for strategy, taken in setting.choices.items()
            for one, method in zip(setting.payloads, taken, strict=True)
        ]
        return pa.Table.from_pylist(rows)

    def to_table(self) -> ResultTable:
        """Regret of tuned and of its best rivals by setting."""
        rows = tuple(
            (
                name,
                _percent(setting.tuned.value),
                f"{_percent(setting.tuned.low)} to {_percent(setting.tuned.high)}",
                "" if math.isnan(setting.tuned.accuracy) else f"{setting.tuned.accuracy:.0%}",
                f"{setting.unresolved_share:.0%}",
                str(setting.tuned.n),
                _percent(setting.strategies[BEST_STATIC].value),
                _best_fixed(setting),
            )
            for name, setting in self.settings.items()
        )
        columns = ("setting", "regret", "95 %", "right", "tied", "n", "one edge", "best method")
        return ResultTable(
            f"Replay of {self.tested}: tuned {self.verdict}", columns, rows, self._notes(), align_right=(1, 3, 4, 5, 6)
        )

    def comparison_table(self) -> ResultTable:
        """Tuned against each fixed choice, taken over all settings."""
        rows = tuple(
            (
                one.strategy,
                f"{one.overall.value:.2f}",
                f"{one.overall.low:.2f} to {one.overall.high:.2f}",
                one.verdict + (f" in {', '.join(one.worse_in)}" if one.worse_in else ""),
            )
            for one in self.comparisons
        )
        note = "times the cost of tuned: geometric mean over payloads, all settings counting alike"
        return ResultTable(
            "Each fixed choice against tuned", ("strategy", "times", "95 %", "tuned is"), rows, (note,), (1,)
        )

    def _notes(self) -> tuple[str, ...]:
        extent = (
            f"{plural(self.n, 'payload')} by every method, {len(self.samples):,} costs, "
            f"{plural(self.launches, 'launch', ['launches'])}, {plural(self.rounds, 'round')}, {self.seconds:.0f} s"
        )
        reading = (
            "regret: cost lost to the oracle, geometric mean; right: share of payloads with a clear best method for "
            "which tuned takes it; tied: share without one; one edge: regret of the best single threshold in hindsight"
        )
        return (extent, reading, *self._findings(), *(f"! {warning}" for warning in self.warnings))

    def _findings(self) -> Iterator[str]:
        """What the figures of the table do not say by themselves."""
        for name, setting in self.settings.items():
            if setting.unresolved_share > MAX_UNRESOLVED:
                yield (
                    f"in {name} no method is best by 10 % for {setting.unresolved_share:.0%} of the payloads: what is "
                    f"taken matters little for these, and accuracy rests on {setting.tuned.resolved}"
                )
        for one in self.comparisons:
            if one.worse_in:
                yield f"! tuned costs more than {one.strategy} in {', '.join(one.worse_in)}, beyond the interval"

    def to_plain(self) -> dict[str, Any]:
        """All but the raw sends, as values that JSON can hold."""
        return {
            "run": self.run_id,
            "tested": self.tested,
            "verdict": self.verdict,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "launches": self.launches,
            "rounds": self.rounds,
            "payloads": self.n,
            "asked": list(self.asked),
            "fingerprint": dict(self.fingerprint),
            "settings": {name: setting.to_plain() for name, setting in self.settings.items()},
            "comparisons": [comparison.to_plain() for comparison in self.comparisons],
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html() + self.comparison_table().to_html()

    def __str__(self) -> str:
        return f"{self.to_table()}\n\n{self.comparison_table()}"


def _best_fixed(setting: SettingResult) -> str:
    fixed = {name: regret for name, regret in setting.strategies.items() if name.startswith("always:")}
    best = min(fixed, key=lambda name: fixed[name].value)
    return f"{best.removeprefix('always:')} {_percent(fixed[best].value)}"


def _percent(share: float) -> str:
    """A share for a cell: one decimal while it is small, a factor once it is large.

    >>> _percent(0.0123), _percent(0.5), _percent(27.3)
    ('1.2%', '50%', '28x')
    """
    if share >= 2:
        return f"{1 + share:.0f}x"
    return f"{share:.1%}" if abs(share) < 0.0995 else f"{share:.0%}"


def _plain_regret(regret: Regret) -> dict[str, Any]:
    return {
        "regret": regret.value,
        "regret_ci": [regret.low, regret.high],
        "total_ratio": regret.total_ratio,
        "accuracy": regret.accuracy,
        "accuracy_ci": list(regret.accuracy_interval),
        "resolved": regret.resolved,
        "n": regret.n,
    }

"""Predicted against actual: by what each method differs from its curve, apart from what all methods share.

Latencies are compared on a log scale. A machine that is slower altogether, or a channel that adds something to every
transfer, changes nothing about which method is cheapest; so methods are compared with each other *at the same time*:
each outcome with the level at which the pool's most used method (the reference) runs in that moment. What is common
cancels, however it moves, and a method that nobody observed is taken to follow the common factor.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from perfkit.config.engine_settings import CalibrationSettings
from perfkit.engine.outcomes.corrections import STEP, CorrectionChange, Corrections, stepped
from perfkit.engine.outcomes.evidence import BLOCKS_NEEDED, Blocks, Level
from perfkit.engine.outcomes.histogram import outcomes_needed
from perfkit.engine.outcomes.trust import Trust

__all__ = ["Accuracy", "Calibrator"]

_SECOND_NS = 10**9
_RECENT = 101
_LEVEL_OUTCOMES = 33
_LEVEL_NEEDED = 9
_FRESH_NS = 60 * _SECOND_NS
_FORGOTTEN_NS = 3600 * _SECOND_NS
_DECAY = 0.98
_HYSTERESIS = 2 * math.log(STEP)
_ERRORS = 6.0
_PRIOR = math.log(1.5)
_CHANGES_KEPT = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Accuracy:
    """How well the curves predict the latency of a method in a pool.

    Args:
        n: outcomes that were compared; a sample of all.
        factor: actual to predicted, the median of the last 101.
        error_p50: typical factor by which an outcome differs from the prediction once that factor is taken into
            account, 1 or more; None with fewer than 8 outcomes.
        error_p90: the same for the worst tenth; None with fewer than 40 outcomes.
    """

    n: int
    factor: float
    error_p50: float | None
    error_p90: float | None


class _Observed:
    """What is kept of a method: its last log ratios of actual to predicted."""

    __slots__ = ("n", "recent", "seen_ns", "weight")

    def __init__(self) -> None:
        self.recent: deque[float] = deque(maxlen=_RECENT)
        self.n = 0
        self.weight = 0.0
        self.seen_ns = 0


class _Pool:
    __slots__ = ("methods", "pairs", "reference", "steps", "trust")

    def __init__(self, trust: Trust) -> None:
        self.methods: dict[str, _Observed] = {}
        self.pairs: dict[tuple[str, str], Blocks] = {}
        self.reference = ""
        self.steps: dict[str, int] = {}
        self.trust = trust


class Calibrator:
    """Learns factors from log ratios of actual to predicted latency.

    A factor counts from `min_outcomes` of its method on, spread over at least 16 blocks of a second or more; it changes
    only where the evidence moved by over 10 % and by over six standard errors, and returns to 1 when its method was not
    compared with another one for an hour.

    Args:
        settings: whether, from when on and how far to correct.
    """

    def __init__(self, settings: CalibrationSettings) -> None:
        self.settings = settings
        self._pools: dict[str, _Pool] = {}
        self._dirty: dict[str, None] = {}
        self._corrections = Corrections()
        self._changes: deque[CorrectionChange] = deque(maxlen=_CHANGES_KEPT)
        self._looked_ns = 0
        self._is_changed = False

    def observe(self, pool: str, log_ratios: Mapping[str, Sequence[float]], now_ns: int) -> None:
        """Take in what transfers of a pool took, as they came in together.

        Args:
            pool: pool of workers.
            log_ratios: by method, natural logarithms of actual to predicted latency.
            now_ns: monotonic nanoseconds.
        """
        known = self._pools.get(pool)
        if known is None:
            known = self._pools[pool] = _Pool(Trust(self.settings))
        for observed in known.methods.values():
            observed.weight *= _DECAY
        for method, ratios in log_ratios.items():
            observed = known.methods.setdefault(method, _Observed())
            observed.recent.extend(ratios)
            observed.n += len(ratios)
            observed.weight += len(ratios)
            observed.seen_ns = now_ns
            known.trust.observe(ratios, now_ns)
        _choose_reference(known, now_ns)
        if self._compare(known, log_ratios, now_ns):
            self._dirty[pool] = None

    def due(self, now_ns: int) -> tuple[str, ...]:
        """Pools whose corrections are to be looked at: their evidence changed, or may have become too old."""
        if now_ns - self._looked_ns > _FRESH_NS:
            self._looked_ns = now_ns
            self._dirty.update((name, None) for name, pool in self._pools.items() if pool.steps)
        return tuple(self._dirty)

    def settle(self, pool: str, now_ns: int) -> None:
        """Look at the corrections of one pool; some 100 us."""
        self._dirty.pop(pool, None)
        if self.settings.correct and pool in self._pools and self._correct(pool, self._pools[pool], now_ns):
            self._is_changed = True

    def corrections(self, now_ns: int) -> Corrections:
        """By what the plan is to be corrected; the same object as long as nothing changed.

        Args:
            now_ns: monotonic nanoseconds.
        """
        for pool in self.due(now_ns):
            self.settle(pool, now_ns)
        if self._is_changed:
            made, self._is_changed = self._made(), False
            if made != self._corrections:
                self._corrections = made
        return self._corrections

    def changes(self) -> tuple[CorrectionChange, ...]:
        """What changed since this was last asked, oldest first; of more than 64 changes, the last."""
        changes = tuple(self._changes)
        self._changes.clear()
        return changes

    def untrusted_pools(self) -> frozenset[str]:
        """Pools in which the curves are so far off that they should not decide."""
        return frozenset(name for name, pool in self._pools.items() if not pool.trust.trusted)

    def accuracy(self, pool: str, method: str) -> Accuracy | None:
        """How well a method's curve predicts in a pool; None where nothing was compared."""
        known = self._pools.get(pool)
        observed = known.methods.get(method) if known else None
        if observed is None or not observed.recent:
            return None
        recent = sorted(observed.recent)
        level = statistics.median(recent)
        errors = sorted(abs(ratio - level) for ratio in recent)

        def error(q: float) -> float | None:
            return math.exp(errors[int(q * (len(errors) - 1))]) if len(errors) >= outcomes_needed(q) else None

        return Accuracy(observed.n, math.exp(level), error(0.5), error(0.9))

    def reset(self, reason: str) -> None:
        """Forget everything, because the curves that outcomes were compared with are no longer in force.

        Args:
            reason: for the sentence of each correction that is dropped.
        """
        for name, pool in self._pools.items():
            for method, steps in pool.steps.items():
                sentence = f"{name}: {method} is no longer corrected ({STEP**steps:.2f} until now): {reason}."
                self._changes.append(CorrectionChange(name, method, STEP**steps, 1.0, 0, sentence))
        self._pools.clear()
        self._dirty.clear()
        self._is_changed = True

    def _compare(self, pool: _Pool, log_ratios: Mapping[str, Sequence[float]], now_ns: int) -> bool:
        """Compare what came in with the reference; whether a block was closed."""
        reference = pool.methods[pool.reference]
        if len(log_ratios) == (pool.reference in log_ratios) or len(reference.recent) < _LEVEL_NEEDED:
            return False
        level = statistics.median(list(reference.recent)[-_LEVEL_OUTCOMES:])
        closed = False
        for method, ratios in log_ratios.items():
            if method != pool.reference:
                pair = (pool.reference, method) if pool.reference < method else (method, pool.reference)
                sign = 1.0 if pair[1] == method else -1.0
                if pair not in pool.pairs:
                    pool.pairs[pair] = Blocks(max(8, math.ceil(self.settings.min_outcomes / BLOCKS_NEEDED)), now_ns)
                closed |= pool.pairs[pair].add([sign * (ratio - level) for ratio in ratios], now_ns)
        return closed

    def _correct(self, name: str, pool: _Pool, now_ns: int) -> bool:
        """Move the factors of a pool to where the evidence is, if it is far enough from them."""
        for pair in [pair for pair, blocks in pool.pairs.items() if now_ns - blocks.closed_ns > _FORGOTTEN_NS]:
            del pool.pairs[pair]
        if any(blocks.learns_anew for blocks in pool.pairs.values()):
            return False  # what is common is not known until every method is known again
        found = self._relative(pool)
        changed = False
        for method in sorted({*pool.steps, *found}):
            before, level = pool.steps.get(method, 0), found.get(method)
            after = before if any(method in pair for pair in pool.pairs) else 0
            if level is not None:
                away = abs(level.value - before * math.log(STEP))
                bounded = stepped(level.value, self.settings.max_factor)
                after = bounded if away > max(_HYSTERESIS, _ERRORS * level.error) else before
            if after != before:
                changed = True
                pool.steps[method] = after
                self._changes.append(_change(name, method, before, after, level))
                if not after:
                    del pool.steps[method]
        return changed

    def _relative(self, pool: _Pool) -> dict[str, Level]:
        """By what each observed method differs from the common factor, with standard errors; shrunk by evidence."""
        reference = pool.methods[pool.reference]
        if reference.n < self.settings.min_outcomes:
            return {}
        levels = _levels(pool)
        if not levels:
            return {}
        differences = {pool.reference: Level(0.0, min(level.error for level in levels.values()), reference.n)} | levels
        common = _middle([level.value for level in differences.values()])
        return {
            method: Level(_shrunk(level.value - common, level.error), level.error, level.n)
            for method, level in differences.items()
        }

    def _made(self) -> Corrections:
        return Corrections(
            MappingProxyType(
                {
                    name: MappingProxyType({method: STEP**steps for method, steps in sorted(pool.steps.items())})
                    for name, pool in sorted(self._pools.items())
                    if pool.steps
                }
            )
        )


def _choose_reference(pool: _Pool, now_ns: int) -> None:
    """The most used method of late; the one until now stays unless another is used more than twice as much."""
    fresh = {name: seen.weight for name, seen in pool.methods.items() if now_ns - seen.seen_ns <= _FRESH_NS}
    most = max(fresh, key=lambda name: (fresh[name], name))
    if fresh.get(pool.reference, -1.0) * 2 < fresh[most]:
        pool.reference = most


def _levels(pool: _Pool) -> dict[str, Level]:
    """By what each method differs from the reference: compared with it directly, or by way of a third one."""
    known: dict[tuple[str, str], Level] = {}
    for (first, second), blocks in pool.pairs.items():
        level = blocks.level()
        if level is not None:
            known[first, second] = level
            known[second, first] = Level(-level.value, level.error, level.n)
    found = {}
    for method in pool.methods:
        if method == pool.reference:
            continue
        ways = [known[pool.reference, method]] if (pool.reference, method) in known else []
        ways = ways or [
            _chained(known[pool.reference, between], known[between, method])
            for between in pool.methods
            if (pool.reference, between) in known and (between, method) in known
        ]
        if ways:
            found[method] = min(ways, key=lambda level: level.error)
    return found


def _middle(differences: Sequence[float]) -> float:
    """The median; of two in the middle, the one nearer to the reference, which differs from itself by 0.

    Of two methods, it is therefore the less used one that is taken to be off its curve, and methods that nobody
    observed stay where they are beside the other.
    """
    ordered = sorted(differences)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else min(ordered[half - 1 : half + 1], key=abs)


def _chained(first: Level, second: Level) -> Level:
    return Level(first.value + second.value, math.hypot(first.error, second.error), min(first.n, second.n))


def _shrunk(value: float, error: float) -> float:
    return value * _PRIOR**2 / (_PRIOR**2 + error**2)


def _change(pool: str, method: str, before: int, after: int, level: Level | None) -> CorrectionChange:
    was, becomes = STEP**before, STEP**after
    if level is None:
        reason = "it was not compared with another method for an hour"
        sentence = f"{pool}: {method} is no longer corrected ({was:.2f} until now): {reason}."
        return CorrectionChange(pool, method, was, becomes, 0, sentence)
    low, high = (math.exp(level.value + side * 1.96 * level.error) for side in (-1, 1))
    measured = f"takes {math.exp(level.value):.2f} times what its curve says, beside the pool's other methods"
    evidence = f"95 % {low:.2f} to {high:.2f}, n = {level.n}"
    effect = "less" if after > before else "more"
    sentence = (
        f"{pool}: {method} {measured} ({evidence}); its cost is now multiplied by {becomes:.2f}, until now by {was:.2f}"
        f": it is taken {effect} often, and where it is taken {abs(becomes / was - 1):.0%}"
        f" {'more' if after > before else 'less'} latency is expected than by the plan before."
    )
    return CorrectionChange(pool, method, was, becomes, level.n, sentence)

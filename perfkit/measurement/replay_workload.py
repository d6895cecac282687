"""The workload of a replay: payloads that no sweep measured, and what is measured of them in each setting.

Seeded and pure: the same seed gives the same payloads on every machine, so that two replays can be compared.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from perfkit.engine.costs import Context
from perfkit.errors import InputError
from perfkit.measurement.scenarios import Scenario, Scheduled, Sweep, signallings_of
from perfkit.schema import ENTROPIES, KINDS, ZERO_COPY_FAMILY
from perfkit.transfer.codecs.registry import FORMATS_OF_KIND
from perfkit.units import format_bytes

__all__ = ["REPLAY_SETTINGS", "ReplayPayload", "ReplaySetting", "make_workload", "replay_sweep"]

KIB, MIB = 2**10, 2**20
DEFAULT_SEED = 20261121
SMALLEST_BYTES, LARGEST_BYTES = KIB, 64 * MIB
LARGEST_BUSY_BYTES = 2 * MIB
"""Sixteen payloads under way at once: larger ones would take the time of all the rest."""
SMALLEST_MEMORY_BYTES = 64 * KIB
"""Below, the pages that the interpreter itself takes drown those of the payload."""

LAUNCHES, ROUNDS_PER_LAUNCH = 2, 4
_APART = 0.03  # distance, as a share, from the powers of two that sweeps measure
# More takes so long to write that the way it travels hardly counts; the second for 16 at once.
_LARGEST_OF_FORMAT = {"json": 128 * KIB, "msgpack": 4 * MIB}
_LARGEST_BUSY_OF_FORMAT = {"json": 16 * KIB, "msgpack": 256 * KIB}
_COMPRESSION_DECK = ("none", "none", "lz4", "zstd")


@dataclasses.dataclass(frozen=True, slots=True)
class ReplaySetting:
    """What a service may be like: what it minimises, how it announces blocks, its load, whether it has an arena."""

    name: str
    goal: str = "latency"
    signalling: str = "uds"
    in_flight: int = 1
    has_arena: bool = True

    def available(self, methods: Sequence[str]) -> tuple[str, ...]:
        """The methods that may be taken in this setting."""
        return tuple(name for name in methods if self.has_arena or name not in ZERO_COPY_FAMILY)

    def holds(self, payload: ReplayPayload) -> bool:
        """Whether a payload belongs to this setting."""
        if self.in_flight > 1:
            return payload.payload_bytes <= _LARGEST_BUSY_OF_FORMAT.get(payload.format, LARGEST_BUSY_BYTES)
        return self.goal != "memory" or payload.payload_bytes >= SMALLEST_MEMORY_BYTES

    def signalling_of(self, method: str) -> str:
        """How a method is signalled in this setting: what announces no blocks knows one way only."""
        return self.signalling if self.signalling in signallings_of(method) else signallings_of(method)[0]


REPLAY_SETTINGS: Mapping[str, ReplaySetting] = MappingProxyType(
    {
        setting.name: setting
        for setting in (
            ReplaySetting("uds"),
            ReplaySetting("grpc", signalling="grpc"),
            ReplaySetting("memory", goal="memory"),
            ReplaySetting("exhausted", has_arena=False),
            ReplaySetting("busy", in_flight=16),
        )
    }
)
"""The settings that a replay knows, by name."""


@dataclasses.dataclass(frozen=True, slots=True)
class ReplayPayload:
    """One payload of the workload; `number` is its id in samples and choices, from 0 in order of size."""

    number: int
    payload_bytes: int
    kind: str
    format: str
    compression: str
    entropy: str

    @property
    def codec(self) -> str:
        """Kind, format and compression as one word."""
        return f"{self.kind}/{self.format}/{self.compression}"

    def scenario(self, method: str, setting: ReplaySetting) -> Scenario:
        """This payload sent whole by a method in a setting."""
        return Scenario(
            self.payload_bytes,
            stage="whole",
            method=method,
            signalling=setting.signalling_of(method),
            in_flight=setting.in_flight,
            kind=self.kind,
            format=self.format,
            compression=self.compression,
            entropy=self.entropy,
        )

    def context(self, setting: ReplaySetting, methods: Sequence[str]) -> Context:
        """What a service would tell the engine about it: everything but the entropy, which no service knows."""
        return Context(
            kind=self.kind,
            format=self.format,
            compression=self.compression,
            signalling=setting.signalling,
            available=setting.available(methods),
            in_flight=setting.in_flight,
        )


def make_workload(
    seed: int = DEFAULT_SEED, payloads: int = 64, *, largest_bytes: int = LARGEST_BYTES
) -> tuple[ReplayPayload, ...]:
    """A held-out mix: sizes even in their logarithm, all kinds, formats, compressions and entropy classes.

    One size lies in each of `payloads` equal steps of the logarithm from 1 KiB on, at least 3 % from every power of
    two, which is what the presets measure. Half of the payloads of a kind have its natural format, half are not
    compressed. Documents stay below 128 KiB (json) and 4 MiB (msgpack); `pickle` is off, as it is by default.

    Args:
        seed: another seed, another workload.
        payloads: how many, 1 or more.
        largest_bytes: no payload is larger; above 1 KiB.

    Raises:
        InputError: no payload is asked for, or none fits.

    >>> workload = make_workload(1, 40)
    >>> workload == make_workload(1, 40), {payload.kind for payload in workload} == set(KINDS)
    (True, True)
    """
    if payloads < 1:
        raise InputError(f"payloads == {payloads}, must be 1 or more")
    if largest_bytes <= SMALLEST_BYTES:
        raise InputError(
            f"largest_bytes == {largest_bytes}, must be above {SMALLEST_BYTES} ({format_bytes(SMALLEST_BYTES)})"
        )
    generator = random.Random(f"replay/{seed}")
    kinds, entropies, compressions = (_deck(generator, names) for names in (KINDS, ENTROPIES, _COMPRESSION_DECK))
    formats = {kind: _deck(generator, _format_deck(kind)) for kind in KINDS}
    codecs = []
    for _ in range(payloads):
        kind = next(kinds)
        codecs.append((kind, next(formats[kind]), next(compressions), next(entropies)))
    generator.shuffle(codecs)
    workload = []
    for number in reversed(range(payloads)):  # the largest choose first among the codecs that can be theirs
        size = _size(generator, number, payloads, largest_bytes)
        fitting = (codec for codec in codecs if size <= _LARGEST_OF_FORMAT.get(codec[1], size))
        codec = next(fitting, None)
        if codec is None:
            kind, _, compression, entropy = codecs.pop()
            workload.append(ReplayPayload(number, size, kind, FORMATS_OF_KIND[kind][0], compression, entropy))
        else:
            codecs.remove(codec)
            workload.append(ReplayPayload(number, size, *codec))
    workload.reverse()
    return tuple(workload)


def replay_sweep(
    workload: Sequence[ReplayPayload],
    settings: Sequence[ReplaySetting],
    methods: Sequence[str],
    *,
    seed: int = DEFAULT_SEED,
    budget_s: float = 240.0,
) -> Sweep:
    """What a replay measures: every payload by every method of each setting, next to each other in every round.

    Args:
        workload: the payloads.
        settings: the settings; those that agree in signalling and load share their sends.
        methods: the methods to compare.
        seed: of the order within each round.
        budget_s: rounds beyond the eight that a replay needs are measured as long as this leaves time; those eight,
            four in each of two launches, are finished even if they take longer.

    Memory is probed twice for every scenario, in a launch of its own: the rounds repeat these two figures in turn.
    """
    scheduled: dict[Scenario, Scheduled] = {}
    for payload in workload:
        for setting in settings:
            if setting.holds(payload):
                for method in setting.available(methods):
                    scenario = payload.scenario(method, setting)
                    scheduled[scenario] = Scheduled(scenario, block=payload.number)
    for scenario in scheduled:
        scenario.check()
    return Sweep(
        "replay",
        tuple(scheduled.values()),
        launches=LAUNCHES,
        budget_s=budget_s,
        min_rounds=ROUNDS_PER_LAUNCH,
        max_rounds=2 * ROUNDS_PER_LAUNCH,
        fewest_rounds=ROUNDS_PER_LAUNCH,
        target_half_width=0.0,
        seed=seed,
        probed_stages=("whole",) if any(setting.goal == "memory" for setting in settings) else (),
        memory_probes=2,
    )


def _format_deck(kind: str) -> tuple[str, ...]:
    natural, *others = (name for name in FORMATS_OF_KIND[kind] if name != "pickle")
    return (*[natural] * len(others), *others)


def _deck(generator: random.Random, names: Sequence[str]) -> Iterator[str]:
    """The names in a random order, again and again: all come up, in equal shares, however few are drawn."""
    while True:
        shuffled = list(names)
        generator.shuffle(shuffled)
        yield from shuffled


def _size(generator: random.Random, number: int, payloads: int, largest_bytes: int) -> int:
    """A size in step `number` of equal steps of the logarithm, away from the powers of two."""
    share = (number + generator.random()) / payloads
    size = SMALLEST_BYTES * math.exp(share * math.log(largest_bytes / SMALLEST_BYTES))
    power = math.ldexp(1.0, round(math.log2(size)))
    if abs(size / power - 1) < _APART:
        is_larger = size > power * (1 + _APART) or (size >= power and power * (1 + 2 * _APART) < largest_bytes)
        away = _APART * (1 + generator.random())
        size = power * (1 + away if is_larger else 1 - away)
    return math.ceil(size) if size > power else math.floor(size)

"""What to measure: scenarios, and the sweeps that the presets make of them."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterable, Sequence

from perfkit.errors import InputError, UnknownNameError
from perfkit.schema import (
    COMPRESSIONS,
    ENTROPIES,
    FORMATS,
    KINDS,
    PLACEMENTS,
    SIGNALLINGS,
    STAGES,
    TEMPERATURES,
)
from perfkit.transfer.platform import capabilities
from perfkit.transfer.registry import get_method
from perfkit.units import format_bytes

__all__ = ["CodecChoice", "Scenario", "Scheduled", "Sweep", "sends_per_batch", "within"]

CONTROL_PING = "control_ping"
CONTROL_GRPC = "control_grpc"
CONTROL_COPY = "control_copy"
CONTROLS = (CONTROL_PING, CONTROL_GRPC, CONTROL_COPY)
CODEC_STAGES = ("encode", "encode_into", "decode")


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """One thing to measure. The fields are columns of the observation (see `perfkit.schema`).

    >>> Scenario(1024, method="shm_pool", placement="in_place").name
    'transport shm_pool in_place 1KiB'
    """

    payload_bytes: int
    stage: str = "transport"
    method: str = ""
    signalling: str = "uds"
    placement: str = "copied"
    touched: bool = False
    temperature: str = "warm"
    in_flight: int = 1
    interval_ns: int = 0
    kind: str = "binary"
    format: str = "raw"
    compression: str = "none"
    entropy: str = "incompressible"

    @property
    def name(self) -> str:
        """Short and unique within a sweep."""
        parts = [self.stage, self.method]
        if self.signalling != "uds":
            parts.append(f"over {self.signalling}")
        parts += [part for part in (self.placement, self.temperature) if part not in ("copied", "warm")]
        parts += ["touched"] if self.touched else []
        if self.stage not in ("transport", "control"):
            parts += [self.kind, self.format, self.compression, self.entropy]
        parts.append(format_bytes(self.payload_bytes))
        parts += [f"x{self.in_flight}"] if self.in_flight > 1 else []
        parts += [f"every {self.interval_ns}ns"] if self.interval_ns else []
        return " ".join(part for part in parts if part)

    def check(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            InputError: naming the field, what was got and what is allowed.
        """
        for field, allowed in _ALLOWED.items():
            value = getattr(self, field)
            if value not in allowed:
                raise UnknownNameError(field, value, allowed)
        if self.payload_bytes < 1:
            raise InputError(f"payload_bytes == {self.payload_bytes}, must be at least 1")
        if not 1 <= self.in_flight <= 64:
            raise InputError(f"in_flight == {self.in_flight}, must be 1 to 64")
        if self.stage in ("transport", "whole"):
            implementation = get_method(self.method).implementation
            if self.signalling not in implementation.signallings:
                raise InputError(
                    f"method {self.method!r} cannot be signalled over {self.signalling!r}; "
                    f"allowed: {', '.join(implementation.signallings)}"
                )
            if self.placement == "in_place" and self.method != "shm_pool":
                raise InputError(f"method {self.method!r} has no block to be in place in; use shm_pool")
        _check_combination(self)


def _check_combination(scenario: Scenario) -> None:
    """Refuse what would be measured as something else than its fields say."""
    if scenario.placement == "in_place" and scenario.stage != "transport":
        raise InputError(
            f"placement 'in_place' with stage {scenario.stage!r}, must be 'transport': what is in place already is not "
            "encoded on its way; leave kind, format and compression out"
        )
    if scenario.temperature != "cold":
        return
    against = {
        "touched": scenario.touched,
        f"in_flight == {scenario.in_flight}": scenario.in_flight > 1,
        "placement 'in_place'": scenario.placement == "in_place",
        f"stage {scenario.stage!r}": scenario.stage != "transport",
        "an interval": scenario.interval_ns > 0,
    }
    if refused := [field for field, is_given in against.items() if is_given]:
        raise InputError(
            f"temperature 'cold' with {' and '.join(refused)}: a cold start is the first send of a fresh sender, "
            "of raw bytes, copied and not read; leave out one or the other"
        )


_ALLOWED = {
    "stage": STAGES,
    "signalling": SIGNALLINGS,
    "placement": PLACEMENTS,
    "temperature": TEMPERATURES,
    "kind": KINDS,
    "format": FORMATS,
    "compression": COMPRESSIONS,
    "entropy": ENTROPIES,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Scheduled:
    """A scenario and how often it is measured: in every round, or in every second, third …

    Scenarios of one block are measured next to each other: what the machine does meanwhile, it does to all of them.
    Without blocks (None), a scenario stands anywhere in its round.
    """

    scenario: Scenario
    every_rounds: int = 1
    block: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Sweep:
    """A set of scenarios with the replication that is asked for.

    Attributes:
        name: preset or file that it comes from.
        scheduled: what to measure.
        launches: fresh pairs of processes; three or more tell the processes' luck from the method's cost.
        budget_s: stop after about this long.
        min_rounds, max_rounds: interleaved passes per launch.
        fewest_rounds: these are finished whatever the budget.
        target_half_width: a scenario is settled when the relative half-width of its 95 % interval within the launch is
            at most this.
        seed: of the order in each round and of the payloads.
        probed_stages: stages of which the memory is measured, too, in processes of their own.
        memory_probes: how often that is measured: the figures go with the sends of the first launch, or with several,
            with those of every launch, rounds taking turns.
        warnings: what was asked for and left out, each with its reason and the next step.
    """

    name: str
    scheduled: tuple[Scheduled, ...]
    launches: int = 3
    budget_s: float = 60.0
    min_rounds: int = 3
    max_rounds: int = 40
    fewest_rounds: int = 1
    target_half_width: float = 0.03
    seed: int = 20261120
    probed_stages: tuple[str, ...] = ("transport", *CODEC_STAGES)
    memory_probes: int = 1
    warnings: tuple[str, ...] = ()

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The scenarios without their schedule."""
        return tuple(scheduled.scenario for scheduled in self.scheduled)


def sends_per_batch(scenario: Scenario) -> int:
    """Sends (of each of those in flight): small payloads several times, so that one late wake-up does not decide.

    What is sent offset-only moves no bytes: it is sent at the cadence of small payloads, whatever its size.

    >>> [sends_per_batch(Scenario(size, method="uds")) for size in (1024, 2**20, 8 * 2**20, 2**30)]
    [10, 5, 2, 1]
    >>> sends_per_batch(Scenario(2**30, method="shm_pool", placement="in_place"))
    10
    """
    moved_bytes = 0 if scenario.placement == "in_place" and not scenario.touched else scenario.payload_bytes
    for limit, sends in ((64 * 2**10, 10), (2 * 2**20, 5), (8 * 2**20, 2)):
        if moved_bytes <= limit:
            return sends if scenario.in_flight == 1 else min(sends, 3)
    return 1


@dataclasses.dataclass(frozen=True, slots=True)
class CodecChoice:
    """A codec on an entropy class."""

    kind: str
    format: str
    compression: str = "none"
    entropy: str = "1.5:1"


def signallings_of(method: str) -> tuple[str, ...]:
    """How a method can announce a payload on this machine."""
    signallings: tuple[str, ...] = get_method(method).implementation.signallings
    return tuple(way for way in signallings if way != "grpc" or capabilities()["grpc"].available)


def transports(
    methods: Sequence[str], sizes: Iterable[int], *, in_flight: int = 1, touched: bool = False, every_rounds: int = 1
) -> list[Scheduled]:
    """Every method, by every signalling it has here, at every size; for the pool in place too."""
    planned = []
    for name, payload_bytes in itertools.product(methods, sizes):
        limit = get_method(name).implementation.max_bytes
        if limit is not None and payload_bytes > limit:
            continue
        placements = PLACEMENTS if name == "shm_pool" and in_flight == 1 else PLACEMENTS[:1]
        for signalling, placement in itertools.product(signallings_of(name), placements):
            scenario = Scenario(
                payload_bytes,
                method=name,
                signalling=signalling,
                placement=placement,
                in_flight=in_flight,
                touched=touched,
            )
            planned.append(Scheduled(scenario, every_rounds))
    return planned


def cold_starts(methods: Sequence[str], sizes: Iterable[int], every_rounds: int) -> list[Scheduled]:
    """The first send of a fresh sender with fresh memory."""
    return [
        Scheduled(Scenario(payload_bytes, method=name, temperature="cold"), every_rounds)
        for name, payload_bytes in itertools.product(methods, sizes)
    ]


def codec_stages(codecs: Iterable[CodecChoice], sizes: Iterable[int], every_rounds: int) -> list[Scheduled]:
    """Encoding, encoding into a destination where the codec can, and decoding, apart from any method."""
    from perfkit.transfer.codecs import get_codec

    planned = []
    for codec, payload_bytes in itertools.product(codecs, sizes):
        into_block = get_codec(codec.kind, codec.format, codec.compression, allow_pickle=True).into_block
        for stage in CODEC_STAGES if into_block else ("encode", "decode"):
            scenario = Scenario(payload_bytes, stage=stage, **dataclasses.asdict(codec))
            planned.append(Scheduled(scenario, every_rounds))
    return planned


def crossed_cells(
    methods: Sequence[str], codecs: Sequence[CodecChoice], sizes: Sequence[int], *, share: float, seed: int
) -> list[Scheduled]:
    """A seeded share of method × signalling × codec × size, to be measured whole: the check on composing the rest.

    Cells of `uds` are composed like all others but not drawn: codecs are measured within its transfers, so that its
    cells would validate themselves. With `uds` alone there is nothing to check.
    """
    cells = [
        Scenario(payload_bytes, stage="whole", method=name, signalling=signalling, **dataclasses.asdict(codec))
        for name in methods
        for signalling in signallings_of(name)
        for codec, payload_bytes in itertools.product(codecs, sizes)
    ]
    drawn_from = [cell for cell in cells if cell.method != "uds"]
    count = min(len(drawn_from), max(1, round(share * len(cells))))
    chosen = random.Random(seed).sample(drawn_from, count)
    return [Scheduled(scenario, 2) for scenario in chosen]


def controls() -> list[Scheduled]:
    """Measured in every round: what they do in time is the machine's doing, not a method's."""
    return [
        Scheduled(Scenario(1024, stage="control", method=CONTROL_PING)),
        Scheduled(Scenario(2**20, stage="control", method=CONTROL_COPY)),
    ]


_PEAK_COPIES = {"grpc": 8, CONTROL_GRPC: 8}  # seven were seen at 128 MiB, and the source
_PEAK_COPIES_OF_OTHERS = 4  # source, block, the receiver's copy and an allocation that replaces one of them


def peak_bytes(scenario: Scenario) -> int:
    """Memory that both sides of a scenario may hold together at its worst moment."""
    copies = _PEAK_COPIES.get(scenario.method, _PEAK_COPIES_OF_OTHERS)
    return copies * scenario.payload_bytes * scenario.in_flight


def within(sweep: Sweep, room_bytes: int) -> Sweep:
    """The sweep without what there is no memory for (see `peak_bytes`), which its warnings name.

    Raises:
        InputError: nothing would be left to measure.
    """
    fits = {scheduled: peak_bytes(scheduled.scenario) <= room_bytes for scheduled in sweep.scheduled}
    if all(fits.values()):
        return sweep
    if not any(fit for scheduled, fit in fits.items() if scheduled.scenario.stage != "control"):
        raise InputError(f"no size fits into the {format_bytes(room_bytes)} that may be used; choose smaller sizes")
    smallest = min(scheduled.scenario.payload_bytes for scheduled, fit in fits.items() if not fit)
    warning = (
        f"{list(fits.values()).count(False)} scenarios from {format_bytes(smallest)} on are left out: each payload "
        f"under way needs {_PEAK_COPIES_OF_OTHERS} times its size, {_PEAK_COPIES['grpc']} times with gRPC, and "
        f"{format_bytes(room_bytes)} may be used; `perfkit doctor` shows what limits it"
    )
    kept = tuple(scheduled for scheduled, fit in fits.items() if fit)
    return dataclasses.replace(sweep, scheduled=kept, warnings=(*sweep.warnings, warning))

"""The sweeps that come with perfkit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from perfkit.errors import InputError, MethodUnavailableError, UnknownNameError
from perfkit.measurement.scenarios import (
    CONTROL_COPY,
    CONTROL_GRPC,
    CodecChoice,
    Scenario,
    Scheduled,
    Sweep,
    codec_stages,
    cold_starts,
    controls,
    crossed_cells,
    transports,
)
from perfkit.schema import SIMPLICITY_ORDER
from perfkit.transfer.platform import capabilities
from perfkit.transfer.registry import get_method

__all__ = ["PRESETS", "make_sweep"]

KIB, MIB, GIB = 2**10, 2**20, 2**30
_OFTEN_BYTES = 16 * MIB  # a send of more takes so long that it would crowd out the rest of the round


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """What distinguishes the presets that learn thresholds."""

    sizes: tuple[int, ...]
    codec_sizes: tuple[int, ...]
    busy_sizes: tuple[int, ...]
    codecs: tuple[CodecChoice, ...]
    launches: int
    budget_s: float
    touched_sizes: tuple[int, ...] = ()
    cold_sizes: tuple[int, ...] = ()
    min_rounds: int = 3


_FAST_CODECS = (
    CodecChoice("tensor", "numpy"),
    CodecChoice("tensor", "numpy", "lz4"),
    CodecChoice("tensor", "arrow"),
    CodecChoice("dataframe", "arrow"),
    CodecChoice("dataframe", "arrow", "lz4"),
    CodecChoice("dataframe", "arrow", "zstd"),
    CodecChoice("text", "raw"),
    CodecChoice("binary", "raw", "lz4"),
    CodecChoice("binary", "raw", "zstd"),
)
_ALL_CODECS = (
    *_FAST_CODECS,
    CodecChoice("tensor", "numpy", "zstd"),
    CodecChoice("tensor", "msgpack"),
    CodecChoice("binary", "msgpack"),
    CodecChoice("text", "raw", "zstd"),
    CodecChoice("binary", "raw", "lz4", "4:1"),
    CodecChoice("binary", "raw", "lz4", "incompressible"),
    CodecChoice("dataframe", "arrow", "lz4", "4:1"),
)
_SHAPES = {
    "smoke": _Shape(
        sizes=(KIB, 64 * KIB, MIB),
        codec_sizes=(KIB, 256 * KIB),
        busy_sizes=(),
        codecs=_FAST_CODECS[:1],
        launches=2,
        budget_s=4,
        min_rounds=2,
    ),
    "quick": _Shape(
        sizes=tuple(KIB * 4**i for i in range(9)),
        codec_sizes=(KIB, 8 * KIB, 64 * KIB, 512 * KIB, 2 * MIB, 8 * MIB),
        busy_sizes=(4 * KIB, 64 * KIB, MIB),
        codecs=_FAST_CODECS,
        launches=5,
        budget_s=60,
        cold_sizes=(MIB,),
    ),
    "default": _Shape(
        sizes=(*(KIB * 2**i for i in range(15)), 32 * MIB, 128 * MIB),
        codec_sizes=(KIB, 8 * KIB, 64 * KIB, 512 * KIB, 2 * MIB, 16 * MIB),
        busy_sizes=(4 * KIB, 64 * KIB, 512 * KIB, 2 * MIB),
        codecs=_ALL_CODECS,
        launches=5,
        budget_s=180,
        touched_sizes=(MIB, 32 * MIB),
        cold_sizes=(64 * KIB, MIB, 32 * MIB),
    ),
    "full": _Shape(
        sizes=tuple(KIB * 2**i for i in range(21)),
        codec_sizes=(KIB, 8 * KIB, 64 * KIB, 512 * KIB, 4 * MIB, 32 * MIB, 128 * MIB),
        busy_sizes=(4 * KIB, 64 * KIB, 512 * KIB, 4 * MIB, 16 * MIB),
        codecs=_ALL_CODECS,
        launches=5,
        budget_s=1200,
        touched_sizes=(64 * KIB, MIB, 32 * MIB, 256 * MIB, GIB),
        cold_sizes=(KIB, 64 * KIB, MIB, 32 * MIB, 256 * MIB, GIB),
    ),
}
PRESETS = (*_SHAPES, "limits")


def make_sweep(
    preset: str,
    *,
    methods: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    budget_s: float | None = None,
) -> Sweep:
    """The sweep of a preset.

    Args:
        preset: one of `PRESETS`.
        methods: only these; default: all that are built in and that this machine has.
        sizes: these payload sizes in bytes instead of the preset's; what the preset measures beside them (codecs, busy,
            touched and cold transfers) is left out above the largest.
        budget_s: stop after about this long instead of the preset's time.

    Returns:
        The sweep; a method that is not named and that this machine lacks is left out with a warning.

    Raises:
        UnknownNameError: unknown preset or method.
        InputError: the budget leaves no time; sizes for a preset that has its own.
        MethodUnavailableError: a method is named that this machine lacks.

    >>> make_sweep("quick", methods=["uds"]).scenarios[0].name
    'control control_ping 1KiB'
    """
    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    lacking = {name: capability for name, capability in capabilities().items() if not capability.available}
    for name in methods or ():
        if name in lacking:
            lack = lacking[name]
            raise MethodUnavailableError(f"method {name} is not to be had here: {lack.reason}; {lack.remedy}")
        get_method(name)
    chosen = tuple(methods or (name for name in SIMPLICITY_ORDER if name not in lacking))
    if budget_s is not None and budget_s <= 0:
        raise InputError(f"budget of {budget_s} s, must be above 0; for example 60 s")
    if preset == "limits" and sizes:
        raise InputError("limits has sizes of its own; leave --sizes out")
    sweep = _limits(chosen) if preset == "limits" else _learning_sweep(preset, _SHAPES[preset], chosen, sizes)
    left_out = [f"method {name} is left out: {lack.reason}; {lack.remedy}" for name, lack in lacking.items()]
    warnings = () if methods else tuple(left_out)
    return dataclasses.replace(sweep, budget_s=budget_s or sweep.budget_s, warnings=warnings)


def _learning_sweep(preset: str, shape: _Shape, methods: tuple[str, ...], sizes: Sequence[int] | None) -> Sweep:
    if sizes:
        shape = _resized(shape, sizes)
    scheduled = [
        *controls(),
        *transports(methods, [size for size in shape.sizes if size <= _OFTEN_BYTES]),
        *transports(methods, [size for size in shape.sizes if size > _OFTEN_BYTES], every_rounds=shape.min_rounds),
        *transports(methods, shape.busy_sizes, in_flight=4, every_rounds=2),
        *transports(methods, shape.busy_sizes, in_flight=16, every_rounds=2),
        *transports(methods, shape.touched_sizes, touched=True, every_rounds=2),
        *cold_starts(methods, shape.cold_sizes, every_rounds=3),
        *codec_stages(shape.codecs, shape.codec_sizes, every_rounds=2),
        *crossed_cells(methods, shape.codecs, shape.codec_sizes, share=0.1, seed=1),
    ]
    for planned in scheduled:
        planned.scenario.check()
    return Sweep(preset, tuple(scheduled), shape.launches, shape.budget_s, shape.min_rounds)


def _resized(shape: _Shape, sizes: Sequence[int]) -> _Shape:
    largest = max(sizes)

    def up_to_largest(own: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(size for size in own if size <= largest)

    return dataclasses.replace(
        shape,
        sizes=tuple(sorted(set(sizes))),
        codec_sizes=up_to_largest(shape.codec_sizes),
        busy_sizes=up_to_largest(shape.busy_sizes),
        touched_sizes=up_to_largest(shape.touched_sizes),
        cold_sizes=up_to_largest(shape.cold_sizes),
    )


def _limits(methods: Sequence[str]) -> Sweep:
    """The scenarios whose ratios say how near the methods are to what the machine can do."""
    large = 100 * MIB
    scenarios = [planned.scenario for planned in controls()]
    scenarios += [Scenario(large, stage="control", method=CONTROL_COPY)]
    if "shm_pool" in methods:
        scenarios += [
            Scenario(1024, method="shm_pool"),
            Scenario(large, method="shm_pool"),
            Scenario(1024, placement="in_place", method="shm_pool"),
            Scenario(large, placement="in_place", method="shm_pool"),
            Scenario(large, placement="in_place", touched=True, method="shm_pool"),
        ]
    if "grpc" in methods:
        scenarios += [Scenario(large, method="grpc"), Scenario(large, touched=True, method="grpc")]
        for size in (64 * KIB, 10 * MIB):
            scenarios += [Scenario(size, method="grpc"), Scenario(size, stage="control", method=CONTROL_GRPC)]
    return Sweep(
        "limits", tuple(map(Scheduled, scenarios)), launches=5, budget_s=150, min_rounds=5, target_half_width=0.01
    )

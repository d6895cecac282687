"""The ratios of the `limits` preset: how near the methods are to what the machine can do.

Both sides of a ratio were measured in the same rounds; it is judged on its interval's bound.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from perfkit.measurement.scenarios import CONTROL_COPY, CONTROL_GRPC, CONTROL_PING, Scenario
from perfkit.measurement.summaries import RoundMedians, round_medians
from perfkit.stats.hierarchical import Estimate, ratio_of_launches

__all__ = ["RATIOS", "compute_ratios"]

_KIB, _MIB = 2**10, 2**20
_LARGE = 100 * _MIB
_IN_PLACE = {"method": "shm_pool", "placement": "in_place"}

RATIOS: Mapping[str, tuple[Scenario, Scenario, str]] = {
    "shm_pool_vs_memcpy_100MiB": (
        Scenario(_LARGE, method="shm_pool"),
        Scenario(_LARGE, stage="control", method=CONTROL_COPY),
        "a pool transfer against a warm copy of the same memory",
    ),
    "in_place_100MiB_vs_1KiB": (
        Scenario(_LARGE, method="shm_pool", placement="in_place"),
        Scenario(_KIB, method="shm_pool", placement="in_place"),
        "offset-only: does the cost depend on the size?",
    ),
    "grpc_vs_shm_pool_100MiB": (
        Scenario(_LARGE, method="grpc"),
        Scenario(_LARGE, method="shm_pool"),
        "what the pool saves, the copy into it included",
    ),
    "grpc_vs_in_place_touched_100MiB": (
        Scenario(_LARGE, method="grpc", touched=True),
        Scenario(_LARGE, method="shm_pool", placement="in_place", touched=True),
        "what a payload born in the pool saves, every byte read",
    ),
    "shm_pool_vs_ping_1KiB": (
        Scenario(_KIB, method="shm_pool"),
        Scenario(_KIB, stage="control", method=CONTROL_PING),
        "the pool's own cost over a bare socket ping-pong",
    ),
    "grpc_vs_raw_grpcio_64KiB": (
        Scenario(64 * _KIB, method="grpc"),
        Scenario(64 * _KIB, stage="control", method=CONTROL_GRPC),
        "perfkit's gRPC against hand-written grpcio",
    ),
    "grpc_vs_raw_grpcio_10MiB": (
        Scenario(10 * _MIB, method="grpc"),
        Scenario(10 * _MIB, stage="control", method=CONTROL_GRPC),
        "perfkit's gRPC against hand-written grpcio",
    ),
}


def compute_ratios(observations: pa.Table) -> dict[str, Estimate]:
    """The ratios of `RATIOS` whose two scenarios were both measured, in at least one round together."""
    medians = round_medians(observations)
    ratios = {}
    for name, (numerator, denominator, _) in RATIOS.items():
        above, below = medians.get(numerator.name), medians.get(denominator.name)
        if above and below and (ratio := _ratio(above, below)):
            ratios[name] = ratio
    return ratios


def _ratio(numerator: RoundMedians, denominator: RoundMedians) -> Estimate | None:
    above, below = [], []
    for launch in sorted(numerator.keys() & denominator.keys()):
        rounds = sorted(numerator[launch].keys() & denominator[launch].keys())
        above.append([numerator[launch][round_] for round_ in rounds])
        below.append([denominator[launch][round_] for round_ in rounds])
    return ratio_of_launches(above, below) if any(above) else None

"""What a plan is judged on: the traffic that a service recorded, and an even mix of sizes over every context."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit.config.curves import CurveSet
from perfkit.config.settings import Settings
from perfkit.engine.costs import Context
from perfkit.engine.plan import Publication, known_contexts, known_methods
from perfkit.lake import Lake
from perfkit.workflows.fresh import open_fresh_lake

if TYPE_CHECKING:
    import ibis

__all__ = [
    "EVEN_MIX",
    "EXPLORED_TRAFFIC",
    "RECORDED_TRAFFIC",
    "REPLAY",
    "Sends",
    "Workload",
    "even_mix",
    "measured_sizes",
    "recorded_traffic",
]

EVEN_MIX = "even mix"
RECORDED_TRAFFIC = "recorded traffic"
REPLAY = "replay"
EXPLORED_TRAFFIC = "explored traffic"
_SMALLEST_BYTES, _LARGEST_BYTES = 2**10, 2**26
_SIZES_PER_DOUBLING = 2
_CLASSES_PER_DOUBLING = 4
_NAMES = ("pool", "kind", "format", "compression", "signalling", "in_flight")


@dataclasses.dataclass(frozen=True, slots=True)
class Sends:
    """Transfers of one context and about one size."""

    context: Context
    payload_bytes: float
    transfers: int


@dataclasses.dataclass(frozen=True)
class Workload:
    """Transfers that a plan is judged on; `name` says where they come from."""

    name: str
    sends: tuple[Sends, ...]

    @property
    def transfers(self) -> int:
        """How many transfers it stands for."""
        return sum(one.transfers for one in self.sends)


def measured_sizes(*measurements: CurveSet) -> tuple[float, ...]:
    """Sizes from 1 KiB to the largest that was measured, at most 64 MiB, in equal steps of their logarithm.

    Beyond what was measured costs are guesses: a plan needs some, but nothing is judged by them.
    """
    transports = [curve for one in measurements for key, curve in one.curves.items() if key.stage == "transport"]
    largest = min(max((curve.max_bytes for curve in transports), default=0.0), _LARGEST_BYTES)
    steps = math.floor(math.log2(max(largest / _SMALLEST_BYTES, 1.0)) * _SIZES_PER_DOUBLING)
    return tuple(_SMALLEST_BYTES * 2.0 ** (step / _SIZES_PER_DOUBLING) for step in range(steps + 1))


def even_mix(settings: Settings, publication: Publication, sizes: Sequence[float]) -> Workload:
    """Every known context at every size alike.

    >>> mix = even_mix(Settings(), Publication(), (1024, 2048))
    >>> [(one.context.signalling, one.payload_bytes) for one in mix.sends]
    [('uds', 1024), ('uds', 2048), ('grpc', 1024), ('grpc', 2048)]
    """
    contexts = known_contexts(settings, publication)
    return Workload(EVEN_MIX, tuple(Sends(context, size, 1) for context in contexts for size in sizes))


def recorded_traffic(
    lake: str | Path, publication: Publication, *, now: datetime.datetime | None = None, hours: float = 24.0
) -> Workload:
    """What services sent lately, as the lake keeps it: their transfers, or where there are none, their decisions.

    Args:
        lake: folder of the lake.
        publication: what is published; every method that it knows counts as available.
        now: end of the time that counts; by default this moment.
        hours: length of that time, more than 0.

    Returns:
        Transfers by context and size class (a quarter of a doubling); none where no service recorded anything.

    Raises:
        LakeError: the lake cannot be read.
    """
    opened = open_fresh_lake(lake)
    since = (now or datetime.datetime.now(datetime.UTC)) - datetime.timedelta(hours=hours)
    methods = known_methods(publication)
    transfers = opened.transfers
    served = transfers.filter(transfers.source == "service", transfers.ok, transfers.observed_at >= since)
    rows = _grouped(opened, served.mutate(in_place=served.placement == "in_place"))
    if not rows:
        decisions = opened.decisions
        rows = _grouped(opened, decisions.filter(decisions.decided_at >= since).mutate(in_place=False))
    return Workload(RECORDED_TRAFFIC, tuple(_sends(row, methods) for row in rows))


def _grouped(lake: Lake, rows: ibis.Table) -> list[dict[str, Any]]:
    """Transfers by context and size class, counted where they lie: there may be millions."""
    import ibis

    size_class = (ibis.greatest(rows.payload_bytes, 1).log2() * _CLASSES_PER_DOUBLING).floor().cast("int64")
    grouped = rows.mutate(size_class=size_class).group_by([*_NAMES, "in_place", "size_class"])
    counted = grouped.aggregate(transfers=lambda table: table.count(), payload_bytes=lambda t: t.payload_bytes.mean())
    found: list[dict[str, Any]] = lake.read(counted.order_by([*_NAMES, "in_place", "size_class"])).to_pylist()
    return found


def _sends(row: dict[str, Any], methods: tuple[str, ...]) -> Sends:
    names = {name: row[name] for name in _NAMES}
    context = Context(**names, available=methods, in_place=bool(row["in_place"]))
    return Sends(context, float(row["payload_bytes"]), int(row["transfers"]))

"""What services asked of this host, from the lake: transfers and bytes per hour, and what they were."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perfkit.errors import LakeError
from perfkit.lake import Lake
from perfkit.stats.capacity.series import time_text
from perfkit.tables import plural
from perfkit.workflows.forecast.costs import CONTEXT, Mix
from perfkit.workflows.fresh import open_fresh_lake

if TYPE_CHECKING:
    import ibis

__all__ = ["Traffic", "complete_hours", "traffic_of"]

Integers = npt.NDArray[np.int64]

_HOUR_S = 3600
_FEWEST_HOURS = 8
_RECENT_S = 7 * 86_400
"""What transfers are is taken from the last week: the mix of long ago says little of what comes."""
_MOST_KINDS = 500
_CLASSES_PER_DOUBLING = 4
_ADVICE = "let services record theirs (record=True of a channel or an engine), or give --demand FILE"


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Demand of complete hours.

    Args:
        times: begin of each hour, seconds since 1970; hours of which nothing is known are left out.
        transfers_per_s: mean of the hour.
        bytes_per_s: likewise, payload of transfers that succeeded.
        burst: busiest minute of an hour relative to its mean: the median over the hours.
        mix: what the transfers of the last week were.
        notes: where the figures are from, and what was left out.
    """

    times: npt.NDArray[np.int64]
    transfers_per_s: npt.NDArray[np.float64]
    bytes_per_s: npt.NDArray[np.float64]
    burst: float
    mix: Mix
    notes: tuple[str, ...]


def traffic_of(lake: Lake | str | Path) -> Traffic:
    """What services asked for, by the hour.

    Every transfer of a service is a row, requests and replies, whether it succeeded or not. Days whose rows retention
    removed count by their rollups.

    Args:
        lake: the lake, or its folder.

    Raises:
        LakeError: the lake cannot be read, or holds fewer than 8 complete hours of traffic.
    """
    opened = lake if isinstance(lake, Lake) else open_fresh_lake(lake)
    transfers = opened.transfers
    served = transfers.filter(transfers.source == "service", transfers.observed_at.notnull())
    minutes, counts, moved = _by_minute(opened, served)
    if not len(minutes):
        raise LakeError(f"lake {opened.path} holds no traffic of services; {_ADVICE}")
    hours, is_known, zero = complete_hours(minutes, _spans(opened, served))
    if is_known.sum() < _FEWEST_HOURS:
        raise LakeError(
            f"lake {opened.path} holds {plural(int(is_known.sum()), 'complete hour')} of services' traffic, a forecast "
            f"needs {_FEWEST_HOURS}; {_ADVICE}"
        )
    place = minutes // 60 - hours[0]
    total = np.bincount(place, counts, minlength=len(hours))
    in_bytes = np.bincount(place, moved, minlength=len(hours))
    busiest = np.zeros(len(hours))
    np.maximum.at(busiest, place, counts)
    busy = is_known & (total > 0)
    burst = float(np.median(busiest[busy] * 60 / total[busy])) if busy.any() else 1.0
    return Traffic(
        times=hours[is_known] * _HOUR_S,
        transfers_per_s=total[is_known] / _HOUR_S,
        bytes_per_s=in_bytes[is_known] / _HOUR_S,
        burst=burst,
        mix=_mix(opened, served, int(minutes[-1]) * 60),
        notes=_notes(opened, hours, is_known, int(zero.sum()), burst),
    )


def complete_hours(minutes: Integers, spans: Integers) -> tuple[Integers, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which hours were recorded from begin to end.

    An hour counts where one process recorded before it and after it, then even if nothing came in it: that is demand
    of zero. It also counts where something came in it, and in the hours before and after. Any other hour may have been
    recorded in part or not at all: its demand is not known.

    Args:
        minutes: that have traffic, since 1970, ascending.
        spans: first and last row of every process, seconds since 1970, shape (processes, 2).

    Returns:
        All hours from first to last, whether each is known, and whether it is known to be empty.

    >>> hours, known, empty = complete_hours(np.array([30, 70, 130, 330]), np.array([[1800, 7900]]))
    >>> known.tolist(), empty.tolist()
    ([False, True, False, False, False, False], [False, False, False, False, False, False])
    """
    hours = np.arange(minutes[0] // 60, minutes[-1] // 60 + 1)
    has = np.bincount(minutes // 60 - hours[0], minlength=len(hours)) > 0
    first = -(-spans[:, 0] // _HOUR_S) - hours[0]
    beyond = spans[:, 1] // _HOUR_S - hours[0]
    change = np.zeros(len(hours) + 1, np.int64)
    whole = beyond > first
    np.add.at(change, first[whole], 1)
    np.add.at(change, beyond[whole], -1)
    spanned = np.cumsum(change)[:-1] > 0
    alive = has | spanned
    between = np.zeros(len(hours), bool)
    between[1:-1] = alive[:-2] & alive[2:]
    return hours, spanned | (has & between), spanned & ~has


def _by_minute(lake: Lake, served: ibis.Table) -> tuple[Integers, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Minutes with traffic, transfers and bytes of each: by rows or by rollups, whichever know of more."""
    epoch_minute = (served.observed_at.epoch_seconds() // 60).cast("int64")
    rows = (
        served.mutate(at=epoch_minute)
        .group_by("at")
        .aggregate(transfers=lambda t: t.count(), moved=lambda t: t.ok.ifelse(t.payload_bytes, 0).sum())
    )
    rolled = lake.rollups
    rolled = rolled.filter(rolled.source == "service")
    rollups = (
        rolled.mutate(at=(rolled.minute.epoch_seconds() // 60).cast("int64"))
        .group_by("at")
        .aggregate(transfers=lambda t: (t.transfers + t.failures).sum(), moved=lambda t: t.payload_bytes.sum())
    )
    found: dict[int, tuple[float, float]] = {}
    for one in (rows, rollups):
        for row in lake.read(one).to_pylist():
            pair = (float(row["transfers"]), float(row["moved"] or 0))
            found[row["at"]] = max(found.get(row["at"], pair), pair)
    minutes = np.array(sorted(found), np.int64)
    counts = np.array([found[one] for one in minutes.tolist()]).reshape(-1, 2)
    return minutes, counts[:, 0], counts[:, 1]


def _spans(lake: Lake, served: ibis.Table) -> Integers:
    """First and last second of each process: whoever records before and after an hour recorded in it, too."""
    named = served.filter(served.producer != "")
    at = named.observed_at.epoch_seconds()
    grouped = (
        named.mutate(at=at)
        .group_by(["producer", "epoch"])
        .aggregate(first=lambda t: t["at"].min(), last=lambda t: t["at"].max())
    )
    found = [(int(row["first"]), int(row["last"])) for row in lake.read(grouped.select("first", "last")).to_pylist()]
    return np.array(found, np.int64).reshape(-1, 2)


def _mix(lake: Lake, served: ibis.Table, newest_s: int) -> Mix:
    """Contexts and size classes of the last week, the most frequent ones, counted where they lie."""
    import ibis

    recent = served.filter(served.observed_at.epoch_seconds() >= newest_s - _RECENT_S)
    size_class = (ibis.greatest(recent.payload_bytes, 1).log2() * _CLASSES_PER_DOUBLING).floor().cast("int64")
    grouped = recent.mutate(size_class=size_class).group_by([*CONTEXT, "size_class"])
    counted = grouped.aggregate(transfers=lambda t: t.count(), payload_bytes=lambda t: t.payload_bytes.mean())
    order = [counted.transfers.desc(), *(counted[name] for name in (*CONTEXT, "size_class"))]
    rows: list[dict[str, Any]] = lake.read(counted.order_by(order).limit(_MOST_KINDS)).to_pylist()
    return Mix(
        {name: [row[name] for row in rows] for name in (*CONTEXT, "payload_bytes")},
        np.array([row["transfers"] for row in rows], float),
        "the traffic of the last week",
    )


def _notes(lake: Lake, hours: Integers, is_known: npt.NDArray[np.bool_], empty: int, burst: float) -> tuple[str, ...]:
    known = hours[is_known] * _HOUR_S
    first, last = time_text(int(known[0]))[:16], time_text(int(known[-1]) + _HOUR_S)[:16]
    said = [
        f"demand: {plural(len(known), 'complete hour')} of services' traffic in lake {lake.path}, "
        f"{first.replace('T', ' ')} to {last.replace('T', ' ')} UTC; requests and replies, also those that failed"
    ]
    unknown = int(np.sum(~is_known[1:-1])) if len(hours) > 2 else 0
    if unknown:
        verb = "was" if unknown == 1 else "were"
        said.append(f"{plural(unknown, 'hour')} {verb} recorded in part or not at all: gaps, not zeros")
    if empty:
        said.append(f"in {plural(empty, 'hour')} a process recorded before and after, and nothing came: zeros")
    said.append(f"figures are means of an hour: its busiest minute had {burst:.2g} times as much (median)")
    return tuple(said)

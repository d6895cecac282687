"""A closed loop: so many senders at once, each sending again as soon as its last send is acknowledged."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["MOST_KEPT", "Load", "drive"]

MOST_KEPT = 400
"""Sends of one load that are kept, evenly over time; their numbers tell how many there were."""

_WARM_UP_SHARE, _LONGEST_WARM_UP_S = 0.2, 0.2


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """What a load showed, in the order in which its sends ended.

    Args:
        completed: sends that ended within the window.
        sequence: numbers of those that are kept, the first and the last among them.
        ended_us: when each of these ended, microseconds since 1970.
        latency_ns: how long each of these took.
    """

    completed: int
    sequence: list[int]
    ended_us: list[int]
    latency_ns: list[int]


def drive(sends: Sequence[Callable[[], Any]], seconds: float) -> Load:
    """Keep every sender busy for a while; count what ends in between, when all of them are under way.

    Args:
        sends: one for each sender.
        seconds: of the whole load, above 0; its first fifth warms up and is not counted.
    """
    warm_up_s = min(_WARM_UP_SHARE * seconds, _LONGEST_WARM_UP_S)
    barrier = threading.Barrier(len(sends))
    ended: list[list[tuple[int, int]]] = [[] for _ in sends]
    failures: list[BaseException] = []
    wall_minus_clock_ns = time.time_ns() - time.perf_counter_ns()

    def work(index: int) -> None:
        clock, send, mine = time.perf_counter_ns, sends[index], ended[index]
        try:
            barrier.wait()
            began = clock()
            counts_from, counts_until = began + int(warm_up_s * 1e9), began + int(seconds * 1e9)
            now = began
            while now < counts_until and not failures:
                started = clock()
                send()
                now = clock()
                if counts_from <= now < counts_until:
                    mine.append((now, now - started))
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(sends))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    every = sorted(pair for mine in ended for pair in mine)
    kept = evenly(len(every))
    return Load(
        len(every),
        kept,
        [(every[index][0] + wall_minus_clock_ns) // 1000 for index in kept],
        [every[index][1] for index in kept],
    )


def evenly(count: int) -> list[int]:
    """At most `MOST_KEPT` numbers below `count`, evenly, with the first and the last.

    >>> evenly(3), len(evenly(100_000)), evenly(100_000)[-1]
    ([0, 1, 2], 400, 99999)
    """
    if count <= MOST_KEPT:
        return list(range(count))
    return [round(index * (count - 1) / (MOST_KEPT - 1)) for index in range(MOST_KEPT)]

"""The monitor: readings, states and warnings together; arenas that come and go."""

from __future__ import annotations

import gc
import json
import multiprocessing
import time
from typing import TYPE_CHECKING

import pytest

from perfkit.config.engine_settings import ResourceSettings
from perfkit.engine.resources import Reader, ResourceMonitor

if TYPE_CHECKING:
    from tests.engine.resources.conftest import FakeHost

GIB = 2**30


class Arena:
    def __init__(self, used_bytes: int, capacity_bytes: int) -> None:
        self.figures = used_bytes, capacity_bytes

    def probe(self) -> tuple[int, int]:
        return self.figures


def burn(stop) -> None:
    while not stop.is_set():
        sum(range(1000))


def test_a_look_tells_state_change_figures_and_warnings(host: FakeHost) -> None:
    monitor = ResourceMonitor(ResourceSettings(), host.reader())
    looks = [monitor.look()]
    for _ in range(6):
        host.run(1.0, 0.9, seconds=0.25)
        looks.append(monitor.look())
    assert [look.state for look in looks] == ["normal"] * 2 + ["cpu_pressure"] * 5
    assert [look.changed_from for look in looks] == [None, None, "normal", None, None, None, None]
    assert [warning.kind for warning in looks[-1].warnings] == ["reached"]
    assert monitor.statistics().transitions == 1
    plain = json.loads(json.dumps(looks[-1].to_plain()))
    assert (plain["state"], plain["reading"]["cpu_cores"]) == ("cpu_pressure", 2)


def test_the_limit_of_a_control_group_brings_pressure_and_relief(host: FakeHost) -> None:
    host.version_2("/pod")
    host.group("pod", memory__max=f"{GIB}\n", memory__current=f"{GIB // 2}\n", memory__stat="inactive_file 0\n")
    monitor = ResourceMonitor(ResourceSettings(), host.reader())
    states = []
    for used in (0.5, 0.9, 0.9, 0.9, 0.6, 0.6, 0.6):
        host.group("pod", memory__current=f"{round(used * GIB)}\n")
        host.run(0.1, 0.1, seconds=0.25)
        states.append(monitor.look().state)
    assert states == ["normal"] * 2 + ["memory_pressure"] * 3 + ["normal"] * 2


def test_the_fullest_arena_and_all_together_are_told(host: FakeHost) -> None:
    monitor, small, large = ResourceMonitor(ResourceSettings(), host.reader()), Arena(90, 100), Arena(100, 900)
    monitor.add_arena(small.probe)
    monitor.add_arena(large.probe)
    reading = monitor.look().reading
    assert (reading.arena_share, reading.arena_capacity_bytes, reading.arena_free_bytes) == (0.9, 100, 10)
    assert reading.arenas_share == pytest.approx(0.19)


def test_an_arena_whose_owner_is_gone_is_not_asked(host: FakeHost) -> None:
    reader, arena = host.reader(), Arena(1, 2)
    reader.add_arena(arena.probe)
    assert reader.read().arena_share == 0.5
    del arena
    gc.collect()
    assert reader.read().arena_share is None


def test_a_function_that_nobody_else_keeps_is_asked_until_it_is_removed(host: FakeHost) -> None:
    reader = host.reader()
    handle = reader.add_arena(lambda: (3, 4))
    gc.collect()
    assert reader.read().arena_share == 0.75
    handle.remove()
    assert reader.read().arena_share is None


def test_an_arena_that_was_removed_is_not_asked(host: FakeHost) -> None:
    reader, arena = host.reader(), Arena(1, 2)
    handle = reader.add_arena(arena.probe)
    handle.remove()
    handle.remove()
    assert reader.read().arena_share is None


@pytest.mark.parametrize("figures", [None, ("full", 1), (1, 2, 3), (float("nan"), 8)])
def test_a_probe_that_fails_is_dropped_and_counted(host: FakeHost, figures: object) -> None:
    reader, broken, sound = host.reader(), Arena(0, 0), Arena(1, 4)
    broken.figures = figures  # type: ignore[assignment]
    reader.add_arena(broken.probe)
    reader.add_arena(sound.probe)
    assert [reader.read().arena_share for _ in range(2)] == [0.25, 0.25]
    assert reader.arenas.dropped == 1


def test_an_arena_that_is_not_there_now_is_passed_over(host: FakeHost) -> None:
    reader, arena = host.reader(), Arena(0, 0)
    reader.add_arena(arena.probe)
    assert reader.read().arena_share is None
    arena.figures = 3, 4
    assert reader.read().arena_share == 0.75


def test_a_processor_that_is_kept_busy_shows() -> None:
    # Others use this machine, too, so that only a floor is known: one process burns one core.
    context = multiprocessing.get_context("spawn")
    stop, reader = context.Event(), Reader()
    burner = context.Process(target=burn, args=(stop,))
    burner.start()
    try:
        shares = []
        for _ in range(5):
            time.sleep(0.25)
            reading = reader.read()
            if reading.cpu_share is not None and reading.cpu_cores is not None:
                shares.append(reading.cpu_share * reading.cpu_cores)
    finally:
        stop.set()
        burner.join()
    assert max(shares) > 0.5

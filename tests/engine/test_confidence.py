"""Curves are followed only where they are sure enough."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest

from perfkit.config.engine_settings import EngineSettings
from perfkit.config.pool_settings import FixedRange, PoolSettings
from perfkit.config.settings import Settings
from perfkit.engine.circumstances import Circumstances
from perfkit.engine.confidence import probability_no_worse
from perfkit.engine.costs import Context
from perfkit.engine.plan import Cell, Publication, compile_cell

KIB = 2**10


def compiled(curves, confidence: float, state: str = "normal", **pool) -> Cell:
    wanted = PoolSettings(**{"goal": "latency", "tolerance": 0.0, **pool})
    plan = Settings(engine=EngineSettings(confidence=confidence), pools={"default": wanted})
    return compile_cell(plan, Publication(curves, 7), Context(), Circumstances(state))


@pytest.mark.parametrize("deviations", [-3.0, -1.0, -0.1, 0.0, 0.5, 1.0, 2.5])
def test_the_probability_is_that_of_a_normal_distribution(deviations: float) -> None:
    spread = 7.0
    half_width = 1.959964 * spread
    value = deviations * spread
    expected = statistics.NormalDist(value, spread).cdf(0)
    assert probability_no_worse((value, value - half_width, value + half_width)) == pytest.approx(expected, abs=1e-6)
    allowed = probability_no_worse((value + 5, value + 5 - half_width, value + 5 + half_width), 5)
    assert allowed == pytest.approx(expected, abs=1e-6)


def test_only_the_side_of_the_interval_that_could_matter_counts() -> None:
    assert probability_no_worse((-10, -1000, -5)) == pytest.approx(statistics.NormalDist(-10, 5 / 1.959964).cdf(0))
    assert probability_no_worse((10, 5, 1000)) == pytest.approx(statistics.NormalDist(10, 5 / 1.959964).cdf(0))


def test_without_an_interval_it_is_certain() -> None:
    assert [probability_no_worse((value, value, value)) for value in (-1.0, 0.0, 1.0)] == [1.0, 1.0, 0.0]
    assert probability_no_worse((math.inf, math.inf, math.inf)) == 0.0


def test_at_0_curves_are_followed_everywhere_and_at_1_only_where_there_is_no_doubt(make_curves) -> None:
    for half_width, followed in ((0.1, "default"), (0.0, "model")):
        curves = make_curves({"uds": (100_000, 1.0), "grpc": (105_000, 1.0)}, half_width=half_width)
        assert compiled(curves, 0.0).at(KIB).source == "model"
        assert compiled(curves, 1.0).at(KIB).source == followed
    assert compiled(make_curves({"uds": (100_000, 1.0)}), 1.0).at(KIB).source == "model"  # nothing speaks against it


def test_more_confidence_never_follows_the_curves_further(make_curves) -> None:
    curves = make_curves({"uds": (100_000, 1.0), "shm_pool": (150_000, 0.5), "grpc": (120_000, 1.1)}, half_width=0.2)
    thresholds = (FixedRange(math.inf, "grpc"),)
    cells = [compiled(curves, confidence, thresholds=thresholds) for confidence in (0, 0.5, 0.7, 0.9, 0.99, 1)]
    for size in (2.0**step for step in range(36)):
        followed = [cell.at(size).source == "model" for cell in cells]
        assert followed == sorted(followed, reverse=True)
    assert [cell.at(KIB).source for cell in (cells[0], cells[-1])] == ["model", "threshold"]


def test_the_edge_lies_where_the_probability_is_what_is_asked_for(make_curves) -> None:
    curves = make_curves({"grpc": (100_000, 1.0), "uds": (100_000, 0.2)}, half_width=0.1)
    cell = compiled(curves, 0.95, zero_copy_bytes=2**50)
    (unsure, sure) = [part for part in cell.ranges if part.start_bytes < 2**30]
    assert (unsure.source, unsure.method, sure.source, sure.method) == ("default", "grpc", "model", "uds")
    (loser,) = [
        one
        for one in unsure.losers
        if one.source == "model" and one.start_bytes <= sure.start_bytes - 1 < one.end_bytes
    ]
    assert "not 95% sure to be no worse than grpc" in loser.rule
    edge, spread = sure.start_bytes, 0.1 / 1.959964
    sd = math.hypot(100_000 + edge, 100_000 + 0.2 * edge) * spread
    assert statistics.NormalDist(-0.8 * edge, sd).cdf(0) == pytest.approx(0.95, abs=0.01)
    for left, right in itertools.pairwise(cell.ranges):
        assert left.end_bytes == right.start_bytes


def test_a_pressed_arena_counts_where_curves_are_doubted_too(make_curves) -> None:
    curves = make_curves({"shm_pool": (10_000, 0.10), "uds": (10_000, 0.15)}, half_width=0.01)
    assert compiled(curves, 0.5).at(2**28).method == "shm_pool"
    pressed = compiled(curves, 0.5, "arena_low").at(2**28)
    assert (pressed.method, pressed.source) == ("uds", "model")  # though the default from 10 MiB on is shm_pool

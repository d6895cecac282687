"""What a state of the host means for what is taken."""

from __future__ import annotations

import pytest

from perfkit.config.curves import CurveKey, CurveSet
from perfkit.config.engine_settings import RESOURCE_STATES
from perfkit.config.pool_settings import PoolSettings
from perfkit.config.settings import Settings
from perfkit.engine.circumstances import Circumstances
from perfkit.engine.costs import Context
from perfkit.engine.decision import ready_decisions
from perfkit.engine.plan import Cell, Publication, compile_cell
from perfkit.schema import ZERO_COPY_FAMILY

SIZE = 2**26


@pytest.fixture
def curves(line) -> CurveSet:
    """uds takes least time, shm_pool holds least memory, grpc takes least processor time, shm is second in all."""
    figures = {
        "latency_ns": {"uds": 1.0, "shm_pool": 1.3, "grpc": 4.0, "shm": 1.2},
        "cpu_ns": {"uds": 3.0, "shm_pool": 3.0, "grpc": 1.0, "shm": 2.0},
        "resident_bytes": {"uds": 2.0, "shm_pool": 0.0, "grpc": 4.0, "shm": 1.0},
    }
    return CurveSet(
        {
            CurveKey("transport", quantity, method, "*", placement): line(1_000, per_byte, n=90)
            for quantity, by_method in figures.items()
            for method, per_byte in by_method.items()
            for placement in ("copied", "in_place")
            if placement == "copied" or method == "shm_pool"
        }
    )


def compiled(curves: CurveSet | None, state: str) -> Cell:
    plan = Settings(pools={"default": PoolSettings(goal="latency")})
    where = Context(available=("grpc", "uds", "shm", "shm_pool"))
    return compile_cell(plan, Publication(curves, 7 if curves else None), where, Circumstances(state))


@pytest.mark.parametrize(
    ("state", "method", "goal"),
    [
        ("normal", "uds", "latency"),
        ("memory_pressure", "shm_pool", "memory"),
        ("cpu_pressure", "grpc", "cpu"),
        ("arena_low", "uds", "latency"),
        ("arena_exhausted", "uds", "latency"),
    ],
)
def test_each_state_prefers_what_it_is_short_of(curves: CurveSet, state: str, method: str, goal: str) -> None:
    cell = compiled(curves, state)
    assert (cell.at(SIZE).method, cell.goal) == (method, goal)
    explanation = ready_decisions(cell)[1][cell.ranges.index(cell.at(SIZE))].explain(SIZE)
    assert (f"State: {state.replace('_', ' ')}." in str(explanation)) == (state != "normal")
    assert explanation.to_plain()["state"] == state


@pytest.mark.parametrize(("per_byte", "method"), [(0.51, "uds"), (0.49, "shm_pool")])
def test_a_low_arena_is_used_where_it_costs_at_most_half(make_curves, per_byte: float, method: str) -> None:
    curves = make_curves({"uds": (1, 1.0), "shm_pool": (1, per_byte)}, half_width=0.0)
    assert compiled(curves, "normal").at(SIZE).method == "shm_pool"
    assert compiled(curves, "arena_low").at(SIZE).method == method


def test_what_lies_in_the_arena_already_takes_no_further_room(curves: CurveSet) -> None:
    low, exhausted = Circumstances("arena_low"), Circumstances("arena_exhausted")
    assert set(low.penalties(in_place=False)) == set(exhausted.exclusions(in_place=False)) == set(ZERO_COPY_FAMILY)
    assert "shm_pool" not in low.penalties(in_place=True)
    assert "shm_pool" not in exhausted.exclusions(in_place=True)


@pytest.mark.parametrize("state", RESOURCE_STATES)
def test_without_curves_every_state_takes_something(state: str) -> None:
    cell = compiled(None, state)
    assert (cell.at(SIZE).method in ZERO_COPY_FAMILY) == (state != "arena_exhausted")


def test_a_state_whose_quantities_were_not_measured_says_so(make_curves) -> None:
    cell = compiled(make_curves(), "cpu_pressure")
    assert cell.goal == "latency"
    assert any(warning.startswith("goal cpu: ") for warning in cell.warnings)


def test_open_breakers_and_an_exhausted_arena_add_up() -> None:
    now = Circumstances("arena_exhausted", frozenset({"uds"}))
    assert now.exclusions(in_place=False) == {
        "uds": "circuit breaker open",
        **dict.fromkeys(ZERO_COPY_FAMILY, "arena exhausted"),
    }

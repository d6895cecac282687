"""Policies in Python: exact breakpoints, figures, and mistakes that take nobody down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import perfkit
from perfkit.config.pool_settings import PoolSettings
from perfkit.config.settings import Settings
from perfkit.engine.circumstances import Circumstances
from perfkit.engine.costs import Context, method_cost
from perfkit.engine.decision import ready_decisions
from perfkit.engine.plan import Cell, Publication, compile_cell
from perfkit.engine.policies import _POLICIES, find_policy, import_policies, registered_policies
from perfkit.errors import InputError, UnitError, UnknownNameError

KIB, MIB = 2**10, 2**20


@pytest.fixture(autouse=True)
def policies() -> Iterator[None]:
    before = dict(_POLICIES)
    yield
    _POLICIES.clear()
    _POLICIES.update(before)


def compiled(
    function: Callable[..., Any],
    curves: Any = None,
    *,
    breakpoints: tuple[int | str, ...] = (),
    circumstances: Circumstances = Circumstances(),
    **pool: Any,
) -> Cell:
    perfkit.policy("tried", breakpoints=breakpoints)(function)
    plan = Settings(pools={"default": PoolSettings(policy="tried", **pool)})
    return compile_cell(plan, Publication(curves, 7 if curves else None), Context(), circumstances)


@pytest.mark.parametrize("size", [1, 1000, 65_536, 70_001, 3 * MIB + 7])
def test_a_policy_changes_its_mind_exactly_at_its_breakpoint(size: int) -> None:
    below = compiled(lambda context, _: "uds" if context.payload_bytes < size else "shm", breakpoints=(size,))
    assert (below.at(size - 1).method, below.at(size).method) == ("uds", "shm")
    up_to = compiled(lambda context, _: "uds" if context.payload_bytes <= size else "shm", breakpoints=(size,))
    assert (up_to.at(size).method, up_to.at(size + 1).method) == ("uds", "shm")
    assert len(below.ranges) == len(up_to.ranges) == 2
    assert ready_decisions(below)[0] == (size,)


def test_without_a_breakpoint_the_change_is_found_within_a_share_of_a_percent() -> None:
    cell = compiled(lambda context, _: "uds" if context.payload_bytes < 70_001 else None)
    assert 70_001 <= ready_decisions(cell)[0][0] <= 70_001 * 1.002
    assert [part.source for part in cell.ranges] == ["policy", "default", "default"]


def test_a_policy_sees_the_figures_that_the_curves_are_compared_by(make_curves) -> None:
    seen: dict[int, dict[str, Any]] = {}

    def look(context: Any, figures: Any) -> None:
        seen[context.payload_bytes] = dict(figures)
        assert "nothing" not in figures
        assert context.goal == "latency"

    curves = make_curves(cpu={"uds": (7_000, 0.0)})
    cell = compiled(look, curves, goal="latency", circumstances=Circumstances(factors=(("uds", 1.5),)))
    assert cell.problems == ()
    assert seen[1024]["uds"].latency_ns == pytest.approx(1.5 * (10_000 + 0.3 * 1024))
    assert seen[1024]["uds"].cost == seen[1024]["uds"].latency_ns
    corrected = method_cost(curves, "uds", Context(), 1024, "cpu", factors={"uds": 1.5})
    assert corrected is not None
    assert seen[1024]["uds"].cpu_ns == corrected.value
    assert seen[1024]["grpc_stream"].latency_ns is None
    assert set(seen[1024]) == set(Context().available)


class Odd:
    def __eq__(self, other: object) -> bool:
        raise ValueError("compares with nothing")

    def __hash__(self) -> int:
        raise TypeError

    def __repr__(self) -> str:
        raise RuntimeError("shows nothing")


def fail(error: type[BaseException]) -> Callable[..., Any]:
    def function(context: Any, figures: Any) -> Any:
        raise error(f"at {context.payload_bytes}")

    return function


class Unshowable(Exception):
    __repr__ = Odd.__repr__


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (fail(KeyError), "raised KeyError"),
        (fail(SystemExit), "raised SystemExit"),
        (fail(Unshowable), "raised a Unshowable"),
        (lambda context, figures: "carrier_pigeon", "named 'carrier_pigeon', must be one of uds, "),
        (lambda context, figures: 7, "named 7"),
        (lambda context, figures: Odd(), "named a Odd"),
        (lambda context, figures: figures["carrier_pigeon"], "raised KeyError"),
        (lambda: "uds", "raised TypeError"),
    ],
)
def test_a_policy_that_is_wrong_is_passed_over_and_told_once(function: Any, said: str, make_curves) -> None:
    cell = compiled(function, make_curves(), goal="latency")
    assert [part.method for part in cell.ranges] == ["uds", "shm_pool"]
    assert {part.source for part in cell.ranges} == {"model"}
    (problem,) = cell.problems
    assert said in problem
    assert problem.endswith("what comes after policies decides")
    assert problem in cell.warnings


def test_a_policy_that_nobody_registered_is_passed_over_and_told() -> None:
    plan = Settings(pools={"default": PoolSettings(policy="nobody registered this")})
    cell = compile_cell(plan, Publication(), Context())
    assert {part.source for part in cell.ranges} == {"default"}
    assert "nobody registered this" in cell.problems[0]
    assert "[engine] policies" in cell.problems[0]


def test_a_method_that_cannot_be_taken_now_is_no_mistake() -> None:
    cell = compiled(lambda context, _: "uds", circumstances=Circumstances(open_methods=frozenset({"uds"})))
    assert cell.problems == ()
    (loser,) = [one for one in cell.at(1).losers if one.source == "policy"]
    assert (loser.method, loser.because) == ("uds", "circuit breaker open")


def test_what_a_policy_says_depends_on_its_pool(make_curves) -> None:
    perfkit.policy("by pool")(lambda context, _: "uds" if context.pool == "one" else "shm")
    plan = Settings(pools={name: PoolSettings(policy="by pool") for name in ("default", "one", "two")})
    memo: dict[Any, Any] = {}
    cells = [compile_cell(plan, Publication(make_curves(), 7), Context(pool=name), memo=memo) for name in plan.pools]
    assert [cell.at(1).method for cell in cells] == ["shm", "uds", "shm"]


def test_names_and_breakpoints_are_checked_at_once() -> None:
    with pytest.raises(InputError, match="must be text"):
        perfkit.policy("")
    with pytest.raises(UnitError):
        perfkit.policy("one", breakpoints=["much"])
    with pytest.raises(UnknownNameError, match="registers it"):
        find_policy("nobody registered this")


def test_a_module_that_cannot_be_imported_is_told(tmp_path, monkeypatch) -> None:
    (tmp_path / "policies_that_exit.py").write_text("raise SystemExit(3)")
    (tmp_path / "policies_that_work.py").write_text(
        "import perfkit\n@perfkit.policy('from a module')\ndef one(context, figures): return None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    problems = import_policies(["policies_that_exit", "policies_that_work", "no_such_module_here"])
    assert [problem.split()[1] for problem in problems] == ["policies_that_exit", "no_such_module_here"]
    assert "from a module" in registered_policies()

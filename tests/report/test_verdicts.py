"""Verdicts say what the figures say."""

from __future__ import annotations

import dataclasses
import math

from perfkit.learn import Fit
from perfkit.report import analysis_verdict, benchmark_verdict, ranges_verdict
from perfkit.workflows.analyse_result import Analysis


@dataclasses.dataclass(frozen=True)
class Run:
    status: str = "complete"
    seconds: float = 62.0
    launches: int = 3
    rounds: int = 12
    warnings: tuple[str, ...] = ()


def test_a_run_says_how_it_ended_and_how_stable_it_was() -> None:
    assert str(benchmark_verdict(Run())).endswith("3 launches and 12 rounds in 62s, no stability warning.")
    assert "2 stability warnings" in str(benchmark_verdict(Run(warnings=("a", "b"))))
    assert "budget ended" in str(benchmark_verdict(Run(status="budget")))


def test_ranges_name_method_edge_and_what_is_never_taken(fitted: Fit) -> None:
    sentence = str(ranges_verdict(fitted.ranges()))
    assert sentence.startswith("Up to ")
    assert " uds (true edge between " in sentence
    assert sentence.endswith("; beyond that shm_pool; grpc never.")


def test_one_method_for_every_size(fitted: Fit) -> None:
    assert str(ranges_verdict(fitted.ranges(available=("grpc",)))) == "grpc at every size."


def test_an_analysis_says_what_dominates_and_whose_tail_is_longest(analysis: Analysis) -> None:
    sentence = str(analysis_verdict(analysis))
    assert sentence.startswith("The fixed cost of a transfer outweighs its bytes up to ")
    assert all(f" for {method} (" in sentence for method in ("uds", "shm_pool", "grpc"))
    assert "The longest tail is that of " in sentence
    assert "p95 is 1." in sentence


def test_an_analysis_of_nothing_says_so(analysis: Analysis) -> None:
    empty = dataclasses.replace(analysis, percentiles=(), dominance=(), warnings=())
    assert str(analysis_verdict(empty)) == "There are too few transfers to say anything."
    assert "Mind 1 warning" in str(analysis_verdict(dataclasses.replace(empty, warnings=("noisy",))))


def test_a_fixed_cost_that_always_dominates_is_said_so(analysis: Analysis) -> None:
    never = dataclasses.replace(analysis.dominance[0], even_bytes=math.inf, method="shm_pool")
    sentence = str(analysis_verdict(dataclasses.replace(analysis, dominance=(never,))))
    assert "up to every size for shm_pool." in sentence

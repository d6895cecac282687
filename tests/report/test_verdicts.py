"""Verdicts say what the figures say."""

from __future__ import annotations

import dataclasses

from perfkit.learn import Fit
from perfkit.report import benchmark_verdict, ranges_verdict


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

"""Verdicts say what the figures say."""

from __future__ import annotations

import dataclasses
import math
import re

import pyarrow as pa

from perfkit.learn import CompositionError, Crossover, Fit
from perfkit.report import (
    analysis_verdict,
    benchmark_verdict,
    composition_verdict,
    crossover_verdict,
    dominance_verdict,
    fastest_verdict,
    profile_verdict,
    quality_verdict,
    ranges_verdict,
    ratios_verdict,
    relations_verdict,
    settings_verdict,
    stages_verdict,
    tails_verdict,
)
from perfkit.stats.correlation import Correlation
from perfkit.stats.hierarchical import Estimate
from perfkit.workflows.analyse_percentiles import Profile
from perfkit.workflows.analyse_relations import Relation
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


def test_every_part_of_an_analysis_has_its_sentence(analysis: Analysis) -> None:
    assert "p95 is 1." in str(tails_verdict(analysis.percentiles))
    assert sentence_of(analysis, "size").startswith("The lowest median: from 1KiB on uds (")
    assert sentence_of(analysis, "load") == "Only one load was measured."
    assert sentence_of(analysis, "codec").startswith("The fastest of what was measured whole")
    assert "encoding and decoding take most of tensor as numpy, lz4" in str(stages_verdict(analysis.stages_at()))
    assert str(dominance_verdict(analysis.dominance)) in str(analysis_verdict(analysis))
    assert str(quality_verdict(analysis)).startswith("1350 transfers in 3 launches, of which 0 failed")


def sentence_of(analysis: Analysis, profile: str) -> str:
    return str(profile_verdict(analysis.profiles[profile]))


def test_parts_without_evidence_say_so() -> None:
    assert "No method has rows enough" in str(tails_verdict(()))
    assert "No method and size has rows enough" in str(profile_verdict(Profile("load", ())))
    assert "perfkit bench" in str(stages_verdict(()))
    assert "no curves could be fitted" in str(dominance_verdict(()))
    assert "Nothing surely goes together" in str(relations_verdict(()))
    assert "not known whether the parts add up" in str(composition_verdict(CompositionError(math.nan, math.nan, 0, ())))
    assert "the preset limits does" in str(ratios_verdict({}))


def test_what_goes_together_beside_the_size_is_named_with_its_interval() -> None:
    size = Relation("uds", "payload_bytes", Correlation(0.99, 0.98, 0.995, 90, 3))
    processor = Relation("grpc", "cpu_sender_ns", Correlation(0.6, 0.4, 0.8, 90, 3))
    unclear = Relation("shm", "in_flight", Correlation(0.9, -0.2, 0.99, 90, 3))
    assert "is CPU, sender, for grpc: rank correlation +0.60 (+0.40 to +0.80)" in str(
        relations_verdict([size, processor, unclear])
    )
    assert "is payload, for uds" in str(relations_verdict([size, unclear]))


def test_ratios_that_may_be_one_are_not_called_different() -> None:
    ratios = {"grpc_vs_uds": Estimate(12, 10, 15, 30, 3), "a_vs_b": Estimate(1.1, 0.9, 1.3, 30, 3)}
    assert str(ratios_verdict(ratios)) == "Surely different from 1: grpc vs uds 12 (10 to 15)."
    assert "None of 1 ratio is surely" in str(ratios_verdict({"a_vs_b": ratios["a_vs_b"]}))


def test_settings_in_which_the_size_matters_are_counted(fitted: Fit) -> None:
    sentence = str(settings_verdict(fitted.curves))
    assert (
        sentence == "The choice depends on the size in 2 of 3 settings. In the others uds is taken for every payload."
    )


def test_the_fastest_method_is_named_from_size_to_size(observations: pa.Table) -> None:
    sentence = str(fastest_verdict(observations))
    assert sentence.startswith("The lowest median of the launches: from 1KiB on uds (")
    assert "; from 128KiB on shm_pool (" in sentence
    assert "from 1MiB on grpc" in str(fastest_verdict(observations, methods=["grpc"], sizes=(2**20, 2**24)))
    assert "No transfer was measured" in str(fastest_verdict(observations, methods=()))


def test_an_edge_is_told_with_what_was_measured_nearest_to_it(observations: pa.Table) -> None:
    edge = Crossover(100_000.0, 80_000.0, 130_000.0, "uds", "shm_pool")
    sentence = str(crossover_verdict(observations, edge))
    assert sentence.startswith("uds gives way to shm_pool at 97.7KiB; the true edge lies between 78.1KiB and 127KiB")
    assert re.search(r"At 128KiB, the nearest measured size, shm_pool took [\d.]+us.* and uds took [\d.]+us", sentence)
    assert "No size was measured with both" in str(crossover_verdict(observations.slice(0, 0), edge))

"""The expected effect of a plan: closed forms, properties, and how often its interval holds the truth."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.config.curves import CurveSet, Evidence
from perfkit.config.settings import PoolSettings, Settings
from perfkit.engine.costs import Context
from perfkit.engine.plan import Publication
from perfkit.workflows.candidate import compiled_plan
from perfkit.workflows.effect import CostDraws, Effect, Ratio, expected_effect
from perfkit.workflows.workload import EVEN_MIX, Sends, Workload, even_mix, measured_sizes

LATENCY = Settings(pools={"default": PoolSettings(goal="latency")})
FLAT = {"uds": (100_000, 0.0), "shm_pool": (50_000, 0.0)}
FLIPPED = {"uds": (100_000, 0.0), "shm_pool": (200_000, 0.0)}


def effect_of(before: CurveSet, after: CurveSet, workload: Workload, costs: CostDraws, margin: float = 0.05) -> Effect:
    plans = (compiled_plan(LATENCY, Publication(curves)) for curves in (before, after))
    return expected_effect(workload, *plans, costs, margin=margin)


def workload(*sends: tuple[float, int]) -> Workload:
    context = Context(available=("uds", "shm_pool", "grpc"))
    return Workload("made up", tuple(Sends(context, size, count) for size, count in sends))


def of_run(curves: CurveSet, run: str) -> CurveSet:
    return dataclasses.replace(curves, evidence=dataclasses.replace(curves.evidence, runs=(run,)))


def test_the_ratio_is_that_of_the_curves(make_curves) -> None:
    before, after = make_curves(FLIPPED), make_curves(FLAT)
    found = effect_of(before, after, workload((1000, 3), (5000, 1)), CostDraws.of(after))
    assert found.value == pytest.approx(0.5)
    assert found.total.value == pytest.approx(0.5)
    assert (found.n, found.share_changed, found.share_of_bytes_changed, found.verdict) == (4, 1.0, 1.0, "better")


def test_the_interval_is_that_of_two_independent_curves(make_curves) -> None:
    """Two curves that are each known to 2 %: their ratio is known to 2 % times the square root of two."""
    before, after = make_curves(FLIPPED, half_width=0.02), make_curves(FLAT, half_width=0.02)
    found = effect_of(before, after, workload((1000, 1)), CostDraws.of(after))
    expected = math.log(1.02) * math.sqrt(2)
    assert math.log(found.high / found.value) == pytest.approx(expected, rel=0.15)
    assert math.log(found.value / found.low) == pytest.approx(expected, rel=0.15)


def test_what_does_not_change_costs_the_same(make_curves) -> None:
    curves = make_curves(FLAT, half_width=0.5)
    found = effect_of(curves, curves, workload((1000, 5)), CostDraws.of(curves))
    assert (found.low, found.value, found.high) == (1, 1, 1)
    assert (found.share_changed, found.verdict) == (0.0, "equivalent")


def test_transfers_count_by_their_number_and_totals_by_their_cost(make_curves) -> None:
    before = make_curves({"uds": (10_000, 0.0), "shm_pool": (10**9, 0.0)})
    after = make_curves({"uds": (10_000, 1.0), "shm_pool": (100_000, 0.0)})
    found = effect_of(before, after, workload((1000, 9), (1_990_000, 1)), CostDraws.of(after))
    assert found.share_changed == pytest.approx(0.1)
    assert found.share_of_bytes_changed == pytest.approx(1_990_000 / 1_999_000)
    assert found.value == pytest.approx((100_000 / 2_000_000) ** 0.1)
    assert found.total.value == pytest.approx((9 * 11_000 + 100_000) / (9 * 11_000 + 2_000_000))


def test_two_measurements_are_averaged_by_their_precision(make_curves) -> None:
    new, old = of_run(make_curves({"uds": (1_000, 0)}, half_width=0.1), "new"), make_curves({"uds": (1_030, 0)})
    draws = CostDraws.of(new, old)
    found = draws.log_costs("uds", Context(), "latency", [1000.0])
    assert found is not None
    precisions = [1 / math.log(1.1) ** 2, 1 / math.log(1.02) ** 2]
    expected = np.average(np.log([1_000, 1_030]), weights=precisions)
    assert found[0, 0] == pytest.approx(expected, rel=0.001)
    assert found[0, 1:].std() < math.log(1.02) / 1.96


def test_measurements_that_disagree_widen_the_interval(make_curves) -> None:
    new, old = of_run(make_curves({"uds": (1_000, 0)}), "new"), make_curves({"uds": (2_000, 0)})
    found = CostDraws.of(new, old).log_costs("uds", Context(), "latency", [1000.0])
    assert found is not None
    low, high = np.exp(np.quantile(found[0], [0.025, 0.975]))
    assert low < 1_050
    assert high > 1_900


def test_a_method_that_was_left_out_is_judged_by_what_is_in_force(make_curves) -> None:
    before, after = make_curves(FLAT), of_run(make_curves({"uds": (100_000, 0)}), "new")
    found = effect_of(before, after, workload((1000, 1)), CostDraws.of(after, before))
    assert found.value == pytest.approx(2.0, rel=0.02)
    assert found.verdict == "worse"


def test_another_host_says_nothing_about_this_one(make_curves) -> None:
    before = make_curves(FLAT, fingerprint={"cpu": "Abacus 3000"})
    after = of_run(make_curves({"uds": (100_000, 0)}, fingerprint={"cpu": "here"}), "new")
    found = effect_of(before, after, workload((1000, 1)), CostDraws.of(after, before))
    assert (found.share_unknown, found.verdict) == (1.0, "inconclusive")
    assert "unknown" in str(found)
    mostly = effect_of(before, after, workload((1000, 1), (2**20, 1)), CostDraws.of(after, before))
    assert mostly.verdict == "inconclusive"
    assert "100% of the transfers" in mostly.method


def test_one_run_is_not_counted_twice(make_curves) -> None:
    new, old = make_curves({"uds": (1_000, 0)}), make_curves({"uds": (2_000, 0)})
    found = CostDraws.of(new, old).log_costs("uds", Context(), "latency", [1000.0])
    assert found is not None
    assert found[0, 0] == pytest.approx(math.log(1_000))


def test_a_goal_in_bytes_and_one_in_nanoseconds_are_no_one_sum(make_curves) -> None:
    curves = make_curves(FLAT, cpu=FLAT)
    settings = Settings(pools={"default": PoolSettings(goal="latency"), "busy": PoolSettings(goal="throughput")})
    mix = even_mix(settings, Publication(curves), (1024, 2048))
    assert {one.context.pool for one in mix.sends} == {"default", "busy"}
    plans = (compiled_plan(settings, Publication(one)) for one in (make_curves(FLIPPED, cpu=FLIPPED), curves))
    found = expected_effect(mix, *plans, CostDraws.of(curves), margin=0.05)
    assert found.total.value == pytest.approx(0.5)


def test_the_mix_ends_where_nothing_was_measured(make_curves) -> None:
    assert measured_sizes(make_curves())[-1] == 2**26
    assert measured_sizes(CurveSet({})) == (1024.0,)
    assert even_mix(Settings(), Publication(make_curves()), (1024,)).name == EVEN_MIX


def test_an_effect_shows_itself_in_a_terminal_and_a_notebook(make_curves) -> None:
    found = effect_of(make_curves(FLIPPED), make_curves(FLAT), workload((1000, 1)), CostDraws.of(make_curves(FLAT)))
    assert all(len(line) <= 80 for line in str(found).splitlines())
    assert "-50.0%" in str(found)
    assert "better" in found._repr_html_()
    assert json.loads(json.dumps(found.to_plain()))["value"] == pytest.approx(0.5)


@given(
    lines=st.lists(st.tuples(st.floats(1e3, 1e6), st.floats(0, 10)), min_size=2, max_size=2),
    sizes=st.lists(st.floats(1, 2**30), min_size=1, max_size=4),
)
def test_a_candidate_that_is_judged_by_its_own_curves_never_looks_worse_than_it_gives_away(
    make_curves, lines: list[tuple[float, float]], sizes: list[float]
) -> None:
    """It takes the cheapest method, or a simpler one for at most the tolerance: the reason to ask others as well."""
    after = make_curves(dict(zip(("uds", "shm_pool"), lines, strict=True)))
    found = effect_of(make_curves(), after, workload(*((size, 1) for size in sizes)), CostDraws.of(after))
    assert found.value <= 1.06
    assert found.low <= found.value <= found.high


def test_the_interval_holds_the_truth_as_often_as_it_says(make_curves) -> None:
    """Curves that are off as their intervals say: 95 % of the intervals hold the true ratio."""
    random = np.random.default_rng(8)
    half_width, held = 0.1, 0
    truth = {"uds": (100_000, 0.0), "shm_pool": (80_000, 0.0)}
    for _ in range(300):
        off = dict(zip(truth, np.exp(random.normal(0, math.log(1 + half_width) / 1.96, 2)), strict=True))
        seen = {name: (fixed * off[name], 0.0) for name, (fixed, _) in truth.items()}
        curves = make_curves(seen, half_width=half_width)
        found = expected_effect(
            workload((1000, 1)),
            compiled_plan(LATENCY, Publication(make_curves({"uds": (1, 0)}))),
            compiled_plan(LATENCY, Publication(make_curves({"shm_pool": (1, 0)}))),
            CostDraws.of(curves),
            margin=0.05,
        )
        held += found.low <= 0.8 <= found.high
    assert 0.90 <= held / 300 <= 0.99


def test_ratios_are_judged_by_their_interval() -> None:
    assert Ratio(0.9, 0.8, 0.99).verdict(0.05) == "better"
    assert Ratio(1.0, 1.0, 1.0).verdict(0.0) == "equivalent"
    assert Ratio(1.0, 0.0, math.inf).verdict(0.05) == "inconclusive"
    assert str(Ratio(1.0, 0.0, math.inf)) == "unknown"


def test_evidence_without_runs_is_independent_of_any(make_curves) -> None:
    new, old = (make_curves({"uds": (ns, 0)}, evidence=Evidence((), 90, 3, 3)) for ns in (1_000, 2_000))
    assert CostDraws.of(new, old).averaged

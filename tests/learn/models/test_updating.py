"""An update learns from new observations alone, says when that is not enough, and keeps what a model promises."""

from __future__ import annotations

import dataclasses
import datetime

import numpy as np
import pytest

from perfkit.errors import FitError
from perfkit.learn.models.features import read_rows, rows_of
from perfkit.learn.models.training import train
from perfkit.learn.models.updating import MOST_CORRECTIONS, update

START = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
TIGHT, ROOMY = 2**28, 2**33
FIXED, PER_BYTE = {"uds": 4e4, "grpc": 3e5}, {"uds": 0.3, "grpc": 2.0}


def traffic(seed: int, n: int, *, slower: float = 1.0, begins: int = 0, tight: float = 2.0, **columns) -> dict:
    """Traffic of a service: where memory is tight everything costs twice as much, which no curve knows."""
    rng = np.random.default_rng(seed)
    method = rng.choice(["uds", "grpc"], n)
    available = rng.choice([TIGHT, ROOMY], n)
    size = np.exp2(rng.uniform(10, 22, n))
    cost = np.array([FIXED[one] for one in method]) + np.array([PER_BYTE[one] for one in method]) * size
    cost = cost * np.where(available == TIGHT, tight, 1.0) * slower * rng.lognormal(0, 0.20, n)
    moments = [START + datetime.timedelta(seconds=begins + at) for at in range(n)]
    frame = {
        "method": method,
        "payload_bytes": size,
        "latency_ns": cost,
        "available_bytes": available,
        "source": ["service"] * n,
    }
    return {**frame, "stage": ["whole"] * n, "observed_at": np.array(moments, dtype=object), **columns}


@pytest.fixture(scope="module")
def model():
    return train(traffic(1, 2400))


def truth(payload_bytes: float, available: int, slower: float = 1.0) -> float:
    return (FIXED["uds"] + PER_BYTE["uds"] * payload_bytes) * (2.0 if available == TIGHT else 1.0) * slower


def test_a_world_as_it_was_needs_no_retraining(model):
    found = update(model, traffic(2, 3000, begins=9000), before=traffic(1, 1000))
    assert found.model.targets["latency_ns"].champion == "model"
    assert not found.needs_retraining, found.reasons
    assert found.coverage_before == pytest.approx(0.90, abs=0.025)
    assert found.coverage_after == pytest.approx(0.90, abs=0.02)
    assert all(factor == pytest.approx(1.0, abs=0.08) for factor in found.targets["latency_ns"].levels.values())


def test_a_slower_world_is_noticed_and_the_update_follows_it(model):
    found = update(model, traffic(3, 2000, begins=9000, slower=1.2))
    assert found.drifted == ("latency_ns",)
    assert found.needs_retraining
    shift = found.targets["latency_ns"].drift.shifts[0]
    assert shift.noticed <= 400  # in the median of 40 such streams 311
    assert shift.low <= 1.2 <= shift.high
    for available in (TIGHT, ROOMY):
        predicted = found.model.median(300_000, method="uds", available_bytes=available)[0]
        assert predicted == pytest.approx(truth(300_000, available, 1.2), rel=0.10)
    later = update(found.model, traffic(4, 2000, begins=20_000, slower=1.2))
    assert later.targets["latency_ns"].drift.verdict == "stable"
    assert later.coverage_before == pytest.approx(0.90, abs=0.03)


def test_only_what_came_after_a_shift_counts(model):
    before, after = traffic(5, 1500, begins=9000), traffic(6, 1500, begins=10_500, slower=1.3)
    found = update(model, {name: np.concatenate((before[name], after[name])) for name in before})
    assert 1300 <= found.targets["latency_ns"].drift.shifts[0].began <= 1700
    assert found.model.median(300_000, method="uds", available_bytes=ROOMY)[0] == pytest.approx(
        truth(300_000, ROOMY, 1.3), rel=0.10
    )


def test_new_structure_is_learned_by_another_layer_of_trees(model):
    found = update(model, traffic(7, 3000, begins=9000, tight=1.3))
    assert found.targets["latency_ns"].has_new_trees
    assert found.model.median(300_000, method="uds", available_bytes=TIGHT)[0] == pytest.approx(
        1.3 * truth(300_000, ROOMY), rel=0.12
    )


def test_trees_that_are_surely_worse_than_the_curves_are_dropped(model):
    swapped = traffic(8, 500, begins=9000, tight=1.0)
    found = update(model, swapped)
    assert found.degraded == ("latency_ns",)
    assert found.needs_retraining
    after = found.model.targets["latency_ns"]
    assert (after.champion, after.residual, after.corrections) == ("curves", None, ())
    assert found.model.median(300_000, method="uds", available_bytes=ROOMY)[0] == pytest.approx(
        truth(300_000, ROOMY), rel=0.15
    )


def test_layers_have_an_end(model):
    found = update(model, traffic(7, 1500, begins=9000, tight=1.3)).model
    one = found.targets["latency_ns"]
    full = dataclasses.replace(one, corrections=tuple(one.corrections[:1]) * MOST_CORRECTIONS)
    again = update(dataclasses.replace(found, targets={"latency_ns": full}), traffic(9, 1000, tight=0.8))
    assert len(again.model.targets["latency_ns"].corrections) in (0, MOST_CORRECTIONS)
    assert any("layers of corrections" in reason for reason in again.reasons) or again.degraded


def test_larger_payloads_never_cost_less_after_an_update(model):
    found = update(model, traffic(10, 2000, begins=9000, slower=1.4, tight=1.3))
    sizes = np.exp2(np.linspace(0, 30, 400))
    for available in (TIGHT, ROOMY):
        assert (np.diff(found.model.median(sizes, method="grpc", available_bytes=available)) >= 0).all()


def test_the_same_rows_and_seed_give_the_same_update(model):
    new = traffic(11, 1200, begins=9000, tight=1.3)
    rows = rows_of([1e3, 1e6], method="uds", available_bytes=TIGHT)
    first, second = (update(model, new, seed=3).model.predict_rows(rows) for _ in range(2))
    assert first.log_median.tolist() == second.log_median.tolist()
    assert first.log_high.tolist() == second.log_high.tolist()


def test_an_updated_model_can_be_stored_and_says_where_it_comes_from(model):
    found = update(model, traffic(12, 1200, begins=9000, tight=1.3), parent="v0001").model
    plain, estimators = found.parts()
    again = type(found).from_parts(plain, estimators)
    rows = read_rows(traffic(13, 50))
    assert again.predict_rows(rows).log_high.tolist() == found.predict_rows(rows).log_high.tolist()
    assert found.provenance.parent == "v0001"
    assert found.provenance.observations == 3600
    assert found.provenance.last_observed_at > model.provenance.last_observed_at


def test_methods_never_seen_and_another_workload_call_for_retraining(model):
    new = traffic(14, 600, begins=9000)
    new["method"] = np.where(np.arange(600) % 2 == 0, "carrier_pigeon", new["method"])
    found = update(model, new, before=traffic(1, 1000))
    assert found.n_unknown == 300
    assert any("never seen" in reason for reason in found.reasons)
    assert found.inputs is not None
    assert "method" in found.inputs.moved


def test_few_rows_change_little_and_none_are_refused(model):
    few = update(model, traffic(15, 5, begins=9000))
    assert few.n_new == 5
    assert few.model.targets["latency_ns"] is model.targets["latency_ns"]
    with pytest.raises(FitError):
        update(model, traffic(16, 5, ok=[False] * 5))
    with pytest.raises(FitError):
        update(model, 5)


def test_the_result_reads_well(model):
    found = update(model, traffic(3, 800, begins=9000, slower=1.2))
    assert "latency_ns" in str(found)
    assert "errors moved" in found._repr_html_()
    assert found.to_plain()["needs_retraining"] is True

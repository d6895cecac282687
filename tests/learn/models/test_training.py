"""A cost model: what it learns, what it leaves to the curves, and that it says so."""

from __future__ import annotations

import json

import numpy as np
import pytest

from perfkit.errors import FitError, InputError, UnknownNameError
from perfkit.learn.models import CostModel, SliceCoverage, TargetReport, read_rows, rows_of, train
from perfkit.learn.models.training import _warnings_of_coverage
from perfkit.stats.worlds import METHODS, sweep, true_latency_ns


@pytest.fixture(scope="module")
def measured() -> CostModel:
    """A model of a sweep whose costs are straight lines: the curves say all that can be said."""
    return train(sweep(5, launches=3, rounds=9), seed=1)


def traffic(seed: int, count: int = 4000) -> dict[str, np.ndarray]:
    """Traffic of a service: dataframes cost 60 % more than tensors, and little memory makes everything 40 % slower."""
    rng = np.random.default_rng(seed)
    size = np.exp(rng.uniform(np.log(2**12), np.log(2**26), count)).round()
    method = rng.choice(["uds", "shm_pool"], count)
    kind = rng.choice(["tensor", "dataframe"], count)
    available = np.exp(rng.uniform(np.log(2**28), np.log(2**34), count))
    cost = np.where(method == "uds", 4e4 + 0.4 * size, 9e4 + 0.15 * size)
    cost = cost * np.where(kind == "dataframe", 1.6, 1.0) * np.where(available < 2**30, 1.4, 1.0)
    begin = np.datetime64("2026-05-04T00:00:00", "us").astype(np.int64)
    moment = (begin + np.sort(rng.uniform(0, 48 * 3.6e9, count))).astype("datetime64[us]")
    return {
        "source": np.full(count, "service"),
        "stage": np.full(count, "whole"),
        "method": method,
        "kind": kind,
        "format": np.full(count, "arrow"),
        "payload_bytes": size,
        "available_bytes": available,
        "observed_at": moment,
        "latency_ns": cost * np.exp(rng.normal(0, 0.2, count)),
    }


@pytest.fixture(scope="module")
def of_traffic() -> CostModel:
    return train(traffic(1), seed=1)


def test_where_curves_say_all_the_curves_stay(measured: CostModel) -> None:
    one = measured.targets["latency_ns"]
    assert one.champion == "curves"
    assert one.residual is None
    assert "not surely better" in measured.report.targets[0].why
    sizes = np.array([3e3, 1e5, 5e6])
    for method in METHODS:
        true = np.array([true_latency_ns(1, method, size) for size in sizes])
        assert measured.median(sizes, method=method, source="bench") == pytest.approx(true, rel=0.15)


def test_where_more_than_size_matters_the_model_is_champion(of_traffic: CostModel) -> None:
    assert of_traffic.targets["latency_ns"].champion == "model"
    held_out = of_traffic.report.targets[0]
    assert held_out.error_model is not None
    # An oracle's median error of single transfers is 0.6745 * 0.2.
    assert held_out.error_model < 0.15 < held_out.error_curves
    slow, usual = (
        of_traffic.median(2**20, method="uds", kind="dataframe", format="arrow", available_bytes=memory)[0]
        for memory in (2**29, 2**33)
    )
    assert slow / usual == pytest.approx(1.4, rel=0.1)
    assert usual == pytest.approx(1.6 * (4e4 + 0.4 * 2**20), rel=0.1)


def test_intervals_hold_on_traffic_that_comes_later(of_traffic: CostModel) -> None:
    later = read_rows(traffic(2, 4000))
    predicted = of_traffic.predict_rows(later)
    cost = np.log(later.targets["latency_ns"])
    inside = (predicted.log_low <= cost) & (cost <= predicted.log_high)
    assert 0.87 <= inside.mean() <= 0.93
    for method in ("uds", "shm_pool"):
        assert inside[later.is_called("method", method)].mean() >= 0.85


def test_few_observations_leave_everything_to_the_curves() -> None:
    model = train(sweep(3, launches=2, rounds=3))
    assert model.targets["latency_ns"].champion == "curves"
    assert "latency_ns: 240 observations, a model needs 1000: the curves apply" in model.warnings
    assert "cpu_ns" not in model.targets


def test_the_same_seed_gives_the_same_model_in_any_order_of_the_rows() -> None:
    frame = traffic(4, 1200)
    order = np.random.default_rng(0).permutation(1200)
    shuffled = {name: values[order] for name, values in frame.items()}
    sizes = np.geomspace(1e3, 1e8, 50)
    once, again = (train(one, seed=1).median(sizes, method="uds") for one in (frame, shuffled))
    assert again == pytest.approx(once, rel=0.1)


def test_a_model_is_put_together_from_its_parts(of_traffic: CostModel) -> None:
    plain, estimators = of_traffic.parts()
    again = CostModel.from_parts(json.loads(json.dumps(plain, allow_nan=False)), estimators)
    rows = rows_of(np.geomspace(1e3, 1e8, 50), method="uds", kind="tensor", hour=3.0)
    for name, values in vars(of_traffic.predict_rows(rows)).items():
        assert vars(again.predict_rows(rows))[name].tolist() == values.tolist()
    assert again.report == of_traffic.report
    assert again.provenance == of_traffic.provenance
    assert again.seen == of_traffic.seen


def test_what_a_model_does_not_know_it_says(of_traffic: CostModel) -> None:
    assert np.isnan(of_traffic.median(1024, method="grpc")).all()
    with pytest.raises(UnknownNameError, match="cpu_ns"):
        of_traffic.median(1024, target="cpu_ns", method="uds")
    with pytest.raises(UnknownNameError, match="sort"):
        of_traffic.median(1024, method="uds", sort="x")
    with pytest.raises(InputError, match="no method given"):
        of_traffic.median(1024)


@pytest.mark.parametrize("level", [0, 1, 1.5, float("nan"), True, "high"])
def test_a_level_out_of_range_is_refused(level: object) -> None:
    with pytest.raises(InputError, match="level"):
        train(sweep(1, launches=1, rounds=1), level=level)  # type: ignore[arg-type]


def test_a_frame_without_usable_transfers_is_refused() -> None:
    with pytest.raises(FitError, match="none of the 1 observations"):
        train({"method": ["uds"], "payload_bytes": [10], "latency_ns": [5], "ok": [False]})


@pytest.mark.parametrize(
    ("latency_ns", "expected"), [(np.full(1100, 7e3), 7e3), (np.zeros(1100), 1.0)], ids=["constant", "zero"]
)
def test_costs_that_never_differ_are_learned_as_they_are(latency_ns: np.ndarray, expected: float) -> None:
    frame = {"method": np.full(1100, "uds"), "payload_bytes": np.full(1100, 1000), "latency_ns": latency_ns}
    model = train(frame)
    assert model.targets["latency_ns"].champion == "curves"
    assert model.median(1000, method="uds", source="bench") == pytest.approx([expected])
    assert "one launch alone" in model.warnings[0]


@pytest.mark.parametrize("size", [0, 10])
def test_a_single_row_is_learned_from(size: int) -> None:
    model = train({"method": ["uds"], "payload_bytes": [size], "latency_ns": [5.0]})
    predicted = model.predict_rows(rows_of(size, method="uds", source="bench"))
    assert np.exp(predicted.log_median) == pytest.approx([5.0])
    assert predicted.log_high[0] == np.inf  # one error says nothing about the next
    model.parts()


@pytest.mark.parametrize(
    ("coverage", "n", "is_said"), [(0.64, 800, True), (0.64, 100, False), (0.81, 800, False), (0.95, 800, False)]
)
def test_a_slice_that_intervals_hold_too_rarely_is_named(coverage: float, n: int, is_said: bool) -> None:
    slices = (
        SliceCoverage("all", "all", 0.9, 9000),
        SliceCoverage("size", ">= 16MiB", coverage, n),
        SliceCoverage("method", "uds", 0.9, 5000),
    )
    report = TargetReport("resident_bytes", "curves", "", 9000, 40, None, 0.9, None, 0.1, slices)
    said = _warnings_of_coverage(report, 0.9)
    assert [">= 16MiB (size) they held 64% of 800" in one for one in said] == [True] * is_said

"""Predictions: by the model where one can be used, else by the published curves, and always saying which."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import perfkit
from perfkit.config.curves import CostCurve, CurveKey, CurveSet, Evidence, IntervalPoint, Piece
from perfkit.config.fingerprint import collect_fingerprint
from perfkit.errors import InputError, ModelError, UnknownNameError
from perfkit.learn.models import CostModel, train
from perfkit.learn.models.storing import PLAIN, save_model
from perfkit.workflows.learning.versions import fall_back, keep_version
from perfkit.workflows.predict import predict
from perfkit.workflows.prediction import CONDITIONS, QUANTITIES, CostPrediction, CostPredictions

FIXED_NS, PER_BYTE_NS = {"uds": 30e3, "shm_pool": 60e3}, {"uds": 0.30, "shm_pool": 0.05}


def _observed(count: int = 240) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    method = np.array(["uds", "shm_pool"])[np.arange(count) % 2]
    sizes = (2.0 ** rng.uniform(10, 24, count)).astype(np.int64)
    usual = np.array([FIXED_NS[name] + PER_BYTE_NS[name] * size for name, size in zip(method, sizes, strict=True)])
    return {
        "method": method,
        "payload_bytes": sizes,
        "launch": np.arange(count) * 6 // count,
        "latency_ns": (usual * np.exp(rng.normal(0, 0.1, count))).astype(np.int64),
        "cpu_sender_ns": (0.5 * usual).astype(np.int64),
        "cpu_receiver_ns": (0.25 * usual).astype(np.int64),
        "resident_bytes": 2 * sizes,
    }


@pytest.fixture(scope="module")
def model() -> CostModel:
    return train(_observed())


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Published curves of uds and shm_pool; their latencies are twice those of the model's world."""

    def line(fixed: float, per_byte: float) -> CostCurve:
        interval = (IntervalPoint(1024, 0.9, 1.1), IntervalPoint(2**24, 0.9, 1.1))
        return CostCurve((Piece(0, fixed, per_byte),), interval, 1024, 2**24, n=900, launches=5)

    curves = {}
    for method, fixed in FIXED_NS.items():
        curves[CurveKey("transport", "latency_ns", method)] = line(2 * fixed, 2 * PER_BYTE_NS[method])
        curves[CurveKey("transport", "resident_bytes", method)] = line(0, 2)
        curves[CurveKey("transport", "copied_bytes", method)] = line(0, 7)
    evidence = Evidence(observations=1800, launches=5)
    fit = type("Fitted", (), {"curves": CurveSet(curves, (), collect_fingerprint(), evidence)})()
    path = tmp_path / "thresholds.toml"
    perfkit.publish(fit, path=path, force=True)
    return path


def test_one_size_and_method_give_every_quantity_with_the_interval_of_a_single_transfer(model: CostModel) -> None:
    found = predict("1MiB", method="uds", in_flight=1, model=model)
    assert isinstance(found, CostPrediction)
    truth = 30e3 + 0.30 * 2**20
    assert found.latency_ns is not None
    assert found.latency_ns.value == pytest.approx(truth, rel=0.1)
    assert found.latency_ns.low == pytest.approx(truth * math.exp(-1.645 * 0.1), rel=0.12)
    assert found.latency_ns.high == pytest.approx(truth * math.exp(1.645 * 0.1), rel=0.12)
    assert found.cpu_ns is not None
    assert found.cpu_ns.value == pytest.approx(0.75 * truth, rel=0.1)
    assert found.resident_bytes is not None
    assert found.resident_bytes.value == pytest.approx(2 * 2**20, rel=0.1)
    for cost in found.costs.values():
        assert cost is not None
        assert cost.low <= cost.value <= cost.high
        assert (cost.source, cost.interval_of, cost.level) == ("model", "single transfer", 0.9)


def test_throughput_follows_by_littles_law(model: CostModel) -> None:
    found = predict(2**20, method="uds", in_flight=4, model=model)
    latency, throughput = found.latency_ns, found.throughput_bytes_per_s
    assert latency is not None
    assert throughput is not None
    assert throughput.value == pytest.approx(4 * 2**20 * 1e9 / latency.value)
    assert throughput.low == pytest.approx(4 * 2**20 * 1e9 / latency.high)
    assert throughput.high == pytest.approx(4 * 2**20 * 1e9 / latency.low)


def test_without_a_method_every_known_one_is_predicted_cheapest_first(model: CostModel) -> None:
    found = predict([1024, "8MiB"], model=model)
    assert isinstance(found, CostPredictions)
    rows = [(one.conditions["payload_bytes"], one.conditions["method"]) for one in found]
    assert rows == [(1024, "uds"), (1024, "shm_pool"), (2**23, "shm_pool"), (2**23, "uds")]
    assert isinstance(predict("1KiB", model=model), CostPredictions)


@pytest.mark.parametrize(("payload_bytes", "in_flight"), [(2**28, 1), (2**20, 64)])
def test_sizes_and_loads_beyond_every_one_seen_are_said_to_be_guesses(
    model: CostModel, payload_bytes: int, in_flight: int
) -> None:
    usual = predict(2**20, method="uds", model=model).warnings
    (added,) = set(predict(payload_bytes, method="uds", in_flight=in_flight, model=model).warnings) - set(usual)
    assert "guess" in added


def test_a_batch_says_what_single_predictions_say(model: CostModel) -> None:
    sizes, methods = [1024, 2**20, 5_000_000], ["uds", "shm_pool", "uds"]
    frame = pl.DataFrame({"payload_bytes": sizes, "method": methods, "in_flight": [1, 4, 2], "hour": [None, 3.5, 23]})
    found = predict(frame, model=model)
    for row, one in enumerate(found):
        same = {"in_flight": frame["in_flight"][row], "hour": frame["hour"][row]}
        alone = predict(sizes[row], method=methods[row], model=model, **same)
        assert alone.conditions == one.conditions
        for quantity, cost in alone.costs.items():
            assert cost is not None
            assert found.costs[quantity].value[row] == pytest.approx(cost.value, rel=1e-12)
    nameless = predict(pl.DataFrame({"payload_bytes": [9]}), method=["uds"], model=model)
    assert [one.conditions["method"] for one in nameless] == ["uds"]
    assert len(found[-1].conditions) == len(CONDITIONS)
    with pytest.raises(IndexError):
        found[3]


def test_where_no_model_can_be_used_the_published_curves_answer_and_say_so(
    model: CostModel, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    none = predict("1MiB", method="uds")
    assert none.latency_ns is not None
    assert none.latency_ns.value == pytest.approx(2 * (30e3 + 0.30 * 2**20))
    assert (none.latency_ns.interval_of, none.latency_ns.source, none.latency_ns.level) == ("median", "curves", 0.95)
    assert none.cpu_ns is None
    assert none.resident_bytes is not None
    assert none.resident_bytes.value == pytest.approx(2 * 2**20)
    assert "no model in data/models" in none.warnings[0]
    keep_version(model, "data/models")
    in_force = predict("1MiB", method="uds")
    assert in_force.latency_ns is not None
    assert in_force.latency_ns.source == "model"
    assert in_force.origin.model == "v0001"
    fall_back("its intervals hold 70% only", "data/models")
    fallen = predict("1MiB", method="uds")
    assert fallen.latency_ns is not None
    assert fallen.latency_ns.source == "curves"
    assert "its intervals hold 70% only" in fallen.warnings[0]


def test_a_damaged_model_is_named_and_the_curves_apply(model: CostModel, published: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    keep_version(model, folder)
    assert predict(1, method="uds", model=folder, thresholds=published).origin.model == "v0001"
    (folder / "v0001" / PLAIN).write_text("{}")
    found = predict(1, method="uds", model=folder, thresholds=published)
    assert "v0001/model.json: is not a stored model" in found.warnings[0]
    assert found.origin.thresholds_version == 1
    with pytest.raises(ModelError, match="v0001"):
        predict(1, method="uds", model=folder / "v0001", thresholds=published)


def test_methods_that_only_the_curves_know_are_answered_by_them(published: Path, tmp_path: Path) -> None:
    seen = _observed()
    only_uds = train({name: column[seen["method"] == "uds"] for name, column in seen.items()})
    save_model(only_uds, tmp_path / "one")
    found = predict("4KiB", model=tmp_path / "one", thresholds=published)
    sources = {one.conditions["method"]: one.latency_ns.source for one in found if one.latency_ns is not None}
    assert sources == {"uds": "model", "shm_pool": "curves"}
    assert any("nothing of 1 row" in warning for warning in found.warnings)


def test_with_neither_model_nor_publication_it_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no model in data/models.*perfkit run.*perfkit learn"):
        predict("1MiB")
    with pytest.raises(ModelError, match="no such folder"):
        predict("1MiB", model="nowhere")


@pytest.mark.parametrize(
    ("payload_bytes", "conditions", "error"),
    [
        (-1, {}, "payload_bytes == -1"),
        (math.nan, {}, "payload_bytes == nan"),
        (math.inf, {}, "payload_bytes == inf"),
        (True, {}, "payload_bytes == True"),
        (None, {}, "cannot be read as a frame"),
        ("ten", {}, "ten"),
        ([], {}, "payload_bytes: 0"),
        ([1, 2], {"in_flight": [1, 2, 3]}, "in_flight: 3"),
        (1, {"in_flight": 0}, "in_flight == 0"),
        (1, {"available_bytes": 0}, "available_bytes == 0"),
        (1, {"hour": 25}, "hour == 25"),
        (1, {"method": 7}, "method == 7"),
        (1, {"kind": None}, "kind"),
        ({"payload_bytes": [1, None]}, {}, "payload_bytes == None"),
        ({"payload_bytes": []}, {}, "no rows"),
        ({"size": [1]}, {}, "size"),
        ({"method": ["uds"]}, {}, "no column payload_bytes"),
    ],
)
def test_bad_input_is_refused(model: CostModel, payload_bytes: Any, conditions: dict[str, Any], error: str) -> None:
    with pytest.raises(InputError, match=error):
        predict(payload_bytes, **{"method": "uds", **conditions}, model=model)


@pytest.mark.parametrize("name", ["method", "kind", "format", "compression", "signalling", "placement"])
def test_unknown_names_are_refused_with_those_that_there_are(model: CostModel, name: str) -> None:
    with pytest.raises(UnknownNameError, match="nobody"):
        predict(1, **{"method": "uds", name: "nobody"}, model=model)


def test_what_is_shown_is_complete_and_fits_a_terminal(model: CostModel) -> None:
    for found in (predict("10MiB", method="uds", hour=3, available_bytes="2GiB", model=model), predict(1, model=model)):
        assert all(len(line) <= 80 for line in str(found).splitlines())
        json.dumps(found.to_plain(), allow_nan=False)
        assert "<table>" in found._repr_html_()
    many = predict({"payload_bytes": list(range(90))}, model=model)
    assert "of 180 rows" in str(many)
    assert {*CONDITIONS, *QUANTITIES, "latency_ns_low"} <= set(many.columns)


def test_a_model_is_read_again_when_its_files_change(model: CostModel, tmp_path: Path) -> None:
    save_model(model, tmp_path / "one")
    assert predict(1, method="uds", model=tmp_path / "one").origin.model == "one"
    shutil.rmtree(tmp_path / "one")
    with pytest.raises(ModelError):
        predict(1, method="uds", model=tmp_path / "one")

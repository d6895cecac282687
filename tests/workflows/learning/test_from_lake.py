"""Learning from a lake: the first model is kept, a better one replaces it, and with too little the curves apply."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from perfkit.lake import open_lake
from perfkit.learn.models import CostModel
from perfkit.workflows.events import read_events
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.learning import from_lake, versions
from perfkit.workflows.learning.from_lake import learn_models

START = datetime.datetime(2026, 11, 20, 12, 0, tzinfo=datetime.UTC)


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of the tests are tiny: 60 observations make one here, which has curves alone."""
    monkeypatch.setattr(from_lake, "FEWEST_OBSERVATIONS", 60)
    monkeypatch.setattr(from_lake, "_FEWEST_HELD_OUT", 20)


def _record(lake: Path, count: int, *, hour: int = 0, factor: float = 1.0, seed: int = 0) -> None:
    """Traffic of a service, one transfer per second, of two methods."""
    rng = np.random.default_rng(seed + hour)
    rows: list[dict[str, Any]] = []
    for index in range(count):
        size = int(2 ** rng.uniform(10, 22))
        usual = 30e3 + 0.30 * size if index % 2 else 60e3 + 0.05 * size
        rows.append(
            {
                "source": "service",
                "stage": "whole",
                "observed_at": START + datetime.timedelta(hours=hour, seconds=index),
                "method": "uds" if index % 2 else "shm_pool",
                "payload_bytes": size,
                "latency_ns": int(factor * usual * np.exp(rng.normal(0, 0.1))),
                "producer": "slot-000",
                "epoch": hour + 1,
                "producer_sequence": index + 1,
            }
        )
    open_lake(lake).append_transfers(pa.Table.from_pylist(rows))


def _learn(folder: Path, **options: Any) -> Any:
    return learn_models(folder / "lake", folder / "models", thresholds=folder / "thresholds.toml", **options)


def test_the_first_model_is_kept_and_told_of(tmp_path: Path) -> None:
    _record(tmp_path / "lake", 80)
    previewed = _learn(tmp_path, dry_run=True)
    assert (previewed.verdict, previewed.version) == ("would be kept", None)
    assert not (tmp_path / "models").exists()
    learned = _learn(tmp_path)
    assert (learned.verdict, learned.version, learned.n) == ("kept", 1, 80)
    loaded = versions.load_current(tmp_path / "models")
    assert loaded is not None
    assert loaded.median(2**16, method="uds")[0] == pytest.approx(30e3 + 0.30 * 2**16, rel=0.15)
    assert loaded.provenance.table_versions["transfers"] >= 0
    assert "model kept" in [event.name for event in read_events(open_fresh_lake(tmp_path / "lake"))]


def test_the_same_observations_again_are_no_reason_for_another_version(tmp_path: Path) -> None:
    _record(tmp_path / "lake", 80)
    _learn(tmp_path)
    again = _learn(tmp_path)
    assert (again.verdict, again.version) == ("not kept", 1)
    assert "0 observations that version 1 did not see" in again.reason


def test_a_model_that_is_better_on_what_neither_saw_replaces_the_one_in_force(tmp_path: Path) -> None:
    _record(tmp_path / "lake", 80)
    _learn(tmp_path)
    _record(tmp_path / "lake", 400, hour=1, factor=2.0)
    learned = _learn(tmp_path)
    assert (learned.verdict, learned.version) == ("kept", 2)
    assert learned.error_new < learned.error_in_force
    assert learned.n_held_out == 96


def test_a_model_that_is_worse_is_not_kept(tmp_path: Path) -> None:
    """The old traffic was slow, the model in force is of fast traffic, and what comes now is fast again."""
    _record(tmp_path / "lake", 100, hour=0, factor=1.0)
    _learn(tmp_path)
    _record(tmp_path / "lake", 300, hour=1, factor=4.0)
    _record(tmp_path / "lake", 80, hour=2, factor=1.0)
    learned = _learn(tmp_path)
    assert (learned.verdict, learned.version) == ("not kept", 1)
    assert learned.error_new > learned.error_in_force


def test_with_too_little_the_curves_apply(tmp_path: Path) -> None:
    for count in (0, 30):
        if count:
            _record(tmp_path / "lake", count)
        learned = _learn(tmp_path)
        assert (learned.verdict, learned.version, learned.n) == ("not kept", None, count)
        assert "the curves apply" in str(learned)
    assert versions.current_version(tmp_path / "models") is None


def test_a_damaged_model_in_force_is_replaced_and_named(tmp_path: Path, small_model: CostModel) -> None:
    _record(tmp_path / "lake", 80)
    versions.keep_version(small_model, tmp_path / "models")
    (tmp_path / "models" / "v0001" / "model.json").write_text("{")
    learned = _learn(tmp_path)
    assert (learned.verdict, learned.version) == ("kept", 2)
    assert any("v0001/model.json" in warning for warning in learned.warnings)


def test_after_falling_back_the_next_model_comes_into_force(tmp_path: Path, small_model: CostModel) -> None:
    _record(tmp_path / "lake", 80)
    versions.keep_version(small_model, tmp_path / "models")
    versions.fall_back("degraded", tmp_path / "models")
    assert _learn(tmp_path).version == 2
    assert versions.load_current(tmp_path / "models") is not None

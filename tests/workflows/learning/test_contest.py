"""A new model takes over where it is surely better: by luck it does not, and no worse is enough only for a reason."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from perfkit.learn.models import CostModel, TransferRows, read_rows
from perfkit.workflows.learning.contest import compare, split


@pytest.fixture(scope="module")
def rows(traffic: Any) -> TransferRows:
    return read_rows(traffic(240, begins=5000, cpu_sender_ns=1000, cpu_receiver_ns=1000))


def off_by(model: CostModel, factor: float, target: str = "latency_ns") -> CostModel:
    """The model with every prediction of a target multiplied."""
    one = model.targets[target]
    adjustments = {
        key: dataclasses.replace(
            known, fixed=known.fixed * factor, factor=known.factor * factor, per_byte=known.per_byte * factor
        )
        for key, known in one.baseline.adjustments.items()
    }
    moved = dataclasses.replace(one, baseline=dataclasses.replace(one.baseline, adjustments=adjustments))
    return dataclasses.replace(model, targets={**model.targets, target: moved})


def test_a_model_that_is_surely_better_takes_over(small_model: CostModel, rows: TransferRows) -> None:
    found = compare(off_by(small_model, 1.02), off_by(small_model, 1.5), rows, "version 3")
    assert found.is_better
    assert "version 3 " in found.reason
    assert (found.n, found.p_value < 0.01, found.error_new < found.error_in_force) == (240, True, True)


def test_no_worse_is_enough_only_for_a_reason(small_model: CostModel, rows: TransferRows) -> None:
    same = compare(small_model, small_model, rows, "version 3")
    assert (same.is_better, same.error_new) == (False, same.error_in_force)
    assert compare(small_model, small_model, rows, "version 3", is_full=True).is_better
    fewer = dataclasses.replace(small_model, seen=tuple(one for one in small_model.seen if one.method == "uds"))
    found = compare(small_model, fewer, rows, "version 3")
    assert found.is_better
    assert "does not know all contexts of shm_pool" in found.reason
    worse = off_by(small_model, 1.5)
    for reason in ({"in_force": fewer}, {"in_force": small_model, "is_full": True}):
        assert not compare(worse, rows=rows, name="version 3", **reason).is_better


def test_a_target_that_became_surely_worse_keeps_it_out(small_model: CostModel, rows: TransferRows) -> None:
    latency = small_model.targets["latency_ns"]
    both = dataclasses.replace(small_model, targets={"latency_ns": latency, "cpu_ns": latency})
    costs = dict(rows.targets) | {"cpu_ns": rows.targets["latency_ns"]}
    rows = dataclasses.replace(rows, targets=costs)
    found = compare(off_by(both, 1.5, "cpu_ns"), off_by(both, 1.5), rows, "version 3")
    assert not found.is_better
    assert "surely worse at cpu_ns" in found.reason


def test_methods_that_only_the_new_one_knows(small_model: CostModel, rows: TransferRows) -> None:
    unknown = dataclasses.replace(rows, names={**rows.names, "method": ("grpc", "shm")})
    assert not compare(small_model, small_model, unknown, "version 3").is_better
    assert compare(small_model, dataclasses.replace(small_model, seen=()), unknown, "version 3").is_better


def test_of_equally_good_models_one_replaces_the_other_in_one_of_a_hundred(
    small_model: CostModel, rows: TransferRows
) -> None:
    """Both are off by as much, in opposite directions; blocks of time share their luck, whatever the method."""
    rng = np.random.default_rng(0)
    usual = small_model.predict_rows(rows).log_median
    high, low = off_by(small_model, 1.03), off_by(small_model, 1 / 1.03)
    block = np.unique(rows.group, return_inverse=True)[1]
    replaced, runs = 0, 120
    for _ in range(runs):
        luck = rng.normal(0, 0.05, block.max() + 1)[block] + rng.normal(0, 0.2, len(rows))
        drawn = dataclasses.replace(rows, targets={**rows.targets, "latency_ns": np.exp(usual + luck)})
        replaced += compare(high, low, drawn, "version 3").is_better
    assert replaced <= 5  # of 120 at 0.01, more are seen once in 600 times


def test_what_is_held_out_is_new_newest_and_of_launches_of_its_own() -> None:
    launch = np.repeat(np.arange(5), 20)
    table = pa.table({
        "observed_at": pa.array(np.arange(100), pa.timestamp("us", tz="UTC")), "run_id": ["R"] * 100, "launch": launch,
    })  # fmt: skip
    is_new = np.arange(100) >= 30
    parts = split(table, is_new)
    assert parts.held_out["launch"].to_pylist() == [4] * 20
    assert parts.older.num_rows == 80
    assert parts.older_new.num_rows == 50
    parts = split(table, np.arange(100) < 10)
    assert parts.held_out.num_rows == 10
    assert set(parts.older["launch"].to_pylist()) == {1, 2, 3, 4}
    of_services = table.set_column(1, "run_id", pa.array([""] * 100))
    assert split(of_services, np.arange(100) < 10).older.num_rows == 90

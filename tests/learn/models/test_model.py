"""A stored model is put together again only if every part of it is what it must be."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perfkit
from perfkit.errors import InputError, ModelError
from perfkit.learn.models import CostModel, storing, train


@pytest.fixture(scope="module")
def model() -> CostModel:
    sizes = np.tile([1024, 65536, 2**20], 20)
    frame = {"method": ["uds"] * 60, "payload_bytes": sizes, "launch": np.arange(60) % 3, "latency_ns": 1e4 + sizes}
    return train(frame)


def test_a_model_that_was_saved_comes_back(model: CostModel, tmp_path: Path) -> None:
    perfkit.save_model(model, tmp_path / "stored")
    again = perfkit.load_model(tmp_path / "stored")
    assert again.parts() == model.parts()
    assert again.median(5000, method="uds") == model.median(5000, method="uds")


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(plain: dict[str, Any]) -> None:
        *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
        place: Any = plain
        for step in steps:
            place = place[step]
        place[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("targets", {}),
        ("targets.latency_ns.n", -5),
        ("targets.latency_ns.n", True),
        ("targets.latency_ns.champion", "horse"),
        ("targets.latency_ns.adjustments.0.fixed", "x"),
        ("targets.latency_ns.adjustments.0.fixed", -1.0),
        ("targets.latency_ns.spread.overall", 0),
        ("targets.latency_ns.calibration.level", 2.0),
        ("provenance.trained_at", 5),
        ("provenance.observations", "many"),
        ("provenance.table_versions", {"transfers": "newest"}),
        ("seen.0.max_bytes", "x"),
        ("seen.0.max_bytes", None),
        ("seen.0.method", 7),
        ("seen.0", {}),
        ("memory_seen", [1.0]),
        ("encoding", {}),
        ("report", None),
    ],
)
def test_forged_parts_are_refused_by_name_when_they_are_loaded(
    model: CostModel, tmp_path: Path, path: str, value: Any
) -> None:
    plain, estimators = model.parts()
    forged = copy.deepcopy(plain)
    _set(path, value)(forged)
    storing.write_parts(json.loads(json.dumps(forged)), estimators, tmp_path / "forged")
    with pytest.raises(ModelError, match=r"model\.json: is not a cost model"):
        perfkit.load_model(tmp_path / "forged")


@pytest.mark.parametrize("folder", [None, 5, b"x"])
def test_what_is_no_path_is_refused(folder: Any) -> None:
    with pytest.raises(InputError, match="must be the path of a stored model"):
        perfkit.load_model(folder)

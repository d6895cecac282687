"""A model says where it was trained on nothing like what is asked, and is less sure there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.learn.models import CostModel, rows_of, train

SIZES = (2048, 2**20)


@pytest.fixture(scope="module")
def model() -> CostModel:
    """Of uds and of shared memory announced over uds, raw bytes: too few transfers for trees, which is all the same."""
    rng = np.random.default_rng(1)
    method = np.array(["uds", "shm_pool"])[np.arange(400) % 2]
    sizes = np.exp(rng.uniform(*np.log(SIZES), 400)).astype(int)
    sizes[:4] = np.repeat(SIZES, 2)
    frame = {
        "method": method,
        "payload_bytes": sizes,
        "in_flight": np.where(np.arange(400) % 4 < 2, 1, 8),
        "stage": np.full(400, "whole"),
        "launch": np.arange(400) // 2 % 5,
        "latency_ns": (3e4 + 0.3 * sizes) * np.exp(rng.normal(0, 0.2, 400)),
    }
    return train(frame)


def _width(model: CostModel, payload_bytes: Any, **conditions: Any) -> Any:
    found = model.predict_rows(rows_of(payload_bytes, **{"method": "uds", **conditions}))
    return found.log_high - found.log_low


@pytest.mark.parametrize(
    ("conditions", "flag"),
    [
        ({}, None),
        ({"signalling": "grpc"}, None),  # only shared memory is announced
        ({"kind": "text", "format": "json"}, "is_unseen"),
        ({"compression": "zstd"}, "is_unseen"),
        ({"method": "shm_pool", "signalling": "grpc"}, "is_unseen"),
        ({"method": "shm_pool", "placement": "in_place"}, "is_unseen"),
        ({"method": "pigeon"}, "is_unseen"),
        ({"payload_bytes": 2**24}, "is_beyond_sizes"),
        ({"payload_bytes": 0}, "is_beyond_sizes"),
        ({"in_flight": 9}, "is_beyond_loads"),
    ],
)
def test_what_was_never_seen_is_doubted_and_named(
    model: CostModel, conditions: dict[str, Any], flag: str | None
) -> None:
    found = model.familiarity(rows_of(**{"payload_bytes": 2**18, "method": "uds", **conditions}))
    flags = {name: bool(getattr(found, name)[0]) for name in ("is_unseen", "is_beyond_sizes", "is_beyond_loads")}
    assert flags == {name: name == flag for name in flags}
    assert (found.doubt[0] > 0) == (flag is not None)
    assert bool(found.unseen) == flags["is_unseen"]


def test_intervals_are_wider_where_nothing_alike_was_seen(model: CostModel) -> None:
    usual = _width(model, 2**18)
    assert _width(model, 2**18, kind="text", format="json") == pytest.approx(
        2 * np.hypot(usual / 2, 1.645 * np.log(2)), rel=0.05
    )
    assert _width(model, 2**18, in_flight=32) > 1.5 * usual


def test_a_codec_that_was_measured_apart_is_no_stranger() -> None:
    """Transports and codecs of a measurement compose a context that was never sent as a whole."""
    stages = np.repeat(["transport", "encode", "decode"], 120)
    frame = {
        "method": np.where(stages == "transport", "uds", "none"),
        "stage": stages,
        "kind": np.where(stages == "transport", "binary", "text"),
        "format": np.where(stages == "transport", "raw", "json"),
        "payload_bytes": np.tile([1024, 16384, 262144, 4194304], 90),
        "wire_bytes": np.tile([1024, 16384, 262144, 4194304], 90),
        "launch": np.tile(np.repeat([0, 1, 2], 4), 30),
        "round": np.tile(np.repeat(np.arange(10), 12), 3),
        "latency_ns": np.full(360, 5e4),
    }
    model = train(frame)
    assert not model.familiarity(rows_of(2048, method="uds", kind="text", format="json")).unseen
    assert model.familiarity(rows_of(2048, method="uds", kind="tensor", format="numpy")).unseen


@given(st.floats(0, 2**45), st.floats(1, 1000))
def test_doubt_is_finite_and_grows_with_the_distance(model: CostModel, payload_bytes: float, in_flight: float) -> None:
    asked = rows_of([payload_bytes, 2 * max(payload_bytes, SIZES[1])], method="uds", in_flight=[in_flight, in_flight])
    near, far = model.familiarity(asked).doubt
    assert 0 <= near < 10
    assert far > 0
    if payload_bytes >= SIZES[0]:
        assert far >= near

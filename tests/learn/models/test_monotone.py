"""A larger payload never costs less, whatever is asked; spreads, samples and inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.errors import InputError
from perfkit.learn.models import CostModel, rows_of, train
from perfkit.learn.models.boosting import sample_rows
from perfkit.learn.models.encoding import Encoding


@pytest.fixture(scope="module")
def model() -> CostModel:
    """Of traffic that is cheaper for larger payloads where memory is tight, which no model may say."""
    rng = np.random.default_rng(8)
    size = np.exp(rng.uniform(np.log(2**10), np.log(2**24), 1500)).round()
    kind = rng.choice(["tensor", "text"], 1500)
    available = rng.choice([2.0**28, 2.0**33], 1500)
    is_tight = available < 2**30
    cost = 1e5 + 0.2 * size * np.where(kind == "tensor", 1.0, 3.0) * np.where(is_tight, 2, 1)
    cost += 4e5 * (is_tight & (size < 2**17))
    return train(
        {
            "source": np.full(1500, "service"),
            "stage": np.full(1500, "whole"),
            "method": np.full(1500, "uds"),
            "kind": kind,
            "available_bytes": available,
            "payload_bytes": size,
            "observed_at": np.arange(1500).astype("datetime64[s]"),
            "latency_ns": cost * np.exp(rng.normal(0, 0.2, 1500)),
        },
        seed=3,
    )


def test_the_model_is_champion(model: CostModel) -> None:
    assert model.targets["latency_ns"].champion == "model", model.report.targets[0].why


@given(
    st.lists(st.floats(0, 1e12), min_size=2, max_size=30),
    st.sampled_from(["tensor", "text", "never met"]),
    st.floats(1, 64),
    st.one_of(st.just(float("nan")), st.floats(1, 1e12)),
    st.one_of(st.just(float("nan")), st.floats(0, 24)),
    st.floats(-1, 1),
)
@settings(max_examples=30, deadline=None)
def test_predictions_never_fall_with_size(
    model: CostModel, sizes: list[float], kind: str, in_flight: float, memory: float, hour: float, recent: float
) -> None:
    medians = model.median(
        np.sort(sizes),
        method="uds",
        kind=kind,
        in_flight=in_flight,
        available_bytes=memory,
        hour=hour,
        recent=recent,
    )
    assert np.isfinite(medians).all()
    assert (np.diff(medians) >= -1e-9 * medians[:-1]).all()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=300), st.integers(6, 100))
@settings(max_examples=50, deadline=None)
def test_a_sample_takes_of_small_strata_all(strata: list[int], most: int) -> None:
    chosen = sample_rows(np.array(strata), 1, most)
    assert chosen.size <= most
    assert (np.diff(chosen) > 0).all()
    left = np.bincount(np.array(strata)[chosen], minlength=6)
    there = np.bincount(strata, minlength=6)
    assert (left[there > 0] > 0).all()
    assert ((left == there) | (left >= left.max() - 1)).all()


def test_a_name_that_was_never_met_is_unknown_to_trees() -> None:
    names = dict.fromkeys(("kind", "format", "compression", "signalling", "placement", "source"), ("x",))
    matrix = Encoding({**names, "method": ("grpc", "uds")}).matrix(rows_of(1, method=["uds", "pigeon"]))
    assert matrix[0, 1] == 1.0
    assert np.isnan(matrix[1, 1])


@pytest.mark.parametrize(
    ("given_value", "message"),
    [
        ({"payload_bytes": -1}, "payload_bytes"),
        ({"payload_bytes": float("nan")}, "payload_bytes"),
        ({"payload_bytes": float("inf")}, "payload_bytes"),
        ({"payload_bytes": "big"}, "cannot be read"),
        ({"payload_bytes": [[1, 2]]}, "dimensions"),
        ({"payload_bytes": [1, 2], "in_flight": [1, 2, 3]}, "cannot be read"),
        ({"payload_bytes": 1, "in_flight": 0}, "in_flight"),
        ({"payload_bytes": 1, "available_bytes": 0}, "available_bytes"),
        ({"payload_bytes": 1, "hour": 25}, "hour"),
        ({"payload_bytes": 1, "recent": float("nan")}, "recent"),
        ({"payload_bytes": 1, "kind": 3}, "kind"),
    ],
)
def test_transfers_that_cannot_be_are_refused(given_value: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rows_of(**{"method": "uds", **given_value})  # type: ignore[arg-type]

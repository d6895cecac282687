"""Curves of copied bytes and of setup, from observations that have them."""

import math

import numpy as np
import pytest

from perfkit.config.curves import CurveKey, CurveSet
from perfkit.config.pool_settings import Weights
from perfkit.engine.costs import Context, goal_notes, method_cost
from perfkit.learn import fit

LINES = {"uds": (10_000, 0.3), "shm_pool": (40_000, 0.1)}
SETUP_NS = {"uds": 20_000, "shm_pool": 600_000}
SIZES = tuple(1024 * 4**power for power in range(8))


@pytest.fixture
def warm_and_cold(exact_frame):
    """Two methods, warm at many sizes and cold at three, with the bytes that they copied."""
    warm = exact_frame(LINES, sizes=SIZES, temperature="warm")
    cold_lines = {method: (fixed + SETUP_NS[method], per_byte) for method, (fixed, per_byte) in LINES.items()}
    cold = exact_frame(cold_lines, sizes=(2**12, 2**16, 2**20), temperature="cold")  # the first one was not sent warm
    frame = {name: np.concatenate([warm[name], cold[name]]) for name in warm}
    copies = np.where(frame["method"] == "uds", 2.0, 1.0)
    return {**frame, "copied_bytes": np.where(frame["temperature"] == "warm", copies * frame["payload_bytes"], np.nan)}


def transport(quantity, method):
    return CurveKey("transport", quantity, method, "*" if method == "uds" else "uds", "copied")


def test_copied_bytes_get_a_curve_and_count_as_memory(warm_and_cold):
    resident = np.where(warm_and_cold["method"] == "uds", 1.0, 1.5) * warm_and_cold["payload_bytes"]
    curves = fit({**warm_and_cold, "resident_bytes": resident}).curves
    for method, copies in (("uds", 2), ("shm_pool", 1)):
        assert curves.curves[transport("copied_bytes", method)].at(2**20) == pytest.approx(copies * 2**20, rel=0.01)
    costs = {method: method_cost(curves, method, Context(), 2**20, "memory") for method in LINES}
    assert costs["uds"].value == pytest.approx(3 * 2**20, rel=0.02)
    assert costs["shm_pool"].value == pytest.approx(2.5 * 2**20, rel=0.02)
    assert costs["uds"].measured


def test_setup_is_what_cold_transfers_take_longer(warm_and_cold):
    curves = fit(warm_and_cold).curves
    for method, setup_ns in SETUP_NS.items():
        curve = curves.curves[transport("setup_ns", method)]
        assert curve.at(2**16) == pytest.approx(setup_ns, rel=0.05)
        assert (curve.min_bytes, curve.max_bytes) == (2**12, 2**20)


def test_cold_transfers_move_no_other_curve(warm_and_cold):
    only_warm = {name: values[warm_and_cold["temperature"] == "warm"] for name, values in warm_and_cold.items()}
    with_cold, without = fit(warm_and_cold).curves, fit(only_warm).curves
    assert {key: curve for key, curve in with_cold.curves.items() if key.quantity != "setup_ns"} == without.curves
    assert with_cold.evidence == without.evidence


def test_noise_in_cold_transfers_makes_no_setup_negative(warm_and_cold):
    quick = np.where(warm_and_cold["temperature"] == "cold", 5_000, warm_and_cold["latency_ns"])
    curve = fit({**warm_and_cold, "latency_ns": quick}).curves.curves[transport("setup_ns", "uds")]
    assert 0 < curve.at(2**16) < 100


def test_setup_decides_for_a_pool_that_sends_rarely(warm_and_cold):
    """From 150 kB on the pool is faster, but its memory must be made ready first."""
    curves = fit(warm_and_cold).curves
    rarely = Weights(latency=1.0, cpu=0.0, setup=1.0)
    often, seldom = (
        {method: method_cost(curves, method, Context(), 2**20, "balanced", weights=weights).value for method in LINES}
        for weights in (Weights(latency=1.0, cpu=0.0), rarely)
    )
    assert min(often, key=often.get) == "shm_pool"
    assert min(seldom, key=seldom.get) == "uds"
    assert seldom["shm_pool"] - often["shm_pool"] == pytest.approx(SETUP_NS["shm_pool"], rel=0.05)


def test_curves_of_before_still_give_every_goal(warm_and_cold):
    """A file that was published without copied bytes and setup: they count as nothing, and the goal says so."""
    resident = {**warm_and_cold, "resident_bytes": 2.0 * warm_and_cold["payload_bytes"]}
    published = fit({name: values for name, values in resident.items() if name != "copied_bytes"}).curves
    older = CurveSet({key: curve for key, curve in published.curves.items() if key.quantity != "setup_ns"})
    read = CurveSet.from_json(older.to_json())
    assert method_cost(read, "uds", Context(), 2**20, "memory").value == pytest.approx(2 * 2**20, rel=0.02)
    assert goal_notes(read, "memory") == (
        "goal memory: copied bytes not measured, counted as nothing; measure with `perfkit run`",
    )
    weights = Weights(cpu=0.0, setup=1.0)
    assert math.isfinite(method_cost(read, "uds", Context(), 2**20, "balanced", weights=weights).value)
    assert "setup not measured" in goal_notes(read, "balanced", weights)[0]
    assert goal_notes(read, "latency") == ()

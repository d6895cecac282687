"""The curve: monotone, few pieces, knees where they are."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.learn import fit
from perfkit.learn.pieces import fit_pieces

SIZES = 1024.0 * 4.0 ** np.arange(11)


def test_a_straight_line_is_one_piece():
    costs = 20_000 + 0.3 * SIZES
    (piece,) = fit_pieces(SIZES, np.log(costs), np.full(11, 0.03)).pieces()
    assert (piece.fixed, piece.per_byte) == pytest.approx((20_000, 0.3))


def test_a_knee_between_measured_sizes_is_found():
    knee = 9e6
    costs = 20_000 + 0.2 * SIZES + 0.3 * np.maximum(SIZES - knee, 0)
    curve = fit_pieces(SIZES, np.log(costs), np.full(11, 0.01))
    assert len(curve.knees) == 1
    assert curve.knees[0] == pytest.approx(knee, rel=0.1)
    between = np.geomspace(1024, 2**30, 100)
    truth = 20_000 + 0.2 * between + 0.3 * np.maximum(between - knee, 0)
    assert curve.at(between) == pytest.approx(truth, rel=0.05)


def test_a_jump_between_two_sizes_is_followed():
    sizes = 1024.0 * 2.0 ** np.arange(16)
    costs = np.where(sizes <= 65_536, 20_000 + 0.05 * sizes, 280_000 + 0.8 * sizes)
    curve = fit_pieces(sizes, np.log(costs), np.full(16, 0.03))
    assert curve.at(sizes) == pytest.approx(costs, rel=0.1)


def test_noise_alone_seldom_makes_a_knee():
    random = np.random.default_rng(8)
    knees = 0
    for _ in range(60):
        noisy = np.log(20_000 + 0.3 * SIZES) + random.normal(0, 0.05, 11)
        knees += len(fit_pieces(SIZES, noisy, np.full(11, 0.05)).knees)
    assert knees <= 12


def test_pieces_join_where_they_meet():
    costs = 20_000 + 0.2 * SIZES + 0.3 * np.maximum(SIZES - 9e6, 0)
    for before, after in itertools.pairwise(fit_pieces(SIZES, np.log(costs), np.full(11, 0.01)).pieces()):
        at = after.start_bytes
        assert before.fixed + before.per_byte * at == pytest.approx(after.fixed + after.per_byte * at)


def test_one_size_gives_a_constant():
    (piece,) = fit_pieces(np.array([4096.0]), np.log([5_000.0]), np.array([0.1])).pieces()
    assert piece.fixed + piece.per_byte * 4096 == pytest.approx(5_000)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-2.0, 2.0), min_size=2, max_size=12))
def test_any_medians_give_a_positive_curve_that_never_falls(steps):
    sizes = 1024.0 * 4.0 ** np.arange(len(steps))
    curve = fit_pieces(sizes, 10 + np.cumsum(steps), np.full(len(steps), 0.05))
    costs = curve.at(np.geomspace(1, 2**40, 200))
    assert costs[0] > 0
    assert (np.diff(costs) >= 0).all()


def test_sensitivity_predicts_what_a_refit_with_moved_medians_gives():
    truth = np.log(20_000 + 0.2 * SIZES + 0.3 * np.maximum(SIZES - 9e6, 0))
    noise = np.full(11, 0.02)
    change = 0.01 * np.cos(np.arange(11.0))
    curve, moved = fit_pieces(SIZES, truth, noise), fit_pieces(SIZES, truth + change, noise)
    points = np.geomspace(2048, 2**29, 8)
    reaction, _ = curve.sensitivity(points)
    assert reaction @ change == pytest.approx(np.log(moved.at(points) / curve.at(points)), abs=0.006)


def test_a_jump_between_two_sizes_does_not_make_the_sizes_before_it_uncertain():
    """Cost never falls with size, so what was measured at the next size bounds it."""
    sizes = np.array([1024.0, 65_536.0, 262_144.0, 2.0**20, 2.0**22, 2.0**24, 2.0**26])
    costs = np.where(sizes <= 65_536, 20_000 + 0.1 * sizes, 280_000 + sizes)
    random = np.random.default_rng(3)
    latency = costs * np.exp(random.normal(0, 0.1, (3, 9, 7)))
    launch, round_, size = np.indices(latency.shape)
    frame = {
        "method": np.full(latency.size, "pipe"),
        "payload_bytes": sizes[size.ravel()],
        "launch": launch.ravel(),
        "round": round_.ravel(),
        "latency_ns": latency.ravel(),
    }
    learned = fit(frame)
    for measured in (10_000, 65_536):
        predicted = learned.predict("pipe", measured)
        assert predicted.high < 1.6 * predicted.value

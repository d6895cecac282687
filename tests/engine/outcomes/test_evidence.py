"""Blocks of outcomes: the level that they agree on, its error, and forgetting what no longer holds."""

import random
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perfkit.engine.outcomes.evidence import BLOCKS_KEPT, BLOCKS_NEEDED, Blocks, trimmed_level

SECOND = 10**9
VALUES = st.lists(st.floats(-5, 5), min_size=5, max_size=60)


@given(VALUES)
def test_level_and_error_are_those_of_scipy(values):
    level, error = trimmed_level(values)
    assert level == pytest.approx(stats.trim_mean(values, 0.2), abs=1e-9)
    if len(values) % 5 == 0:  # scipy divides by what is kept, the source by 1 - 2 * 20 %; they agree at whole fifths
        expected = float(stats.mstats.trimmed_stde(np.array(values), limits=(0.2, 0.2)))
        assert error == pytest.approx(expected, abs=1e-9)


@given(VALUES, st.floats(-3, 3))
def test_a_shift_of_all_values_shifts_the_level_alone(values, shift):
    level, error = trimmed_level(values)
    shifted, same_error = trimmed_level([value + shift for value in values])
    assert (shifted, same_error) == (pytest.approx(level + shift, abs=1e-9), pytest.approx(error, abs=1e-9))


def test_a_fifth_of_wild_values_at_either_end_moves_nothing():
    calm = [0.1 * index for index in range(20)]
    wild = [-1e6] * 4 + calm[4:16] + [1e6] * 4
    assert trimmed_level(wild)[0] == trimmed_level(calm)[0]


def filled(values, block_outcomes=8):
    blocks = Blocks(block_outcomes)
    for index, value in enumerate(values):
        blocks.add([value] * block_outcomes, 2 * index * SECOND)
        blocks.add([value], (2 * index + 1) * SECOND)
    return blocks


def test_a_block_needs_outcomes_and_a_second():
    blocks = Blocks(8)
    assert not blocks.add([1.0] * 100, 0)
    assert not blocks.add([1.0], SECOND - 1)
    assert blocks.add([1.0], SECOND)
    assert not blocks.add([2.0], 2 * SECOND)
    assert not blocks.add([2.0] * 6, 100 * SECOND)
    assert blocks.add([2.0], 200 * SECOND)
    assert (list(blocks.medians), list(blocks.counts)) == ([1.0, 2.0], [102, 8])


def test_nothing_is_said_before_there_are_16_blocks():
    rng = random.Random(1)
    values = [rng.gauss(0, 0.1) for _ in range(BLOCKS_NEEDED)]
    assert filled(values[:-1]).level() is None
    assert filled(values).level().n == 9 * BLOCKS_NEEDED


def test_memory_is_bounded_however_much_comes_in():
    blocks = filled([0.0] * 200)
    assert len(blocks.medians) == BLOCKS_KEPT
    for _ in range(50):
        blocks.add([0.0] * 1000, 400 * SECOND)
    assert len(blocks._values) <= 64


def test_what_changed_replaces_what_was():
    rng = random.Random(5)
    before = [rng.gauss(0.0, 0.05) for _ in range(40)]
    after = [rng.gauss(0.5, 0.05) for _ in range(30)]
    assert filled(before + after[:10]).level() is None  # the first 8 of after are what was noticed, and unlearned
    assert filled(before + after).level().value == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_the_error_is_honest(correlation):
    """Six errors are asked for before anything changes: by chance that is rare, correlated or not."""
    rng = random.Random(7)
    ratios = []
    for _ in range(300):
        value, values = rng.gauss(0, 1), []
        for _ in range(40):
            value = correlation * value + (1 - correlation**2) ** 0.5 * rng.gauss(0, 1)
            values.append(0.1 * value)
        level = filled(values).level()
        if level is not None:
            ratios.append(abs(level.value) / level.error)
    assert len(ratios) > 270
    assert sum(ratio > 6 for ratio in ratios) <= 0.03 * len(ratios)
    assert 0.5 < statistics.median(ratios) < 1.1  # of a normal variable: 0.67; far below, and it would never correct

"""What changed series share: the true attribute is named, and chance seldom names one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from perfkit.errors import InputError
from perfkit.stats.patterns import shared_attributes

SERIES = [
    {"method": method, "kind": kind, "size": size, "stage": "transport"}
    for method, kind, size in itertools.product(("grpc", "uds", "shm"), ("tensor", "text"), ("1", "2", "3", "4"))
]


def changed(**wanted: str) -> list[bool]:
    return [wanted.items() <= one.items() for one in SERIES]


@pytest.mark.parametrize("shared", [{"method": "grpc"}, {"kind": "text"}, {"method": "uds", "kind": "tensor"}])
def test_the_attributes_that_tell_them_apart_are_named(shared):
    (found,) = shared_attributes(SERIES, changed(**shared))
    assert found.attributes == shared
    assert found.changed == found.members == sum(changed(**shared))
    assert found.others_changed == 0


def test_the_p_value_is_fishers_times_the_groups():
    series = [{"method": "ab"[number > 3]} for number in range(10)]
    flags = [number in (0, 1, 2, 3) for number in range(10)]
    (found,) = shared_attributes(series, flags)
    exact = fisher_exact([[4, 0], [0, 6]], alternative="greater").pvalue
    assert found.p_value == pytest.approx(2 * exact)


def test_two_causes_are_two_patterns():
    flags = [one or other for one, other in zip(changed(method="grpc"), changed(size="4"), strict=True)]
    found = shared_attributes(SERIES, flags)
    assert [one.attributes for one in found] == [{"method": "grpc"}, {"size": "4"}]


def test_when_most_changed_and_nothing_tells_them_apart_it_concerns_all():
    flags = [number != 5 for number in range(len(SERIES))]
    (found,) = shared_attributes(SERIES, flags)
    assert (found.attributes, found.changed, found.members) == ({}, 23, 24)


def test_chance_seldom_names_an_attribute():
    rng = np.random.default_rng(1)
    named = [len(shared_attributes(SERIES, rng.permutation(24) < 6)) > 0 for _ in range(400)]
    assert np.mean(named) < 0.12


@given(st.lists(st.booleans(), min_size=24, max_size=24))
def test_counts_add_up(flags):
    for one in shared_attributes(SERIES, flags, alpha=1.0):
        assert 2 <= one.changed <= one.members
        assert one.others_changed <= one.others
        assert 0 <= one.p_value <= 1


def test_one_change_is_no_pattern():
    assert shared_attributes(SERIES, [number == 3 for number in range(24)]) == ()
    assert shared_attributes([], []) == ()


def test_flags_of_another_length_are_refused():
    with pytest.raises(InputError, match="one per series: 24"):
        shared_attributes(SERIES, [True])

"""The workload of a replay: held out, seeded, and of every kind; and the sweep that measures it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.errors import InputError
from perfkit.measurement.presets import PRESETS, make_sweep
from perfkit.measurement.replay_workload import (
    LARGEST_BYTES,
    REPLAY_SETTINGS,
    SMALLEST_BYTES,
    make_workload,
    replay_sweep,
)
from perfkit.schema import COMPRESSIONS, ENTROPIES, KINDS, SIMPLICITY_ORDER
from perfkit.transfer.codecs.registry import FORMATS_OF_KIND

SETTINGS = tuple(REPLAY_SETTINGS.values())


@given(st.integers(), st.integers(1, 300))
def test_sizes_are_held_out_and_even_in_their_logarithm(seed, payloads):
    workload = make_workload(seed, payloads)
    sizes = [one.payload_bytes for one in workload]
    assert all(SMALLEST_BYTES <= size <= LARGEST_BYTES for size in sizes)
    assert all(abs(size / 2 ** round(math.log2(size)) - 1) >= 0.03 for size in sizes)
    for number, size in enumerate(sizes):  # one in each step; at most pushed away from a power of two
        step = math.log(size / SMALLEST_BYTES) / math.log(LARGEST_BYTES / SMALLEST_BYTES) * payloads
        assert number - 0.01 * payloads <= step <= number + 1 + 0.01 * payloads
    assert [one.number for one in workload] == list(range(payloads))


def test_no_preset_measures_a_size_within_three_percent():
    measured = {
        scenario.payload_bytes for preset in PRESETS if preset != "limits" for scenario in make_sweep(preset).scenarios
    }
    for one in make_workload(7, 64):
        assert min(abs(one.payload_bytes / size - 1) for size in measured) >= 0.029


def test_every_kind_format_compression_and_entropy_comes_up():
    workload = make_workload(3, 64)
    formats = {(one.kind, one.format) for one in workload}
    assert formats == {(kind, name) for kind in KINDS for name in FORMATS_OF_KIND[kind] if name != "pickle"}
    assert {one.compression for one in workload} == set(COMPRESSIONS)
    assert {one.entropy for one in workload} == set(ENTROPIES)


def test_another_seed_is_another_workload():
    assert make_workload(1) == make_workload(1)
    assert make_workload(1) != make_workload(2)


@pytest.mark.parametrize("arguments", [{"payloads": 0}, {"largest_bytes": SMALLEST_BYTES}])
def test_a_workload_that_cannot_be_is_refused(arguments):
    with pytest.raises(InputError, match="must be"):
        make_workload(1, **arguments)


def test_every_payload_is_sent_by_every_method_of_each_setting():
    workload = make_workload(1, 12)
    sweep = replay_sweep(workload, SETTINGS, SIMPLICITY_ORDER)
    measured = set(sweep.scenarios)
    for setting in SETTINGS:
        for one in workload:
            wanted = {one.scenario(method, setting) for method in setting.available(SIMPLICITY_ORDER)}
            assert not setting.holds(one) or wanted <= measured
    assert sweep.launches * sweep.fewest_rounds >= 8  # whatever the budget
    assert sweep.launches >= 2
    blocks = {scheduled.block: set() for scheduled in sweep.scheduled}
    for scheduled in sweep.scheduled:
        blocks[scheduled.block].add(scheduled.scenario.payload_bytes)
    assert all(len(sizes) == 1 for sizes in blocks.values())


def test_memory_is_probed_only_for_the_setting_that_minimises_it():
    workload = make_workload(1, 4)
    assert replay_sweep(workload, SETTINGS, ("uds",)).probed_stages == ("whole",)
    assert replay_sweep(workload, SETTINGS[:1], ("uds",)).probed_stages == ()


def test_without_an_arena_nothing_shares_memory():
    assert REPLAY_SETTINGS["exhausted"].available(SIMPLICITY_ORDER) == ("uds", "grpc", "grpc_stream")

"""Presets: what they measure, and what they refuse."""

from __future__ import annotations

import pytest

from perfkit.errors import InputError, MethodUnavailableError, UnknownNameError
from perfkit.measurement.presets import PRESETS, make_sweep
from perfkit.measurement.scenarios import within
from perfkit.transfer.platform import Capability, capabilities

MIB = 2**20


@pytest.mark.parametrize("preset", PRESETS)
def test_scenarios_are_unique_and_valid(preset):
    sweep = make_sweep(preset)
    assert len(set(sweep.scenarios)) == len(sweep.scenarios)
    assert len({scenario.name for scenario in sweep.scenarios}) == len(sweep.scenarios)
    for scenario in sweep.scenarios:
        scenario.check()
    assert any(scenario.stage == "control" for scenario in sweep.scenarios)


@pytest.mark.parametrize(("preset", "largest"), [("quick", 64 * MIB), ("default", 128 * MIB), ("full", 1024 * MIB)])
def test_presets_reach_their_size(preset, largest):
    sweep = make_sweep(preset)
    assert max(scenario.payload_bytes for scenario in sweep.scenarios) == largest
    assert sweep.launches >= 3


@pytest.mark.parametrize("preset", ["quick", "default", "full"])
def test_about_a_tenth_of_the_crossed_cells_is_measured_whole(preset):
    sweep = make_sweep(preset)
    stages = [scenario.stage for scenario in sweep.scenarios]
    codecs = {(s.kind, s.format, s.compression, s.entropy) for s in sweep.scenarios if s.stage == "encode"}
    sizes = {s.payload_bytes for s in sweep.scenarios if s.stage == "encode"}
    crossed = 7 * len(codecs) * len(sizes)  # five methods, two of them signalled in two ways
    assert stages.count("whole") == pytest.approx(crossed / 10, abs=1)


def test_crossed_cells_are_not_those_that_codecs_are_measured_with():
    """Over `uds` alone nothing is left to check; beside it, only the others are drawn."""
    beside = make_sweep("quick", methods=["uds", "shm"]).scenarios
    assert {scenario.method for scenario in beside if scenario.stage == "whole"} == {"shm"}
    assert not any(scenario.stage == "whole" for scenario in make_sweep("quick", methods=["uds"]).scenarios)


def test_sizes_without_room_are_left_out_and_said_so():
    sweep = within(make_sweep("full"), 300 * MIB)
    largest = {
        method: max(s.payload_bytes * s.in_flight for s in sweep.scenarios if s.method == method)
        for method in ("grpc", "shm_pool")
    }
    assert largest == {"grpc": 32 * MIB, "shm_pool": 64 * MIB}  # eight and four times that fit
    assert "needs 4 times its size, 8 times with gRPC, and 300MiB may be used" in sweep.warnings[-1]
    assert within(make_sweep("quick"), 2**40) == make_sweep("quick")
    with pytest.raises(InputError, match="no size fits into the 10B"):
        within(make_sweep("quick"), 10)


def test_machine_without_grpc_measures_the_rest(monkeypatch):
    """Methods that are missing are left out with the reason; one asked for by name is an error that says why."""
    without = {
        **capabilities(),
        **dict.fromkeys(("grpc", "grpc_stream"), Capability(False, "no grpcio", "pip install")),
    }
    for module in ("presets", "scenarios"):
        monkeypatch.setattr(f"perfkit.measurement.{module}.capabilities", lambda: without)
    sweep = make_sweep("quick")
    measured = {scenario.method for scenario in sweep.scenarios if scenario.stage == "transport"}
    assert measured == {"uds", "shm", "shm_pool"}
    assert {scenario.signalling for scenario in sweep.scenarios} == {"uds"}
    assert sweep.warnings[0] == "method grpc is left out: no grpcio; pip install"
    with pytest.raises(MethodUnavailableError, match="method grpc is not to be had here: no grpcio"):
        make_sweep("quick", methods=["grpc"])


def test_methods_and_sizes_can_be_chosen():
    sweep = make_sweep("quick", methods=["uds", "shm_pool"], sizes=[3000, 5000], budget_s=7)
    transports = [s for s in sweep.scenarios if s.stage == "transport" and s.in_flight == 1 and s.temperature == "warm"]
    assert {s.payload_bytes for s in transports} == {3000, 5000}
    assert {s.method for s in transports} == {"uds", "shm_pool"}
    assert sweep.budget_s == 7


def test_chosen_sizes_bound_everything_that_depends_on_them():
    """Small sizes leave out the preset's larger codec, busy, touched and cold sizes, not its smaller ones."""
    sizes = {s.stage: set() for s in make_sweep("default").scenarios}
    for scenario in make_sweep("default", sizes=[3000, 64 * 1024]).scenarios:
        sizes[scenario.stage].add(scenario.payload_bytes)
    assert sizes["encode"] == {1024, 8 * 1024, 64 * 1024}
    assert sizes["transport"] == {3000, 4 * 1024, 64 * 1024}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"preset": "limits", "sizes": [1024]}, InputError, "limits has sizes of its own; leave --sizes out"),
        ({"preset": "fast"}, UnknownNameError, "unknown preset 'fast'; allowed: smoke, quick"),
        ({"preset": "quick", "methods": ["grcp"]}, UnknownNameError, "Did you mean 'grpc'"),
        ({"preset": "quick", "budget_s": 0}, InputError, "budget of 0 s, must be above 0"),
    ],
)
def test_bad_input_is_named(options, error, message):
    with pytest.raises(error, match=message):
        make_sweep(**options)

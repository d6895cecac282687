"""Memory is measured in processes of its own, and goes with the sends that it belongs to."""

from __future__ import annotations

import dataclasses

import pytest

from perfkit.measurement.scenarios import Scenario, Scheduled, Sweep
from perfkit.measurement.sweep import run_sweep
from perfkit.transfer.arena import size_class

SIZE = 3_000_000
DATAFRAME = {"kind": "dataframe", "format": "arrow"}
SCENARIOS = (
    Scenario(SIZE, method="shm"),
    Scenario(SIZE, method="shm_pool"),
    Scenario(SIZE, method="uds"),
    Scenario(1024, method="uds"),
    Scenario(SIZE, stage="encode", **DATAFRAME),
    Scenario(SIZE, stage="encode_into", **DATAFRAME),
    Scenario(SIZE, stage="whole", method="uds", **DATAFRAME),
)
SWEEP = Sweep("test", tuple(map(Scheduled, SCENARIOS)), launches=2, budget_s=1, min_rounds=1, max_rounds=1)


@pytest.fixture(scope="module")
def measured():
    """Resident bytes by scenario and launch."""
    sweep = dataclasses.replace(SWEEP, probed_stages=(*SWEEP.probed_stages, "whole"))
    rows = run_sweep(sweep, "run").observations.to_pylist()
    return {(row["scenario"], row["launch"]): row["resident_bytes"] for row in rows}


def test_a_transfer_takes_what_its_method_holds(measured):
    resident = {scenario: measured[scenario.name, 0] for scenario in SCENARIOS}
    shm, pool, uds, small, encode, encode_into, whole = resident.values()
    assert shm == pytest.approx(SIZE, rel=0.1)
    assert size_class(SIZE) <= pool < 1.3 * SIZE
    assert 0.7 * SIZE < uds < 1.3 * SIZE
    assert small is None  # drowned in what the interpreter takes
    assert encode == pytest.approx(SIZE, rel=0.2)
    assert encode_into < 0.2 * SIZE  # the block is counted with the transport
    assert whole == pytest.approx(uds + encode, rel=0.25)


def test_one_probe_goes_with_the_first_launch(measured):
    assert all(resident is None for (_, launch), resident in measured.items() if launch == 1)


def test_several_probes_go_with_every_launch_in_turns():
    scheduled = (Scheduled(Scenario(SIZE, method="shm")),)
    sweep = dataclasses.replace(
        SWEEP, scheduled=scheduled, min_rounds=2, max_rounds=2, target_half_width=0.0, memory_probes=2
    )
    rows = run_sweep(sweep, "run").observations.to_pylist()
    assert {(row["launch"], row["round"]) for row in rows if row["resident_bytes"]} == {(0, 0), (0, 1), (1, 0), (1, 1)}

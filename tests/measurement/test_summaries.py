"""Observations reduced: exact on tables made by hand."""

from __future__ import annotations

import pyarrow as pa
import pytest

from perfkit.measurement.ratios import RATIOS, compute_ratios
from perfkit.measurement.scenarios import Scenario
from perfkit.measurement.summaries import round_medians, summarise
from perfkit.schema import arrow_schema


def table(scenario: Scenario, latencies: dict[tuple[int, int], list[int]], *, ok: bool = True) -> pa.Table:
    """Observations of one scenario by launch and round."""
    fields = {name: getattr(scenario, name) for name in ("stage", "method", "signalling", "placement", "touched")}
    fields |= {name: getattr(scenario, name) for name in ("temperature", "in_flight", "payload_bytes")}
    rows = [
        {**fields, "scenario": scenario.name, "launch": launch, "round": round_, "ok": ok, "latency_ns": latency_ns}
        for (launch, round_), values in latencies.items()
        for latency_ns in values
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema())


UDS = Scenario(1024, method="uds")


def test_round_medians_are_exact():
    """Odd and even counts, launches apart, failed sends left out."""
    measured = table(UDS, {(0, 0): [30, 10, 20], (0, 1): [40, 10, 30, 20], (1, 0): [7]})
    failed = table(UDS, {(0, 0): [10**9]}, ok=False)
    assert round_medians(pa.concat_tables([measured, failed])) == {UDS.name: {0: {0: 20.0, 1: 25.0}, 1: {0: 7.0}}}


def test_summary_describes_its_scenario():
    other = Scenario(4096, method="shm_pool", placement="in_place")
    (first, second) = summarise(
        pa.concat_tables([table(UDS, {(0, 0): [50], (0, 1): [50]}), table(other, {(0, 0): [9]})])
    )
    assert (first.scenario, first.placement, first.payload_bytes, first.latency_ns.n) == (
        other.name,
        "in_place",
        4096,
        1,
    )
    assert (second.scenario, second.latency_ns.value, second.latency_ns.n) == (UDS.name, pytest.approx(50), 2)


def test_ratio_takes_only_rounds_that_both_sides_have():
    numerator, denominator, _ = RATIOS["shm_pool_vs_ping_1KiB"]
    above = table(numerator, {(0, 0): [20], (0, 1): [60], (0, 2): [999]})
    both = compute_ratios(pa.concat_tables([above, table(denominator, {(0, 0): [10], (0, 1): [20]})]))
    assert both["shm_pool_vs_ping_1KiB"].n == 2
    assert compute_ratios(pa.concat_tables([above, table(denominator, {(0, 7): [10]})])) == {}

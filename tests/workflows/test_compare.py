"""`perfkit.compare`: verdicts on launches, controls that tell the machine from the method, and what to mind."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import perfkit
from perfkit.errors import InputError, LakeError
from perfkit.lake import RunRecord
from perfkit.report import comparison_chart
from perfkit.schema import arrow_schema

SCENARIOS = tuple((method, 1024 * 4**index) for method in ("uds", "shm_pool") for index in range(6))


def measured(seed, changes=None, *, launches=5, control=1.0, spread=0.01, run_id="", scenarios=SCENARIOS):
    """A run by hand: launches differ by `spread`, rounds by a little more; `changes` slows methods by factors."""
    rng = np.random.default_rng(seed)
    rows = []
    for launch in range(launches):
        for method, size, factor, stage in [
            *((method, size, (changes or {}).get(method, 1.0), "transport") for method, size in scenarios),
            ("control_copy", 2**20, control, "control"),
        ]:
            level = (10_000 + 0.2 * size) * factor * rng.lognormal(0, spread)
            described = {
                "run_id": run_id,
                "scenario": f"{stage} {method} {size}",
                "stage": stage,
                "method": method,
                "payload_bytes": size,
                "launch": launch,
            }
            rows += [
                {**described, "round": number, "latency_ns": int(level * rng.lognormal(0, 0.02))} for number in range(4)
            ]
    return pa.Table.from_pylist(rows)


@dataclasses.dataclass(frozen=True)
class Bench:
    """As much of a result of `perfkit.bench` as `compare` asks for."""

    observations: pa.Table
    run_id: str
    preset: str = "quick"
    fingerprint: dict[str, str] = dataclasses.field(default_factory=dict)


def verdicts(comparison):
    return {one.scenario: one.change.verdict for one in comparison.scenarios}


def test_a_method_that_got_slower_is_worse_and_the_others_are_not():
    comparison = perfkit.compare(measured(1), measured(2, {"shm_pool": 1.3}))
    found = verdicts(comparison)
    assert {verdict for name, verdict in found.items() if "shm_pool" in name} == {"worse"}
    assert {"better", "worse"}.isdisjoint(verdict for name, verdict in found.items() if "uds" in name)
    slowed = next(one for one in comparison.scenarios if "shm_pool" in one.scenario)
    assert slowed.change.low < 0.3 < slowed.change.high
    assert slowed.after / slowed.before == pytest.approx(1 + slowed.change.value)
    assert (slowed.launches, slowed.change.n) == ((5, 5), 10)
    assert comparison.verdict == "worse"
    assert comparison.overall.value == pytest.approx(1.3**0.5 - 1, abs=0.02)  # half of the scenarios


def test_a_method_that_got_faster_is_better():
    comparison = perfkit.compare(measured(1), measured(2, {"uds": 0.7, "shm_pool": 0.7}))
    assert comparison.verdict == "better"
    assert comparison.counts["better"] == comparison.n == len(SCENARIOS)


def test_the_same_again_is_equivalent_and_many_rounds_do_not_make_a_difference():
    comparison = perfkit.compare(measured(1), measured(2), margin=0.1)
    assert comparison.verdict == "equivalent"
    assert comparison.counts["better"] == comparison.counts["worse"] == 0
    assert comparison.counts["equivalent"] > comparison.n / 2


def test_noise_is_inconclusive_and_not_equivalent():
    comparison = perfkit.compare(measured(1, spread=0.4, launches=3), measured(2, spread=0.4, launches=3))
    assert set(verdicts(comparison).values()) == {"inconclusive"}


def test_identical_runs_rarely_differ_anywhere():
    """Two hundred pairs of runs through the whole of `compare`, not only its mathematics."""
    wrong = 0
    for seed in range(200):
        before, after = (measured(2 * seed + side, launches=3, spread=0.05, scenarios=SCENARIOS[:5]) for side in (0, 1))
        wrong += bool({"better", "worse"} & set(verdicts(perfkit.compare(before, after)).values()))
    assert wrong <= 200 * 0.05 + 3 * np.sqrt(200 * 0.05 * 0.95)


def test_a_slower_machine_is_told_from_a_slower_method():
    """Everything took 30 % longer, the plain copy too: the machine changed, and the verdict says so."""
    comparison = perfkit.compare(measured(1), measured(2, {"uds": 1.3, "shm_pool": 1.3}, control=1.3), margin=0.1)
    assert set(verdicts(comparison).values()) == {"worse"}
    assert comparison.verdict == "equivalent"
    assert comparison.overall_of_controls.value == pytest.approx(0.3, abs=0.05)
    assert comparison.against_controls.value == pytest.approx(0.0, abs=0.05)
    assert "The machine changed" in comparison.sentence
    assert "control control_copy 1048576 +" in comparison.sentence


def test_a_launch_that_lacks_the_expensive_scenarios_does_not_look_fast():
    after = measured(2)
    dear = after.filter(pa.compute.field("payload_bytes") < 2**20)
    cut_short = pa.concat_tables([after, dear.set_column(5, "launch", pa.array([9] * len(dear)))])
    assert abs(perfkit.compare(measured(1), cut_short).overall.value) < 0.03


def test_single_launches_are_inconclusive_and_said_to_be():
    comparison = perfkit.compare(measured(1, launches=1), measured(2, {"uds": 2.0}, launches=1))
    assert set(verdicts(comparison).values()) == {"inconclusive"}
    assert any("1 launch" in warning for warning in comparison.warnings)
    assert "interval unknown" in comparison.sentence
    assert json.loads(json.dumps(comparison.to_plain()))["scenarios"][0]["change"]["p_different"] is None


def test_what_makes_runs_hard_to_compare_is_said():
    before = Bench(measured(1), "a", "quick", {"kernel": "6.1", "cpu": "EPYC"})
    after = Bench(measured(2, scenarios=SCENARIOS[1:]), "b", "default", {"kernel": "6.18", "cpu": "EPYC"})
    comparison = perfkit.compare(before, after)
    assert comparison.only_in_a == ("transport uds 1024",)
    assert comparison.only_in_b == ()
    assert "another host: kernel 6.1 (A), 6.18 (B)" in comparison.warnings
    assert any("different presets" in warning for warning in comparison.warnings)
    text = str(comparison)
    assert "! only in A: transport uds 1024" in text
    assert max(map(len, text.splitlines())) <= 80


def test_failed_transfers_do_not_count_and_are_said():
    after = measured(2)
    failed = pa.Table.from_pylist([{**after.to_pylist()[0], "latency_ns": 10**9, "ok": False}])
    ok = after.append_column("ok", pa.array([True] * len(after)))
    comparison = perfkit.compare(measured(1), pa.concat_tables([ok, failed]))
    assert comparison.counts["worse"] == 0
    assert "run B has 1 failed transfer, which do not count" in comparison.warnings


def test_frames_of_every_kind_are_taken():
    before, after = measured(1), measured(2)
    expected = perfkit.compare(before, after)
    for as_frame in (pl.from_arrow, pa.Table.to_pandas, lambda table: table.to_pydict()):
        assert perfkit.compare(as_frame(before), as_frame(after)) == expected


def test_scenarios_of_a_frame_without_names_are_told_apart_by_what_they_are():
    before, after = (measured(seed).drop_columns(["scenario"]) for seed in (1, 2))
    assert perfkit.compare(before, after).n == len(SCENARIOS)


@pytest.mark.parametrize(("quantity", "columns"), [("cpu", ("cpu_sender_ns",)), ("resident", ("resident_bytes",))])
def test_other_quantities_are_compared_where_they_were_measured(quantity, columns):
    def with_quantity(seed, factor):
        table = measured(seed, scenarios=SCENARIOS[:3])
        values = pa.compute.multiply(table.column("payload_bytes"), factor)
        for column in columns:
            table = table.append_column(column, values)
        return table.append_column("cpu_receiver_ns", values)

    comparison = perfkit.compare(with_quantity(1, 10), with_quantity(2, 20), quantity=quantity)
    assert set(verdicts(comparison).values()) == {"worse"}
    assert comparison.overall.value == pytest.approx(1.0)
    assert perfkit.compare(with_quantity(1, 10), with_quantity(2, 10), quantity=quantity).verdict == "equivalent"


def test_runs_of_a_lake_are_named_as_everywhere(tmp_path):
    lake = perfkit.open_lake(tmp_path / "lake")
    for seed, run_id in ((1, "20261120-1"), (2, "20261121-1")):
        lake.append_transfers(measured(seed, run_id=run_id).cast(_known(measured(seed).schema)))
        lake.append_run(RunRecord(run_id, "complete", preset="quick", fingerprint='{"kernel": "6.18"}'))
    comparison = perfkit.compare("20261120", "latest", lake=lake.path)
    assert (comparison.run_a, comparison.run_b, comparison.n) == ("20261120-1", "20261121-1", len(SCENARIOS))
    with pytest.raises(InputError, match="both runs are 20261121-1"):
        perfkit.compare("latest", "20261121", lake=lake.path)
    with pytest.raises(LakeError, match="only 2 finished runs"):
        perfkit.compare("latest~2", "latest", lake=lake.path)
    lake.append_run(RunRecord("20261122-1", "complete"))
    with pytest.raises(InputError, match="has no observations"):
        perfkit.compare("latest", "latest~1", lake=lake.path)


def _known(schema):
    return pa.schema([arrow_schema().field(name) for name in schema.names])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 0.0}, "margin == 0.0, must be above 0 and below 1"),
        ({"alpha": 1.0}, "alpha == 1.0, must be above 0"),
        ({"quantity": "latancy"}, "Did you mean 'latency'"),
        ({"quantity": "resident"}, "share no scenario with resident memory"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(InputError, match=message):
        perfkit.compare(measured(1, launches=2), measured(2, launches=2), **options)


def test_what_is_no_run_is_refused():
    with pytest.raises(InputError, match=r"a int cannot be read as a frame.*or the name of a run"):
        perfkit.compare(3, measured(1, launches=2))
    with pytest.raises(InputError, match="the frame lacks method"):
        perfkit.compare(measured(1, launches=2).drop_columns(["method"]), measured(1, launches=2))
    columns = {"method": ["uds"] * 2, "payload_bytes": [1, 1], "launch": [0, 1], "latency_ns": ["5", "slow"]}
    with pytest.raises(InputError, match=r"column latency_ns is String \('slow' in row 2\), must be numbers"):
        perfkit.compare(columns, columns)
    with pytest.raises(InputError, match="column ok is Int64, must be true or false"):
        perfkit.compare({**columns, "latency_ns": [5, 6], "ok": [1, 1]}, columns)


def test_the_table_shows_what_changed_and_says_what_it_leaves_out():
    comparison = perfkit.compare(measured(1), measured(2, {"shm_pool": 1.3}), margin=0.01)
    many = dataclasses.replace(comparison, scenarios=comparison.scenarios * 3)
    table = many.to_table()
    assert [row[-1] for row in table.rows[:18]] == ["worse"] * 18
    assert any("Not shown" in note for note in table.notes)
    assert "<table>" in many._repr_html_()


def test_the_chart_has_a_row_for_everything_first_and_the_controls_last():
    comparison = perfkit.compare(measured(1), measured(2, {"shm_pool": 1.3}))
    chart = comparison_chart(comparison).to_dict()
    rows = max(chart["datasets"].values(), key=len)
    assert rows[0]["name"].startswith("all scenarios: +")
    assert rows[-1]["name"].startswith("control control_copy")
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert {row["verdict"] for row in rows if "shm_pool" in row["name"]} == {"worse"}
    assert chart["width"] == "container"
    assert "95% interval" in chart["description"]

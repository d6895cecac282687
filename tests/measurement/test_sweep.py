"""Sweeps with real processes: what is measured, what happens when a process dies, what is left behind."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import perfkit
from perfkit.errors import MeasurementError
from perfkit.measurement.launch import start_launch
from perfkit.measurement.scenarios import Scenario, Scheduled, Sweep, controls
from perfkit.measurement.sweep import relative_half_width, run_sweep
from perfkit.schema import arrow_schema

HERE = Path(__file__).parent


def make(*scenarios: Scenario, **changes: object) -> Sweep:
    options = {"launches": 2, "budget_s": 1.0, "min_rounds": 2, "max_rounds": 3, **changes}
    return Sweep("test", (*controls(), *map(Scheduled, scenarios)), **options)


@pytest.fixture(scope="module")
def outcome():
    """One sweep over every stage and variant, shared by the tests that read it."""
    tensor = {"kind": "tensor", "format": "numpy", "entropy": "1.5:1"}
    frame = {"kind": "dataframe", "format": "arrow", "entropy": "1.5:1"}
    return run_sweep(
        make(
            Scenario(1024, method="uds"),
            Scenario(100_000, method="uds", touched=True),
            Scenario(100_000, method="grpc"),
            Scenario(100_000, method="shm_pool", signalling="grpc"),
            Scenario(100_000, method="shm_pool", placement="in_place"),
            Scenario(100_000, method="shm", temperature="cold"),
            Scenario(4096, method="uds", in_flight=4),
            Scenario(4096, method="uds", interval_ns=1_000_000),
            Scenario(65_536, stage="encode", **tensor),
            Scenario(65_536, stage="encode_into", **frame),
            Scenario(65_536, stage="decode", **frame),
            Scenario(65_536, stage="whole", method="shm_pool", **frame),
            budget_s=8.0,
        ),
        "run-1",
    )


def rows(outcome, **conditions):
    table = outcome.observations
    for column, value in conditions.items():
        table = table.filter(pc.field(column) == value)
    return table.to_pylist()


def test_every_scenario_is_measured_in_every_launch(outcome):
    measured = {(row["scenario"], row["launch"]) for row in rows(outcome)}
    scenarios = {row["scenario"] for row in rows(outcome)}
    assert len(scenarios) == 14
    assert measured == {(scenario, launch) for scenario in scenarios for launch in (0, 1)}
    assert (outcome.failures, outcome.launches) == ({}, 2)


def test_observations_have_the_schema(outcome):
    assert outcome.observations.schema.equals(arrow_schema())
    assert set(outcome.observations.column("run_id").to_pylist()) == {"run-1"}
    assert pc.min(outcome.observations.column("latency_ns")).as_py() > 0
    assert pc.min(outcome.observations.column("available_bytes")).as_py() > 0


def test_every_row_says_what_memory_was_left(outcome):
    assert all(0 < row["available_bytes"] < 2**50 for row in rows(outcome))


def test_control_is_in_every_round(outcome):
    rounds = {(row["launch"], row["round"]) for row in rows(outcome)}
    assert {(row["launch"], row["round"]) for row in rows(outcome, method="control_ping")} == rounds


def test_order_differs_between_rounds(outcome):
    """Interleaved and shuffled: no scenario always follows the same other one."""
    orders = {}
    for row in rows(outcome, launch=0):
        orders.setdefault(row["round"], {}).setdefault(row["scenario"])
    orders = [tuple(order) for order in orders.values()]
    assert len(set(orders)) > 1


def test_in_flight_sends_are_all_observed(outcome):
    batch = rows(outcome, in_flight=4, launch=0, round=0)
    assert len(batch) == 4 * 3
    assert sorted(row["sequence"] for row in batch) == list(range(12))


def test_resources_are_measured_beside_latency(outcome):
    """Processor time of both sides, copied bytes and, for large enough payloads, memory."""
    copied, in_place = (
        rows(outcome, method="shm_pool", signalling=signalling, placement=placement, stage="transport", launch=0)[0]
        for signalling, placement in (("grpc", "copied"), ("uds", "in_place"))
    )
    assert (copied["copied_bytes"], in_place["copied_bytes"]) == (100_000, 0)
    assert copied["cpu_sender_ns"] > 0
    assert copied["cpu_receiver_ns"] > 0
    assert copied["resident_bytes"] >= 100_000
    grpc = rows(outcome, method="grpc", launch=0)[0]
    assert grpc["peak_memory_bytes"] > 100_000  # gRPC holds several copies


def test_arrow_grows_on_the_wire(outcome):
    (row, *_) = rows(outcome, stage="encode_into")
    assert row["wire_bytes"] > row["payload_bytes"]


@pytest.fixture
def faulty(monkeypatch):
    """Both ends can import the faulty methods."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.syspath_prepend(str(HERE))
    __import__("faulty_methods")
    return ("faulty_methods",)


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("dies", "the measuring process died"),
        ("kills_receiver", "PeerLostError"),
        ("no_room", "NoRoomError: no room; make some"),
        ("corrupts", "got other bytes than were sent"),
        ("hangs", "it hangs, and is killed"),
        ("has_a_bug", "KeyError: 'a bug of its own'"),
    ],
)
def test_failing_method_is_left_out_and_the_rest_measured(faulty, method, reason, tmp_path, monkeypatch, wait_until):
    """A method that kills a process, hangs or lies costs only its own scenario, and nothing is left behind."""
    monkeypatch.setattr("perfkit.measurement.launch._SILENCE_S", 6.0 if method == "hangs" else 60.0)
    monkeypatch.setattr("perfkit.measurement.launch._END_WITHIN_S", 1.0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sweep = make(Scenario(2048, method="uds"), Scenario(2048, method=method))
    outcome = run_sweep(sweep, "run-2", modules=faulty)
    assert reason in outcome.failures[f"transport {method} 2KiB"]
    assert {row["launch"] for row in rows(outcome, method="uds")} == {0, 1}
    keys = [(row["scenario"], row["launch"], row["round"], row["sequence"]) for row in rows(outcome)]
    assert len(set(keys)) == len(keys)  # nothing is left of the attempt that the failure ended
    wait_until(lambda: processes_of(tmp_path) == [], 20)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(2048, method="corrupts", temperature="cold"),
        Scenario(2048, method="corrupts_second", in_flight=2),
        Scenario(2048, method="corrupts_in_place", placement="in_place"),
        Scenario(2048, method="corrupts", stage="whole", kind="tensor", format="numpy", compression="lz4"),
    ],
    ids=lambda scenario: scenario.name,
)
def test_bytes_are_verified_on_the_path_that_is_timed(faulty, scenario):
    """Cold, in every connection under way, in place and with a codec: other bytes are found where they arise."""
    sweep = make(Scenario(2048, method="uds"), scenario, launches=1)
    outcome = run_sweep(sweep, "run-6", modules=faulty)
    assert "got other bytes than were sent" in outcome.failures[scenario.name]
    assert rows(outcome, method=scenario.method) == []


def test_stopped_receiver_is_given_up_and_killed(wait_until):
    """SIGSTOP of the receiver: the launch ends all the same, and the receiver does not outlive it."""
    scenarios = [Scenario(1024, method="uds")]
    with start_launch(scenarios) as launch:
        ((_, batch),) = launch.measure([0])
        assert len(batch.latency_ns) == 10
        os.kill(launch.receiver_pid, signal.SIGSTOP)
    wait_until(lambda: not Path(f"/proc/{launch.receiver_pid}").exists(), 20)
    assert not Path(launch.receiver_folder).exists()


def test_launch_that_fails_again_and_again_is_given_up_and_said_so(faulty, monkeypatch):
    """With a single attempt allowed: the first launch is given up, the second goes on without what failed."""
    monkeypatch.setattr("perfkit.measurement.sweep._MAX_RESTARTS", 1)
    sweep = make(Scenario(2048, method="uds"), Scenario(2048, method="dies"), target_half_width=math.inf)
    outcome = run_sweep(sweep, "run-7", modules=faulty)
    assert outcome.failures["launch 1"].startswith("each of 1 attempts ended early")
    assert (outcome.settled, outcome.launches) == (3, 2)  # both controls and uds, in the launch that was finished


@pytest.mark.parametrize(
    ("changes", "status", "settled"),
    [
        ({"budget_s": 60.0, "max_rounds": 2, "target_half_width": 0.0}, "complete", 0),
        ({"budget_s": 60.0, "target_half_width": math.inf}, "complete", 3),
        ({"budget_s": 0.05, "max_rounds": 1000, "target_half_width": 0.0}, "budget", 0),
    ],
    ids=["all rounds done", "all settled", "out of time"],
)
def test_status_says_what_ended_the_sweep(changes, status, settled):
    outcome = run_sweep(make(Scenario(2048, method="uds"), **changes), "run-8")
    assert (outcome.status, outcome.settled) == (status, settled)


def test_nothing_measured_is_an_error_with_the_reason(faulty):
    sweep = Sweep("test", (Scheduled(Scenario(2048, method="no_room")),), launches=1, budget_s=1)
    with pytest.raises(MeasurementError, match="nothing was measured: NoRoomError"):
        run_sweep(sweep, "run-3", modules=faulty)


def test_interruption_keeps_what_was_measured():
    """A KeyboardInterrupt in the second launch: the first is kept whole, the second as far as it went."""
    seen, kept = [], []

    def interrupt(progress):
        seen.append(progress)
        if "launch 2/3" in progress.label and len([p for p in seen if "launch 2/3" in p.label]) == 2:
            raise KeyboardInterrupt

    sweep = make(Scenario(1024, method="uds"), Scenario(4096, method="uds"), launches=3)
    outcome = run_sweep(sweep, "run-4", keep=kept.append, progress=interrupt)
    assert outcome.status == "interrupted"
    assert {row["launch"] for row in rows(outcome)} == {0, 1}
    assert pa.concat_tables(kept).equals(outcome.observations)


def test_progress_counts_down():
    seen = []
    run_sweep(make(Scenario(1024, method="uds")), "run-5", progress=seen.append)
    done = [progress.done for progress in seen]
    assert done == sorted(set(done))
    assert seen[-1].seconds_left < seen[0].seconds_left


def test_killed_driver_leaves_no_process(tmp_path, wait_until):
    """`kill -9` of the driver: sender and receiver notice and end, and their folders go."""
    script = "import perfkit; perfkit.bench(preset='smoke', budget_s=60, lake=None)"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    driver = subprocess.Popen([sys.executable, "-c", script], env=environment, start_new_session=True)
    try:
        wait_until(lambda: len(processes_of(tmp_path)) >= 3, 40)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        wait_until(lambda: processes_of(tmp_path) == [], 40)
        assert [str(path) for path in tmp_path.rglob("*")] == []
    finally:
        driver.kill()
        driver.wait()


def processes_of(folder: Path) -> list[str]:
    """Living processes whose environment names the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return [pid for pid in found if pid != str(os.getpid())]


def test_half_width_shrinks_with_rounds():
    medians = [100.0, 120.0, 90.0, 105.0]
    assert relative_half_width(medians * 4) < relative_half_width(medians)
    assert relative_half_width([50.0] * 5) == 0
    assert relative_half_width([50.0]) == math.inf


def test_registered_method_enters_a_sweep(faulty, monkeypatch):
    """One's own method is measured beside the built-in ones by its name alone."""
    result = perfkit.bench(preset="smoke", methods=["uds", "no_room"], budget_s=1, lake=None)
    assert any("no_room" in warning and "NoRoomError" in warning for warning in result.warnings)
    assert any(summary.method == "uds" for summary in result.summaries)

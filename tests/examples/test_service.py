"""The example service, in real processes: right answers, a worker that dies, hot reload, records, the comparison."""

from __future__ import annotations

import contextlib
import http.client
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import perfkit
from perfkit.workflows.publish import publish

SERVICE = Path(__file__).parents[2] / "examples" / "service"
FAST = {"uds": (10_000, 0.3), "shm_pool": (40_000, 0.1), "grpc": (500_000, 2.0)}
"""Nanoseconds and nanoseconds per byte: what the methods cost, roughly, wherever this runs."""


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returned, and the seconds it took."""
    started = time.monotonic()
    return call(), time.monotonic() - started


class Fitted:
    def __init__(self, curves: object) -> None:
        self.curves = curves


@pytest.fixture
def put(make_curves, tmp_path: Path) -> Callable[..., None]:
    """Publish curves beside the service's settings."""
    (tmp_path / "perfkit.toml").write_text('[pools.default]\ngoal = "latency"\n')

    def put_lines(lines: dict[str, tuple[float, float]] = FAST) -> None:
        publish(Fitted(make_curves(lines)), path=tmp_path / "thresholds.toml", force=True)

    return put_lines


class Service:
    """A worker and a service, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = ("--config", str(folder / "perfkit.toml"))
        self.address = f"unix:{folder}/worker.sock"
        self.processes: list[subprocess.Popen[str]] = []
        self.worker = self.start_worker()
        self.app, self.place = self.start("app.py", "--port", "0", "--address", self.address)

    def start(self, script: str, *options: str) -> tuple[subprocess.Popen[str], str]:
        """A process, and where it listens."""
        command = [sys.executable, str(SERVICE / script), *self.config, *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().split()[-1]

    def start_worker(self) -> subprocess.Popen[str]:
        self.worker, _ = self.start("worker.py", "--address", self.address)
        return self.worker

    def ask(self, method: str, path: str) -> tuple[int, Any]:
        """Status and answer."""
        connection = http.client.HTTPConnection(self.place.removeprefix("http://"), timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def infer(self, rows: int = 1000, user: int = 7) -> tuple[int, Any]:
        return self.ask("POST", f"/infer?user={user}&rows={rows}")

    def carried(self) -> dict[str, int]:
        """Requests by method."""
        methods: dict[str, int] = self.ask("GET", "/statistics")[1]["channel"]["methods"]
        return methods

    def stop(self) -> list[int]:
        """End everything as a supervisor would; the exit codes, newest first."""
        codes = []
        for process in reversed(self.processes):
            process.terminate()
            codes.append(process.wait(20))
            assert process.stdout is not None
            process.stdout.close()
        self.processes.clear()
        return codes


@pytest.fixture
def service(put, tmp_path: Path) -> Iterator[Service]:
    """Without thresholds, until a test publishes some."""
    service = Service(tmp_path)
    yield service
    for process in service.processes:
        process.kill()
    service.stop()


def test_every_answer_is_right_whatever_carries_it(service: Service, put) -> None:
    put()
    sizes = ("--min-rows", "16", "--max-rows", "4096", "--requests", "80", "--warm-up", "8", "--connections", "4")
    command = [sys.executable, str(SERVICE / "load.py"), service.place, *sizes]
    figures = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    assert (figures["requests"], figures["errors"], figures["wrong"]) == (80, {}, 0)
    assert sum(service.carried().values()) == 88


def test_the_load_knows_a_wrong_answer(monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    monkeypatch.syspath_prepend(SERVICE)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # `worker` sets it where it is not set
    for name in ("catalogue", "worker", "load"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    load = importlib.import_module("load")
    _, answer = service.infer(rows=500)
    first = answer["best"][0]
    wrong = (
        {"mean": answer["mean"] + 0.001},
        {"best": [*answer["best"][1:], first]},
        {"best": [[first[0] + 1, first[1]], *answer["best"][1:]]},
        {"best": [[first[0], first[1] - 0.01], *answer["best"][1:]]},
    )
    bodies = [json.dumps(answer | part).encode() for part in ({}, *wrong)]
    assert [load.count_wrong([((7, 500), body)]) for body in bodies] == [0, 1, 1, 1, 1]


def test_wrong_requests_are_the_callers_fault(service: Service) -> None:
    for query in ("user=7", "user=x&rows=100", "user=-1&rows=100", "user=7&rows=9", "user=7&rows=65537"):
        status, answer = service.ask("POST", f"/infer?{query}")
        assert (status, answer["error"]) == (400, "InputError")
    assert service.ask("GET", "/infer?user=7&rows=100")[0] == 404


def test_a_killed_worker_is_told_within_a_second_and_its_successor_found(service: Service, wait_until) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert [status for status, _ in threads.map(lambda _: service.infer(), range(16))] == [200] * 16
        service.worker.kill()
        answers = list(threads.map(lambda _: timed(service.infer), range(8)))
    assert [status for (status, _), _ in answers] == [503] * 8
    assert min(took_s for _, took_s in answers) < 1
    assert max(took_s for _, took_s in answers) < 5  # eight at once, wherever this runs; the channel's own limit is 30
    assert service.ask("GET", "/health")[0] == 503
    service.start_worker()
    wait_until(lambda: service.ask("GET", "/health")[0] == 200)
    status, health = service.ask("GET", "/health")
    assert (status, health["channel"]["server_pid"]) == (200, service.worker.pid)
    assert service.infer()[0] == 200


def test_published_thresholds_are_taken_over_without_a_restart(service: Service, put, wait_until) -> None:
    def in_force() -> tuple[str, int | None]:
        engine = service.ask("GET", "/health")[1]["engine"]
        return engine["status"], engine["version"]

    assert in_force() == ("default", None)
    assert service.infer(rows=8192)[0] == 200
    assert service.carried() == {"uds": 1}
    put()
    wait_until(lambda: in_force() == ("ok", 1))
    assert service.infer(rows=100)[0] == 200
    assert service.carried() == {"uds": 2}
    assert service.infer(rows=8192)[0] == 200
    assert service.carried() == {"uds": 2, "shm_pool": 1}


def test_transfers_are_recorded_with_their_stages(service: Service, tmp_path: Path) -> None:
    assert service.infer(rows=2000, user=42)[0] == 200
    service.stop()
    lake = tmp_path / "lake"
    perfkit.drain(lake, journal=tmp_path / "data" / "journal")
    rows = perfkit.open_lake(lake).transfers.to_pyarrow().to_pylist()
    request, reply = sorted(rows, key=lambda row: str(row["direction"]), reverse=True)
    assert (request["direction"], request["payload_bytes"], request["session"]) == ("request", 512_000, "user-42")
    assert (reply["direction"], reply["payload_bytes"], reply["session"]) == ("reply", 8_000, "user-42")
    stages = ("encode_ns", "wait_ns", "copy_ns", "signal_ns", "decode_ns")
    assert request["latency_ns"] == sum(request[stage] for stage in stages)
    assert request["handler_ns"] > 0


def test_nothing_is_left_behind(service: Service, tmp_path: Path) -> None:
    assert service.infer(rows=40_000)[0] == 200
    pids = [process.pid for process in service.processes]
    assert service.stop() == [-signal.SIGTERM, 0]  # uvicorn takes the signal, shuts down, and passes it on to itself
    assert not list(tmp_path.glob("*.sock*"))
    assert not [path for pid in pids for path in Path("/dev/shm").glob(f"perfkit*{pid}*")]
    with pytest.raises(ConnectionRefusedError):
        service.infer()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_without_a_worker_the_service_does_not_start(put, tmp_path: Path) -> None:
    command = [sys.executable, str(SERVICE / "app.py"), "--port", "0", "--address", f"unix:{tmp_path}/none.sock"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert "no server listens at" in done.stderr


def test_tuning_is_worth_its_while(put, tmp_path: Path) -> None:
    put()
    sizes = ("--min-rows", "2048", "--max-rows", "8192", "--connections", "2")
    counts = ("--launches", "1", "--rounds", "2", "--requests", "40")
    config = ("--config", str(tmp_path / "perfkit.toml"))
    command = [sys.executable, str(SERVICE / "compare.py"), "--json", *sizes, *counts, *config]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])["service"]
    assert figures["throughput_ratio"]["value"] > 1.2
    assert figures["p99_ratio"]["value"] < 1
    for name in ("throughput_ratio", "p99_ratio"):
        assert (figures[name]["n"], figures[name]["launches"]) == (2, 1)
        assert figures[name]["low"] <= figures[name]["value"] <= figures[name]["high"]
    assert (figures["requests"], figures["thresholds_version"]) == (80, 1)

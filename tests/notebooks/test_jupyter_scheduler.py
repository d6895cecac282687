"""A notebook runs under the real jupyter-scheduler: copied into a folder of its own, its parameters injected raw."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pyarrow as pa
import pytest

from perfkit.lake import RunRecord, open_lake
from perfkit.report.notebook.records import read_records

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
BEGIN = datetime.datetime(2026, 11, 20, 21, 0, tzinfo=datetime.UTC)


def write_lake(path: Path) -> None:
    """A run in which `uds` is cheap for small payloads and `shm_pool` for large ones."""
    rng = np.random.default_rng(7)
    cells = [
        (method, size, launch, int((fixed + per_byte * size) * rng.lognormal(0, 0.1)))
        for method, fixed, per_byte in (("uds", 20_000, 0.3), ("shm_pool", 40_000, 0.1))
        for size in (2**10, 2**16, 2**20)
        for launch in range(3)
        for _ in range(12)
    ]
    rows = [
        {
            "run_id": "20261120-210000-aaaa",
            "observed_at": BEGIN,
            "scenario": f"transport {method} {size}",
            "launch": launch,
            "round": number % 12,
            "method": method,
            "payload_bytes": size,
            "latency_ns": latency_ns,
            "signalling": "uds",
            "producer": "slot-000",
            "epoch": 1,
            "producer_sequence": number + 1,
        }
        for number, (method, size, launch, latency_ns) in enumerate(cells)
    ]
    lake = open_lake(path)
    lake.append_transfers(pa.Table.from_pylist(rows))
    fingerprint = json.dumps({"cpu": "unknown"})
    record = RunRecord(
        "20261120-210000-aaaa", "complete", BEGIN, observations=len(rows), fingerprint=fingerprint, preset="quick",
        launches=3, seconds=61.0,
    )  # fmt: skip
    lake.append_run(record)


class Scheduler:
    """A Jupyter server with the extension, asked over its REST interface."""

    def __init__(self, root: Path, port: int, token: str) -> None:
        self.root, self.address, self.token = root, f"http://127.0.0.1:{port}/scheduler", token

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        time.sleep(0.1)  # whoever waits asks again and again
        request = urllib.request.Request(
            f"{self.address}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def is_ready(self) -> bool:
        try:
            return bool(self.ask("runtime_environments"))
        except OSError:
            return False

    def submit(self, notebook: str, parameters: dict[str, str]) -> str:
        (environment, *_) = self.ask("runtime_environments")
        job = {
            "name": notebook,
            "input_uri": notebook,
            "runtime_environment_name": environment["name"],
            "output_formats": ["ipynb", "html"],
            "parameters": parameters,
        }
        return str(self.ask("jobs", job)["job_id"])

    def status(self, job: str) -> str:
        return str(self.ask(f"jobs/{job}")["status"])

    def outputs(self, job: str, wait_until: Callable[..., None]) -> dict[str, Path]:
        """The files of a job that has ended, fetched from its folder."""
        self.ask(f"jobs/{job}/download_files")
        wait_until(lambda: all(one["file_path"] for one in self.ask(f"jobs/{job}")["job_files"]))
        return {one["file_format"]: self.root / one["file_path"] for one in self.ask(f"jobs/{job}")["job_files"]}


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory, wait_until: Callable[..., None]) -> Iterator[Scheduler]:
    project, root, jupyter = (tmp_path_factory.mktemp(name) for name in ("project", "root", "jupyter"))
    (project / "notebooks").mkdir()
    write_lake(project / "data" / "lake")
    shutil.copy(NOTEBOOKS / "20_analysis.ipynb", root)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex()
    command = [
        *(sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
        *("--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}", f"--IdentityProvider.token={token}"),
        "--ServerApp.jpserver_extensions={'jupyter_scheduler': True}",
    ]
    folders = {f"JUPYTER_{name}_DIR": str(jupyter / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    for folder in folders.values():
        Path(folder).mkdir()  # the extension fails to load without a folder for its database
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "JPY_", "PERFKIT_"))},
        **folders,
        "JUPYTER_NO_CONFIG": "1",
        "HOME": str(jupyter),
        "PERFKIT_NOTEBOOKS": str(project / "notebooks"),
    }
    with (jupyter / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            scheduler = Scheduler(root, port, token)
            wait_until(lambda: scheduler.is_ready() or server.poll() is not None)
            assert server.poll() is None, (jupyter / "log").read_text()
            yield scheduler
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)  # asked to stop, it would wait for jobs under way
            server.wait()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_copy_of_a_notebook_finds_the_project_and_makes_its_figures(
    scheduler: Scheduler, wait_until: Callable[..., None]
) -> None:
    # Parameters become code as they are, so text wants quotation marks.
    job = scheduler.submit("20_analysis.ipynb", {"lake_path": '"../data/lake"', "versions": '""'})
    # Until its process has begun, the extension calls a job "STOPPED".
    wait_until(lambda: scheduler.status(job) in ("COMPLETED", "FAILED"), timeout_s=90)
    assert scheduler.status(job) == "COMPLETED", scheduler.ask(f"jobs/{job}")["status_message"]
    outputs = scheduler.outputs(job, wait_until)
    executed = nbformat.read(outputs["ipynb"], as_version=4)
    assert len(read_records(executed)) > 1
    drawn = [output for cell in executed.cells for output in cell.get("outputs", ()) if "<svg" in str(output)]
    assert len(drawn) > 1  # pictures: nobody runs widgets there
    assert "<svg" in outputs["html"].read_text()

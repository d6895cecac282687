"""A browser for the tests, or the reason why there is none."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from perfkit.lake import Lake, RunRecord, open_lake

SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser. Without one the tests are skipped, except where PERFKIT_REQUIRE says that one is needed."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is not None:
        return found
    reason = "no Chromium on this machine: install the package chromium"
    if "browser" in os.environ.get("PERFKIT_REQUIRE", "").split(","):
        pytest.fail(f"{reason}; PERFKIT_REQUIRE asks for it")
    pytest.skip(reason)


@pytest.fixture(scope="module")  # not session: while Playwright runs, `asyncio.run` of other modules' tests is refused
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(SWITCHES))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of the pages go: the folder that PERFKIT_SCREENSHOTS names, otherwise one that goes away."""
    named = os.environ.get("PERFKIT_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its notebooks, and a lake with a rich run and a newer one that has only Unix sockets."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(Path(__file__).parents[2] / "notebooks", root / "notebooks")
    lake = open_lake(root / "data" / "lake")
    costs = {"uds": (20e3, 0.3), "grpc": (300e3, 2.0), "grpc_stream": (400e3, 1.2), "shm_pool": (40e3, 0.1)}
    _put_run(lake, "20261120-210000-aaaa", 0, costs)
    _put_run(lake, "20261120-220000-bbbb", 60, {"uds": costs["uds"]})
    return root


def _put_run(lake: Lake, run_id: str, minute: int, costs: dict[str, tuple[float, float]]) -> None:
    import pyarrow as pa

    rng = np.random.default_rng(7)
    moment = datetime.datetime(2026, 11, 20, 21, 0, tzinfo=datetime.UTC) + datetime.timedelta(minutes=minute)
    plain = {"run_id": run_id, "observed_at": moment, "producer": "slot-000", "epoch": 1 + minute}
    cells = [
        {"stage": stage, "method": method, "payload_bytes": int(size), "launch": launch, "typical": typical}
        for size in 2.0 ** np.arange(10, 25, 2)
        for launch in range(3)
        for method, (fixed, per_byte) in costs.items()
        for stage, typical in (("transport", fixed + per_byte * size),)
    ]
    rows = [
        {**plain, **cell, "round": number, "latency_ns": int(cell["typical"] * rng.lognormal(0, 0.1))}
        for cell in cells
        for number in range(40)
    ]
    for sequence, row in enumerate(rows):
        row["scenario"] = f"transport {row['method']} {row['payload_bytes']}"
        row["producer_sequence"] = sequence + 1
        del row["typical"]
    lake.append_transfers(pa.Table.from_pylist(rows))
    facts = {"fingerprint": json.dumps({"cpu": "unknown"}), "preset": "quick", "launches": 3, "seconds": 61.0}
    lake.append_run(RunRecord(run_id, "complete", moment, observations=len(rows), **facts))


@pytest.fixture(scope="session")
def serve(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., AbstractContextManager[str]]:
    """Run `perfkit lab` or `perfkit dashboard` on the project as a person does, and end it as a person does.

    It yields the address. Afterwards nothing may be left: no kernel, no other process, no file of theirs.
    """

    @contextlib.contextmanager
    def serve(*arguments: str) -> Iterator[str]:
        home = tmp_path_factory.mktemp("home")
        places = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython"}
        environment = {**os.environ, **{name: str(home / place) for name, place in places.items()}}
        (home / "temporary").mkdir()
        environment["TMPDIR"] = str(home / "temporary")
        command = [str(Path(sys.executable).with_name("perfkit")), *arguments, "--no-browser", "--json", "--port", "0"]
        server = subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, text=True)
        started: list[psutil.Process] = []
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line, f"perfkit {arguments[0]} ended with {server.wait()} before it answered"
            yield str(json.loads(line)["url"])
            started = psutil.Process(server.pid).children(recursive=True)
        finally:
            server.send_signal(signal.SIGINT)  # Ctrl-C
            try:
                code = server.wait(timeout=60)
            finally:
                server.kill()
                server.stdout.close()
        assert code == 0
        _, left = psutil.wait_procs(started, timeout=20)
        assert left == []
        assert [path.name for path in (home / "runtime").glob("kernel-*")] == []
        assert list((home / "temporary").iterdir()) == []

    return serve


@pytest.fixture
def watched(browser: Any) -> Iterator[SimpleNamespace]:
    """A page of which everything that it asks for is noted; asking for anything beyond this machine fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)  # the machine may be busy
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield SimpleNamespace(page=page, errors=errors)
    context.close()
    local = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "about:")
    assert [url for url in asked if not url.startswith(local)] == []
    assert asked

"""A browser for the tests, or the reason why there is none."""

from __future__ import annotations

import contextlib
import dataclasses
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
import pyarrow as pa
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


@dataclasses.dataclass(frozen=True)
class Served:
    """A server that runs."""

    url: str
    process: psutil.Process

    def kernels(self) -> int:
        """How many notebooks it runs at the moment."""
        return len(self.process.children())


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
    """A project with its notebooks, and a lake with two runs: the older one without `grpc_stream`."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(Path(__file__).parents[2] / "notebooks", root / "notebooks")
    lake = open_lake(root / "data" / "lake")
    costs = {"uds": (20e3, 0.3), "grpc": (300e3, 2.0), "shm_pool": (40e3, 0.1)}
    _put_run(lake, "20261120-210000-aaaa", 0, costs)
    _put_run(lake, "20261120-220000-bbbb", 60, {**costs, "grpc_stream": (400e3, 1.2)})
    return root


def _put_run(lake: Lake, run_id: str, minute: int, costs: dict[str, tuple[float, float]]) -> None:
    rng = np.random.default_rng(7)
    moment = datetime.datetime(2026, 11, 20, 21, 0, tzinfo=datetime.UTC) + datetime.timedelta(minutes=minute)
    raw = {"kind": "binary", "format": "raw", "compression": "none", "stage": "transport"}
    tensor = {"kind": "tensor", "format": "numpy", "compression": "lz4", "method": ""}
    cells = [({**raw, "method": method}, *cost) for method, cost in costs.items()]
    cells += [({**tensor, "stage": stage}, 1e3, cost) for stage, cost in (("encode", 0.4), ("decode", 0.2))]
    rows = [
        {
            **cell,
            "run_id": run_id,
            "observed_at": moment,
            "scenario": f"{cell['stage']} {cell['method']} {size}",
            "launch": launch,
            "round": number,
            "payload_bytes": size,
            "wire_bytes": size,
            "latency_ns": int((fixed + per_byte * size) * rng.lognormal(0, 0.1)),
            "producer": "slot-000",
            "epoch": 1 + minute,
        }
        for launch in range(3)
        for number in range(30)
        for size in (2**power for power in range(10, 25, 2))
        for cell, fixed, per_byte in cells
    ]
    numbered = [{**row, "producer_sequence": sequence + 1} for sequence, row in enumerate(rows)]
    lake.append_transfers(pa.Table.from_pylist(numbered))
    facts = {"fingerprint": json.dumps({"cpu": "unknown"}), "preset": "quick", "launches": 3, "seconds": 61.0}
    lake.append_run(RunRecord(run_id, "complete", moment, observations=len(rows), **facts))


@pytest.fixture(scope="session")
def serve(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., AbstractContextManager[Served]]:
    """Run `perfkit lab` or `perfkit dashboard` on the project as a person does, and end it as a person does.

    Afterwards nothing may be left: no kernel, no other process, no file of theirs.
    """

    @contextlib.contextmanager
    def serve(*arguments: str) -> Iterator[Served]:
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
            yield Served(str(json.loads(line)["url"]), psutil.Process(server.pid))
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


@pytest.fixture(scope="session")
def move() -> Callable[[Any, str, str, str], None]:
    """Move an explorer's control by the keyboard, and wait until its picture and its sentence have changed."""
    shown = """(e) => [[...e.querySelectorAll('.perfkit-explorer-chart svg path')].map((path) => path.outerHTML).join(),
        e.querySelector('.perfkit-explorer-sentence').innerText]"""
    changed = f"([explorer, before]) => ({shown})(explorer).every((now, index) => now && now !== before[index])"

    def move(page: Any, control: str, handle: str, key: str) -> None:
        explorer = page.locator(".perfkit-explorer").filter(has=page.locator(f".{control}"))
        before = explorer.evaluate(shown)
        explorer.locator(f".{control} {handle}").focus()
        page.keyboard.press(key)
        page.wait_for_function(changed, arg=[explorer.element_handle(), before])
        assert explorer.locator("[role=alert]").count() == 0  # nothing that could not be drawn

    return move


@pytest.fixture
def watched(browser: Any, request: pytest.FixtureRequest, screenshots: Path) -> Iterator[SimpleNamespace]:
    """A page of which everything that it asks for is noted; asking for anything beyond this machine fails the test.

    How it looks at the end is kept as a picture, most useful when the test has failed.
    """
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
    page.screenshot(path=screenshots / f"{request.node.name}.png")
    context.close()
    local = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "about:")
    assert [url for url in asked if not url.startswith(local)] == []
    assert asked

"""Stress a channel: many senders at once, payloads of all sizes and kinds, every one of them checked."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perfkit.errors import InputError, MeasurementError, UnknownNameError
from perfkit.schema import SIMPLICITY_ORDER
from perfkit.workflows.stress_result import StressResult

__all__ = ["StressProgress", "stress"]

_SERVER_ARENA_BYTES = 256 * 2**20
_CLIENT_ARENA_BYTES = 128 * 2**20
_ALLOCATOR = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
"""Arrow's own allocator keeps memory for each of its threads, whatever perfkit does."""
_LOOKS_EVERY_S = 0.25
_STARTS_WITHIN_S, _ENDS_WITHIN_S = 60.0, 300.0
"""A process that says nothing for so long hangs; a send may take two minutes."""
_ERROR_TEXTS_KEPT = 8


@dataclasses.dataclass(frozen=True, slots=True)
class StressProgress:
    """Seconds done of those planned."""

    done: float
    total: float
    label: str
    seconds_left: float


def stress(
    *,
    seconds: float = 30.0,
    senders: int = 200,
    processes: int = 2,
    methods: Sequence[str] = SIMPLICITY_ORDER,
    seed: int = 1,
    progress: Callable[[StressProgress], None] | None = None,
) -> StressResult:
    """Send from many threads of several processes to one server, and check every payload and every answer.

    Sizes are even in their logarithm from 1 KiB to 8 MiB, a few reach 64 MiB; tensors, bytes and tables, some
    born in shared memory; a fifth of the small ones come back whole. gRPC carries up to 256 KiB.

    Args:
        seconds: of sending, above 0.
        senders: threads in all, at least one per process.
        processes: that they are spread over, 1 or more.
        methods: that are taken in turn.
        seed: of sizes, kinds and bytes.
        progress: called a few times a second.

    Returns:
        What went wrong, which must be nothing, and how much was done.

    Raises:
        InputError: an argument is out of range.
        UnknownNameError: there is no such method.
        MeasurementError: a process could not start, or died.
    """
    if not seconds > 0 or processes < 1 or senders < processes:
        raise InputError(
            f"seconds == {seconds}, must be above 0; processes == {processes}, 1 or more; "
            f"senders == {senders}, one per process or more"
        )
    for name in methods:
        if name not in SIMPLICITY_ORDER:
            raise UnknownNameError("method", name, SIMPLICITY_ORDER)
    with tempfile.TemporaryDirectory(prefix="perfkit-stress-") as folder, _Parties(folder, methods) as parties:
        parties.start_server()
        for number in range(processes):
            share = senders // processes + (number < senders % processes)
            parties.start_client(share, seconds, f"{seed}-{number}")
        return _carry_out(parties, seconds, senders, progress)


class _Parties:
    """The processes of one stress test; ended on the way out, whatever happens."""

    def __init__(self, folder: str, methods: Sequence[str]) -> None:
        self.address = f"unix:{Path(folder, 'stress.sock')}"
        self.methods = ",".join(methods)
        self.server: subprocess.Popen[str] | None = None
        self.clients: list[subprocess.Popen[str]] = []

    def __enter__(self) -> _Parties:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.all:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()

    @property
    def all(self) -> Iterator[subprocess.Popen[str]]:
        """Every process."""
        if self.server is not None:
            yield self.server
        yield from self.clients

    def start_server(self) -> None:
        """Start it, and wait until it listens."""
        self.server = self._start("server", "--arena-bytes", str(_SERVER_ARENA_BYTES))

    def start_client(self, senders: int, seconds: float, seed: str) -> None:
        """Start one, and wait until it is connected."""
        options = ("--arena-bytes", str(_CLIENT_ARENA_BYTES), "--senders", str(senders))
        self.clients.append(self._start("client", *options, "--seconds", str(seconds), "--seed", seed))

    def _start(self, part: str, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "perfkit.measurement.stress_parties", part, self.address]
        command += ["--methods", self.methods, *options]
        # A session of its own: Ctrl-C reaches the driver alone, which then ends all in good order.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **_ALLOCATOR},
        )
        try:
            read_line(process, _STARTS_WITHIN_S)
        except BaseException:
            process.kill()
            raise
        return process


def _carry_out(
    parties: _Parties, seconds: float, senders: int, progress: Callable[[StressProgress], None] | None
) -> StressResult:
    assert parties.server is not None  # it was started
    server = parties.server
    before_bytes, before_descriptors = _memory_bytes(parties), _descriptors(server.pid)
    for client in parties.clients:
        assert client.stdin is not None  # asked for as a pipe
        with contextlib.suppress(BrokenPipeError):  # it died, as is found when it should answer
            client.stdin.write("go\n")
            client.stdin.flush()
    peak_bytes, started_s = before_bytes, time.monotonic()
    while (done_s := time.monotonic() - started_s) < seconds:
        time.sleep(min(_LOOKS_EVERY_S, seconds - done_s))
        peak_bytes = max(peak_bytes, _memory_bytes(parties))
        if progress is not None:
            progress(StressProgress(done_s, seconds, f"{senders} senders", seconds - done_s))
    clients = [read_line(client, _ENDS_WITHIN_S) for client in parties.clients]
    assert server.stdin is not None  # asked for as a pipe
    server.stdin.close()
    seen = read_line(server, _ENDS_WITHIN_S)
    return _summarise(
        clients, seen, seconds, senders, peak_bytes - before_bytes, seen["descriptors"] - before_descriptors
    )


def _summarise(
    clients: list[dict[str, Any]],
    server: dict[str, Any],
    seconds: float,
    senders: int,
    memory_bytes: int,
    descriptors_grown: int,
) -> StressResult:
    latencies = np.concatenate([np.array(client["latencies_ns"], np.int64) for client in clients])
    p50_ns, p99_ns = np.percentile(latencies, [50, 99]) if len(latencies) else (0, 0)
    texts: Counter[str] = sum((Counter(client["errors"]) for client in clients), Counter())
    methods: Counter[str] = sum((Counter(client["methods"]) for client in clients), Counter())
    everybody = [*clients, server]

    def total(name: str, of: Sequence[dict[str, Any]] = everybody) -> int:
        return sum(int(party[name]) for party in of)

    answered = {name: count for client in clients for name, count in client["sent"].items()}
    return StressResult(
        sends=sum(answered.values()),
        bytes=total("bytes", clients),
        seconds=seconds,
        senders=senders,
        errors=texts.total(),
        lost=sum(max(count - server["handled"].get(name, 0), 0) for name, count in answered.items()),
        reordered=total("reordered"),
        corrupted=total("corrupted"),
        leaked_bytes=total("leaked_bytes"),
        descriptors_grown=max(descriptors_grown, 0),
        memory_bytes=memory_bytes,
        arena_bytes=total("reserved_bytes"),
        latency_p50_ns=int(p50_ns),
        latency_p99_ns=int(p99_ns),
        methods=dict(methods),
        error_texts=dict(texts.most_common(_ERROR_TEXTS_KEPT)),
    )


def read_line(process: subprocess.Popen[str], timeout_s: float) -> dict[str, Any]:
    """What a process says next.

    Raises:
        MeasurementError: it died instead, or hangs.
    """
    assert process.stdout is not None  # asked for as a pipe
    if not select.select([process.stdout], [], [], timeout_s)[0]:
        raise MeasurementError(f"a process of the stress test hangs: it said nothing for {timeout_s:.0f} s")
    line = process.stdout.readline()
    if not line:
        raise MeasurementError(f"a process of the stress test died (exit code {process.wait()}); was memory short?")
    facts: dict[str, Any] = json.loads(line)
    return facts


def _memory_bytes(parties: _Parties) -> int:
    """What all processes take together: a page that several share counts once."""
    total = 0
    for process in parties.all:
        with contextlib.suppress(OSError):  # it has just ended
            for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))

"""The processes of a stress test: a server that checks everything, and clients with many senders each.

``python -m perfkit.measurement.stress_parties server|client …`` prints one line of JSON at its end. What a payload must
be travels beside it, in the name of the session: sender, sequence, checksum, and whether it is to come back.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import random
import sys
import threading
import time
import zlib
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from perfkit.channel import Channel, Request, connect
from perfkit.channel import serve as serve_channel
from perfkit.schema import SIMPLICITY_ORDER

__all__ = ["METHOD_WEIGHTS", "checksum"]

METHOD_WEIGHTS = {"uds": 35, "shm_pool": 45, "shm": 10, "grpc": 5, "grpc_stream": 5}
"""How often each method is taken: gRPC is slow, and would leave little time for the others."""
SMALLEST_BYTES, USUAL_BYTES, LARGEST_BYTES = 2**10, 8 * 2**20, 64 * 2**20
_LARGEST_CALL_BYTES = 256 * 2**10
_LARGEST_ECHO_BYTES = 2**20
_LARGEST_COPIED_TABLE_BYTES = 2**20  # a table that travels as bytes is written into memory of its sender first
_LARGE_SHARE, _ECHO_SHARE, _IN_PLACE_SHARE = 0.002, 0.2, 0.1
_SOURCE_BYTES = LARGEST_BYTES + 2**20
_TIMEOUT_S = 120.0
_SETTLES_WITHIN_S = 10.0


def checksum(payload: Any) -> int:
    """Of the bytes that a payload carries, whatever its kind.

    >>> checksum(b"abc") == checksum(np.frombuffer(b"abc", np.uint8))
    True
    """
    if isinstance(payload, pa.Table):
        total = 0
        for chunk in payload.column(0).chunks:  # each where it lies: joining them would copy
            total = zlib.crc32(chunk.to_numpy().view(np.uint8), total)
        return total
    return zlib.crc32(payload)


class Checker:
    """The server's handler: compares every payload with what its sender says of it."""

    def __init__(self) -> None:
        self.handled: Counter[str] = Counter()
        self.corrupted = self.reordered = 0
        self._last: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, payload: Any, request: Request) -> Any:
        """Answer with the payload itself, or with the checksum of what came."""
        sender, sequence, expected, is_echo = request.session.split(":")
        seen = checksum(payload)
        with self._lock:
            self.handled[sender] += 1
            self.corrupted += seen != int(expected)
            self.reordered += int(sequence) <= self._last.get(sender, -1)
            self._last[sender] = int(sequence)
        return payload if is_echo == "1" else np.array([seen, int(sequence)], np.int64)


class Sender:
    """One thread of a client: sends one payload after the other, by its method."""

    def __init__(self, name: str, channels: dict[str, Channel], source: np.ndarray[Any, Any], seed: str) -> None:
        self.name, self.sent, self.bytes = name, 0, 0
        self.corrupted = self.mixed_up = 0
        self.errors: Counter[str] = Counter()
        self.latencies_ns: list[int] = []
        self._channels, self._source = channels, source
        self._random = random.Random(seed)
        methods = list(channels)
        # One method for each sender: more would only mean more connections that idle.
        [self._method] = self._random.choices(methods, [METHOD_WEIGHTS[name] for name in methods])

    def run(self, until_s: float) -> None:
        """Send until the time is over; what fails is counted, and the next is sent."""
        sequence = 0
        while time.monotonic() < until_s:
            try:
                self._send(self._method, sequence)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
                self.errors[f"{self._method}: {type(error).__name__}: {error}"[:300]] += 1
            sequence += 1

    def _send(self, method: str, sequence: int) -> None:
        channel, size = self._channels[method], self._size(method)
        payload = self._payload(channel, method, size)
        is_echo = size <= _LARGEST_ECHO_BYTES and self._random.random() < _ECHO_SHARE
        expected = checksum(payload)
        started_ns = time.perf_counter_ns()
        answer = channel.send(payload, session=f"{self.name}:{sequence}:{expected}:{int(is_echo)}")
        self.latencies_ns.append(time.perf_counter_ns() - started_ns)
        if is_echo:
            self.corrupted += checksum(answer) != expected
        else:
            self.corrupted += int(answer[0]) != expected
            self.mixed_up += int(answer[1]) != sequence
        self.sent += 1
        self.bytes += size

    def _size(self, method: str) -> int:
        largest = _LARGEST_CALL_BYTES if method.startswith("grpc") else USUAL_BYTES
        if largest == USUAL_BYTES and self._random.random() < _LARGE_SHARE:
            largest = LARGEST_BYTES
        return int(SMALLEST_BYTES * math.exp(self._random.random() * math.log(largest / SMALLEST_BYTES))) & -8

    def _payload(self, channel: Channel, method: str, size: int) -> Any:
        """A piece of the source as a tensor, as bytes, or as a table, without a copy; or a copy born in a block."""
        start = self._random.randrange(0, len(self._source) - size) & -64
        piece = self._source[start : start + size]
        if method == "shm_pool" and self._random.random() < _IN_PLACE_SHARE:
            born = channel.empty(size, "uint8", timeout_s=_TIMEOUT_S)
            born[:] = piece
            return born
        is_table_small = method.startswith("shm") or size <= _LARGEST_COPIED_TABLE_BYTES
        kind = self._random.randrange(3 if is_table_small else 2)
        if kind == 0:
            return piece
        return piece.data if kind == 1 else pa.table({"x": piece.view(np.int64)})


def serve(address: str, arena_bytes: int, methods: list[str]) -> dict[str, Any]:
    """Serve until standard input is closed; then what was seen, and what is left."""
    checker = Checker()
    with serve_channel(checker, address, methods=methods, arena_bytes=arena_bytes) as server:
        say({"ready": True})
        sys.stdin.read()
        settle(lambda: server.statistics().lanes == 0 and server.statistics().arena.leased_bytes == 0)
        left = server.statistics()
        return {
            "handled": dict(checker.handled),
            "corrupted": checker.corrupted,
            "reordered": checker.reordered,
            "refused": left.refused,
            "leaked_bytes": left.arena.leased_bytes + left.mapped_bytes + left.lent_bytes,
            "reserved_bytes": left.arena.reserved_bytes,
            "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - only their number
        }


def send(address: str, arena_bytes: int, methods: list[str], senders: int, seconds: float, seed: str) -> dict[str, Any]:
    """Run the senders of one client; then what they saw, and what is left."""
    source = np.frombuffer(random.Random(seed).randbytes(_SOURCE_BYTES), np.uint8)
    channels = {
        name: connect(
            address, methods=[name], record=False, timeout_s=_TIMEOUT_S, arena_bytes=arena_bytes, max_in_flight=senders
        )
        for name in methods
    }
    crowd = [Sender(f"{seed}-{number}", channels, source, f"{seed}/{number}") for number in range(senders)]
    say({"ready": True})
    sys.stdin.readline()
    until_s = time.monotonic() + seconds
    threads = [threading.Thread(target=sender.run, args=(until_s,)) for sender in crowd]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    settle(lambda: all(channel.statistics().arena.leased_bytes == 0 for channel in channels.values()))
    statistics = {name: channel.statistics() for name, channel in channels.items()}
    for channel in channels.values():
        channel.close()
    errors: Counter[str] = sum((sender.errors for sender in crowd), Counter())
    return {
        "sent": {sender.name: sender.sent for sender in crowd},
        "bytes": sum(sender.bytes for sender in crowd),
        "errors": errors,
        "corrupted": sum(sender.corrupted for sender in crowd),
        "reordered": sum(sender.mixed_up for sender in crowd),
        "methods": {name: figures.requests for name, figures in statistics.items()},
        "leaked_bytes": sum(f.arena.leased_bytes + f.lent_bytes for f in statistics.values()),
        "reserved_bytes": sum(f.arena.reserved_bytes for f in statistics.values()),
        "latencies_ns": [latency for sender in crowd for latency in sender.latencies_ns],
    }


def settle(is_settled: Any) -> None:
    """Give what comes back by itself the time to do so."""
    deadline_s = time.monotonic() + _SETTLES_WITHIN_S
    while not is_settled() and time.monotonic() < deadline_s:
        time.sleep(0.05)


def say(facts: dict[str, Any]) -> None:
    """A line of JSON for the driver."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Play the part that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("server", "client"))
    parser.add_argument("address")
    parser.add_argument("--arena-bytes", type=int, required=True)
    parser.add_argument("--methods", default=",".join(SIMPLICITY_ORDER))
    parser.add_argument("--senders", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--seed", default="0")
    options = parser.parse_args()
    methods = options.methods.split(",")
    if options.part == "server":
        say(serve(options.address, options.arena_bytes, methods))
    else:
        arguments = (options.address, options.arena_bytes, methods, options.senders, options.seconds, options.seed)
        say(send(*arguments))
    os._exit(0)  # gRPC's threads would hold a normal exit up


if __name__ == "__main__":
    main()

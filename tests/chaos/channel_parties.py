"""The processes of `channel_harness.py`: servers, and senders that check every answer.

Every payload names its sender and its number and holds a checksum; the server checks it and says what it saw, or sends
it back. A party is told what to do over a socket: one message of JSON each way.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import random
import signal
import socket
import struct
import sys
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import perfkit
from perfkit.config.fingerprint import collect_fingerprint
from perfkit.errors import (
    CodecError,
    HandlerError,
    MethodUnavailableError,
    NoRoomError,
    PeerLostError,
    ProtocolError,
    TransferError,
    TransferTimeoutError,
)
from perfkit.transfer.codecs import decode, detect, get_codec
from perfkit.transfer.platform import capabilities

HEADER = struct.Struct("<QQQI4x")
NOISE = np.frombuffer(random.Random(1).randbytes(48 * 2**20), np.uint8)
SLOW_S = 0.5
"""Sends that take longer are told to the judge, who knows what the machine did meanwhile."""
SETTLE_S = 15.0
KEPT = 6
THREADS = 3
LARGEST = {"mixed": 2**21, "large": 2**24, "slow handler": 2**18, "holds views": 2**20, "connect": 2**16}
"""How clients of each sort behave, and the largest payload that they send."""
LARGEST_GRPC_BYTES = 2**20
"""Nine threads that send large bodies by gRPC on two cores take seconds each, without being hung."""
EXPECTED = (PeerLostError, MethodUnavailableError, TransferTimeoutError)
WRONG = (CodecError, ProtocolError, HandlerError)
"""Nobody here breaks the rules and no handler fails: these would mean that a payload was damaged."""


def make_payload(data: np.ndarray[Any, Any], sender: int, number: int, offset: int) -> Any:
    """Fill `data` with bytes that tell whose they are."""
    body = NOISE[offset : offset + len(data) - HEADER.size]
    data[HEADER.size :] = body
    data[: HEADER.size] = np.frombuffer(HEADER.pack(sender, number, len(data), zlib.crc32(body)), np.uint8)
    return data


def read_payload(payload: Any) -> tuple[int, int, int]:
    """Sender, number and checksum of a payload; raises `ValueError` when it is damaged."""
    if isinstance(payload, pa.Table):
        payload = payload.column(0).chunk(0).to_numpy()
    data = np.frombuffer(payload, np.uint8)
    sender, number, length, checksum = HEADER.unpack_from(data)
    if length != len(data) or checksum != zlib.crc32(data[HEADER.size :]):
        raise ValueError(f"payload {number} of sender {sender} is damaged")
    return sender, number, checksum


class Wire:
    """The judge's connection to a party."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def ask(self) -> list[Any]:
        """Wait for what to do."""
        message = self._connection.recv(2**16)
        if not message:  # the judge is gone
            os._exit(1)
        return list(json.loads(message))

    def tell(self, answer: Any) -> None:
        """Say what became of it."""
        self._connection.send(json.dumps(answer).encode())


def warm_up() -> None:
    """Load and find out what every party needs, before it is forked: it is alive the sooner."""
    importlib.import_module("perfkit.channel")
    collect_fingerprint()
    capabilities()
    for payload in (np.zeros(9, np.uint8), b"bytes", "text", [1], pa.table({"bytes": np.zeros(9, np.uint8)})):
        encoded = get_codec(*detect(payload)).encode(payload)
        decode(encoded.meta, encoded.to_view())


def begin(failures: Path) -> None:
    """What every party does first: say where it hangs when it is asked with a signal."""
    file = failures.with_suffix(f".{os.getpid()}.stacks").open("w")
    faulthandler.register(signal.SIGUSR1, file=file, all_threads=True)


def used() -> dict[str, int]:
    """Descriptors of this process, and memory of others' that is mapped or open here."""
    gc.collect()
    links = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{name}"))  # noqa: PTH115
    maps = Path("/proc/self/maps").read_text().count("memfd:perfkit")
    return {"fds": len(links), "maps": maps, "threads": threading.active_count()}


# --- the server ------------------------------------------------------------------------------------------------------


class Handler:
    """Checks what comes, and does what the session's name says: echo, slow, keep."""

    def __init__(self) -> None:
        self.wrong = 0
        self.kept: deque[Any] = deque(maxlen=KEPT)

    def __call__(self, payload: Any, request: perfkit.Request) -> Any:
        try:
            sender, number, checksum = read_payload(payload)
        except ValueError:
            self.wrong += 1
            raise
        if "slow" in request.session:
            time.sleep(0.03)
        if "keep" in request.session:
            self.kept.append(payload)
        return payload if "echo" in request.session else [sender, number, checksum]


def run_server(wire: Wire, address: str, methods: list[str]) -> None:
    """Serve until told to close, or killed."""
    handler = Handler()
    with perfkit.serve(handler, address, methods=methods, arena_bytes="256MiB") as server:
        wire.tell("listening")
        while wire.ask()[0] != "close":
            handler.kept.clear()
            told = server.statistics()
            wire.tell({
                "peers": told.peers, "lanes": told.lanes, "mapped_bytes": told.mapped_bytes,
                "lent_bytes": told.lent_bytes, "leased_blocks": told.arena.leased_blocks, "wrong": handler.wrong,
                "refused": told.refused, "last_refusal": told.last_refusal, **used(),
            })  # fmt: skip
        handler.kept.clear()
    wire.tell({"wrong": handler.wrong})


# --- a sender --------------------------------------------------------------------------------------------------------


class Sender:
    """Channels by each method, and threads that send over them until they are told to rest."""

    def __init__(self, address: str, sort: str, methods: list[str], seed: int) -> None:
        self.sort, self.methods = sort, methods
        self.sends = self.answers = self.wrong = self.retried = 0
        self.errors: Counter[str] = Counter()
        self.slow: list[tuple[float, float, str]] = []
        self.failures: list[str] = []
        self._address, self._id, self._number = address, seed, 0
        self._channels: dict[str, perfkit.Channel] = {}
        self._threads: list[threading.Thread] = []
        self._is_resting = threading.Event()
        self._lock = threading.Lock()
        self.first_answer = threading.Event()

    def go(self, timeout_s: float) -> None:
        """Begin to send."""
        self._is_resting.clear()
        work = self._connect_again_and_again if self.sort == "connect" else self._send_again_and_again
        self._threads = [
            threading.Thread(target=self._guarded, args=(work, timeout_s, index)) for index in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._is_resting.set()
        for thread in self._threads:
            thread.join()

    def rest(self, *, closes: bool) -> dict[str, Any]:
        """Wait until our blocks are back; what happened since the last rest."""
        deadline_s = time.monotonic() + SETTLE_S
        while (leased := self._leased()) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        self.retried += sum(channel.statistics().retries for channel in self._channels.values()) if closes else 0
        reserved = sum(channel.arena.stats().reserved_bytes for channel in self._channels.values())
        if closes:
            for channel in self._channels.values():
                channel.close()
            self._channels.clear()
        report = {
            "sends": self.sends, "answers": self.answers, "wrong": self.wrong, "retried": self.retried,
            "errors": dict(self.errors), "slow": self.slow[:50], "failures": self.failures[:3], "leased": leased,
            "reserved_bytes": reserved, "channels": len(self._channels), **used(),
        }  # fmt: skip
        self.sends = self.answers = self.wrong = self.retried = 0
        self.errors.clear()
        self.slow, self.failures = [], []
        return report

    def _leased(self) -> int:
        gc.collect()
        return sum(channel.arena.stats().leased_blocks for channel in self._channels.values())

    def _guarded(self, work: Callable[[float, random.Random], None], timeout_s: float, index: int) -> None:
        try:
            work(timeout_s, random.Random(f"{self._id}-{index}-{self._number}"))
        except BaseException as error:  # noqa: BLE001 - told to the judge
            import traceback

            self.failures.append(f"{error!r}\n{traceback.format_exc()}")

    def _send_again_and_again(self, timeout_s: float, chance: random.Random) -> None:
        held: deque[Any] = deque(maxlen=KEPT)
        while not self._is_resting.is_set():
            method = chance.choice(self.methods)
            channel = self._try("connect", lambda method=method: self._channel(method, timeout_s))
            if channel is None:
                time.sleep(0.01)
                continue
            answer = self._send(channel, chance, timeout_s)
            if self.sort == "holds views":
                held.append(answer)

    def _connect_again_and_again(self, timeout_s: float, chance: random.Random) -> None:
        while not self._is_resting.is_set():
            channel = self._try("connect", lambda: self._connect(chance.choice(self.methods), timeout_s))
            if channel is not None:
                with channel:
                    self._send(channel, chance, timeout_s)
                    self.retried += channel.statistics().retries

    def _channel(self, method: str, timeout_s: float) -> perfkit.Channel:
        known = self._channels.get(method)
        if known is not None:
            return known
        made = self._connect(method, timeout_s)
        with self._lock:
            kept = self._channels.setdefault(method, made)
        if kept is not made:  # another thread was quicker
            made.close()
        return kept

    def _connect(self, method: str, timeout_s: float) -> perfkit.Channel:
        return perfkit.connect(
            self._address,
            methods=[method],
            record=False,
            timeout_s=timeout_s,
            connect_timeout_s=timeout_s,
            arena_bytes="256MiB",
        )

    def _send(self, channel: perfkit.Channel, chance: random.Random, timeout_s: float) -> Any:
        with self._lock:
            self._number += 1
            number = self._number
        size_bytes = int(100 * (LARGEST[self.sort] / 100) ** chance.random()) + HEADER.size
        if self.sort == "large" and chance.random() < 0.7:
            size_bytes = LARGEST["large"]
        if "grpc" in repr(channel):
            size_bytes = min(size_bytes, LARGEST_GRPC_BYTES)
        payload = self._payload(channel, chance, number, size_bytes)
        wanted = read_payload(payload)
        session = chance.choice(("echo", "echo", "digest", "digest", "echo keep", "digest keep"))
        if self.sort == "slow handler":
            session = f"slow {session}"
        self.sends += 1
        answer = self._try("send", lambda: channel.send(payload, session=session, timeout_s=timeout_s))
        if answer is None:
            return None
        try:
            found = read_payload(answer) if "echo" in session else tuple(answer)
        except (ValueError, TypeError) as error:
            found = error
        self.answers += 1
        self.wrong += found != wanted
        self.first_answer.set()
        return answer

    def _payload(self, channel: perfkit.Channel, chance: random.Random, number: int, size_bytes: int) -> Any:
        in_place = "shm_pool" in repr(channel) and chance.random() < 0.4
        data = None
        if in_place:
            with contextlib.suppress(NoRoomError):
                data = channel.empty(size_bytes, "uint8")
        if data is None:
            data = np.empty(size_bytes, np.uint8)
        make_payload(data, self._id, number, chance.randrange(2**20))
        kind = chance.random()
        if in_place or kind < 0.4:
            return data
        return data.tobytes() if kind < 0.8 else pa.table({"bytes": data})

    def _try(self, what: str, do: Callable[[], Any]) -> Any:
        """The answer, or None and a count of what came instead."""
        begun_s = time.monotonic()
        try:
            return do()
        except EXPECTED as error:
            self.errors[type(error).__name__] += 1
        except WRONG as error:
            self.wrong += 1
            self.failures.append(repr(error))
        except TransferError as error:
            self.failures.append(repr(error))
        finally:
            if time.monotonic() - begun_s > SLOW_S:
                self.slow.append((begun_s, time.monotonic(), what))
        return None


def run_sender(wire: Wire, address: str, sort: str, methods: list[str], seed: int) -> None:
    """Send and rest as told, until told to close, or killed."""
    sys.setswitchinterval(0.001)
    sender = Sender(address, sort, methods, seed)
    while True:
        what, *arguments = wire.ask()
        if what == "go":
            sender.methods = arguments[1]
            sender.go(arguments[0])
            wire.tell("gone")
        elif what == "first answer":
            wire.tell(sender.first_answer.wait(arguments[0]))
        elif what == "stop":
            sender.stop()
            wire.tell("stopped")
        elif what == "rest":
            wire.tell(sender.rest(closes=arguments[0]))
        else:
            wire.tell("closed")
            return

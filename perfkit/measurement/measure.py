"""Measuring one scenario in the sender's process: a batch of sends, timed one by one.

The clock runs from the sender's call to the acknowledgement that the receiver holds a readable payload. Integrity is
checked once per scenario and launch, outside the clock, through the very function that the clock runs around.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from perfkit.errors import MeasurementError
from perfkit.measurement.footprints import (
    SMALLEST_PROBED_BYTES,
    Footprint,
    codec_footprint,
    transfer_footprint,
)
from perfkit.measurement.ladder_load import Load, drive
from perfkit.measurement.payloads import make_payload
from perfkit.measurement.scenarios import CODEC_STAGES, CONTROL_COPY, Scenario, sends_per_batch
from perfkit.transfer.arena import Arena
from perfkit.transfer.codecs import get_codec
from perfkit.transfer.copying import PLAIN, CopyPlan, copy_into
from perfkit.transfer.delivery import digest
from perfkit.transfer.protocol import Encoded, Encoder, InPlaceSender, Sender, SenderOptions
from perfkit.transfer.receiver import UsageConnection
from perfkit.transfer.registry import get_method
from perfkit.transfer.wire import FLAG_DECODE, FLAG_TIME_DECODE, FLAG_TOUCH, FLAG_VERIFY

__all__ = ["Batch", "Bench"]

_SOURCE_SEED = 7
_NEVER_CACHED_BYTES = 32 * 2**20  # nothing of a payload this large is warmer for having been sent a moment ago
_LEAST_ADDED = 0.2  # of a codec's own time: where noise hides what it adds, its cost stays positive


_Send = Callable[..., int]
"""``send(more_flags=0) -> value``: one send, with flags added to those of its scenario."""


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """What one batch of sends showed; processor times are per send."""

    latency_ns: list[int]
    wire_bytes: int
    cpu_sender_ns: int | None = None
    cpu_receiver_ns: int | None = None
    copied_bytes: int | None = None
    resident_bytes: int | None = None
    peak_memory_bytes: int | None = None


class Bench:
    """The sender's side of a launch: connections, payloads and buffers, made on first use and kept warm.

    Args:
        folder: where the receiver listens.
        copy_plan: how to copy into shared memory.
    """

    def __init__(self, folder: str, copy_plan: CopyPlan = PLAIN) -> None:
        self._folder, self._copy_plan = folder, copy_plan
        self._arena = Arena(limit_bytes=2**40)  # headroom is the limit that counts here
        self._usage = UsageConnection(folder)
        self._senders: dict[tuple[str, str, int], Sender] = {}
        self._verified: set[Scenario] = set()
        self._warmed: set[Scenario] = set()
        self._sizes_on_wire: dict[Scenario, int] = {}
        self._payloads: dict[tuple[str, int, str], Any] = {}
        self._source = memoryview(b"")

    def run(self, scenario: Scenario) -> Batch:
        """Measure one batch.


        Raises:
            MeasurementError: the receiver did not get the bytes that were sent.
            TransferError: the method failed.
        """
        if scenario.stage == "control" and scenario.method == CONTROL_COPY:
            return self._copy(scenario)
        if scenario.stage in CODEC_STAGES:
            return self._codec_stage(scenario)
        if scenario.temperature == "cold":
            return self._cold(scenario)
        return self._warm(scenario)

    def footprint(self, scenario: Scenario) -> Footprint | None:
        """Memory that a first transfer takes, or a codec's stage; None where it is too small to be told.

        Raises:
            TransferError: the method failed.
        """
        if scenario.payload_bytes < SMALLEST_PROBED_BYTES:
            return None
        if scenario.stage in CODEC_STAGES:
            codec = get_codec(scenario.kind, scenario.format, scenario.compression, allow_pickle=True)
            sender = self._sender("uds", "uds", 0)
            return codec_footprint(scenario.stage, codec, self._payload(scenario), sender, self._usage)
        # A region per block, so that a large region does not stand for a small payload.
        with contextlib.closing(Arena(limit_bytes=2**40, region_bytes=1)) as arena:
            flags = FLAG_DECODE if scenario.stage == "whole" else 0
            with contextlib.closing(self._connect(scenario.method, scenario.signalling, arena=None)) as rehearsing:
                rehearsing.send(self._encoded(scenario), flags)  # the first use of a library takes memory once for all
            with contextlib.closing(self._connect(scenario.method, scenario.signalling, arena)) as sender:
                is_shared = get_method(scenario.method).implementation.zero_copy
                return transfer_footprint(lambda: self._encoded(scenario), sender, flags, is_shared, self._usage)

    def load(self, scenario: Scenario, seconds: float) -> Load:
        """Keep as many sends of a transport under way as the scenario has in flight; see `drive`.

        Raises:
            MeasurementError: the receiver did not get the bytes that were sent.
            TransferError: the method failed.
        """
        senders = [self._sender(scenario.method, scenario.signalling, index) for index in range(scenario.in_flight)]
        with contextlib.ExitStack() as stack:
            sends = [self._prepare(scenario, sender, stack) for sender in senders]
            self._verify(scenario, sends)
            with _no_collection():
                return drive(sends, seconds)

    def close(self) -> None:
        """Close every connection and give the memory back."""
        for sender in self._senders.values():
            sender.close()
        self._senders.clear()
        self._usage.close()
        self._arena.close()

    # --- transport and whole ---------------------------------------------------------------------------------------

    def _warm(self, scenario: Scenario) -> Batch:
        senders = [
            self._sender(scenario.method, scenario.signalling, index) for index in range(max(1, scenario.in_flight))
        ]
        with contextlib.ExitStack() as stack:
            sends = [self._prepare(scenario, sender, stack) for sender in senders]
            if scenario.stage != "control":
                self._verify(scenario, sends)
            is_small = scenario.payload_bytes < _NEVER_CACHED_BYTES or scenario.placement == "in_place"
            if is_small or scenario not in self._warmed:
                for send in sends:
                    send()
            self._warmed.add(scenario)
            return self._timed(scenario, sends)

    def _prepare(self, scenario: Scenario, sender: Sender, stack: contextlib.ExitStack) -> _Send:
        """One send of the scenario as a function: what the clock runs around."""
        flags = FLAG_TOUCH if scenario.touched else 0
        if scenario.stage == "whole":
            payload = self._payload(scenario)
            encode = get_codec(scenario.kind, scenario.format, scenario.compression, allow_pickle=True).encode
            flags |= FLAG_DECODE
            return lambda more=0: sender.send(encode(payload), flags | more)
        encoded = self._encoded(scenario)
        if scenario.placement == "copied":
            return lambda more=0: sender.send(encoded, flags | more)
        in_place: InPlaceSender = sender  # type: ignore[assignment]  # checked by Scenario.check
        block = in_place.lease(scenario.payload_bytes)
        stack.callback(in_place.release, block)
        copy_into(block.view, encoded.to_view(), self._copy_plan)
        return lambda more=0: in_place.send_block(block, scenario.payload_bytes, b"", flags | more)

    def _timed(self, scenario: Scenario, sends: list[_Send]) -> Batch:
        count = sends_per_batch(scenario)
        cpu_receiver = self._usage.cpu_time_ns()
        cpu_sender = time.process_time_ns()
        with _no_collection():
            if len(sends) == 1:
                latencies = _time_sends(sends[0], count, scenario.interval_ns)
            else:
                latencies = _time_in_flight(sends, count, scenario.interval_ns)
        cpu_sender = time.process_time_ns() - cpu_sender
        cpu_receiver = self._usage.cpu_time_ns() - cpu_receiver
        wire_bytes = self._wire_bytes(scenario)
        copies = get_method(scenario.method).implementation.copies - (scenario.placement == "in_place")
        return Batch(
            latencies, wire_bytes, cpu_sender // len(latencies), cpu_receiver // len(latencies), copies * wire_bytes
        )

    def _cold(self, scenario: Scenario) -> Batch:
        sender = self._connect(scenario.method, scenario.signalling, arena=None)
        with contextlib.closing(sender), contextlib.ExitStack() as stack:
            send = self._prepare(scenario, sender, stack)
            with _no_collection():
                latencies = _time_sends(send, 1, 0)
            self._verify(scenario, [send])  # afterwards: the first send is the cold one
        return Batch(latencies, self._wire_bytes(scenario))

    def _verify(self, scenario: Scenario, sends: Sequence[_Send]) -> None:
        """Once per scenario, by everything that sends it: the receiver got the bytes that were sent."""
        if scenario in self._verified:
            return
        expected = digest(self._encoded(scenario).to_view())
        for send in sends:
            got = send(FLAG_VERIFY)
            if got != expected:
                raise MeasurementError(
                    f"{scenario.name}: the receiver got other bytes than were sent (digest {got:#x}, expected "
                    f"{expected:#x}); report this as a bug and leave the method out with --methods"
                )
        self._verified.add(scenario)

    def _sender(self, method: str, signalling: str, index: int) -> Sender:
        key = (method, signalling, index)
        if key not in self._senders:
            self._senders[key] = self._connect(method, signalling, arena=self._arena)
        return self._senders[key]

    def _connect(self, method: str, signalling: str, arena: Arena | None) -> Sender:
        options = SenderOptions(signalling=signalling, arena=arena, copy_plan=self._copy_plan)
        sender: Sender = get_method(method).implementation.connect(self._folder, options)
        return sender

    # --- codecs and controls -------------------------------------------------------------------------------------

    def _codec_stage(self, scenario: Scenario) -> Batch:
        """What a codec adds to a transfer: whole transfers less the same transfers without it, shared out by stage.

        A codec alone in a tight loop finds the processor's caches as it left them and lets nobody sleep. In service
        both sides run in turns, evict what the other needs and sleep meanwhile: that, too, is what the codec costs.
        One factor for the batch: medians keep the noise of single sends from biasing it.
        """
        codec = get_codec(scenario.kind, scenario.format, scenario.compression, allow_pickle=True)
        payload = self._payload(scenario)
        sender = self._sender("uds", "uds", 0)
        encoded = codec.encode(payload)
        ready = Encoded(encoded.meta, encoded.wire_bytes, encoded.to_view())
        block = self._arena.lease(encoded.wire_bytes)
        into = block.view[: encoded.wire_bytes] if scenario.stage == "encode_into" else None
        is_decode, count = scenario.stage == "decode", sends_per_batch(scenario)
        try:
            _send_whole(codec, payload, sender, into)
            with _no_collection():
                bare_ns = statistics.median(_time_sends(lambda: sender.send(ready), count + 1, 0)[1:])
                transfers = [_send_whole(codec, payload, sender, into) for _ in range(count)]
        finally:
            self._arena.release(block)
        stage_ns = [decode_ns if is_decode else encode_ns for encode_ns, decode_ns, _ in transfers]
        factor = _added_per_own(transfers, bare_ns)
        latencies = [max(1, round(took_ns * factor)) for took_ns in stage_ns]
        # One thread that never waits: what it took by itself is what it used.
        used_ns = int(statistics.median(stage_ns))
        return Batch(latencies, encoded.wire_bytes, 0 if is_decode else used_ns, used_ns if is_decode else 0)

    def _copy(self, scenario: Scenario) -> Batch:
        block = self._arena.lease(scenario.payload_bytes)
        source = self._bytes(scenario.payload_bytes)
        try:
            copy_into(block.view, source, self._copy_plan)
            with _no_collection():
                latencies = _time_sends(
                    lambda: copy_into(block.view, source, self._copy_plan), sends_per_batch(scenario), 0
                )
        finally:
            self._arena.release(block)
        return Batch(latencies, scenario.payload_bytes)

    # --- payloads ------------------------------------------------------------------------------------------------

    def _bytes(self, payload_bytes: int) -> memoryview:
        """The same source for every method: a slice of one random buffer."""
        if len(self._source) < payload_bytes:
            self._source = memoryview(bytearray(_random_bytes(payload_bytes)))
        return self._source[:payload_bytes]

    def _encoded(self, scenario: Scenario) -> Encoded:
        if scenario.stage == "whole":
            codec = get_codec(scenario.kind, scenario.format, scenario.compression, allow_pickle=True)
            return codec.encode(self._payload(scenario))
        return Encoded(b"", scenario.payload_bytes, self._bytes(scenario.payload_bytes))

    def _wire_bytes(self, scenario: Scenario) -> int:
        if scenario not in self._sizes_on_wire:
            self._sizes_on_wire[scenario] = self._encoded(scenario).wire_bytes
        return self._sizes_on_wire[scenario]

    def _payload(self, scenario: Scenario) -> Any:
        key = (scenario.kind, scenario.payload_bytes, scenario.entropy)
        if key not in self._payloads:
            if len(self._payloads) >= 64:
                self._payloads.clear()
            self._payloads[key] = make_payload(scenario.kind, scenario.payload_bytes, scenario.entropy, _SOURCE_SEED)
        return self._payloads[key]


def _added_per_own(transfers: Sequence[tuple[int, int, int]], bare_ns: float) -> float:
    """What a codec adds to a transfer, per nanosecond of its own time; `transfers` as from `_send_whole`."""
    added_ns = statistics.median(whole_ns for _, _, whole_ns in transfers) - bare_ns
    own_ns = statistics.median(encode_ns + decode_ns for encode_ns, decode_ns, _ in transfers)
    return max(_LEAST_ADDED, added_ns / own_ns)


def _send_whole(codec: Encoder, payload: Any, sender: Sender, into: memoryview | None) -> tuple[int, int, int]:
    """Encode (into a block if one is given), send, decode; returns the nanoseconds of encode, decode and all of it."""
    clock = time.perf_counter_ns
    started_ns = clock()
    encoded = codec.encode(payload)
    if into is not None and encoded.write_into is not None:
        encoded.write_into(into)
        view = into
    else:
        view = encoded.to_view()
    encode_ns = clock() - started_ns
    decode_ns = sender.send(Encoded(encoded.meta, encoded.wire_bytes, view), FLAG_DECODE | FLAG_TIME_DECODE)
    return encode_ns, decode_ns, clock() - started_ns


def _random_bytes(size_bytes: int) -> bytes:
    block = np.random.default_rng(_SOURCE_SEED).bytes(min(size_bytes, 16 * 2**20))
    return (block * (size_bytes // len(block) + 1))[:size_bytes]


def _time_sends(send: Callable[[], Any], count: int, interval_ns: int) -> list[int]:
    clock = time.perf_counter_ns
    latencies = []
    for _ in range(count):
        if interval_ns:
            time.sleep(interval_ns / 1e9)
        started = clock()
        send()
        latencies.append(clock() - started)
    return latencies


def _time_in_flight(sends: list[Callable[[], Any]], count: int, interval_ns: int) -> list[int]:
    """Every send in a thread of its own, begun together, each repeating: as many are under way as there are threads."""
    barrier = threading.Barrier(len(sends))
    results: list[list[int]] = [[] for _ in sends]
    failures: list[BaseException] = []

    def work(index: int) -> None:
        try:
            barrier.wait()
            results[index] = _time_sends(sends[index], count, interval_ns)
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(sends))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [latency for latencies in results for latency in latencies]


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """A garbage collection in the middle of a send is charged to nobody."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

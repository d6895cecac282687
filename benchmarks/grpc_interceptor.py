"""What the gRPC interceptors are worth: `python benchmarks/grpc_interceptor.py --json`.

Method. One service with one protobuf message (`bytes data`, `string name`) is served by two processes over Unix
sockets: one without interceptors, one with `perfkit.grpc.server_interceptor()`. The client has a plain channel to the
first and an intercepted one to the second. *Upload* sends the payload, and the handler reads the field and answers with
its length; *download* asks for the payload, and the client reads the field. Both ends read the field's bytes once in
both cases, as a real service does.

A launch is a fresh pair of servers and channels. In a launch every size has a number of rounds; in each round every
way is called once, in random order, so that drift of the machine meets all of them alike. Calls before the pool is in
use are not timed. A launch's figure is the median of its rounds; the ratio is of the medians within a launch; the
interval is the smallest and the largest launch. `control` calls the plain channel a second time: its ratio to the
first says how much of a difference is noise.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

import perfkit.grpc
from perfkit.config.fingerprint import collect_fingerprint
from perfkit.units import format_bytes, format_duration

ROUNDS = {1024: 100, 64 * 2**10: 100, 2**20: 40, 10 * 2**20: 12, 64 * 2**20: 4}
LAUNCHES = 3
WAYS = ("plain", "control", "interceptor")
LIMIT_BYTES = 2**28
UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


def make_message_class() -> Any:
    """The service's message, made without generated code."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="benchmark.proto", package="benchmark", syntax="proto3")
    message = file.message_type.add(name="Payload")
    message.field.add(name="data", number=1, type=field.TYPE_BYTES, label=field.LABEL_OPTIONAL)
    message.field.add(name="name", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("benchmark.Payload"))


Payload = make_message_class()


def serve(socket: str, kind: str) -> None:
    """Serve until standard input is closed."""
    kept = {size: b"d" * size for size in ROUNDS}
    handlers = {
        "upload": lambda request, context: Payload(name=str(len(request.data))),
        "download": lambda request, context: Payload(data=kept[int(request.name)]),
    }
    made = {
        name: grpc.unary_unary_rpc_method_handler(handler, Payload.FromString, Payload.SerializeToString)
        for name, handler in handlers.items()
    }
    interceptors = [perfkit.grpc.server_interceptor(limit_bytes=LIMIT_BYTES)] if kind == "interceptor" else []
    server = grpc.server(futures.ThreadPoolExecutor(2), interceptors=interceptors, options=UNLIMITED)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Benchmark", made),))
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    print("ready", flush=True)
    sys.stdin.read()
    server.stop(None).wait()


def start(socket: str, kind: str) -> subprocess.Popen[str]:
    """A server in a process of its own, listening."""
    command = [sys.executable, __file__, "--serve", socket, kind]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def calls_of(channel: grpc.Channel) -> dict[str, Callable[[int], None]]:
    """By direction: move a payload of so many bytes and read it."""
    upload = channel.unary_unary("/Benchmark/upload", Payload.SerializeToString, Payload.FromString)
    download = channel.unary_unary("/Benchmark/download", Payload.SerializeToString, Payload.FromString)
    messages = {size: Payload(data=b"u" * size) for size in ROUNDS}

    def send(size: int) -> None:
        if upload(messages[size], wait_for_ready=True).name != str(size):
            raise SystemExit("the payload did not arrive: the figures are void")

    def ask(size: int) -> None:
        if len(download(Payload(name=str(size)), wait_for_ready=True).data) != size:
            raise SystemExit("the payload did not arrive: the figures are void")

    return {"upload": send, "download": ask}


def warm(calls: dict[str, dict[str, Callable[[int], None]]], client: Any) -> None:
    """Call until both ends know each other and have made room for every size."""
    for size in ROUNDS:
        for direction in ("upload", "download"):
            for way in WAYS:
                calls[way][direction](size)
            for _ in range(40):
                before = client.statistics()
                calls["interceptor"][direction](size)
                after = client.statistics()
                is_pooled = after.sent_fields + after.received_fields > before.sent_fields + before.received_fields
                if is_pooled or size < perfkit.grpc.DEFAULT_THRESHOLD_BYTES:
                    break
                time.sleep(0.05)
            else:
                raise SystemExit(f"{format_bytes(size)} never went through the pool: {client.statistics()}")


def measure(seed: int, rounds: dict[int, int]) -> dict[tuple[str, int], dict[str, float]]:
    """One launch: median nanoseconds by direction, size and way."""
    generator = random.Random(seed)
    taken: dict[tuple[str, int], dict[str, list[int]]] = {}
    with tempfile.TemporaryDirectory(prefix="pk-", dir="/tmp") as folder:
        kinds = ("plain", "interceptor")
        processes = [start(str(Path(folder, kind)), kind) for kind in kinds]
        raw = {kind: grpc.insecure_channel(f"unix:{Path(folder, kind)}", options=UNLIMITED) for kind in kinds}
        client = perfkit.grpc.client_interceptor(limit_bytes=LIMIT_BYTES)
        calls = {"plain": calls_of(raw["plain"])}
        calls["control"] = calls["plain"]
        calls["interceptor"] = calls_of(grpc.intercept_channel(raw["interceptor"], client))
        warm(calls, client)
        for size, count in rounds.items():
            for direction in ("upload", "download"):
                times = taken[direction, size] = {way: [] for way in WAYS}
                for _ in range(count):
                    for way in generator.sample(WAYS, len(WAYS)):
                        started_ns = time.perf_counter_ns()
                        calls[way][direction](size)
                        times[way].append(time.perf_counter_ns() - started_ns)
        for channel in raw.values():
            channel.close()
        client.close()
        for process in processes:
            process.communicate()
    return {
        key: {way: statistics.median(durations) for way, durations in times.items()} for key, times in taken.items()
    }


def summarise(launches: list[dict[tuple[str, int], dict[str, float]]], rounds: dict[int, int]) -> list[dict[str, Any]]:
    """One row per direction and size: medians over launches, and the range of the launches."""
    rows = []
    for direction, size in launches[0]:
        cells = [launch[direction, size] for launch in launches]
        row: dict[str, Any] = {"direction": direction, "payload_bytes": size, "n": rounds[size] * len(launches)}
        for way in WAYS:
            row[f"{way}_ns"] = statistics.median(cell[way] for cell in cells)
        for way in ("control", "interceptor"):
            ratios = sorted(cell["plain"] / cell[way] for cell in cells)
            row[f"{way}_speedup"] = statistics.median(ratios)
            row[f"{way}_speedup_range"] = [ratios[0], ratios[-1]]
        rows.append(row)
    return rows


def main() -> None:
    """Print the figures; with ``--json`` the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument(
        "--launches", type=int, default=LAUNCHES, help=f"fresh pairs of processes (default: {LAUNCHES})"
    )
    parser.add_argument("--serve", nargs=2, metavar=("SOCKET", "KIND"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(*arguments.serve)
        return
    launches = [measure(seed, ROUNDS) for seed in range(arguments.launches)]
    rows = summarise(launches, ROUNDS)
    if arguments.json:
        print(json.dumps({"rows": rows, "launches": len(launches), "fingerprint": collect_fingerprint()}))
        return
    print(f"median of {len(launches)} launches (smallest and largest launch in brackets); speed-up over plain gRPC")
    for row in rows:
        times = "  ".join(f"{way} {format_duration(row[f'{way}_ns'])}" for way in WAYS)
        low, high = row["interceptor_speedup_range"]
        ratio = f"{row['interceptor_speedup']:.2f}x ({low:.2f}, {high:.2f})  control {row['control_speedup']:.2f}x"
        print(f"{row['direction']:9} {format_bytes(row['payload_bytes']):>7}  {times}  {ratio}  n={row['n']}")


if __name__ == "__main__":
    main()

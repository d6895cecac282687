"""A service as somebody else would have written it, without a line of perfkit in its handlers.

``python service.py SOCKET KIND`` serves it until standard input is closed; KIND is plain or perfkit.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from concurrent import futures
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
SERVICE = "test.Blobs"


def _describe() -> descriptor_pb2.FileDescriptorProto:
    field = descriptor_pb2.FieldDescriptorProto
    single, repeated = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    file = descriptor_pb2.FileDescriptorProto(name="test_blobs.proto", package="test", syntax="proto3")
    inner = file.message_type.add(name="Inner")
    inner.field.add(name="data", number=1, type=field.TYPE_BYTES, label=single)
    inner.field.add(name="number", number=2, type=field.TYPE_INT32, label=single)
    inner.field.add(name="words", number=3, type=field.TYPE_STRING, label=repeated)
    empty = file.message_type.add(name="Empty")
    assert empty is not None
    blob = file.message_type.add(name="Blob")
    blob.field.add(name="data", number=1, type=field.TYPE_BYTES, label=single)
    blob.field.add(name="many", number=2, type=field.TYPE_BYTES, label=repeated)
    blob.field.add(name="name", number=3, type=field.TYPE_STRING, label=single)
    blob.field.add(name="inner", number=4, type=field.TYPE_MESSAGE, type_name=".test.Inner", label=single)
    blob.field.add(name="items", number=5, type=field.TYPE_MESSAGE, type_name=".test.Inner", label=repeated)
    table = blob.nested_type.add(name="TableEntry")
    table.options.map_entry = True
    table.field.add(name="key", number=1, type=field.TYPE_STRING, label=single)
    table.field.add(name="value", number=2, type=field.TYPE_BYTES, label=single)
    blob.field.add(name="table", number=6, type=field.TYPE_MESSAGE, type_name=".test.Blob.TableEntry", label=repeated)
    blob.oneof_decl.add(name="choice")
    blob.field.add(name="left", number=7, type=field.TYPE_BYTES, label=single, oneof_index=0)
    blob.field.add(name="right", number=8, type=field.TYPE_STRING, label=single, oneof_index=0)
    blob.oneof_decl.add(name="_maybe")
    maybe = blob.field.add(name="maybe", number=9, type=field.TYPE_BYTES, label=single, oneof_index=1)
    maybe.proto3_optional = True
    blob.field.add(name="deeper", number=10, type=field.TYPE_MESSAGE, type_name=".test.Blob", label=single)
    blob.field.add(name="nothing", number=11, type=field.TYPE_MESSAGE, type_name=".test.Empty", label=single)
    blob.field.add(name="import", number=12, type=field.TYPE_BYTES, label=single)
    return file


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_describe())
Blob: Any = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("test.Blob"))
Inner: Any = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("test.Inner"))
Empty: Any = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("test.Empty"))


class Handlers:
    """What the service does; `runs` counts how often each handler ran."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()

    def echo(self, request: Any, context: Any) -> Any:
        self.runs["echo"] += 1
        return request

    def digest(self, request: Any, context: Any) -> Any:
        self.runs["digest"] += 1
        return Blob(name=hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest())

    def make(self, request: Any, context: Any) -> Any:
        self.runs["make"] += 1
        return Blob(name=request.name, data=b"m" * int(request.name))

    def fail(self, request: Any, context: Any) -> Any:
        self.runs["fail"] += 1
        context.set_trailing_metadata((("x-why", "because"),))
        context.abort(grpc.StatusCode[request.name], f"{len(request.data)} bytes are no good")

    def fail_softly(self, request: Any, context: Any) -> Any:
        self.runs["fail_softly"] += 1
        context.set_code(grpc.StatusCode[request.name])
        context.set_details("softly")
        return request

    def slow(self, request: Any, context: Any) -> Any:
        self.runs["slow"] += 1
        time.sleep(float(request.name))
        return Blob(name=str(len(request.data)))

    def metadata(self, request: Any, context: Any) -> Any:
        self.runs["metadata"] += 1
        context.send_initial_metadata((("x-initial", "1"),))
        context.set_trailing_metadata((("x-trailing", "2"),))
        return Blob(name=str(dict(context.invocation_metadata()).get("x-user")), data=request.data)

    def count(self, request: Any, context: Any) -> Any:
        return Blob(name=json.dumps(self.runs))

    def stream(self, request: Any, context: Any) -> Any:
        self.runs["stream"] += 1
        for index in range(3):
            yield Blob(name=f"{index} {len(request.data)}")


STREAMS = ("stream",)
METHODS = ("echo", "digest", "make", "fail", "fail_softly", "slow", "metadata", "count", *STREAMS)


def start(socket: str, interceptors: Any = (), *, handlers: Handlers | None = None, threads: int = 8) -> grpc.Server:
    """Serve in this process."""
    handlers = handlers or Handlers()
    server = grpc.server(
        futures.ThreadPoolExecutor(threads),
        interceptors=list(interceptors),
        options=[*UNLIMITED, ("grpc.so_reuseport", 0)],
    )
    made = {}
    for name in METHODS:
        make = grpc.unary_stream_rpc_method_handler if name in STREAMS else grpc.unary_unary_rpc_method_handler
        made[name] = make(getattr(handlers, name), Blob.FromString, Blob.SerializeToString)
    # As generated code does: by name for new servers, generically for all.
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, made),))
    server.add_registered_method_handlers(SERVICE, made)
    assert server.add_insecure_port(f"unix:{socket}")
    server.start()
    return server


class Stub:
    """The methods of the service on a channel, as generated code makes them."""

    def __init__(self, channel: grpc.Channel) -> None:
        for name in METHODS:
            make = channel.unary_stream if name in STREAMS else channel.unary_unary
            setattr(self, name, make(f"/{SERVICE}/{name}", Blob.SerializeToString, Blob.FromString))


def main() -> None:
    socket, kind = sys.argv[1:]
    interceptors = []
    if kind == "perfkit":
        import perfkit.grpc

        interceptors.append(perfkit.grpc.server_interceptor(threshold_bytes=2**16))
    server = start(socket, interceptors)
    print("ready", flush=True)
    sys.stdin.read()
    server.stop(None).wait()


if __name__ == "__main__":
    main()

"""What every transfer method promises, checked on each: built in or registered."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from perfkit.errors import (
    MethodUnavailableError,
    PayloadTooLargeError,
    PeerLostError,
    TransferError,
    TransferTimeoutError,
)
from perfkit.schema import SIMPLICITY_ORDER
from perfkit.transfer.codecs import get_codec
from perfkit.transfer.protocol import Encoded, SenderOptions
from perfkit.transfer.receiver import start_receiver
from perfkit.transfer.registry import Method, get_method, method_names
from perfkit.transfer.wire import FLAG_DECODE, FLAG_TOUCH, FLAG_VERIFY

HERE = Path(__file__).parent
OWN_MODULES = ("own_method",)
sys.path.insert(0, str(HERE))
for module in OWN_MODULES:
    importlib.import_module(module)
NAMES = (*SIMPLICITY_ORDER, "own")
CASES = [(name, signalling) for name in NAMES for signalling in get_method(name).implementation.signallings]
SIZES = [0, 1, 7, 64, 4095, 4096, 4097, 65_535, 262_144, 1_048_577, 5 * 2**20]


@pytest.fixture(scope="module", autouse=True)
def _own_methods_can_be_imported():
    """By the receiver's process, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE))
        yield


@pytest.fixture(scope="module")
def receiver():
    with start_receiver(NAMES, modules=OWN_MODULES, allow_pickle=True, allow_unsealed=True) as running:
        yield running


@pytest.fixture(params=CASES, ids=lambda case: "+".join(case))
def sender(request, receiver):
    name, signalling = request.param
    opened = get_method(name).implementation.connect(receiver.folder, SenderOptions(signalling=signalling))
    yield opened
    opened.close()


def encoded_bytes(size: int) -> Encoded:
    return Encoded(b"", size, memoryview(np.random.default_rng(size).bytes(size)))


@pytest.mark.parametrize("size", SIZES)
def test_receiver_gets_the_bytes_that_were_sent(sender, size):
    """The digest that the receiver computes is that of the source, at every size around a boundary."""
    encoded = encoded_bytes(size)
    assert sender.send(encoded, FLAG_VERIFY) == zlib.crc32(encoded.body)


def test_sizes_may_come_in_any_order(sender):
    """A large payload after a small one and back: reused buffers never show an earlier payload's bytes."""
    for size in (100, 3_000_000, 50, 70_000, 1, 3_000_000, 2):
        encoded = encoded_bytes(size)
        assert sender.send(encoded, FLAG_VERIFY | FLAG_TOUCH) == zlib.crc32(encoded.body)


def test_codec_that_writes_into_a_destination_needs_no_body(sender):
    """`write_into` is called with a view of exactly `wire_bytes`, and what it writes arrives."""
    text = b"written in place " * 5000

    def write(destination: memoryview) -> None:
        assert destination.nbytes == len(text)
        destination[:] = text

    assert sender.send(Encoded(b"", len(text), write_into=write), FLAG_VERIFY) == zlib.crc32(text)


@pytest.mark.parametrize(("kind", "format_", "payload"), [("tensor", "numpy", np.arange(9.0)), ("text", "raw", "häß")])
def test_receiver_decodes_what_was_encoded(sender, kind, format_, payload):
    """With the flag to decode, a good payload is acknowledged and a damaged description is refused by name."""
    encoded = get_codec(kind, format_).encode(payload)
    assert sender.send(encoded, FLAG_DECODE) == 0
    with pytest.raises(TransferError, match="CodecError"):
        sender.send(Encoded(b"\xff\xff", encoded.wire_bytes, encoded.to_view()), FLAG_DECODE)


def test_long_description_arrives(sender):
    """A description larger than any first buffer is read whole."""
    encoded = get_codec("tensor", "numpy").encode(np.arange(4.0))
    with pytest.raises(TransferError):  # the description is nonsense, but it got there and was read to its end
        sender.send(Encoded(b"\xfe" * 200_000, encoded.wire_bytes, encoded.to_view()), FLAG_DECODE)


def test_closing_twice_is_harmless(sender):
    sender.close()
    sender.close()


@pytest.mark.parametrize(("name", "signalling"), CASES)
def test_death_of_the_receiver_is_an_error_not_a_hang(name, signalling):
    """A receiver that is killed makes the next send raise `PeerLostError`, well before the timeout."""
    with start_receiver([name], modules=OWN_MODULES) as doomed:
        options = SenderOptions(signalling=signalling, timeout_s=20)
        opened = get_method(name).implementation.connect(doomed.folder, options)
        opened.send(encoded_bytes(100_000))
        doomed.kill()
        with pytest.raises(PeerLostError):
            opened.send(encoded_bytes(100_000))
        opened.close()


def stop(pid, wait_until):
    """SIGSTOP, waiting until no thread runs any more: the signal takes effect some time after `kill` has returned."""
    os.kill(pid, signal.SIGSTOP)
    threads = list(Path(f"/proc/{pid}/task").glob("*/stat"))
    wait_until(lambda: all(thread.read_text().rpartition(")")[2].split()[0] == "T" for thread in threads), 10)


@pytest.mark.parametrize(("name", "signalling"), CASES)
def test_receiver_that_hangs_is_given_up(name, signalling, wait_until):
    """A receiver that is stopped, not dead: the send ends with `TransferTimeoutError` after the sender's timeout."""
    options = SenderOptions(signalling=signalling, timeout_s=1.0)
    connect = get_method(name).implementation.connect
    with start_receiver([name], modules=OWN_MODULES) as stopped, closing(connect(stopped.folder, options)) as opened:
        opened.send(encoded_bytes(1000))
        stop(stopped.pid, wait_until)
        with pytest.raises(TransferTimeoutError):
            opened.send(encoded_bytes(1000))
        os.kill(stopped.pid, signal.SIGCONT)
        # The late answer to the first send must not be taken for that of the second.
        with contextlib.suppress(PeerLostError):  # a connection that is given up is an answer, too
            assert opened.send(encoded_bytes(2000), FLAG_VERIFY) == zlib.crc32(encoded_bytes(2000).body)


@pytest.mark.parametrize("name", NAMES)
def test_no_receiver_is_said_so(name, tmp_path):
    with pytest.raises(MethodUnavailableError, match="is it running"):
        get_method(name).implementation.connect(str(tmp_path), SenderOptions(timeout_s=0.3))


@pytest.mark.parametrize("name", NAMES)
def test_class_offers_all_of_the_protocol(name):
    implementation = get_method(name).implementation
    parts = set(Method.__annotations__) | {"serve", "connect"}
    assert {part for part in parts if not hasattr(implementation, part)} == set()
    assert name in method_names()


def test_grpc_refuses_what_protobuf_cannot_carry(receiver):
    """Below 2 GiB, before a byte is copied; the same channel goes on with the next payload."""
    opened = get_method("grpc").implementation.connect(receiver.folder, SenderOptions())
    limit = get_method("grpc").implementation.max_bytes
    assert limit < 2**31
    with pytest.raises(PayloadTooLargeError, match="at most 2GiB: use grpc_stream, uds or shm_pool"):
        opened.send(Encoded(b"", limit + 1, memoryview(b"never read")))
    assert opened.send(encoded_bytes(100), FLAG_VERIFY) == zlib.crc32(encoded_bytes(100).body)
    opened.close()


@pytest.mark.parametrize("chunk_bytes", [1000, 4096, 2**20])
def test_chunk_size_of_a_stream_is_free(receiver, chunk_bytes):
    opened = get_method("grpc_stream").implementation.connect(receiver.folder, SenderOptions(chunk_bytes=chunk_bytes))
    for size in (0, 1, chunk_bytes - 1, chunk_bytes, 3 * chunk_bytes + 7):
        encoded = encoded_bytes(size)
        assert opened.send(encoded, FLAG_VERIFY) == zlib.crc32(encoded.body)
    opened.close()


@pytest.mark.parametrize("name", ["shm", "shm_pool"])
def test_named_memory_works_between_those_who_allow_it(receiver, name, tmp_path):
    """Memory in a folder instead of a memfd: the same bytes, and no name is left in the folder."""
    opened = get_method(name).implementation.connect(receiver.folder, SenderOptions(named_in=str(tmp_path)))
    encoded = encoded_bytes(300_000)
    assert opened.send(encoded, FLAG_VERIFY) == zlib.crc32(encoded.body)
    assert list(tmp_path.iterdir()) == []
    opened.close()


def test_nothing_is_left_behind(short_path, monkeypatch):
    """After the receiver's end there is neither socket nor folder nor descriptor of ours."""
    monkeypatch.setattr("tempfile.tempdir", str(short_path))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with start_receiver(["uds", "shm_pool", "shm"]) as running:
        assert list(short_path.iterdir())
        for name in ("uds", "shm_pool", "shm"):
            opened = get_method(name).implementation.connect(running.folder, SenderOptions())
            opened.send(encoded_bytes(10_000))
            opened.close()
    assert list(short_path.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) <= before

"""The core under another shell: asyncio, one connection, many requests under way. The core needs no change for it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

import perfkit
from perfkit.channel.core import Core
from perfkit.channel.events import Ended, Failed, Greeted, Leaving, Message
from perfkit.channel.frames import BYTES, pack_frame
from perfkit.channel.greeting import Greeting, introduce, read_greeting
from perfkit.channel.requests import request_meta
from perfkit.transfer.codecs import decode, get_codec

ANSWERED_S = 30


class Shell(asyncio.BufferedProtocol):
    """A client: all that it adds to the core is who waits for which answer."""

    def __init__(self) -> None:
        self.core = Core(is_server=False)
        self.greeted: asyncio.Future[Greeting] = asyncio.get_running_loop().create_future()
        self.left: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting: dict[int, asyncio.Future[Any]] = {}

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.core.hello(introduce(Greeting(("uds",), False, 2**32), is_first=True)))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.core.get_buffer()

    def buffer_updated(self, count: int) -> None:
        for event in self.core.buffer_updated(count):
            self.take(event)

    def eof_received(self) -> None:
        for event in self.core.end_received():
            self.take(event)

    def take(self, event: Any) -> None:
        if isinstance(event, Message | Failed):
            self.waiting.pop(event.request_id).set_result(event)
        elif isinstance(event, Greeted):
            self.greeted.set_result(read_greeting(event.facts))
        elif isinstance(event, Leaving | Ended) and not self.left.done():
            self.left.set_result(event)

    def begin(self, payload: Any, kind: str = "tensor", format: str = "numpy") -> tuple[int, asyncio.Future[Any]]:  # noqa: A002
        encoded = get_codec(kind, format).encode(payload)
        meta, body = request_meta("", encoded.meta), encoded.to_view()
        header = self.core.request(len(meta), BYTES, body.nbytes, body.nbytes)
        self.transport.writelines([pack_frame(header, meta), body, bytes(-body.nbytes % 64)])
        answer = self.waiting[self.core.last_request_id] = asyncio.get_running_loop().create_future()
        return self.core.last_request_id, answer

    async def send(self, payload: Any) -> Any:
        answer = await asyncio.wait_for(self.begin(payload)[1], ANSWERED_S)
        return payload_of(answer)


def payload_of(answer: Message) -> Any:
    return decode(answer.meta, answer.body if answer.body is not None else memoryview(b""))


@contextlib.asynccontextmanager
async def greet(address: str) -> AsyncIterator[Shell]:
    """A connection that is open."""
    transport, shell = await asyncio.get_running_loop().create_unix_connection(Shell, address.removeprefix("unix:"))
    try:
        await asyncio.wait_for(shell.greeted, ANSWERED_S)
        yield shell
    finally:
        transport.close()


def test_answers_come_out_of_order_on_one_connection(address):
    """Each request is answered only after the next one was: no order but the opposite one gets through."""
    count, turns = 8, [threading.Event() for _ in range(9)]
    turns[count].set()
    arrived = []

    def handler(payload):
        number = int(payload[0])
        assert turns[number + 1].wait(ANSWERED_S)
        return payload * 2

    async def talk() -> None:
        async with greet(address) as shell:

            async def send(number: int) -> None:
                payload = np.full(1 + number * 9000, number)  # from a few bytes to beyond the read buffer
                answer = await shell.send(payload)
                arrived.append(number)
                turns[number].set()
                assert np.array_equal(answer, payload * 2)

            await asyncio.gather(*(send(number) for number in range(count)))

    with perfkit.serve(handler, address) as server:
        asyncio.run(talk())
        assert server.statistics().requests == count
        assert server.statistics().refused == 0
    assert arrived == list(range(count))[::-1]


def test_many_bodies_are_under_way_both_ways(address):
    """Large and small ones, hundreds of them, while the bodies that came before are kept."""

    async def talk() -> None:
        async with greet(address) as shell:
            for start in range(0, 200, 50):
                payloads = [np.full((number % 7) ** 6, number, "i4") for number in range(start, start + 50)]
                answers = await asyncio.gather(*map(shell.send, payloads))
                assert all(map(np.array_equal, answers, payloads))

    with perfkit.serve(lambda payload: payload, address) as server:
        asyncio.run(talk())
        assert server.statistics().requests == 200


def test_error_and_cancel_concern_one_request_of_many(address):
    begun = threading.Event()

    def handler(payload, request):
        if payload[0] == 1:
            raise LookupError("one")
        if payload[0] == 2:
            begun.set()
            deadline = time.monotonic() + ANSWERED_S
            while not request.is_cancelled and time.monotonic() < deadline:
                time.sleep(0.005)
            return np.array([request.is_cancelled])
        return payload

    async def talk() -> None:
        async with greet(address) as shell:
            cancelled, answer = shell.begin(np.array([2]))
            failed = await asyncio.wait_for(shell.begin(np.array([1]))[1], ANSWERED_S)
            assert (failed.code, failed.kind, failed.text) == ("handler", "LookupError", "one")
            await asyncio.to_thread(begun.wait, ANSWERED_S)
            shell.transport.write(shell.core.cancel(cancelled))
            assert (await shell.send(np.array([3]))).tolist() == [3]
            message = await asyncio.wait_for(answer, ANSWERED_S)
            assert payload_of(message).tolist() == [True]

    with perfkit.serve(handler, address):
        asyncio.run(talk())


@pytest.mark.parametrize("under_way", [0, 3])
def test_server_that_closes_says_which_requests_it_handles(address, under_way):
    """What is under way is answered; goodbye names the last number that is."""
    begun, release = threading.Semaphore(0), threading.Event()

    def handler(payload):
        begun.release()
        assert release.wait(ANSWERED_S)
        return payload

    async def talk(server: perfkit.Server) -> None:
        async with greet(address) as shell:
            answers = [shell.begin(np.array([number]))[1] for number in range(under_way)]
            for _ in range(under_way):
                await asyncio.to_thread(begun.acquire, timeout=ANSWERED_S)
            closing = asyncio.create_task(asyncio.to_thread(server.close, ANSWERED_S))
            release.set()
            for number, answer in enumerate(answers):
                message = await asyncio.wait_for(answer, ANSWERED_S)
                assert payload_of(message).tolist() == [number]
            assert await asyncio.wait_for(shell.left, ANSWERED_S) == Leaving(under_way, "the server is closing")
            await closing

    asyncio.run(talk(perfkit.serve(handler, address)))

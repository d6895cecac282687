"""What the ends tell each other while nobody sends."""

from __future__ import annotations

import socket
import sys
import threading

import numpy as np

import perfkit
from perfkit.channel.core import Core
from perfkit.channel.frames import BLOCK_NAME, HEADER, HEADER_BYTES, MAGIC, padded
from perfkit.channel.session import Session
from perfkit.transfer.arena import Arena

LANES = 6


def test_a_release_is_heard_on_whichever_connection_it_comes(address, connect, wait_until) -> None:
    """The server tells of a block over any connection; a client that sends nothing must look at all of them."""
    kept, everybody = [], threading.Barrier(LANES)

    def keep(payload):
        everybody.wait(20)  # so that each request has a connection of its own
        kept.append(payload)

    with perfkit.serve(keep, address):
        channel = connect(methods=["shm_pool"])
        payloads = [np.full(10_000, number) for number in range(LANES)]
        threads = [threading.Thread(target=channel.send, args=(payload,)) for payload in payloads]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert channel.statistics().lanes == LANES
        for left in range(LANES - 1, -1, -1):
            kept.pop()
            wait_until(lambda left=left: channel.arena.stats().leased_blocks == left)


def test_news_go_over_a_connection_that_stands(address, connect) -> None:
    """What is written to a connection that is closed at either end is lost, and with it the block that it names."""
    with perfkit.serve(lambda payload: None, address):
        channel = connect(methods=["uds"])
        channel.send(b"payload")
        [lane] = channel.lanes._open
        session = channel.lanes.conversation.session
        session.to_release.append((1, 0))
        assert lane.write_news()
        assert not session.has_news
        session.to_release.append((1, 0))
        lane.connection.shutdown(socket.SHUT_RDWR)
        assert not lane.write_news()
        lane.connection.close()
        assert not lane.write_news()
        assert session.has_news


def test_connections_that_tell_news_at_once_tell_each_of_them_once() -> None:
    session, told, failures = Session(Arena(2**20), 2**20), [], []
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def tell() -> None:
        core = Core(is_server=True)
        try:
            for number in range(3000):
                session.to_release.append((number, 0))
                told.extend(names_in(session.news(core)))
        except IndexError as error:
            failures.append(error)

    threads = [threading.Thread(target=tell) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval_s)
    assert not failures
    assert not session.has_news
    assert sorted(told) == sorted(list(range(3000)) * 4)


def names_in(frames: bytes) -> list[int]:
    """Regions of the blocks that RELEASE frames name."""
    names, start = [], 0
    while start < len(frames):
        meta_bytes = HEADER.unpack_from(frames, start)[4]
        meta = frames[start + HEADER_BYTES : start + HEADER_BYTES + meta_bytes]
        names += [region for region, _ in BLOCK_NAME.iter_unpack(meta)]
        start += HEADER_BYTES + padded(meta_bytes)
    return names


def test_more_news_than_one_frame_takes_are_told_whole() -> None:
    session, core = Session(Arena(2**20), 2**20), Core(is_server=True)
    session.to_release.extend((number, 0) for number in range(2500))
    session.to_forget.extend((7, 8))
    assert session.news(core).count(MAGIC) == 3 + 2
    assert not session.has_news

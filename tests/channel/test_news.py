"""What the ends tell each other while nobody sends."""

from __future__ import annotations

import socket
import threading

import numpy as np

import perfkit

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

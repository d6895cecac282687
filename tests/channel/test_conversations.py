"""One client, one conversation, however many connections it has and whenever they were opened."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import perfkit
from perfkit.errors import PeerLostError

THREADS = 8


def test_connections_that_are_opened_at_once_after_a_restart_are_one_conversation(address, connect) -> None:
    everybody = threading.Barrier(THREADS)

    def meet(payload):
        everybody.wait(20)  # so that each request has a connection of its own
        return payload

    def send_from_all_threads(channel):
        threads = [threading.Thread(target=channel.send, args=(b"payload",)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with perfkit.serve(meet, address):
        channel = connect(methods=["uds", "shm_pool"])
        send_from_all_threads(channel)
    with perfkit.serve(meet, address) as server:
        send_from_all_threads(channel)
        assert (server.statistics().peers, server.statistics().lanes) == (1, THREADS)
        assert channel.statistics().reconnects == 1


def test_a_block_that_a_dead_server_had_comes_back_though_an_idle_connection_is_left(
    address, connect, server_process, wait_until
) -> None:
    server = server_process("sleepy")
    channel = connect(methods=["shm_pool"])
    exchanges = [channel.begin(np.full(10_000, number)) for number in range(2)]
    for exchange in exchanges:
        exchange.result()
    wait_until(lambda: not channel.lanes.conversation.is_swept)  # nobody looks after the connections meanwhile
    last = channel.begin(np.zeros(10_000))
    assert channel.statistics().lanes == 2  # one of them idle
    server.kill()
    with pytest.raises(PeerLostError):
        last.result()
    wait_until(lambda: channel.arena.stats().leased_blocks == 0)

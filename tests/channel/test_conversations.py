"""One client, one conversation, however many connections it has and whenever they were opened."""

from __future__ import annotations

import threading

import perfkit

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

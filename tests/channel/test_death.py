"""Any party may die at any moment: the others get an error at once, and everything that was theirs back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import perfkit
from perfkit.errors import MethodUnavailableError, PeerLostError, TransferError, TransferTimeoutError
from perfkit.schema import SIMPLICITY_ORDER


@pytest.mark.parametrize("method", SIMPLICITY_ORDER)
def test_server_that_dies_while_it_handles_is_an_error_not_a_hang(server_process, connect, method):
    server = server_process("sleepy")
    channel = connect(methods=[method], timeout_s=60)
    channel.send(b"warm")
    exchange = channel.begin(np.zeros(100_000))
    time.sleep(0.05)
    server.kill()
    started = time.monotonic()
    with pytest.raises(PeerLostError):
        exchange.result()
    assert time.monotonic() - started < 30  # not the timeout


@pytest.mark.parametrize("method", SIMPLICITY_ORDER)
def test_client_connects_anew_to_a_restarted_server(server_process, connect, method):
    """A server that was killed while nothing was under way is replaced without anybody noticing."""
    server = server_process("checked")
    channel = connect(methods=[method])
    payload = np.arange(50_000)
    first = channel.send(payload)
    server.kill()
    server.restart()
    second = channel.send(payload)
    assert (first["digest"], first["pid"] == second["pid"]) == (second["digest"], False)
    assert channel.statistics().reconnects == 1
    assert channel.statistics().failures == {}
    assert channel.health().server_pid == second["pid"]


def test_request_waits_for_the_successor(server_process, connect):
    server = server_process("checked")
    channel = connect(timeout_s=60)
    channel.send(b"x")
    server.kill()
    timer = threading.Timer(0.3, server.restart)
    timer.start()
    assert channel.send(b"x")["bytes"] == 1
    timer.join()


def test_without_a_successor_the_error_names_the_address(server_process, connect, address):
    server = server_process("echo")
    channel = connect()
    server.kill()
    with pytest.raises(MethodUnavailableError, match=r"no server listens at unix:.*channel.sock"):
        channel.send(b"x", timeout_s=0.3)
    assert channel.health().status == "degraded"


def test_health_notices_a_death_and_a_return_by_itself(server_process, connect):
    """Nobody needs to send for it: a service that asks only its health would otherwise never be ready again."""
    server = server_process("echo")
    channel = connect()
    assert channel.health().server_pid == server.pid
    server.kill()
    assert (channel.health().status, channel.health().server_pid) == ("degraded", 0)
    server.restart()
    assert (channel.health().status, channel.health().server_pid) == ("ok", server.pid)
    assert channel.send(b"x") == b"x"


def test_dead_server_is_waited_for_no_longer_than_was_said(server_process, connect):
    server = server_process("echo")
    channel = connect(timeout_s=60, connect_timeout_s=0.2)
    server.kill()
    started = time.monotonic()
    with pytest.raises(MethodUnavailableError, match="no server listens"):
        channel.send(b"x")
    assert time.monotonic() - started < 30  # not the minute that the request may take


def test_blocks_lent_to_a_dead_server_come_back(server_process, connect, wait_until):
    server = server_process("keep")
    channel = connect(methods=["shm_pool", "uds"])
    for number in range(3):
        channel.send(np.full(30_000_000 // 8, number), timeout_s=30)
    wait_until(lambda: channel.send(b"x") is not None)
    server.kill()
    server.restart()
    channel.send("drop")
    wait_until(lambda: channel.statistics().arena.leased_blocks == 0)


CLIENT = """
import sys, time, numpy as np, perfkit
channel = perfkit.connect(sys.argv[1], record=False, methods=["shm_pool"])
kept = [channel.send(np.full(50_000, 1.0)) for _ in range(3)]
tensor = channel.empty(1000)
print("ready", flush=True)
exchange = channel.begin(np.full(50_000, 2.0))
time.sleep(60)
"""


def test_memory_of_a_dead_client_is_let_go(address, wait_until):
    """What it viewed of the server's comes back, and what the server had mapped of it is unmapped."""
    with perfkit.serve(lambda payload: np.array(payload), address) as server:
        client = subprocess.Popen([sys.executable, "-c", CLIENT, address], stdout=subprocess.PIPE)
        assert client.stdout.readline() == b"ready\n"
        wait_until(lambda: server.statistics().requests >= 3)
        assert server.statistics().lent_bytes > 0
        assert server.statistics().mapped_bytes > 0
        client.kill()
        client.wait()
        client.stdout.close()
        wait_until(lambda: server.statistics().arena.leased_blocks == 0)
        wait_until(lambda: server.statistics().lanes == 0)
        statistics = server.statistics()
        assert (statistics.peers, statistics.mapped_bytes, statistics.lent_bytes) == (0, 0, 0)


def test_payload_of_a_dead_client_stays_readable_while_the_handler_has_it(address, wait_until):
    kept = []
    with perfkit.serve(kept.append, address) as server:
        client = subprocess.Popen([sys.executable, "-c", CLIENT, address], stdout=subprocess.PIPE)
        client.stdout.readline()
        client.kill()
        client.wait()
        client.stdout.close()
        wait_until(lambda: server.statistics().lanes == 0)
        assert all(float(payload.sum()) in (50_000.0, 100_000.0) for payload in kept)
        kept.clear()


def test_stopped_server_ends_in_a_time_out_and_its_late_answer_is_dropped(server_process, connect, wait_until):
    server = server_process("checked")
    channel = connect(methods=["shm_pool", "uds"])
    channel.send(np.zeros(10_000))
    os.kill(server.pid, signal.SIGSTOP)
    wait_until(lambda: Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    with pytest.raises(TransferTimeoutError):
        channel.send(np.ones(10_000), timeout_s=0.3)
    os.kill(server.pid, signal.SIGCONT)
    payload = np.full(10_000, 7.0)
    assert channel.send(payload)["digest"] == channel.send(payload.copy())["digest"]
    wait_until(lambda: channel.statistics().arena.leased_blocks == 0)


def test_closing_server_answers_what_it_has_and_sends_the_rest_to_its_successor(address, connect, wait_until):
    """A rolling restart loses no request and handles none twice."""
    handled: list[int] = []

    def handler(payload):
        handled.append(int(payload[0]))
        return payload

    server = perfkit.serve(handler, address)
    channel = connect(methods=["uds", "shm_pool"], timeout_s=60)
    answers: list[int] = []
    is_over = threading.Event()

    def send(first: int) -> None:
        number = first
        while not is_over.is_set():
            answers.append(int(channel.send(np.array([number]))[0]))
            number += 4

    senders = [threading.Thread(target=send, args=(first,)) for first in range(4)]
    for sender in senders:
        sender.start()
    for _ in range(6):
        sent_until_now = len(answers)
        wait_until(lambda least=sent_until_now: len(answers) > least + 20)
        server.close()
        server = perfkit.serve(handler, address)
    is_over.set()
    for sender in senders:
        sender.join()
    server.close()
    assert channel.statistics().failures == {}
    assert sorted(handled) == sorted(answers)
    assert len(set(answers)) == len(answers)
    assert channel.statistics().reconnects >= 5


def test_handler_that_is_busy_is_waited_for_when_the_server_closes(address, connect):
    begun = threading.Event()

    def handler(payload):
        begun.set()
        time.sleep(0.3)
        return b"done"

    server = perfkit.serve(handler, address)
    exchange = connect(methods=["uds"]).begin(b"x")
    assert begun.wait(20)
    server.close()
    assert exchange.result() == b"done"


def test_forked_child_has_connections_and_memory_of_its_own(server_process, connect, address):
    """The child's sends do not mix with the parent's, and its blocks are not the parent's."""
    server_process("checked")
    code = textwrap.dedent(
        """
        import os, sys, numpy as np, perfkit
        channel = perfkit.connect(sys.argv[1], record=False, methods=["shm_pool", "uds"])
        digest = lambda number: channel.send(np.full(20_000, number))["digest"]
        expected = [digest(0), digest(1)]
        children = []
        for number in (0, 1):
            child = os.fork()
            if child == 0:
                os._exit(0 if all(digest(number) == expected[number] for _ in range(50)) else 1)
            children.append(child)
        assert all(digest(0) == expected[0] for _ in range(50))
        print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
        """
    )
    done = subprocess.run([sys.executable, "-c", code, address], capture_output=True, text=True, timeout=100)
    assert done.stdout == "[0, 0]\n", done.stderr


def test_child_of_a_dead_server_does_not_keep_its_clients_waiting(server_process, connect):
    """A forked child has the connections open no more, so their end is seen when the server dies."""
    server = server_process("forking")
    channel = connect(timeout_s=15, methods=["uds"])
    exchange = channel.begin(b"x")
    time.sleep(0.5)
    server.kill()
    with pytest.raises(PeerLostError):
        exchange.result()


def test_interrupted_wait_leaves_a_channel_that_works(server_process, connect, wait_until):
    """Ctrl-C while an answer is awaited: the exception goes to the caller, and the next request has its own answer."""
    server_process("sleepy")
    channel = connect(methods=["uds", "shm_pool"])
    channel.send(b"x")
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        channel.send(b"interrupted")
    timer.join()
    assert channel.send(b"again") == "slept"


def test_interrupts_cost_no_memory(server_process, connect, wait_until):
    """The blocks of requests that were broken off come back, on a channel with one connection, too."""
    server_process("sleepy")
    channel = connect(methods=["shm_pool"])
    channel.send(b"x")
    for _ in range(4):
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            channel.send(np.zeros(50_000))
        timer.join()
    wait_until(lambda: channel.statistics().arena.leased_blocks == 0)
    assert channel.send(b"again") == "slept"
    assert channel.statistics().reconnects == 0


def test_dead_thread_of_a_caller_gives_its_request_back(server_process, connect, wait_until):
    """An exchange that is dropped without its answer is taken back."""
    server_process("slow")
    channel = connect(methods=["shm_pool"])
    exchange = channel.begin(np.zeros(10_000))
    del exchange
    wait_until(lambda: channel.statistics().arena.leased_blocks == 0)


def test_nothing_is_sent_twice_after_it_was_delivered(server_process, connect):
    """A server that dies in the handler may have done its work: the request is not sent again."""
    server = server_process("sleepy")
    channel = connect(timeout_s=60, methods=["uds"])
    exchange = channel.begin(b"x")
    time.sleep(0.1)
    server.kill()
    server.restart()
    with pytest.raises(PeerLostError, match="whether the request was handled is unknown"):
        exchange.result()
    assert channel.statistics().retries == 0
    with pytest.raises(TransferError):
        exchange.result()

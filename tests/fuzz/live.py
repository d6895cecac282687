"""Broken and hostile frames over real sockets: to a server that runs, and from a server to a client that runs.

`python tests/fuzz/live.py ADDRESS` is the server of the first part; it ends when its standard input is closed.
"""

from __future__ import annotations

import array
import contextlib
import gc
import random
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from conversations import Piece, mutate, split, valid_pieces
from resources import DESCRIPTORS, descriptors_open, resident_bytes

import perfkit
from perfkit.errors import PerfkitError

if TYPE_CHECKING:
    from fuzz_frames import Figures

HANG_S = 5.0
"""What ends at once takes this long only on a machine that is busy with much else."""
WORKERS = 8
CALLS = 3
SETTLE_S = 20.0
MOST_GROWTH_BYTES = 32 * 2**20
GOOD_EVERY = 20
GOOD_SIZES = (1000, 100_000, 12 * 2**20)
METHODS = ("uds", "shm_pool", "shm")


def run_live(frames: int, seed: int, figures: Figures) -> None:
    """Half of the frames to a server, half from one."""
    with tempfile.TemporaryDirectory(prefix="perfkit-fuzz-") as folder:
        attack_server(f"unix:{folder}/server.sock", frames // 2, seed, figures)
        attack_client(f"unix:{folder}/client.sock", frames // 2, seed, figures)


# --- to a server -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def server_process(address: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server that echoes, in a process of its own."""
    command = [sys.executable, __file__, address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        try:
            yield process
        finally:
            process.kill()


def attack_server(address: str, frames: int, seed: int, figures: Figures) -> None:
    """Conversations with a server, and a good client's in between."""
    with server_process(address) as process, perfkit.connect(address, record=False, methods=METHODS) as good:
        begun, number = figures.frames, 0
        ask_well(good, figures, seed)
        while figures.frames - begun < frames / 5:
            number = _attack_once(address, seed, number, figures)
        ask_well(good, figures, seed)
        before = _settled(process.pid, None)
        while figures.frames - begun < frames and process.poll() is None:
            number = _attack_once(address, seed, number, figures)
            if number % GOOD_EVERY == 0:
                ask_well(good, figures, seed + number)
        if process.poll() is not None:
            figures.crashes += 1
            figures.failures.append(f"the server died with {process.returncode} at conversation {number}")
        else:
            _compare(figures, before, _settled(process.pid, before))


def _attack_once(address: str, seed: int, number: int, figures: Figures) -> int:
    chance = random.Random(f"server-{seed}-{number}")
    pieces = valid_pieces(chance, to_server=True, count=chance.choice((2, 6, 12)))
    if chance.random() < 0.95:
        pieces = mutate(chance, pieces, keeps_greeting=chance.random() < 0.85)
    figures.frames += len(pieces)
    figures.live_frames += len(pieces)
    figures.conversations += 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(address.removeprefix("unix:"))
        connection.setblocking(False)
        if not _pump(connection, split(chance, pieces)):
            figures.hangs += 1
            figures.failures.append(f"the server did not close: conversation {number} of seed {seed}")
    return number + 1


def _pump(connection: socket.socket, pieces: list[Piece]) -> bool:
    """Send everything, reading meanwhile, then end; whether the server ended as well."""
    deadline_s, parts = time.monotonic() + HANG_S, list(reversed(pieces))
    try:
        while parts:
            readable, writable, _ = select.select([connection], [connection], [], HANG_S)
            if readable and not connection.recv(2**18):
                return True
            if writable:
                part = parts.pop()
                sent = send_piece(connection, part)
                if sent < len(part.data):
                    parts.append(Piece(part.data[sent:]))
            if time.monotonic() > deadline_s:
                return False
        connection.shutdown(socket.SHUT_WR)
        while time.monotonic() < deadline_s:
            if select.select([connection], [], [], HANG_S)[0] and not connection.recv(2**18):
                return True
        return False
    except (BrokenPipeError, ConnectionResetError):
        return True


def send_piece(connection: socket.socket, piece: Piece) -> int:
    """Bytes, and descriptors beside them; how many bytes went."""
    numbers = array.array("i", [DESCRIPTORS[sort] for sort in piece.descriptors])
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)] if numbers else []
    try:
        return connection.sendmsg([piece.data], rights) if piece.data else 0
    except BlockingIOError:
        return 0


def ask_well(channel: perfkit.Channel, figures: Figures, seed: int) -> None:
    """The server must go on answering those who follow the rules."""
    for size_bytes in GOOD_SIZES:
        payload = np.frombuffer(random.Random(seed).randbytes(size_bytes), np.uint8)
        begun_s = time.monotonic()
        try:
            answer = channel.send(payload, timeout_s=30)
        except PerfkitError as error:
            figures.wrong_answers += 1
            figures.failures.append(f"a good client got {error!r}")
            continue
        figures.good_answers += 1
        figures.wrong_answers += not np.array_equal(answer, payload)
        figures.hangs += time.monotonic() - begun_s > HANG_S


# --- from a server ---------------------------------------------------------------------------------------------------


class HostileServer:
    """Accepts everybody, and sends what it likes. Frames come from the seed and the number of the conversation."""

    def __init__(self, address: str, seed: int, figures: Figures) -> None:
        self.number, self._seed, self._figures = 0, seed, figures
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(address.removeprefix("unix:"))
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Accept nobody any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        connection_number = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection_number += 1
            chance = random.Random(f"client-{self._seed}-{connection_number}")
            pieces = valid_pieces(chance, to_server=False, count=chance.choice((1, 2, 6)))
            pieces = mutate(chance, pieces, keeps_greeting=chance.random() < 0.8)
            self._figures.frames += len(pieces)
            self._figures.live_frames += len(pieces)
            with connection, contextlib.suppress(OSError):
                connection.settimeout(0.2)
                connection.recv(2**16)
                begin = 1 if chance.random() < 0.8 else 0
                for piece in pieces[:begin]:
                    send_piece(connection, piece)
                if begin:
                    connection.recv(2**16)  # the first request
                for piece in split(chance, pieces[begin:]):
                    send_piece(connection, piece)
                if chance.random() < 0.3:
                    connection.recv(2**16)


def attack_client(address: str, frames: int, seed: int, figures: Figures) -> None:
    """Clients of a hostile server: each of them gets an answer or an error of perfkit's, soon."""
    hostile, begun, before, number = HostileServer(address, seed, figures), figures.frames, None, 0
    try:
        while figures.frames - begun < frames:
            if before is None and figures.frames - begun > frames / 5:
                before = _settled("self", None)
            figures.conversations += 1
            _call_once(address, random.Random(f"call-{seed}-{number}"), number, figures)
            number += 1
        _compare(figures, before or _settled("self", None), _settled("self", before))
    finally:
        hostile.close()


def _call_once(address: str, chance: random.Random, number: int, figures: Figures) -> None:
    begun_s, timeout_s = time.monotonic(), 0.3
    payload: Any = chance.choice((None, b"x" * 1000, np.ones(30_000), "text"))
    methods = chance.choice((["uds"], ["shm_pool"], ["shm"], METHODS))
    try:
        with perfkit.connect(
            address, record=False, methods=methods, timeout_s=timeout_s, connect_timeout_s=timeout_s, arena_bytes="4MiB"
        ) as channel:
            for _ in range(CALLS):
                channel.send(payload)
    except PerfkitError:
        figures.refused += 1
    except Exception:  # noqa: BLE001 - what this looks for
        figures.crashed(f"client, call {number}")
    if time.monotonic() - begun_s > HANG_S + (CALLS + 1) * timeout_s:
        figures.hangs += 1
        figures.failures.append(f"call {number} of a client took {time.monotonic() - begun_s:.1f} s")


# --- what may not grow -----------------------------------------------------------------------------------------------

Used = tuple[int, int, int]


def _settled(pid: int | str, before: Used | None) -> Used:
    """Resident bytes, descriptors and threads, once the last conversations have ended."""
    deadline_s = time.monotonic() + SETTLE_S
    used = _used(pid)
    while time.monotonic() < deadline_s:
        time.sleep(0.3)
        now = _used(pid)
        is_calm = now[1:] == used[1:] if before is None else now[1] <= before[1] and now[2] <= before[2] + WORKERS
        used = now
        if is_calm:
            break
    return used


def _used(pid: int | str) -> Used:
    if pid == "self":
        gc.collect()
    return resident_bytes(pid), descriptors_open(pid), len(list(Path(f"/proc/{pid}/task").iterdir()))


def _compare(figures: Figures, before: Used, after: Used) -> None:
    growth_bytes = after[0] - before[0]
    figures.growth_bytes += growth_bytes if growth_bytes > MOST_GROWTH_BYTES else 0
    figures.fds_grown += max(0, after[1] - before[1])
    figures.threads_grown += max(0, after[2] - before[2] - WORKERS)


def main() -> None:
    """Serve."""
    with perfkit.serve(lambda payload: payload, sys.argv[1], methods=METHODS, max_in_flight=WORKERS):
        print("listening", flush=True)
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()

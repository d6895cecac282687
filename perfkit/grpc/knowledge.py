"""What a client knows about the server at the other end of its channel, and the blocks that server may still read."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from perfkit.grpc.own import OwnMemory, process_started
from perfkit.grpc.peer import PeerMemory, can_open
from perfkit.grpc.wire import FRESH, Answer, Identity, Offer
from perfkit.transfer.arena import Block

__all__ = ["ServerKnowledge"]

_MOST_NUMBERS = 32
_LONGEST_REST_S = 600.0
_FORGIVEN_AFTER_S = 60.0


class ServerKnowledge:
    """Starts from nothing, is taught by every answer, and rests for a while after what went wrong.

    Args:
        own: the client's own memory.
        retry_s: how long a server that does not answer offers is left alone.
        wants_time: ask servers how long their handlers take.
    """

    def __init__(self, own: OwnMemory, retry_s: float, *, wants_time: bool) -> None:
        self._own, self._retry_s, self._wants_time = own, retry_s, wants_time
        self._usual: tuple[Offer, PeerMemory, bytes] | None = (
            None  # what is said when there is nothing particular to say
        )
        self._lock = threading.Lock()
        self._memory: PeerMemory | None = None
        self._accepts = self._can_read = False
        self._rests_until_s = 0.0
        self._failures, self._failed_s = 0, 0.0
        self._quarantine: dict[int, tuple[Block, Identity]] = {}
        self._returned: deque[int] = deque(maxlen=4096)

    @property
    def server(self) -> Identity | None:
        """The server that is known; None before its first answer, and after it was forgotten."""
        memory = self._memory
        return None if memory is None else memory.peer

    @property
    def quarantined_blocks(self) -> int:
        """Blocks that the server may still read."""
        return len(self._quarantine)

    @property
    def mapped_regions(self) -> int:
        """Regions of the server that are mapped."""
        memory = self._memory
        return 0 if memory is None else memory.regions

    def offer(self) -> tuple[Offer | None, PeerMemory | None, bytes]:
        """What to say with the next call, the server's memory if it accepts pooled requests, and the offer packed.

        Nothing is said while the server is left alone.
        """
        if self._rests_until_s and time.monotonic() < self._rests_until_s:
            return None, None, b""
        usual = self._usual
        if usual is not None and not self._quarantine and not self._returned:
            return usual
        own = self._own.identity
        with self._lock:
            if self._memory is None or not self._accepts:
                offer = Offer(own, False, self._wants_time, FRESH)
                return offer, None, offer.pack()
            token = self._memory.peer.token
            mine = [number for number, (_, server) in self._quarantine.items() if server.token == token]
            returned = tuple(self._returned.popleft() for _ in range(min(len(self._returned), _MOST_NUMBERS)))
            unsettled = tuple(mine[:_MOST_NUMBERS])
            offer = Offer(own, self._can_read, self._wants_time, token, unsettled, returned)
            if not unsettled and not returned:
                self._usual = offer, self._memory, offer.pack()
            return offer, self._memory, offer.pack()

    def learn(self, answer: Answer) -> None:
        """Take in what a server says about itself, and release the blocks that it says it does not read."""
        with self._lock:
            known = self._memory
            is_news = known is None or known.peer.token != answer.server.token or answer.accepts != self._accepts
            released = [self._quarantine.pop(number, None) for number in answer.settled]
        for held in released:
            if held is not None:
                self._own.release(held[0])
        if is_news:
            # Looked at outside of the lock: it opens and maps a page. Two threads that do it at once agree.
            can_read = can_open(answer.server, self._own.identity)
            with self._lock:
                self._replace(PeerMemory(answer.server))
                self._accepts, self._can_read = answer.accepts, can_read
            self.release_from_dead()
        if not answer.accepts:
            self.rest()

    def give_back(self, token: bytes, numbers: Sequence[int]) -> None:
        """Answers of the server `token` that were read: their blocks go back with a later call."""
        with self._lock:
            if self._memory is not None and self._memory.peer.token == token:
                self._returned.extend(numbers)

    def cannot_read(self, token: bytes) -> None:
        """The server `token` answered in memory that could not be read: it shall answer inline from now on."""
        with self._lock:
            if self._memory is not None and self._memory.peer.token == token:
                self._can_read, self._usual = False, None

    def quarantine(self, number: int, block: Block, server: Identity) -> None:
        """Keep a block that `server` may still read."""
        with self._lock:
            self._quarantine[number] = (block, server)

    def release_from_dead(self) -> None:
        """Release the blocks of servers whose processes are gone."""
        with self._lock:
            held = list(self._quarantine.items())
        servers = {server for _, (_, server) in held}
        gone = {server for server in servers if process_started(server.pid) != server.started}
        with self._lock:
            over = [self._quarantine.pop(number, None) for number, (_, server) in held if server in gone]
        for one in over:
            if one is not None:
                self._own.release(one[0])

    def forget(self) -> None:
        """The connection went: whoever comes next is asked anew."""
        with self._lock:
            self._replace(None)
        self.release_from_dead()

    def fail(self) -> None:
        """Something pooled had to be repeated: ask anew at once the first time, then after longer and longer rests.

        So a restart costs one call, and a channel that is balanced over several servers does not repeat every other.
        """
        now_s = time.monotonic()
        self._failures = self._failures + 1 if now_s - self._failed_s < _FORGIVEN_AFTER_S else 1
        self._failed_s = now_s
        self.forget()
        if self._failures > 1:
            self.rest(2.0 ** (self._failures - 2))

    def rest(self, duration_s: float | None = None) -> None:
        """Make no offers for a while, by default `retry_s`."""
        duration_s = self._retry_s if duration_s is None else duration_s
        self._rests_until_s = time.monotonic() + min(duration_s, _LONGEST_REST_S)

    def close(self) -> None:
        """Forget everything; the blocks go with the arena."""
        self.forget()
        with self._lock:
            held = list(self._quarantine.values())
            self._quarantine.clear()
        for block, _ in held:
            self._own.release(block)

    def _replace(self, memory: PeerMemory | None) -> None:
        if self._memory is not None:
            self._memory.close()
        self._memory, self._accepts, self._can_read = memory, False, False
        self._usual = None
        self._returned.clear()

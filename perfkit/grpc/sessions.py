"""What a server knows about its clients: their memory, the calls it reads for them, the answers it keeps for them."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter

from google.protobuf.message import Message

from perfkit.grpc.choosing import Packed
from perfkit.grpc.fields import put_back
from perfkit.grpc.own import OwnMemory
from perfkit.grpc.peer import PeerMemory, can_open
from perfkit.grpc.wire import Identity, Parcel

__all__ = ["Session", "Sessions"]

_MOST_SESSIONS = 1024
_SWEEP_INTERVAL_S = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Lease:
    packed: Packed
    until_s: float


class Session:
    """One client."""

    def __init__(self, memory: PeerMemory, own: OwnMemory) -> None:
        self.memory = memory
        self._own = own
        self._lock = threading.Lock()
        self._reading: set[int] = set()
        self._leases: dict[int, _Lease] = {}
        self._is_over = False

    def copy_out(self, parcel: Parcel) -> list[bytes]:
        """The fields of one call's request, which is not settled meanwhile.

        Raises:
            TransferError: the block cannot be opened or does not hold what was announced.
        """
        with self._lock:
            self._reading.add(parcel.number)
        try:
            return self.memory.copy_out(parcel)
        finally:
            with self._lock:
                self._reading.discard(parcel.number)

    def settle(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """Those calls whose blocks are not being read. One that arrives later finds another nonce, and is refused."""
        with self._lock:
            return tuple(number for number in numbers if number not in self._reading)

    def keep(self, packed: Packed, lease_s: float) -> None:
        """Keep the block of an answer until the client returns it, at most `lease_s` seconds."""
        with self._lock:
            if not self._is_over:
                self._leases[packed.parcel.number] = _Lease(packed, time.monotonic() + lease_s)
                return
        self._own.release(packed.block)

    def take_back(self, numbers: tuple[int, ...]) -> None:
        """The client has read these answers."""
        with self._lock:
            returned = [self._leases.pop(number) for number in numbers if number in self._leases]
        for lease in returned:
            self._own.release(lease.packed.block)

    def repeat(self, number: int) -> Message | None:
        """The whole answer of a lease, for a client that could not read it; None when it is not kept any more."""
        with self._lock:
            lease = self._leases.get(number)
        if lease is None:
            return None
        message, parcel = lease.packed.message, lease.packed.parcel
        whole = type(message)()
        whole.CopyFrom(message)
        for place in parcel.places:
            put_back(whole, place.path, bytes(lease.packed.block.view[place.offset : place.offset + place.length]))
        self.take_back((number,))
        return whole

    def held_bytes(self) -> int:
        """Size of the blocks that are kept for this client."""
        with self._lock:
            return sum(lease.packed.block.size_bytes for lease in self._leases.values())

    def held_blocks(self) -> int:
        """Number of the blocks that are kept for this client."""
        return len(self._leases)

    def sweep(self) -> None:
        """Release what was kept too long, and what the client does not hold any more."""
        now_s = time.monotonic()
        with self._lock:
            late = tuple(number for number, lease in self._leases.items() if lease.until_s < now_s)
        self.take_back(late)
        self.memory.forget_released()

    def close(self) -> None:
        """The client is gone."""
        with self._lock:
            self._is_over = True
            numbers = tuple(self._leases)
        self.take_back(numbers)
        self.memory.close()


class Sessions:
    """All clients. A thread looks after them as long as there are any: memory of a killed one is not kept."""

    def __init__(self, own: OwnMemory) -> None:
        self._own = own
        self._lock = threading.Lock()
        self._sessions: dict[bytes, Session] = {}
        self._reserved_bytes: Counter[int] = Counter()
        self._sweeper: threading.Thread | None = None
        self._closed = threading.Event()

    def find(self, client: Identity) -> Session | None:
        """The session of a client; None when its memory cannot be opened."""
        session = self._sessions.get(client.token)
        if session is not None:
            known = session.memory.peer
            return session if known is client or known == client else None
        if self._closed.is_set() or len(self._sessions) >= _MOST_SESSIONS or not can_open(client, self._own.identity):
            return None
        with self._lock:
            session = self._sessions.setdefault(client.token, Session(PeerMemory(client), self._own))
            self._start_sweeper()
        return session

    def reserve(self, client: Identity, more_bytes: int, limit_bytes: int) -> bool:
        """Whether a client's process may hold more, over all its channels; then that much counts as held.

        Calls are answered in parallel: room that was only looked at would be given to several of them.
        """
        with self._lock:
            held = sum(one.held_bytes() for one in self._sessions.values() if one.memory.peer.pid == client.pid)
            if held + self._reserved_bytes[client.pid] + more_bytes > limit_bytes:
                return False
            self._reserved_bytes[client.pid] += more_bytes
            return True

    def give_up(self, client: Identity, reserved_bytes: int) -> None:
        """Give back what was reserved: it is kept in a session by now, or not needed."""
        with self._lock:
            self._reserved_bytes[client.pid] -= reserved_bytes
            if not self._reserved_bytes[client.pid]:
                del self._reserved_bytes[client.pid]

    def current(self) -> dict[str, int]:
        """Figures of the moment."""
        sessions = self._all()
        return {
            "held_blocks": sum(session.held_blocks() for session in sessions),
            "peers": len(sessions),
            "mapped_regions": sum(session.memory.regions for session in sessions),
        }

    def close(self) -> None:
        """Forget all clients."""
        self._closed.set()
        for session in self._all():
            session.close()
        with self._lock:
            self._sessions.clear()

    def _all(self) -> list[Session]:
        with self._lock:
            return list(self._sessions.values())

    def _start_sweeper(self) -> None:
        if self._sweeper is None:
            self._sweeper = threading.Thread(target=self._sweep, name="perfkit-grpc-sweep", daemon=True)
            self._sweeper.start()

    def _sweep(self) -> None:
        while not self._closed.wait(_SWEEP_INTERVAL_S):
            for session in self._all():
                session.sweep()
            with self._lock:
                gone = [token for token, session in self._sessions.items() if not session.memory.is_alive()]
                over = [self._sessions.pop(token) for token in gone]
                is_last = not self._sessions
                if is_last:
                    self._sweeper = None
            for session in over:
                session.close()
            if is_last:
                return

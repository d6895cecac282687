"""A process's own memory: blocks that are leased, filled with the large fields of one message, and announced."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import secrets
import threading
from collections.abc import Sequence
from pathlib import Path

from perfkit.errors import NoRoomError, PerfkitError
from perfkit.grpc.fields import Found
from perfkit.grpc.wire import Identity, Parcel, Place
from perfkit.transfer.arena import Arena, Block
from perfkit.transfer.copying import copy_into
from perfkit.transfer.memory import PAGE_BYTES, Region

__all__ = ["NONCE_BYTES", "OwnMemory", "host_identity", "process_started"]

NONCE_BYTES = 16
_ALIGNED_BYTES = 64
_REGION_BYTES = 16 * 2**20
_NO_DESCRIPTOR = 2**32 - 1


class OwnMemory:
    """The arena of one interceptor, and who it is to its peers.

    Every block begins with a nonce that is written before the fields are, and anew before the block is used again. A
    reader looks at it before and after it copies: it never takes another message's bytes for the announced ones,
    however late it comes. It is also a proof that whoever announces a block can write it.

    A forked child gets memory and a name of its own when it first asks for them.

    Args:
        limit_bytes: what the arena may reserve.
        arena: an arena that others use, too; None: one of its own, made when it is first needed.
    """

    def __init__(self, limit_bytes: int, arena: Arena | None) -> None:
        self._limit_bytes = limit_bytes
        self._arena, self._owns_arena = arena, False
        self._lock = threading.Lock()
        self._probe: Region | None = None
        self._is_closed = False
        self._begin(os.getpid())

    def _begin(self, pid: int) -> None:
        self._pid = pid
        self._secret = secrets.token_bytes(8)
        self._numbers = itertools.count(1)
        self._identity: Identity | None = None

    def restarted(self) -> bool:
        """Whether this is a forked child that has not been told yet: what the parent leased is not its to use."""
        if self._pid == os.getpid():
            return False
        self._lock = threading.Lock()  # the parent's may have been held when it forked
        self._arena, self._owns_arena, self._probe = None, False, None
        self._begin(os.getpid())
        return True

    @property
    def identity(self) -> Identity:
        """Who this is. Made when it is first asked for: importing or configuring a service opens nothing."""
        identity = self._identity
        if identity is None:
            with self._lock:
                identity = self._identity = self._identity or self._introduce()
        return identity

    def _introduce(self) -> Identity:
        descriptor, probe_secret = _NO_DESCRIPTOR, secrets.token_bytes(NONCE_BYTES)
        with contextlib.suppress(PerfkitError, OSError):  # a peer then declines, and all stays inline
            self._probe = Region(PAGE_BYTES)
            self._probe.view[:NONCE_BYTES] = probe_secret
            descriptor = self._probe.descriptor
        token, started = secrets.token_bytes(16), process_started(self._pid) or 0
        return Identity(host_identity(), token, self._pid, started, descriptor, probe_secret)

    def put(self, fields: Sequence[Found]) -> tuple[Block, Parcel]:
        """Copy the fields of one message into a block, which is under lease until `release`.

        Raises:
            NoRoomError: the arena is exhausted, or the machine has no headroom.
            OSError: the kernel refused memory for another reason.
        """
        places, end = [], _ALIGNED_BYTES
        for field in fields:
            places.append(Place(field.path, end, len(field.body)))
            end += -(-len(field.body) // _ALIGNED_BYTES) * _ALIGNED_BYTES
        arena = self._open_arena()
        block = arena.lease(end)
        try:
            number = next(self._numbers)
            nonce = self._secret + number.to_bytes(8, "little")
            block.view[:NONCE_BYTES] = nonce
            with self._lock:  # a barrier: what follows becomes visible after the nonce
                pass
            for place, field in zip(places, fields, strict=True):
                copy_into(block.view[place.offset : place.offset + place.length], memoryview(field.body))
        except BaseException:
            arena.release(block)
            raise
        region = block.region
        parcel = Parcel(region.descriptor, region.id, region.size_bytes, block.offset, number, nonce, tuple(places))
        return block, parcel

    def release(self, block: Block) -> None:
        """End the lease: nobody reads the block any more, or whoever still does may find it overwritten."""
        if self._arena is not None:
            self._arena.release(block)

    def close(self) -> None:
        """Give the memory back. Peers that have it mapped keep it until they look again."""
        with self._lock:
            self._is_closed = True
            if self._probe is not None:
                self._probe.close()
            if self._arena is not None and self._owns_arena:
                self._arena.close()

    def _open_arena(self) -> Arena:
        with self._lock:
            if self._is_closed:
                raise NoRoomError("the interceptor is closed; calls go on inline")
            if self._arena is None:
                region_bytes = min(_REGION_BYTES, max(self._limit_bytes, PAGE_BYTES))
                # In the background: a call that finds no block ready goes inline rather than wait for the kernel.
                self._arena = Arena(self._limit_bytes, region_bytes=region_bytes, background=True)
                self._owns_arena = True
            return self._arena


def host_identity() -> bytes:
    """What two processes have in common exactly if they see each other's numbers: boot of the kernel, PID namespace.

    >>> host_identity() == host_identity(), len(host_identity())
    (True, 16)
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return secrets.token_bytes(16)  # like nobody else: no memory is shared
    return hashlib.sha256(boot + str(namespace).encode()).digest()[:16]


def process_started(pid: int) -> int | None:
    """When a process started, in the kernel's ticks since its boot; None when it is gone, or a zombie.

    >>> process_started(os.getpid()) > 0
    True
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
        fields = status[status.rindex(b")") + 2 :].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None

"""A peer's memory: opened through ``/proc``, checked, copied from, and forgotten when it is gone."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading

from perfkit.errors import TransferError
from perfkit.grpc.own import NONCE_BYTES, process_started
from perfkit.grpc.wire import Identity, Parcel
from perfkit.transfer.memory import PAGE_BYTES, SharedView, open_descriptor, peer_descriptor

__all__ = ["PeerMemory", "can_open"]

_MOST_REGIONS = 256


@dataclasses.dataclass(frozen=True, slots=True)
class _Mapped:
    view: SharedView
    descriptor: int
    file: tuple[int, int]  # the file's device and number: tells whether its owner still holds it under `descriptor`


class PeerMemory:
    """The regions of one peer, mapped when they are first announced; safe to use from several threads."""

    def __init__(self, peer: Identity) -> None:
        self.peer = peer
        self._regions: dict[int, _Mapped] = {}
        self._lock = threading.Lock()

    @property
    def regions(self) -> int:
        """Regions that are mapped."""
        return len(self._regions)

    def is_alive(self) -> bool:
        """Whether the peer's process still runs."""
        return process_started(self.peer.pid) == self.peer.started

    def copy_out(self, parcel: Parcel) -> list[bytes]:
        """The fields in a block, copied, in the order of its places.

        Raises:
            TransferError: the region cannot be opened or is not what was announced; or the block holds another
                message by now, because its owner has given up on this one.
        """
        if sum(place.length for place in parcel.places) > parcel.region_bytes:
            raise TransferError(f"block {parcel.number} holds more than its region; the peer is broken")
        # Copies do not run side by side: `bytes` keeps the interpreter to itself anyway, so the lock costs nothing.
        with self._lock:
            view = self._map(parcel)
            head = view.slice(parcel.offset, NONCE_BYTES)
            _check_nonce(head, parcel)
            bodies = [bytes(view.slice(parcel.offset + place.offset, place.length)) for place in parcel.places]
            _check_nonce(head, parcel)
            return bodies

    def forget_released(self) -> None:
        """Unmap what the peer does not hold any more; all of it when the peer is gone."""
        with self._lock:
            self._forget(everything=not self.is_alive())

    def close(self) -> None:
        """Unmap everything."""
        with self._lock:
            self._forget(everything=True)

    def _map(self, parcel: Parcel) -> SharedView:
        mapped = self._regions.get(parcel.region_id)
        if mapped is not None:
            if mapped.view.size_bytes != parcel.region_bytes:
                raise TransferError(f"region {parcel.region_id} has changed its size; the peer is broken")
            return mapped.view
        self._forget(everything=False)
        if len(self._regions) >= _MOST_REGIONS:
            raise TransferError(f"process {self.peer.pid} has {_MOST_REGIONS} regions mapped already")
        with peer_descriptor(self.peer.pid, parcel.descriptor) as descriptor:
            status = os.fstat(descriptor)
            try:
                view = open_descriptor(descriptor, parcel.region_bytes)
            except OSError as error:
                raise TransferError(f"cannot map a region of process {self.peer.pid}: {error}") from None
        self._regions[parcel.region_id] = _Mapped(view, parcel.descriptor, (status.st_dev, status.st_ino))
        return view

    def _forget(self, *, everything: bool) -> None:
        for region_id, mapped in list(self._regions.items()):
            if everything or not self._is_held(mapped):
                del self._regions[region_id]
                mapped.view.close()

    def _is_held(self, mapped: _Mapped) -> bool:
        with contextlib.suppress(OSError):
            status = os.stat(f"/proc/{self.peer.pid}/fd/{mapped.descriptor}")  # noqa: PTH116 - no path of ours
            return (status.st_dev, status.st_ino) == mapped.file
        return False


def can_open(peer: Identity, own: Identity) -> bool:
    """Whether this process can open the memory of `peer`: same host, alive, and its probe holds its secret."""
    if peer.host != own.host or process_started(peer.pid) != peer.started:
        return False
    try:
        with peer_descriptor(peer.pid, peer.probe_descriptor) as descriptor:
            view = open_descriptor(descriptor, PAGE_BYTES, prefault=False)
    except (TransferError, OSError):
        return False
    is_its_own = view.view[:NONCE_BYTES] == peer.probe_secret
    view.close()
    return is_its_own


def _check_nonce(head: memoryview, parcel: Parcel) -> None:
    if head != parcel.nonce:
        raise TransferError(f"block {parcel.number} holds another message by now: its owner does not wait any more")

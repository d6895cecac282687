"""Shared regions: reserved, prefaulted, sealed; read-only for everybody but their owner.

On Linux a region is a memfd: it has no name, so a killed process leaves nothing behind. Elsewhere it is an unlinked
file in ``/dev/shm`` or the temporary folder, limited by that file system's size.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import mmap
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from perfkit.errors import NoRoomError, TransferError
from perfkit.transfer.platform import headroom
from perfkit.units import format_bytes

__all__ = ["PAGE_BYTES", "Region", "SharedView", "check_room", "open_descriptor", "peer_descriptor"]

PAGE_BYTES = mmap.PAGESIZE
_BLOCK_BYTES = 512  # the unit of st_blocks
_region_ids = itertools.count(1)
_MADV_POPULATE_READ = 22  # Linux 5.14; not yet named by the standard library
_F_SEAL_FUTURE_WRITE = 0x10
_RESERVE_ABSORBS_BYTES = 2**20  # far below the reserve that `headroom` keeps; looking would cost more than the segment
_SEALS_REQUIRED = getattr(fcntl, "F_SEAL_SHRINK", 0) | getattr(fcntl, "F_SEAL_GROW", 0)


class Region:
    """A shared region as its owner sees it: writable, reserved and, where the kernel can, sealed against all others.

    Args:
        size_bytes: rounded up to whole pages.
        prefault: touch every page now rather than on first use (0.5 to 3 s per GiB on a fresh virtual machine).
        named_in: a folder such as ``/dev/shm`` to hold the memory instead of a memfd, for systems without memfd. The
            name is removed at once: only the descriptor is shared, so that nothing is left behind however the
            process ends.

    Raises:
        NoRoomError: reserving would exceed the headroom or the folder's file system; nothing stays reserved.
    """

    __slots__ = ("_map", "descriptor", "id", "size_bytes", "view")

    def __init__(self, size_bytes: int, *, prefault: bool = True, named_in: str | None = None) -> None:
        self.id = next(_region_ids)  # unlike a descriptor's number never used again
        self.size_bytes = max(1, -(-size_bytes // PAGE_BYTES)) * PAGE_BYTES
        check_room(self.size_bytes, "of shared memory")
        if named_in is None and not hasattr(os, "memfd_create"):
            named_in = tempfile.gettempdir()
        self.descriptor = _open_memfd() if named_in is None else _open_named(named_in)
        try:
            _reserve(self.descriptor, self.size_bytes)
            if named_in is None:
                fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS_REQUIRED)
            populate = getattr(mmap, "MAP_POPULATE", 0) if prefault else 0
            self._map = _map(self.descriptor, self.size_bytes, mmap.MAP_SHARED | populate)
            if named_in is None:
                # Kernels before 5.1 lack this seal; readers then still map read-only.
                with contextlib.suppress(OSError):
                    fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _F_SEAL_FUTURE_WRITE)
        except BaseException:
            os.close(self.descriptor)
            raise
        self.view = memoryview(self._map)

    def close(self) -> None:
        """Give the memory back. Views that are still held keep it alive; the descriptor goes now."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
            with contextlib.suppress(BufferError):
                self.view.release()
                self._map.close()


class SharedView:
    """A peer's region as a reader sees it: a read-only map whose size was checked against the sealed file."""

    __slots__ = ("_map", "size_bytes", "view")

    def __init__(self, descriptor: int, *, prefault: bool = True) -> None:
        self.size_bytes = os.fstat(descriptor).st_size
        self._map = mmap.mmap(descriptor, self.size_bytes, mmap.MAP_SHARED, mmap.PROT_READ)
        if prefault:
            with contextlib.suppress(OSError):  # an older kernel faults page by page on first use
                self._map.madvise(_MADV_POPULATE_READ)
        self.view = memoryview(self._map)

    def slice(self, offset: int, length: int) -> memoryview:
        """A view of one block; refuses what lies outside the region.

        Raises:
            TransferError: the peer announced a block outside its own region.
        """
        if offset + length > self.size_bytes:
            raise TransferError(
                f"block {offset}+{length} lies outside its region of {self.size_bytes} bytes; the peer is broken"
            )
        return self.view[offset : offset + length]

    def close(self) -> None:
        """Unmap, unless a view of it is still held: then the map goes with the last view."""
        with contextlib.suppress(BufferError):
            self.view.release()
            self._map.close()


def open_descriptor(
    descriptor: int, region_bytes: int, *, prefault: bool = True, allow_unsealed: bool = False
) -> SharedView:
    """Map a region that a peer handed over, after checking that the peer cannot shrink it under our feet.

    Args:
        descriptor: the peer's region.
        region_bytes: the size that the peer announced.
        prefault: map every page now.
        allow_unsealed: accept memory without seals (named segments); only for a peer that is trusted not to truncate.

    Raises:
        TransferError: the memory is not sealed (a truncating peer could kill us with SIGBUS), not reserved, or of
            another size than was announced.
    """
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) if _SEALS_REQUIRED else 0
    except OSError:
        seals = 0
    if not allow_unsealed and (not _SEALS_REQUIRED or seals & _SEALS_REQUIRED != _SEALS_REQUIRED):
        raise TransferError("the peer's shared memory is not sealed against truncation; refused")
    status = os.fstat(descriptor)
    if status.st_size != region_bytes or status.st_size == 0:
        raise TransferError(f"region of {status.st_size} bytes announced as {region_bytes}; the peer is broken")
    if not allow_unsealed and status.st_blocks * _BLOCK_BYTES < status.st_size:
        # Mapping it would make the kernel find the memory now, at our expense.
        raise TransferError(f"the peer reserved {status.st_blocks * _BLOCK_BYTES} of {status.st_size} bytes; refused")
    return SharedView(descriptor, prefault=prefault)


@contextlib.contextmanager
def peer_descriptor(pid: int, descriptor: int) -> Iterator[int]:
    """Open another process's memfd by number: for peers that can only talk gRPC and cannot pass descriptors.

    The kernel allows it to processes of the same user in the same PID namespace.
    """
    try:
        opened = os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise TransferError(
            f"cannot open the block of process {pid}: {error.strerror}; both sides need one user and one PID namespace"
        ) from None
    try:
        yield opened
    finally:
        os.close(opened)


def _open_memfd() -> int:
    return os.memfd_create("perfkit", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def _open_named(folder: str) -> int:
    descriptor, path = tempfile.mkstemp(prefix="perfkit-", dir=folder)  # mode 0600, close-on-exec
    Path(path).unlink()
    return descriptor


def _map(descriptor: int, size_bytes: int, flags: int) -> mmap.mmap:
    try:
        return mmap.mmap(descriptor, size_bytes, flags)
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise NoRoomError(
                f"the kernel has no room to map {format_bytes(size_bytes)}; `perfkit doctor` shows the limit"
            ) from None
        raise


def check_room(size_bytes: int, purpose: str) -> None:
    """Refuse an allocation for which the machine has no headroom: beyond it there is no error, only a SIGKILL.

    Args:
        size_bytes: what would be allocated; up to a mebibyte the reserve that `headroom` keeps absorbs it.
        purpose: completes the sentence "10MiB …".

    Raises:
        NoRoomError: with what limits it.
    """
    if size_bytes <= _RESERVE_ABSORBS_BYTES:
        return
    room = headroom()
    if size_bytes > room.available_bytes:
        raise NoRoomError(
            f"{format_bytes(size_bytes)} {purpose} asked for, {format_bytes(room.available_bytes)} available "
            f"({room.limit_source}, {format_bytes(room.reserve_bytes)} kept in reserve); "
            "lower the arena's size or raise the limit: `perfkit doctor` shows which"
        )


def _reserve(descriptor: int, size_bytes: int) -> None:
    """Have the kernel set the memory aside: later use cannot fail with SIGBUS."""
    try:
        if sys.platform == "linux":
            os.posix_fallocate(descriptor, 0, size_bytes)
        else:  # pragma: no cover - no such call on macOS
            os.ftruncate(descriptor, size_bytes)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.ENOMEM, errno.EFBIG):
            raise NoRoomError(
                f"the kernel has no room for {format_bytes(size_bytes)} of shared memory ({error.strerror}); "
                "`perfkit doctor` shows the limit"
            ) from None
        raise

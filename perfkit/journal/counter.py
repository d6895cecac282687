"""A page of memory in a file: how many rows a process has taken, known even after it was killed.

A store into a mapped page reaches the file whatever happens to the process; no system call is made on the way of a row.
It survives ``kill -9``, not a power cut: after one, figures may be as old as the kernel's last write-back.

The page holds 64-bit numbers. An epoch's figures are in one of two places, by whether its number is even: those of a
new epoch are set to zero before its number is stored, so that a kill at any moment leaves figures and number of one
epoch.
"""

from __future__ import annotations

import dataclasses
import mmap
import os
import struct
from pathlib import Path

from perfkit.errors import JournalError

__all__ = ["ACCEPTED", "COMMITTED", "DROPPED", "Counter", "CounterState", "read_counter"]

ACCEPTED, COMMITTED, DROPPED = 0, 1, 2
"""Places of the figures within an epoch's."""

_PAGE_BYTES = 4096
_MAGIC = int.from_bytes(b"PKCOUNT1", "little")
_MAGIC_AT, _EPOCH_AT, _POSITION_AT = 0, 1, 2
_FIGURES_AT = (8, 16)
_FIGURES = 3
_CELLS = struct.Struct("=20Q")


@dataclasses.dataclass(frozen=True, slots=True)
class CounterState:
    """What a page says.

    Args:
        epoch: the last epoch; 0 when there was none.
        position: the last position that may have been used; 0 when there was none.
        accepted: rows of that epoch that were handed in.
        committed: rows of it that were made durable, as far as the holder came to say so.
        dropped: rows of it that were refused.
    """

    epoch: int = 0
    position: int = 0
    accepted: int = 0
    committed: int = 0
    dropped: int = 0


def read_counter(path: Path) -> CounterState:
    """Read a page without mapping it; one that is missing, cut short or of another form says nothing.

    Raises:
        JournalError: the file exists and cannot be read.
    """
    try:
        page = path.read_bytes()
    except FileNotFoundError:
        return CounterState()
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror}; check its permissions (ls -l {path})") from error
    if len(page) < _CELLS.size:
        return CounterState()
    cells = _CELLS.unpack_from(page)
    if cells[_MAGIC_AT] != _MAGIC:
        return CounterState()
    epoch = cells[_EPOCH_AT]
    figures = cells[_FIGURES_AT[epoch % 2] :]
    return CounterState(epoch, cells[_POSITION_AT], figures[ACCEPTED], figures[COMMITTED], figures[DROPPED])


class Counter:
    """The page of a slot, mapped by its holder.

    Args:
        path: file of the page; made with its full size, so that no later store can find the disk full.

    Raises:
        OSError: the file cannot be made or mapped.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if os.fstat(descriptor).st_size < _PAGE_BYTES:
                os.pwrite(descriptor, bytes(_PAGE_BYTES), 0)
                os.fsync(descriptor)
            self._page = mmap.mmap(descriptor, _PAGE_BYTES)
        finally:
            os.close(descriptor)
        self._cells = memoryview(self._page).cast("Q")
        if self._cells[_MAGIC_AT] != _MAGIC:
            self._cells[:] = memoryview(bytes(_PAGE_BYTES)).cast("Q")
            self._cells[_MAGIC_AT] = _MAGIC

    @property
    def epoch(self) -> int:
        """The last epoch; 0 when there was none."""
        return self._cells[_EPOCH_AT]

    def begin_epoch(self, epoch: int) -> memoryview:
        """Start to count for another epoch.

        Returns:
            Its figures, all 0: store at `ACCEPTED`, `COMMITTED`, `DROPPED`.
        """
        begin = _FIGURES_AT[epoch % 2]
        figures = self._cells[begin : begin + _FIGURES]
        for place in range(_FIGURES):
            figures[place] = 0
        self._cells[_EPOCH_AT] = epoch
        self._page.flush()
        return figures

    def reserve_position(self, position: int) -> None:
        """Note a position before it is used: no later holder may use it again."""
        self._cells[_POSITION_AT] = position

    def correct_committed(self, rows: int) -> None:
        """Set what the last epoch committed: a kill may have come between a commit and its count."""
        self._cells[_FIGURES_AT[self._cells[_EPOCH_AT] % 2] + COMMITTED] = rows

    def close(self) -> None:
        """Unmap the page; the figures that `begin_epoch` returned must have been released."""
        self._page.flush()
        self._cells.release()
        self._page.close()

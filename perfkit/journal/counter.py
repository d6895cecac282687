"""A page of memory in a file: how many rows a process has taken, known even after it was killed.

A store into a mapped page reaches the file whatever happens to the process; no system call is made on the way of a row.
It survives ``kill -9``, not a power cut: after one, figures may be as old as the kernel's last write-back.

The file holds 64-bit numbers. An epoch's figures are in one of two places, by whether its number is even: those of a
new epoch are set to zero before its number is stored, so that a kill at any moment leaves figures and number of one
epoch. Beside the rows that were accepted under a lock, every thread that hands rows in has a cell of its own, a *lane*;
what was accepted is the sum of all. The files of before had no lanes; they are read, and a holder makes them longer.
"""

from __future__ import annotations

import dataclasses
import mmap
import os
from pathlib import Path

from perfkit.errors import JournalError

__all__ = [
    "ACCEPTED",
    "COMMITTED",
    "DROPPED",
    "LANES",
    "LANES_OFFSET",
    "Counter",
    "CounterState",
    "EpochCells",
    "read_counter",
]

ACCEPTED, COMMITTED, DROPPED, LANES_OFFSET = 0, 1, 2, 3
"""Places of the figures within an epoch's. The last is added to the sum of the lanes, modulo 2^64: lanes go on counting
when an epoch ends."""
LANES = 1000
"""Threads that have a cell of their own; more are counted late."""

_PAGE_BYTES = 4 * 4096
_BYTES_WITHOUT_LANES = 4096
_MAGIC = int.from_bytes(b"PKCOUNT2", "little")
_MAGIC_WITHOUT_LANES = int.from_bytes(b"PKCOUNT1", "little")
_MAGIC_AT, _EPOCH_AT, _POSITION_AT = 0, 1, 2
_FIGURES_AT = (8, 16)
_FIGURES = 4
_LANES_AT = (32, 32 + LANES)
_CELL_BYTES = 8


@dataclasses.dataclass(frozen=True, slots=True)
class EpochCells:
    """Where an epoch is counted: its figures, and one cell for each of `LANES` threads."""

    figures: memoryview
    lanes: memoryview


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
    cells = memoryview(page[: len(page) // _CELL_BYTES * _CELL_BYTES]).cast("Q")
    if len(page) >= _PAGE_BYTES and cells[_MAGIC_AT] == _MAGIC:
        lanes = LANES
    elif len(page) >= _BYTES_WITHOUT_LANES and cells[_MAGIC_AT] == _MAGIC_WITHOUT_LANES:
        lanes = 0
    else:
        return CounterState()
    epoch = cells[_EPOCH_AT]
    figures, lanes_at = cells[_FIGURES_AT[epoch % 2] :][:_FIGURES], _LANES_AT[epoch % 2]
    accepted = figures[ACCEPTED]
    if lanes:
        accepted = _signed(accepted + figures[LANES_OFFSET] + sum(cells[lanes_at : lanes_at + lanes]))
    return CounterState(epoch, cells[_POSITION_AT], max(0, accepted), figures[COMMITTED], figures[DROPPED])


def _signed(number: int) -> int:
    """A number modulo 2^64, from -2^63 on: a kill while an epoch began may leave a sum below 0."""
    return (number + 2**63) % 2**64 - 2**63


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
            size = os.fstat(descriptor).st_size
            if size < _PAGE_BYTES:
                kept = size if size >= _BYTES_WITHOUT_LANES else 0
                os.pwrite(descriptor, bytes(_PAGE_BYTES - kept), kept)
                os.fsync(descriptor)
            self._page = mmap.mmap(descriptor, _PAGE_BYTES)
        finally:
            os.close(descriptor)
        self._cells = memoryview(self._page).cast("Q")
        if self._cells[_MAGIC_AT] == _MAGIC_WITHOUT_LANES:
            self._cells[_LANES_AT[0] :] = memoryview(bytes(_PAGE_BYTES - _LANES_AT[0] * _CELL_BYTES)).cast("Q")
        elif self._cells[_MAGIC_AT] != _MAGIC:
            self._cells[:] = memoryview(bytes(_PAGE_BYTES)).cast("Q")
        self._cells[_MAGIC_AT] = _MAGIC

    @property
    def epoch(self) -> int:
        """The last epoch; 0 when there was none."""
        return self._cells[_EPOCH_AT]

    def begin_epoch(self, epoch: int) -> EpochCells:
        """Start to count for another epoch.

        Returns:
            Its cells, all 0: store at `ACCEPTED`, `COMMITTED`, `DROPPED`, `LANES_OFFSET`, and in lanes.
        """
        begin, lanes_begin = _FIGURES_AT[epoch % 2], _LANES_AT[epoch % 2]
        figures, lanes = self._cells[begin : begin + _FIGURES], self._cells[lanes_begin : lanes_begin + LANES]
        for cells in (figures, lanes):
            cells[:] = memoryview(bytes(len(cells) * _CELL_BYTES)).cast("Q")
        self._cells[_EPOCH_AT] = epoch
        self._page.flush()
        return EpochCells(figures, lanes)

    def reserve_position(self, position: int) -> None:
        """Note a position before it is used: no later holder may use it again."""
        self._cells[_POSITION_AT] = position

    def correct_committed(self, rows: int) -> None:
        """Set what the last epoch committed: a kill may have come between a commit and its count."""
        self._cells[_FIGURES_AT[self._cells[_EPOCH_AT] % 2] + COMMITTED] = rows

    def close(self) -> None:
        """Unmap the page; the cells that `begin_epoch` returned must have been released."""
        self._page.flush()
        self._cells.release()
        self._page.close()

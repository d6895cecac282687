"""Files of a report are whole or not there: readers never see half of one, whatever the writer ran into."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, text: str, *, durable: bool = True, encoding: str = "utf-8") -> None:
    """Write a file in one step: beside it first, then in its place.

    Args:
        path: what was there stays until the new text is whole.
        text: what it is to hold.
        durable: wait until it has reached the disk, too: it survives a power cut.
        encoding: of the text in the file.

    Raises:
        OSError: it could not be written, such as on a full disk; what was there is as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder, "a.txt"), "whole")
    ...     [(file.name, file.read_text()) for file in Path(folder).iterdir()]
    [('a.txt', 'whole')]
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding=encoding) as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())  # a disk may say only now that it is full
        partial.replace(path)
        if durable:
            _sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    """Let the new name reach the disk, too."""
    with contextlib.suppress(OSError):  # the file is in place; some file systems cannot do more
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

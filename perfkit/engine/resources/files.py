"""Read the kernel's small files, whatever they hold."""

from __future__ import annotations

import os

__all__ = ["counter_in", "read_file"]

_MOST_BYTES = 2**16
_LARGEST_COUNTER = 2**63


def read_file(path: str) -> bytes:
    """The first 64 KiB of a file; nothing where it cannot be read.

    It is opened anew each time: a file that is held open would tell a forked child of its parent, and of a cgroup that
    is gone.
    """
    try:
        # Without O_NONBLOCK a pipe in place of the file would hang.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):  # ValueError: a NUL byte in the path
        return b""
    try:
        return os.read(descriptor, _MOST_BYTES)
    except OSError:  # a folder; pressure information that was switched off
        return b""
    finally:
        os.close(descriptor)


def counter_in(text: bytes) -> int | None:
    """The number that a text consists of; None for anything else.

    >>> counter_in(b"1048576\\n"), counter_in(b"max\\n"), counter_in(b"-1"), counter_in(b"")
    (1048576, None, None, None)
    """
    text = text.strip()
    if not text.isdigit() or len(text) > 20:
        return None
    number = int(text)
    return number if number < _LARGEST_COUNTER else None

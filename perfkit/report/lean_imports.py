"""Import a library without the optional parts that nothing here uses, and that take longer than all the rest."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

__all__ = ["SLOW_FORMAT_CHECK", "without"]

SLOW_FORMAT_CHECK = "rfc3987_syntax"
"""Builds a grammar for a second or two when imported. jsonschema, which nbformat, papermill and altair import, takes it
where it is installed, to check internationalised web addresses; no schema of a notebook or a chart has any."""


@contextlib.contextmanager
def without(*modules: str) -> Iterator[None]:
    """Let imports of some modules fail until the block ends, as if they were not installed.

    Args:
        modules: what the imported library can do without; one that is already imported stays.

    >>> with without("this"):
    ...     import this
    Traceback (most recent call last):
    ModuleNotFoundError: import of this halted; None in sys.modules
    """
    left_out = [name for name in modules if name not in sys.modules]
    for name in left_out:
        sys.modules[name] = None  # type: ignore[assignment]  # what the language reference says to do
    try:
        yield
    finally:
        for name in left_out:
            if sys.modules.get(name, ...) is None:
                del sys.modules[name]

"""Where a notebook's own server may listen."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path

__all__ = ["temporary_address"]


def temporary_address() -> str:
    """An address in the temporary folder that nobody uses yet.

    A socket's path is short, and a clone may lie deep; closing the server removes it.

    >>> temporary_address().startswith("unix:/")
    True
    """
    return f"unix:{Path(tempfile.gettempdir()).absolute()}/perfkit-{uuid.uuid4().hex[:12]}.sock"

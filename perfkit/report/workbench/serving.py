"""What both servers need: a port that is free, and the parts that are installed."""

from __future__ import annotations

import dataclasses
import importlib
import socket
from types import ModuleType

from perfkit.errors import InputError, ReportError

__all__ = ["LOOPBACK", "Address", "choose_port", "import_server"]

LOOPBACK = "127.0.0.1"
"""The only address that is served: whoever can use a notebook can run code as you."""

_TRIED_PORTS = 50


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a server answers; the URL carries the token that opens it."""

    url: str
    port: int


def choose_port(asked: int | None, default: int) -> int:
    """The port to serve on.

    Args:
        asked: the port that somebody asked for, and no other; None takes the first free one from `default` on.
        default: where to begin looking.

    Raises:
        InputError: the port that was asked for is taken.
        ReportError: fifty ports from the default on are taken.
    """
    if asked is not None:
        if asked and not _is_free(asked):
            raise InputError(f"port {asked} is taken; leave --port out to take a free one, or give another")
        return asked or _any_port()
    for port in range(default, default + _TRIED_PORTS):
        if _is_free(port):
            return port
    raise ReportError(f"the ports {default} to {default + _TRIED_PORTS - 1} are all taken; give a free one by --port")


def import_server(module: str, needed_by: str) -> ModuleType:
    """Import a server that comes with an extra.

    Raises:
        ReportError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ReportError(
            f"{needed_by} needs {error.name}, which is not installed: pip install 'perfkit[lab]'"
        ) from error


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will: a port just left is free
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])

"""Addresses: reading them, listening at them, taking over from a server that died, and who is at the other end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from perfkit.errors import InputError, MethodUnavailableError
from perfkit.transfer.sockets import BUFFER_BYTES

__all__ = ["check_peer", "connect_once", "listen_at", "parse_address", "remove_socket", "socket_identity"]

_MAX_PATH_BYTES = 107  # sun_path, with its final zero
_GRPC_SUFFIX = ".grpc"
_CREDENTIALS = struct.Struct("3i")
_BACKLOG = 512


def parse_address(address: str) -> Path:
    """The path in ``unix:PATH``.

    Raises:
        InputError: another kind of address, or a path that no socket can have.

    >>> print(parse_address("unix:/run/service/../worker.sock"))
    /run/worker.sock
    """
    scheme, _, path = address.partition(":") if isinstance(address, str) else ("", "", "")
    if scheme != "unix" or not path or "\0" in path:
        raise InputError(f"address == {address!r}, must be 'unix:' and a path, such as 'unix:/run/worker.sock'")
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - without "..", and with symbolic links: both may be shorter
    length = len(os.fsencode(absolute))
    longest = _MAX_PATH_BYTES - len(_GRPC_SUFFIX) - len(".new")
    if length > longest:
        raise InputError(
            f"address {str(absolute)!r} has {length} bytes, too long for a socket; at most {longest} bytes: choose a "
            "shorter folder, such as one in /run or /tmp"
        )
    return absolute


def connect_once(path: Path) -> socket.socket:
    """Connect to a server.

    Raises:
        MethodUnavailableError: nobody listens there (yet, or any more).
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    except OSError as error:
        connection.close()
        raise MethodUnavailableError(
            f"no server listens at unix:{path} ({error.strerror or error}); start it, or check the address"
        ) from None
    return connection


def listen_at(path: Path) -> socket.socket:
    """Listen at a path, where only this user may connect; what a dead server left there is replaced in one step.

    Raises:
        InputError: a server that lives listens there, something else is in the way, or there is no such folder.
    """
    try:
        with _folder_lock(path.parent):
            _refuse_what_is_in_the_way(path)
            temporary = path.with_name(path.name + ".new")
            temporary.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                listener.bind(str(temporary))
                temporary.chmod(0o600)
                listener.listen(_BACKLOG)
                temporary.replace(path)  # clients find either the old socket or one that listens
            except BaseException:
                listener.close()
                temporary.unlink(missing_ok=True)
                raise
            return listener
    except OSError as error:
        advice = "make the folder, give write permission, or name another place"
        raise InputError(f"cannot listen at {path}: {error.strerror or error}; {advice}") from error


def socket_identity(path: Path) -> tuple[int, int] | None:
    """What tells one socket at a path from the next."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def remove_socket(path: Path, identity: tuple[int, int] | None) -> None:
    """Remove our own socket; another server's, which took over meanwhile, stays."""
    if identity is not None and socket_identity(path) == identity:
        path.unlink(missing_ok=True)


def check_peer(connection: socket.socket, allowed_users: frozenset[int]) -> int:
    """The process id at the other end, once its user is known to be allowed; 0 where the system does not say.

    Raises:
        PermissionError: another user.
    """
    if sys.platform != "linux":  # pragma: no cover - the socket's mode keeps others out there
        return 0
    pid, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    if user not in allowed_users:
        allowed = ", ".join(str(number) for number in sorted(allowed_users))
        raise PermissionError(f"the peer (process {pid}) runs as user {user}; allowed: {allowed}")
    return int(pid)


@contextlib.contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Two servers that start at once look and replace one after the other; nothing is left in the folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline_s = time.monotonic() + 5
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise OSError(errno.EBUSY, "the folder is locked by another process for seconds") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _refuse_what_is_in_the_way(path: Path) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_socket():
        raise InputError(f"{path} exists and is no socket; name another place")
    try:
        connect_once(path).close()
    except MethodUnavailableError:
        return
    raise InputError(f"a server listens at {path} already; stop it first, or name another place")

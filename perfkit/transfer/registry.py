"""The methods that exist: the built-in ones and those that `@perfkit.method` adds.

A method is a class with two static functions and four facts; see `Method`. Both ends import its module, so define it
in a module of yours, not in a notebook or a script.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from perfkit.errors import InputError, UnknownNameError
from perfkit.schema import SIMPLICITY_ORDER
from perfkit.transfer.protocol import Host, Sender, SenderOptions

__all__ = ["Method", "RegisteredMethod", "get_method", "method", "method_names"]


class Method(Protocol):
    """What a method's class offers.

    Attributes:
        signallings: how it can announce a payload; ``("uds",)`` unless it is a shared-memory method.
        zero_copy: whether the receiver reads the sender's memory.
        max_bytes: the largest payload it can carry; None: no limit of its own.
        copies: how often both sides together copy the payload in user code, the kernel and libraries not counted.
    """

    signallings: tuple[str, ...]
    zero_copy: bool
    max_bytes: int | None
    copies: int

    @staticmethod
    def serve(host: Host) -> None:
        """In the receiver's process: start listening (see `Host`); return at once."""

    @staticmethod
    def connect(folder: str, options: SenderOptions) -> Sender:
        """In the sender's process: connect to what `serve` listens on in `folder`."""


@dataclasses.dataclass(frozen=True, slots=True)
class RegisteredMethod:
    """A method by name: its class and the module that both ends import."""

    name: str
    module: str
    implementation: type[Any]


_BUILT_IN = {
    "uds": "perfkit.transfer.uds",
    "grpc": "perfkit.transfer.grpc_unary",
    "grpc_stream": "perfkit.transfer.grpc_stream",
    "shm": "perfkit.transfer.shm",
    "shm_pool": "perfkit.transfer.shm_pool",
}
_registered: dict[str, RegisteredMethod] = {}
_Class = TypeVar("_Class", bound=type)


def method(name: str) -> Callable[[_Class], _Class]:
    """Register a class as transfer method `name`.

    Sweeps measure it when it is named among their methods; once measured and published, plans offer it like any other.

    Args:
        name: letters, digits and underscores, beginning with a letter; none of the names in use.

    Raises:
        InputError: the name is taken or malformed, or the class lacks a part of `Method`.

    >>> @method("doctest_pigeon")
    ... class Pigeon:
    ...     signallings, zero_copy, max_bytes, copies = ("uds",), False, 32, 2
    ...     @staticmethod
    ...     def serve(host): ...
    ...     @staticmethod
    ...     def connect(folder, options): ...
    >>> "doctest_pigeon" in method_names()
    True
    """
    if not (name.isidentifier() and name.isascii() and not name.startswith("_")):
        raise InputError(f"method name {name!r}; allowed are letters, digits and underscores, beginning with a letter")

    def register(implementation: _Class) -> _Class:
        missing = [part for part in _PARTS if not hasattr(implementation, part)]
        if missing:
            raise InputError(f"method {name!r} lacks {', '.join(missing)}; see perfkit.transfer.registry.Method")
        known = _registered.get(name)
        # Importing a module twice under one name (a reload) replaces; two modules with one name are a mistake.
        if known is not None and known.module != implementation.__module__:
            raise InputError(f"method name {name!r} is taken by {known.module}; choose another")
        _registered[name] = RegisteredMethod(name, implementation.__module__, implementation)
        return implementation

    return register


_PARTS = ("signallings", "zero_copy", "max_bytes", "copies", "serve", "connect")


def method_names() -> tuple[str, ...]:
    """All methods: the built-in ones from simple to complicated, then the registered ones.

    >>> method_names()[:5]
    ('uds', 'grpc', 'grpc_stream', 'shm_pool', 'shm')
    """
    return (*SIMPLICITY_ORDER, *(name for name in _registered if name not in _BUILT_IN))


def get_method(name: str) -> RegisteredMethod:
    """The method called `name`.

    Raises:
        UnknownNameError: there is none; the message lists those that exist.
    """
    if name not in _registered and name in _BUILT_IN:
        importlib.import_module(_BUILT_IN[name])
    try:
        return _registered[name]
    except KeyError:
        raise UnknownNameError("method", name, method_names()) from None

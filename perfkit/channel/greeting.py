"""What two ends tell each other when they meet, and what follows from it."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import Any

from perfkit.channel import frames
from perfkit.config.fingerprint import UNKNOWN, collect_fingerprint, differences
from perfkit.errors import InputError, ProtocolError, UnknownNameError
from perfkit.schema import SIMPLICITY_ORDER
from perfkit.transfer.platform import capabilities

__all__ = ["Greeting", "available_methods", "host_differences", "introduce", "read_greeting"]


@dataclasses.dataclass(frozen=True, slots=True)
class Greeting:
    """HELLO or WELCOME.

    Args:
        methods: that this end has.
        pickle: whether it asked for `pickle`.
        message_bytes: what it takes as bytes.
        pid: of its process; 0 where unknown.
        pool: of a client, which pool it sends for.
        token: names the conversation, so that further connections join it; empty for a new one.
        grpc: of a server, where it serves gRPC; empty where it does not.
        lanes: of a server, how many connections one peer may have.
        fingerprint: of its host; empty on further connections.
    """

    methods: tuple[str, ...]
    pickle: bool
    message_bytes: int
    pid: int = 0
    pool: str = "default"
    token: str = ""
    grpc: str = ""
    lanes: int = 1
    fingerprint: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def to_facts(self) -> dict[str, Any]:
        """As it travels."""
        return {"version": frames.VERSION, **dataclasses.asdict(self), "fingerprint": dict(self.fingerprint)}


def introduce(greeting: Greeting, *, is_first: bool) -> dict[str, Any]:
    """The facts of a HELLO or WELCOME; the fingerprint goes only with the first."""
    fingerprint = collect_fingerprint() if is_first else {}
    return dataclasses.replace(greeting, pid=os.getpid(), fingerprint=fingerprint).to_facts()


def read_greeting(facts: Mapping[str, Any]) -> Greeting:
    """What the peer said of itself.

    Raises:
        ProtocolError: another version of the protocol, or nonsense.
    """
    version = facts.get("version")
    if version != frames.VERSION:
        raise ProtocolError(
            f"the peer speaks version {str(version)[:20]} of the channel's protocol, this side {frames.VERSION}; "
            "run the same perfkit on both sides"
        )
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Greeting):
        value = facts.get(field.name)
        if field.name == "methods":
            value = tuple(value) if isinstance(value, list) else None
        if not isinstance(value, _TYPES[field.name]) or isinstance(value, bool) != (field.name == "pickle"):
            raise ProtocolError(f"{field.name} == {str(value)[:80]!r} in the greeting; the peer is broken")
        values[field.name] = value
    if not all(_is_text(values[name]) for name in ("pool", "token", "grpc")):
        raise ProtocolError("a name in the greeting is no text; the peer is broken")
    if not all(isinstance(name, str) for name in values["methods"]):
        raise ProtocolError("methods in the greeting are no names; the peer is broken")
    return Greeting(**values)


def _is_text(name: str) -> bool:
    """Whether a name can be written: JSON also brings halves of letters, which no file or call can be named by."""
    return "\0" not in name and not any("\ud800" <= letter <= "\udfff" for letter in name)


def available_methods(wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The methods that this machine has, of those that are wanted.

    Raises:
        UnknownNameError: a channel has no such method.
        InputError: none is left.
    """
    for name in wanted or ():
        if name not in SIMPLICITY_ORDER:
            raise UnknownNameError("method", name, SIMPLICITY_ORDER, "Methods of your own do not travel on channels.")
    able = capabilities()
    names = tuple(name for name in SIMPLICITY_ORDER if (wanted is None or name in wanted) and able[name].available)
    if not names:
        reasons = "; ".join(f"{name}: {able[name].reason}" for name in wanted or SIMPLICITY_ORDER)
        raise InputError(f"methods == {wanted}, and this machine has none of them ({reasons})")
    return names


def host_differences(greeting: Greeting) -> tuple[str, ...]:
    """Where the peer's fingerprint differs from ours: another Python or grpcio moves payloads at another cost."""
    known = {key: value for key, value in greeting.fingerprint.items() if isinstance(value, str) and value != UNKNOWN}
    return tuple(
        sentence.replace("measured on", "the peer has") for sentence in differences(known, collect_fingerprint())
    )


def has_grpc(methods: Sequence[str]) -> bool:
    """Whether any of them is a gRPC call, and grpcio is there."""
    return any(name.startswith("grpc") for name in methods) and importlib.util.find_spec("grpc") is not None


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "methods": tuple,
    "pickle": bool,
    "message_bytes": int,
    "pid": int,
    "pool": str,
    "token": str,
    "grpc": str,
    "lanes": int,
    "fingerprint": dict,
}

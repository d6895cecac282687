"""Frames whose description is a JSON object: greetings, errors, goodbyes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from perfkit.channel import frames
from perfkit.channel.events import Failed
from perfkit.channel.frames import pack_frame, pack_header
from perfkit.errors import ProtocolError

__all__ = ["failure_of", "pack_document", "pack_error", "read_document"]

_MAX_DOCUMENT_BYTES = 64 * 2**10
_MAX_KIND_LETTERS, _MAX_TEXT_LETTERS = 200, 4000


def pack_document(op: int, facts: Mapping[str, object], request_id: int = 0, flags: int = 0) -> bytes:
    """A frame whose description is a JSON object."""
    meta = json.dumps(facts).encode()
    return pack_frame(pack_header(op, request_id, flags=flags, meta_bytes=len(meta)), meta)


def pack_error(request_id: int, code: str, kind: str, text: str, flags: int = 0) -> bytes:
    """An ERROR: why a request was not handled."""
    facts = {"code": code, "kind": kind[:_MAX_KIND_LETTERS], "text": text[:_MAX_TEXT_LETTERS]}
    return pack_document(frames.ERROR, facts, request_id, flags)


def failure_of(request_id: int, flags: int, facts: Mapping[str, Any]) -> Failed:
    """What an ERROR says."""
    code, kind, text = (str(facts.get(name, "")) for name in ("code", "kind", "text"))
    return Failed(request_id, code, kind, text, bool(flags & frames.RELEASED))


def read_document(meta: bytes, name: str) -> Mapping[str, Any]:
    """The JSON object in a description; raises `ProtocolError` when there is none."""
    if len(meta) > _MAX_DOCUMENT_BYTES:
        raise ProtocolError(f"{name} of {len(meta)} bytes, at most {_MAX_DOCUMENT_BYTES} are allowed")
    try:
        facts = json.loads(meta) if meta else {}
    except (ValueError, RecursionError):
        raise ProtocolError(f"{name} is no JSON object") from None
    if not isinstance(facts, dict):
        raise ProtocolError(f"{name} is a JSON {type(facts).__name__}, must be an object")
    return facts

from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Payload(_message.Message):
    __slots__ = ("meta", "body", "flags")
    META_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    meta: bytes
    body: bytes
    flags: int
    def __init__(self, meta: _Optional[bytes] = ..., body: _Optional[bytes] = ..., flags: _Optional[int] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("meta", "data", "flags", "wire_bytes")
    META_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    WIRE_BYTES_FIELD_NUMBER: _ClassVar[int]
    meta: bytes
    data: bytes
    flags: int
    wire_bytes: int
    def __init__(self, meta: _Optional[bytes] = ..., data: _Optional[bytes] = ..., flags: _Optional[int] = ..., wire_bytes: _Optional[int] = ...) -> None: ...

class Announcement(_message.Message):
    __slots__ = ("header", "meta")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    header: bytes
    meta: bytes
    def __init__(self, header: _Optional[bytes] = ..., meta: _Optional[bytes] = ...) -> None: ...

class Acknowledgement(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: int
    def __init__(self, value: _Optional[int] = ...) -> None: ...

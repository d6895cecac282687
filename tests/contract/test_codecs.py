"""What every codec promises, checked for every kind, format and compression that there is."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import msgpack
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from perfkit.errors import CodecError
from perfkit.transfer.codecs import Codec, decode, get_codec, supported

TABLE = pa.table(
    {"count": [1, 2, None], "share": [0.5, None, -1.0], "name": ["x", "grüß", None], "ok": [True, None, False]}
)
NESTED = pa.table(
    {
        "list": [[1, 2], None, []],
        "struct": [{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}],
        "category": pa.array(["p", None, "p"]).dictionary_encode(),
        "nothing": pa.nulls(3),
        "time": pa.array([1, None, 3], pa.timestamp("ns", "UTC")),
        "view": pa.array(["a", None, "longer than twelve bytes"], pa.string_view()),
    }
)
NUMBERS = (
    np.arange(12, dtype="f4").reshape(3, 4),
    np.arange(24, dtype="i2").reshape(2, 3, 4).transpose(1, 0, 2),
    np.asfortranarray(np.arange(6, dtype="f8").reshape(2, 3)),
    np.arange(10, dtype="u1")[::-2],
    np.array(7, "i8"),
    np.zeros((0, 3), "f2"),
)
OTHER_VALUES = (
    np.array([True, False]),
    np.arange(6, dtype=">i4"),
    np.array(["2020-01-01", "NaT"], "M8[ns]"),
    np.array([1 + 2j]),
    np.array(["ab", "ü"]),
    np.zeros((2, 2), [("x", "f4"), ("y", ">i2", (2,)), ("grüße", "S3")]),
)
DOCUMENTS = ({"prompt": "grüß", "tokens": [1, 2.5, None, True]}, [])
FRAMES = (
    TABLE,
    TABLE.slice(1, 1),
    TABLE.schema.empty_table(),
    pa.concat_tables([TABLE, TABLE.slice(2)]),
    TABLE.replace_schema_metadata({"made": "here"}),
    TABLE.to_batches()[0],
    pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=["p", "q"]),
    pl.DataFrame({"a": [1, None], "b": ["x", "longer than twelve bytes"]}),
)
EXAMPLES: Mapping[tuple[str, str], tuple[Any, ...]] = {
    ("tensor", "numpy"): (*NUMBERS, *OTHER_VALUES),
    ("tensor", "arrow"): NUMBERS,
    ("tensor", "msgpack"): (*NUMBERS, *OTHER_VALUES),
    ("tensor", "json"): (*NUMBERS, *OTHER_VALUES[:2]),
    ("tensor", "pickle"): (*NUMBERS, *OTHER_VALUES),
    ("dataframe", "arrow"): (*FRAMES, NESTED, pa.concat_tables([NESTED, NESTED.slice(1)]), pa.table({})),
    ("dataframe", "msgpack"): FRAMES,
    ("dataframe", "json"): FRAMES,
    ("dataframe", "pickle"): (*FRAMES, NESTED),
    ("binary", "raw"): (b"abc" * 100, bytearray(b"x"), memoryview(b"abcdef")[::2], b""),
    ("binary", "msgpack"): (b"abc" * 100, b""),
    ("binary", "pickle"): (b"abc" * 100, b""),
    ("text", "raw"): ("grüß 😀\0" * 20, ""),
    ("text", "msgpack"): ("grüß 😀\0" * 20, "", *DOCUMENTS),
    ("text", "json"): ("grüß 😀\0" * 20, "", *DOCUMENTS),
    ("text", "pickle"): ("grüß 😀\0" * 20, ""),
}
VIEWS = {("tensor", "numpy"), ("tensor", "arrow"), ("dataframe", "arrow"), ("binary", "raw")}
FORMAT_BYTES: Mapping[tuple[str, str], Callable[[Any], int]] = {
    ("tensor", "numpy"): lambda payload: payload.nbytes,
    ("binary", "raw"): lambda payload: memoryview(payload).nbytes,
    ("text", "raw"): lambda payload: len(payload.encode()),
    ("text", "json"): lambda payload: len(json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()),
    ("text", "msgpack"): lambda payload: len(msgpack.packb(payload)),
    ("binary", "msgpack"): lambda payload: len(msgpack.packb(payload)),
}
CASES = [
    pytest.param(get_codec(*names, allow_pickle=True), payload, id=f"{'-'.join(names)}-{index}")
    for names in supported()
    for index, payload in enumerate(EXAMPLES[names[:2]])
]
CODECS = [pytest.param(get_codec(*names, allow_pickle=True), id="-".join(names)) for names in supported()]


def examples(codec: Codec) -> tuple[Any, ...]:
    return EXAMPLES[codec.kind, codec.format]


def same(got: Any, sent: Any) -> bool:
    """Equal in type, description and every bit of the values."""
    if isinstance(sent, np.ndarray):
        return (got.dtype, got.shape, got.tobytes()) == (sent.dtype, sent.shape, sent.tobytes())
    if isinstance(sent, pa.Table):
        got.validate(full=True)
        return bool(got.equals(sent, check_metadata=True))
    if isinstance(sent, pa.RecordBatch | pd.DataFrame | pl.DataFrame):
        return type(got) is type(sent) and bool(got.equals(sent))
    return bool(got == sent)


@pytest.mark.parametrize(("codec", "payload"), CASES)
def test_what_is_decoded_equals_what_was_encoded(codec: Codec, payload: Any) -> None:
    encoded = codec.encode(payload)
    assert same(codec.decode(encoded.meta, encoded.to_view()), payload)
    assert same(decode(encoded.meta, encoded.to_view(), allow_pickle=True), payload)


@pytest.mark.parametrize(("codec", "payload"), CASES)
def test_the_length_is_exact_and_every_byte_of_it_is_written(codec: Codec, payload: Any) -> None:
    encoded = codec.encode(payload)
    assert (encoded.body is None) != (encoded.write_into is None)
    if encoded.body is not None:
        assert encoded.body.nbytes == len(encoded.body) == encoded.wire_bytes
        return
    written = []
    for filler in (0xAA, 0x55):
        block = bytearray([filler]) * (encoded.wire_bytes + 128)
        encoded.write_into(memoryview(block)[64 : 64 + encoded.wire_bytes])
        assert set(block[:64]) | set(block[-64:]) == {filler}, "wrote outside its destination"
        written.append(block[64:-64])
    assert written[0] == written[1], "left bytes of the destination as they were"


@pytest.mark.parametrize(("codec", "payload"), CASES)
def test_encoding_is_deterministic(codec: Codec, payload: Any) -> None:
    first, second = codec.encode(payload), codec.encode(payload)
    assert (first.meta, bytes(first.to_view())) == (second.meta, bytes(second.to_view()))


@pytest.mark.parametrize("codec", CODECS)
def test_into_block_is_true_of_the_ordinary_payload(codec: Codec) -> None:
    assert (codec.encode(examples(codec)[0]).write_into is not None) == codec.into_block


@pytest.mark.parametrize("names", [names for names in supported() if names[:2] in VIEWS and names[2] == "none"])
def test_the_receiver_gets_a_read_only_view(names: tuple[str, str, str]) -> None:
    codec = get_codec(*names)
    encoded = codec.encode(examples(codec)[0])
    body = memoryview(bytearray(encoded.to_view()))  # writable, as a receive buffer is
    payload = codec.decode(encoded.meta, body)
    if isinstance(payload, pa.Table):
        payload = payload["count"].chunk(0).buffers()[1]
        assert not payload.is_mutable
    view = np.asarray(payload) if isinstance(payload, np.ndarray) else np.frombuffer(payload, np.uint8)
    assert np.shares_memory(view, np.frombuffer(body, np.uint8))
    assert not view.flags.writeable


@pytest.mark.parametrize(("kind", "format_name"), FORMAT_BYTES)
def test_nothing_is_added_to_the_bytes_of_the_format(kind: str, format_name: str) -> None:
    for payload in EXAMPLES[kind, format_name]:
        assert get_codec(kind, format_name).encode(payload).wire_bytes == FORMAT_BYTES[kind, format_name](payload)


def test_arrow_bodies_are_plain_ipc_streams() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    assert bytes(get_codec("dataframe", "arrow").encode(TABLE).to_view()) == sink.getvalue().to_pybytes()


@pytest.mark.parametrize("codec", CODECS)
def test_a_body_or_description_that_was_cut_is_refused(codec: Codec) -> None:
    encoded = codec.encode(examples(codec)[0])
    body = encoded.to_view()
    for kept in {0, 1, len(body) // 2, len(body) - 1}:
        with pytest.raises(CodecError):
            codec.decode(encoded.meta, body[:kept])
    for kept in range(len(encoded.meta)):
        with pytest.raises(CodecError):
            codec.decode(encoded.meta[:kept], body)
        with pytest.raises(CodecError):
            decode(encoded.meta[:kept], body, allow_pickle=True)


@pytest.mark.parametrize("codec", CODECS)
def test_the_description_of_another_codec_is_refused(codec: Codec) -> None:
    other = get_codec("text", "raw") if codec.format != "raw" else get_codec("tensor", "numpy")
    encoded = other.encode(examples(other)[0])
    with pytest.raises(CodecError):
        codec.decode(encoded.meta, encoded.to_view())


@pytest.mark.parametrize("names", [names for names in supported() if names[1] != "pickle"])
def test_corruption_is_refused_or_read_and_never_worse(names: tuple[str, str, str]) -> None:
    """Unpickling is left out: it runs what the bytes say, which is why it is off."""
    codec = get_codec(*names)
    chance = random.Random("-".join(names))
    for payload in examples(codec) * 12:
        encoded = codec.encode(payload)
        meta, body = bytearray(encoded.meta), bytearray(encoded.to_view())
        _damage(chance, chance.choice((meta, body)))
        if chance.random() < 0.5:  # a lying peer gets the length right
            meta[3:11] = len(body).to_bytes(8, "little")
        try:
            got = decode(bytes(meta), memoryview(bytes(body)))
            if isinstance(got, pa.Table | pa.RecordBatch):
                got.validate(full=True)
        except (CodecError, pa.ArrowInvalid):
            continue
        assert got.tobytes() is not None if isinstance(got, np.ndarray) else repr(got)


def _damage(chance: random.Random, content: bytearray) -> None:
    for _ in range(chance.choice((1, 1, 2, 8))):
        if content:
            start = chance.randrange(len(content))
            length = chance.choice((1, 4, 8))
            patch = (chance.randbytes(length), b"\xff" * length, b"\0" * length, (2**40).to_bytes(8, "little"), b"")
            content[start : start + length] = chance.choice(patch)

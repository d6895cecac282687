"""The page of the wire protocol says what the code does: tables, states and the dump."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from perfkit.channel import core, documents, frames, peers, server, session
from perfkit.channel.borrowing import Regions
from perfkit.channel.core import Core
from perfkit.channel.frames import BYTES, EXCLUSIVE, HEADER, HEADER_BYTES, RELEASED, TIMINGS, pack_frame
from perfkit.channel.greeting import Greeting
from perfkit.channel.limits import Limits
from perfkit.channel.requests import request_meta
from perfkit.schema import COMPRESSIONS, FORMATS, KINDS, SIMPLICITY_ORDER
from perfkit.transfer.codecs import get_codec
from perfkit.transfer.codecs.frames import SOURCES

PAGE = (Path(__file__).parents[2] / "docs/reference/wire-protocol.md").read_text()
FORMAT_OF_BYTES = {1: "B", 2: "H", 4: "I", 8: "Q"}


def section(title: str) -> str:
    assert f"\n## {title}\n" in PAGE
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str, first: str) -> list[list[str]]:
    """The rows of the table whose first column is headed `first`."""
    table = text.partition(f"| {first} |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("| ").split(" |")] for line in table.splitlines()[2:]]


def layout(table: list[list[str]]) -> str:
    """The format of `struct` that a table describes; its offsets are the sums of what comes before."""
    described, offset = "<", 0
    for at, size, *_ in table:
        if not size:  # what is as long as a field says
            continue
        assert int(at) == offset
        field = next(name for offset_, size_, name, *_ in table if offset_ == at)
        described += {"magic": "4s", "reserved": f"{size}x"}.get(field, FORMAT_OF_BYTES.get(int(size), "?"))
        offset += int(size)
    return described


def test_header_is_laid_out_as_the_page_says():
    table = rows(section("Frames"), "offset")
    assert layout(table) == HEADER.format
    assert sum(int(size) for _, size, *_ in table) == HEADER_BYTES
    names = [name for _, _, name, _ in table if name not in ("reserved",)]
    documented = "magic, op, carrier, flags, meta bytes, request id, body bytes, payload bytes, region, offset, time ns"
    assert ", ".join(names) == documented
    values = (frames.MAGIC, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    packed = HEADER.pack(*values)
    for (at, size, name, _), value in zip([row for row in table if row[2] != "reserved"], values, strict=True):
        field = packed[int(at) : int(at) + int(size)]
        assert field == (value if isinstance(value, bytes) else value.to_bytes(int(size), "little")), name


def test_timings_are_laid_out_as_the_page_says():
    table = rows(section("Requests and answers"), "offset")
    assert layout(table) == TIMINGS.format
    assert int(table[-1][0]) == TIMINGS.size
    assert [name.replace(" ns", "_ns").replace(" at_ns", "_at_ns") for _, _, name, _ in table][:6] == list(
        frames.Timings._fields[:6]
    )


def test_every_operation_is_on_the_page():
    table = rows(section("Operations"), "op")
    assert [(int(op), name) for op, name, *_ in table] == list(enumerate(frames.OP_NAMES))[1:]
    may_come_from = {
        name: {"server": name in names_of(core._SERVER_TAKES), "client": name in names_of(core._CLIENT_TAKES)}
        for _, name, *_ in table
    }
    for _, name, sender, *_, description in table:
        greeting = {"HELLO": {"server": True, "client": False}, "WELCOME": {"server": False, "client": True}}
        takes = greeting.get(name, may_come_from[name])
        assert {"server": sender in ("client", "both"), "client": sender in ("server", "both")} == takes
        assert description.startswith("JSON") == (frames.OP_NAMES.index(name) in frames.DOCUMENT_OPS)


def names_of(ops: frozenset[int]) -> set[str]:
    return {frames.OP_NAMES[op] for op in ops}


def test_every_flag_and_carrier_is_on_the_page():
    flags = {name: int(flag) for flag, name, *_ in rows(section("Requests and answers"), "flag")}
    assert flags == {name: getattr(frames, name) for name in ("EXCLUSIVE", "RELEASED", "TIMED", "PARKED")}
    carriers = rows(section("Carriers"), "carrier")
    assert tuple(name for _, name, *_ in carriers) == frames.CARRIERS
    assert [int(number) for number, *_ in carriers] == list(range(len(frames.CARRIERS)))


def test_every_field_of_the_greeting_is_on_the_page():
    described = {name: kind for name, kind, *_ in rows(section("Handshake"), "field")}
    fields = {field.name for field in dataclasses.fields(Greeting)}
    assert set(described) == fields | {"version"}
    facts = Greeting(("uds",), False, 1).to_facts()
    kinds = {int: "integer", bool: "boolean", str: "string", tuple: "array of strings", dict: "object"}
    assert described == {name: kinds[type(value)] for name, value in facts.items()}
    assert set(re.findall(r"`(\w+)`", section("Handshake").partition("- **methods**")[2].partition("\n")[0])) >= set(
        SIMPLICITY_ORDER
    )


def test_every_code_of_an_error_is_on_the_page():
    described = {code for code, *_ in rows(section("Errors"), "code")}
    room = Path(core.__file__).parent
    sources = "\n".join(path.read_text() for path in room.glob("*.py"))
    used = set(re.findall(r'(?:_failed\(|outcome\.error = \()"(\w+)"', sources)) | set(
        re.findall(r'core\.error\(0, "(\w+)"', sources)
    )
    assert described == used


LIMITS = {
    "a description": Limits().meta_bytes,
    "a JSON description": documents._MAX_DOCUMENT_BYTES,
    "a body as bytes": Limits().message_bytes,
    "names in a RELEASE": core._MAX_RELEASED,
    "regions of a peer": Regions()._max_regions,
    "descriptors that wait for their frame": core._MAX_WAITING_DESCRIPTORS,
    "parked answers of a conversation": peers._MAX_PARKED,
    "conversations": server._MAX_PEERS,
    "requests under way on a lane": server.serve.__kwdefaults__["max_in_flight"],
    "lanes of a conversation": server.serve.__kwdefaults__["max_in_flight"],
    "silence within a frame, in the greeting, or while an answer is not read": round(server._STALLED_S),
}


@pytest.mark.parametrize("what", LIMITS)
def test_limit_is_the_one_on_the_page(what):
    described = {name: text for name, text, _ in rows(section("Limits"), "what")}
    assert set(described) == {*LIMITS, "blocks that a client may view"}
    assert re.findall(r"\d+", described[what]) == [str(LIMITS[what])]


def test_numbers_of_codecs_are_those_on_the_page():
    text = " ".join(section("Requests and answers").split())
    for what, names in (("Kinds are", KINDS), ("formats", FORMATS), ("compressions", COMPRESSIONS)):
        assert f"{what} " + ", ".join(f"{number} {name}" for number, name in enumerate(names)) in text
    assert SOURCES == ("table", "batch", "pandas", "polars")
    assert "0 an Arrow table, 1 a record batch, 2 a pandas frame, 3 a polars frame" in text
    assert session._RELEASED_AT_A_TIME <= core._MAX_RELEASED


def test_description_of_a_tensor_is_the_one_on_the_page():
    """Order, dimensions, length of the dtype's text, each dimension, the text - behind what every codec writes."""
    encoded = get_codec("tensor", "numpy").encode(np.zeros((2, 3), "<f4"))
    expected = b"\1\0\0" + (24).to_bytes(8, "little") + b"C\2\3\0"
    assert encoded.meta == expected + (2).to_bytes(8, "little") + (3).to_bytes(8, "little") + b"<f4"


def test_dump_is_what_is_sent():
    """Regenerate with `python tests/docs/test_wire_protocol.py`."""
    (shown,) = re.findall(r"```text\n(.*?)```", section("A dump"), re.DOTALL)
    assert shown == dump()


def dump() -> str:
    """A request and its answer, byte by byte."""
    client, other_end = Core(is_server=False), Core(is_server=True)
    encoded = get_codec("binary", "raw").encode(b"Hello")
    meta, body = request_meta("", encoded.meta), bytes(encoded.to_view())
    header = client.request(len(meta), BYTES, len(body), len(body), flags=EXCLUSIVE, timeout_ns=30 * 10**9)
    request = pack_frame(header, meta) + body + bytes(-len(body) % 64)
    answer = other_end.reply(1, 0, flags=RELEASED)
    parts = [
        (4, "magic"), (1, "op: REQUEST"), (1, "carrier: bytes"), (2, "flags: EXCLUSIVE"), (4, "meta bytes: 13"),
        (4, "reserved"), (8, "request id: 1"), (8, "body bytes: 5"), (8, "payload bytes: 5"), (8, "region: none"),
        (8, "offset: none"), (8, "time: 30 s"), (2, "description: no session"), (1, "layout version 1"),
        (1, "kind 2 binary, format 5 raw"), (1, "compression 0 none"), (8, "length of the body: 5"), (51, "padding"),
        (5, "body: Hello"), (59, "padding"),
    ]  # fmt: skip
    answered = [
        (4, "magic"), (1, "op: REPLY"), (1, "carrier: nothing"), (2, "flags: RELEASED (there was no block)"),
        (4, "meta bytes: 0"), (4, "reserved"), (8, "request id: 1"), (40, "nothing else"),
    ]  # fmt: skip
    return (
        f"client to server, {len(request)} bytes\n{lines(request, parts)}\nserver to client, {len(answer)} bytes\n"
        + (lines(answer, answered))
    )


def lines(data: bytes, parts: list[tuple[int, str]]) -> str:
    text, at = "", 0
    for length, meaning in parts:
        piece = data[at : at + length]
        shown = piece.hex(" ") if length <= 8 else f"{piece[:4].hex(' ')} … ({length} bytes)"
        assert length <= 8 or not any(piece)
        text += f"  {at:4}  {shown:24}  {meaning}\n"
        at += length
    assert at == len(data)
    return text


if __name__ == "__main__":
    print(dump(), end="")

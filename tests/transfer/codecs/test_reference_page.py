"""The reference page says what the codecs do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from perfkit.transfer.codecs import get_codec, supported

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "codecs.md"
PAYLOADS = {
    "tensor": np.arange(1000),
    "dataframe": pa.table({"a": np.arange(1000)}),
    "binary": bytes(1000),
    "text": "a" * 1000,
}


def rows() -> list[tuple[str, ...]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")][2:]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


def test_the_page_lists_what_is_supported_in_order() -> None:
    listed = [(row[0], row[1], compression) for row in rows() for compression in row[2].split(", ")]
    assert tuple(listed) == supported()


@pytest.mark.parametrize("row", rows(), ids=lambda row: "-".join(row[:2]))
def test_the_page_says_what_is_copied(row: tuple[str, ...]) -> None:
    kind, format_name, _, sender, receiver = row
    codec, payload = get_codec(kind, format_name, allow_pickle=True), PAYLOADS[kind]
    encoded = codec.encode(payload)
    if encoded.body is None:
        assert sender == "into the destination"
    else:
        own = payload.data if isinstance(payload, np.ndarray) else payload
        shares = isinstance(own, bytes | memoryview) and np.shares_memory(
            np.frombuffer(own, np.uint8), np.frombuffer(encoded.body, np.uint8)
        )
        assert sender == ("ready" if shares else "new memory")
    assert receiver == (
        "a view" if keeps_its_body(codec.decode, encoded.meta, bytearray(encoded.to_view())) else "a copy"
    )


def keeps_its_body(decode, meta: bytes, body: bytearray) -> bool:
    payload = decode(meta, memoryview(body))
    try:
        body.append(0)  # refused while anything still looks at it
    except BufferError:
        return payload is not None
    return False

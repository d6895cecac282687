"""Test payloads: their size, their entropy class under both compressors, and that a seed decides them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from perfkit.errors import InputError, UnknownNameError
from perfkit.measurement.payloads import make_payload
from perfkit.schema import ENTROPIES, KINDS
from perfkit.transfer.codecs import FORMATS_OF_KIND, get_codec


def size_of(payload: object) -> int:
    return payload.nbytes if isinstance(payload, np.ndarray | pa.Table) else len(payload)  # type: ignore[arg-type]


def as_comparable(payload: object) -> object:
    return payload.tobytes() if isinstance(payload, np.ndarray) else payload


def ratio_of(kind: str, payload: object, compression: str) -> float:
    natural = FORMATS_OF_KIND[kind][0]
    raw_bytes = get_codec(kind, natural).encode(payload).wire_bytes
    return raw_bytes / get_codec(kind, natural, compression).encode(payload).wire_bytes


@pytest.mark.parametrize("entropy", ENTROPIES)
@pytest.mark.parametrize("kind", KINDS)
def test_size_is_within_one_percent(kind: str, entropy: str) -> None:
    for payload_bytes in (4096, 65_537, 3_000_000, 20_000_001):
        assert size_of(make_payload(kind, payload_bytes, entropy)) == pytest.approx(payload_bytes, rel=0.01)


@pytest.mark.parametrize("payload_bytes", [0, 1, 1000, 1024, 8 * 2**20, 8 * 2**20 + 1])
def test_size_is_exact_where_the_kind_allows(payload_bytes: int) -> None:
    assert len(make_payload("binary", payload_bytes)) == payload_bytes
    assert len(make_payload("text", payload_bytes).encode()) == payload_bytes
    assert make_payload("tensor", payload_bytes).nbytes == payload_bytes // 4 * 4
    assert abs(make_payload("dataframe", payload_bytes).nbytes - payload_bytes) <= 40


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("payload_bytes", [2**16, 2**20])
@pytest.mark.parametrize("kind", KINDS)
def test_classes_compress_at_about_their_ratio(kind: str, payload_bytes: int, compression: str) -> None:
    for entropy, ratio in (("1.5:1", 1.5), ("4:1", 4.0)):
        assert ratio_of(kind, make_payload(kind, payload_bytes, entropy), compression) == pytest.approx(ratio, rel=0.15)


@pytest.mark.parametrize("kind", KINDS)
def test_incompressible_stays_so_beyond_the_windows_of_the_compressors(kind: str) -> None:
    payload = make_payload(kind, 17 * 2**20)
    assert ratio_of(kind, payload, "lz4") == pytest.approx(1.0, abs=0.01)
    assert ratio_of(kind, payload, "zstd") <= (1.23 if kind == "text" else 1.1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_decides_the_payload(kind: str) -> None:
    first, again, other = (as_comparable(make_payload(kind, 5000, "4:1", seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_values_are_finite_so_that_they_compare_and_fit_json() -> None:
    assert np.isfinite(make_payload("tensor", 2**20)).all()
    table = make_payload("dataframe", 2**20)
    assert all(np.isfinite(table[name].to_numpy()).all() for name in ("x", "y", "z", "weight"))
    table.validate(full=True)


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_carries_it(kind: str) -> None:
    payload = make_payload(kind, 2000)
    for format_name in FORMATS_OF_KIND[kind]:
        codec = get_codec(kind, format_name, allow_pickle=True)
        encoded = codec.encode(payload)
        assert as_comparable(codec.decode(encoded.meta, encoded.to_view())) == as_comparable(payload)


def test_wrong_requests_are_refused_with_what_is_allowed() -> None:
    with pytest.raises(UnknownNameError, match=r"kind 'tensr'.*Did you mean 'tensor'"):
        make_payload("tensr", 10)
    with pytest.raises(UnknownNameError, match=r"allowed: incompressible, 1\.5:1, 4:1"):
        make_payload("tensor", 10, "2:1")
    with pytest.raises(InputError, match="payload_bytes == -1"):
        make_payload("tensor", -1)
    with pytest.raises(InputError, match="at most 8589934592 for a dataframe"):
        make_payload("dataframe", 9 * 2**30)

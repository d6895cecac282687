"""`[slos.NAME]`: what may be promised, and what is refused with its place."""

from __future__ import annotations

import pytest

from perfkit.config.settings import load_perfkit_toml
from perfkit.config.slos import Slo
from perfkit.errors import ConfigError


def read(folder, text):
    path = folder / "perfkit.toml"
    path.write_text(text)
    return load_perfkit_toml(path).slos


def test_promises_are_read_with_their_units(tmp_path):
    slos = read(
        tmp_path,
        """
[slos.checkout]
pool = "ml-*"
quantile = "p99.9"
latency = "5ms"
error_rate = "0.1%"
window = "7 days"
[slos.copies]
scenario = "transport *"
throughput = "2GB"
memory = "1MiB"
""",
    )
    assert slos == (
        Slo("checkout", "ml-*", None, 0.999, 5_000_000, 0.001, window_days=7),
        Slo("copies", None, "transport *", throughput_bytes_per_s=2 * 10**9, memory_bytes=2**20),
    )


def test_a_file_without_promises_makes_none(tmp_path):
    assert read(tmp_path, "[engine]\n") == ()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("latency = '5ms'", "names neither a pool nor scenarios"),
        ("pool = 'a'\nscenario = 'b'\nlatency = '5ms'", "names both"),
        ("pool = 'a'", "promises nothing; add one of latency"),
        ("pool = 'a'\nquantile = 'p99'\nmemory = '1MiB'", "is that of the latency"),
        ("pool = 'a'\nlatency = '5'", "a duration from 1ns"),
        ("pool = 'a'\nlatency = '5ms'\nquantile = 'p100'", "a quantile above p0 and below p100"),
        ("pool = 'a'\nlatency = '5ms'\nquantile = 0.99", "a quantile above p0"),
        ("pool = 'a'\nerror_rate = 0", "a share above 0"),
        ("pool = 'a'\nlatancy = '5ms'", "latancy"),
    ],
)
def test_what_cannot_be_promised_is_refused_with_its_place(tmp_path, table, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, f"[slos.x]\n{table}\n")
    assert caught.value.line


def test_a_name_that_nobody_can_read_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is no name"):
        read(tmp_path, '[slos." "]\npool = "a"\nlatency = "5ms"\n')

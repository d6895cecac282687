"""`thresholds.toml`: what is written is what is read, and damage is named."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.config.curves import CurveKey, CurveSet, Evidence
from perfkit.config.thresholds import (
    PublishedRange,
    PublishedTable,
    Thresholds,
    curves_path,
    history_paths,
    load_thresholds,
    to_toml,
)
from perfkit.errors import ConfigError

RANGES = (
    PublishedRange(48 * 1024, "uds", 31_000, True, (32 * 1024, 96 * 1024), 420, {"shm_pool": 45_000}),
    PublishedRange(math.inf, "shm_pool", 410_000, False, None, 610, {"uds": 1_200_000, "grpc": 9_800_000}),
)
TABLE = PublishedTable("*", "balanced", "tensor", "numpy", "none", "uds", RANGES)


@pytest.fixture(scope="session")
def thresholds(make_curves) -> Thresholds:
    curves = make_curves(fingerprint={"kernel": "6.18", 'CPU "α"\n': "a\\b\x7f"})
    moment = datetime.datetime(2026, 11, 20, 21, 4, tzinfo=datetime.UTC)
    return Thresholds(7, moment, "01JD", curves, curves.sha256(), (TABLE,), restores=3)


def write(folder: Path, thresholds: Thresholds) -> Path:
    path = folder / "thresholds.toml"
    path.write_text(to_toml(thresholds, curves_name="thresholds.curves.json"))
    curves_path(path).write_text(thresholds.curves.to_json())
    return path


def test_what_is_written_is_what_is_read(tmp_path: Path, thresholds: Thresholds) -> None:
    assert load_thresholds(write(tmp_path, thresholds)) == thresholds


def test_the_file_reads_like_a_table_of_ranges(thresholds: Thresholds) -> None:
    text = to_toml(thresholds, curves_name="thresholds.curves.json")
    first = '  { up_to = "48KiB", method = "uds", expect = "31us", ci = ["32KiB", "96KiB"], n = 420, alternatives ='
    assert first in text
    body = tomllib.loads(text)
    assert body["fingerprint"] == dict(thresholds.curves.fingerprint)
    assert body["evidence"]["tables"] == {"transfers": 7}


def test_curves_survive_being_written_and_read(make_curves) -> None:
    curves = make_curves()
    again = CurveSet.from_json(curves.to_json())
    assert again == curves
    assert again.sha256() == curves.sha256()


def test_what_nobody_distilled_is_written_as_ever(make_curves) -> None:
    assert make_curves().sha256() == "sha256:e9389aba74fb60a51ba5d809d5798acf81d3c8ee2bd244f621988fbdf3856019"
    assert not make_curves().is_distilled


def test_what_was_distilled_is_refused_by_an_earlier_perfkit_and_survives_being_written_and_read(make_curves) -> None:
    plain = make_curves()
    key = CurveKey("transport", "latency_ns", "uds")
    for changed in (
        dataclasses.replace(plain, evidence=dataclasses.replace(plain.evidence, model="v3")),
        dataclasses.replace(
            plain, curves={**plain.curves, dataclasses.replace(key, state="memory_pressure"): plain.curves[key]}
        ),
        dataclasses.replace(plain, curves={**plain.curves, dataclasses.replace(key, kind="tensor"): plain.curves[key]}),
    ):
        text = changed.to_json()
        assert '"schema": 2' in text  # which an earlier perfkit refuses with the advice to upgrade
        assert CurveSet.from_json(text) == changed
        assert CurveSet.from_json(text).to_json() == text


def test_the_readable_file_says_which_model_the_curves_were_distilled_from(
    tmp_path: Path, thresholds: Thresholds
) -> None:
    curves = thresholds.curves
    curves = dataclasses.replace(curves, evidence=dataclasses.replace(curves.evidence, model="v3"))
    distilled = dataclasses.replace(thresholds, curves=curves, curves_sha256=curves.sha256())
    path = write(tmp_path, distilled)
    assert 'model = "v3"' in path.read_text()
    assert load_thresholds(path) == distilled
    assert "model =" not in to_toml(thresholds, curves_name="x")


def test_curves_of_a_state_replace_those_of_any_state_in_that_state_alone(make_curves) -> None:
    plain = make_curves()
    key = CurveKey("transport", "latency_ns", "uds")
    slow = dataclasses.replace(plain.curves[key], n=7)
    curves = dataclasses.replace(
        plain, curves={**plain.curves, dataclasses.replace(key, state="memory_pressure"): slow}
    )
    assert plain.in_state("memory_pressure") is plain
    assert curves.in_state("normal") is curves.in_state("cpu_pressure") is curves
    assert curves.in_state("memory_pressure").curves == {**plain.curves, key: slow}
    assert curves.in_state("memory_pressure") is curves.in_state("memory_pressure")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"schema": 1', '"schema": 3', "this perfkit reads 1 and 2; upgrade"),
        ('"schema": 1', '"schema": true', "curves schema == True"),
        ('"stage": "transport"', '"state": "transport"', "damaged curves file"),
        ("10000.0", "Infinity", "infinite piece"),
        ('"n": 90', '"n": Infinity', "damaged curves file"),
        ('"curves"', "'curves'", "not a curves file"),
    ],
)
def test_damaged_curves_are_named(make_curves, old: str, new: str, expected: str) -> None:
    text = make_curves().to_json()
    assert old in text
    with pytest.raises(ConfigError, match=expected) as caught:
        CurveSet.from_json(text.replace(old, new, 1), path="thresholds.curves.json")
    assert caught.value.path == "thresholds.curves.json"


def test_curves_of_another_version_are_found_in_the_history(
    tmp_path: Path, thresholds: Thresholds, make_curves
) -> None:
    path = write(tmp_path, thresholds)
    _, kept = history_paths(path, 7)
    kept.parent.mkdir()
    curves_path(path).rename(kept)
    curves_path(path).write_text(make_curves({"uds": (1, 1)}).to_json())
    assert load_thresholds(path) == thresholds


def test_curves_without_the_stated_hash_are_refused(tmp_path: Path, thresholds: Thresholds) -> None:
    path = write(tmp_path, thresholds)
    changed = dataclasses.replace(thresholds.curves, evidence=Evidence(("forged",), 9, 9, 9))
    curves_path(path).write_text(changed.to_json())
    with pytest.raises(ConfigError, match="perfkit publish --rollback"):
        load_thresholds(path)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("schema = 1", "schema = 2", "schema == 2; this perfkit reads 1; upgrade"),
        ("schema = 1", "schema = true", "schema == True"),
        ("version = 7", "version = 0", "version == 0; must be a whole number from 1"),
        ("version = 7", "version = 7.5", "version == 7.5"),
        ("restores = 3", "restores = []", "restores == []"),
        ("2026-11-20T21:04:00Z", "2026-11-20", "published_at"),
        ("2026-11-20T21:04:00Z", "2026-11-20T21:04:00", "published_at"),
        ('run = "01JD"', "run = 3", "run == 3; must be text"),
        ('run = "01JD"', 'rum = "01JD"', "Did you mean 'run'?"),
        ('pool = "*"', "pool = 1", "table.pool == 1"),
        ("ranges = [", "ranges = 5\nother = [", "unknown key 'other'"),
        ("n = 420", "n = -1", "n == -1"),
        ('"48KiB"', '"48 parsecs"', "48 parsecs"),
        ('"48KiB"', '"1e999"', "table.ranges"),
        ('["32KiB", "96KiB"]', '["32KiB"]', "must be two sizes"),
        ('expect = "31us"', "expect = -3", "negative"),
        ("alternatives = {", "options = {", "unknown key 'options'"),
    ],
)
def test_damage_is_named(tmp_path: Path, thresholds: Thresholds, old: str, new: str, expected: str) -> None:
    path = write(tmp_path, thresholds)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_thresholds(path)
    assert expected in str(caught.value)
    assert str(caught.value).startswith(str(path))


@given(data=st.data())
def test_any_change_of_a_file_gives_thresholds_or_a_config_error(
    tmp_path_factory, thresholds: Thresholds, data
) -> None:
    folder = tmp_path_factory.getbasetemp() / "changed"
    folder.mkdir(exist_ok=True)
    path = write(folder, thresholds)
    target = data.draw(st.sampled_from([path, curves_path(path)]))
    content = target.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    target.write_bytes(content[:start] + data.draw(st.binary(max_size=20)) + content[end:])
    with contextlib.suppress(ConfigError):
        assert isinstance(load_thresholds(path), Thresholds)


@given(
    text=st.one_of(st.text(), st.sampled_from(["[" * 10**5, '{"schema": 1}', "9" * 5000, '{"schema": 1, "curves": 3}']))
)
def test_any_curves_text_gives_curves_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(CurveSet.from_json(text), CurveSet)

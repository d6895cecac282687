"""`perfkit.toml`: what it says, and how a mistake in it is named."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.config.engine_settings import EngineSettings
from perfkit.config.reference import GROUPS
from perfkit.config.settings import GOALS, PoolSettings, Settings, load_perfkit_toml, read_settings
from perfkit.config.template import PERFKIT_TOML
from perfkit.errors import ConfigError
from perfkit.schema import SIMPLICITY_ORDER


@pytest.fixture
def settings_file(tmp_path: Path):
    def write(content: str | bytes) -> Path:
        path = tmp_path / "perfkit.toml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def test_the_template_says_what_holds_without_it(settings_file) -> None:
    loaded = load_perfkit_toml(settings_file(PERFKIT_TOML))
    assert loaded.pools == Settings().pools
    assert loaded.engine == Settings().engine
    assert loaded.publish == Settings().publish
    assert loaded.lake == Settings().lake


def test_the_template_names_every_goal_and_every_key(settings_file) -> None:
    for goal in GOALS:
        assert f'"{goal}"' in PERFKIT_TOML
    for group in GROUPS:
        for key in group.keys:
            assert re.search(rf"\b{key.name}\b", PERFKIT_TOML), key.name


def test_what_the_template_has_in_comments_is_right(settings_file) -> None:
    uncommented = re.sub(r"^# (?=\[|[a-z_]+ = )", "", PERFKIT_TOML, flags=re.MULTILINE)
    settings = load_perfkit_toml(settings_file(uncommented))
    default = settings.pool("default")
    assert default.methods == default.simplicity_order == SIMPLICITY_ORDER
    assert dataclasses.replace(default, methods=None, margin=0.0) == PoolSettings()
    assert dataclasses.replace(settings.engine, policy_modules=()) == EngineSettings()
    assert len(settings.pool("ml-eu").rules) == 2
    assert [variant.name for variant in settings.experiments[0].variants] == ["A", "B"]


def test_a_pool_takes_what_it_does_not_say_from_default(settings_file) -> None:
    text = '[pools.ml]\nmethods = ["uds"]\n[pools.default]\ngoal = "memory"\ntolerance = "10%"\n'
    loaded = load_perfkit_toml(settings_file(text))
    assert loaded.pool("ml") == PoolSettings("memory", ("uds",), 0.1)
    assert loaded.pool("default") == PoolSettings("memory", None, 0.1)
    assert loaded.pool("not named") == loaded.pool("default")


def test_others_get_their_turn_between_two_tables(settings_file) -> None:
    turns: list[int] = []
    path = settings_file("".join(f"[pools.p{number}]\n" for number in range(50)))
    assert len(load_perfkit_toml(path, pause=lambda: turns.append(1)).pools) == 51
    assert len(turns) > 50


def test_a_method_of_ones_own_may_be_named_once_it_was_measured(settings_file) -> None:
    path = settings_file('[pools.default]\nmethods = ["carrier_pigeon"]\n')
    with pytest.raises(ConfigError, match="once it was measured and published"):
        load_perfkit_toml(path)
    assert load_perfkit_toml(path, measured_methods=["carrier_pigeon"]).pool("default").methods == ("carrier_pigeon",)


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ('[engine]\nmode = "guess"', (2, 1), ["engine.mode == 'guess'", "allowed: decide, observe"]),
        ("[engine]\nmode = 3", (2, 1), ["engine.mode == 3", "allowed: decide, observe"]),
        ('[engine]\n\n  mod = "decide"', (3, 3), ["unknown key 'mod'", "Did you mean 'mode'?"]),
        ("[engine]\nexploration_rate = 0.6", (2, 1), ["exploration_rate == 0.6", "share from 0 to 0.5"]),
        ("[engine]\nexploration_rate = nan", (2, 1), ["share from 0 to 0.5"]),
        ("[engine]\nexploration_rate = true", (2, 1), ["exploration_rate == True"]),
        (f"[engine]\nexploration_rate = 0x{'f' * 5000}", (2, 1), ["a huge int"]),
        ("[pool.ml]", (1, 1), ["unknown key 'pool'", "Did you mean 'pools'?"]),
        ('[pools.ml]\ngoal = "latencyy"', (2, 1), ["pools.ml.goal == 'latencyy'", "Did you mean 'latency'?"]),
        ('[pools.ml]\ngoal = ["latency"]', (2, 1), ["pools.ml.goal == ['latency']"]),
        ('[pools.default]\nmethods = ["grcp"]', (2, 1), ["unknown method 'grcp'", "Did you mean 'grpc'?"]),
        ("[pools.default]\nmethods = []", (2, 1), ["must be a list of methods"]),
        ('[pools.default]\nmethods = "grpc"', (2, 1), ["must be a list of methods"]),
        ('[pools.default]\nmethods = ["grpc", "grpc"]', (2, 1), ["named 2 times"]),
        ('[pools.default]\nsimplicity_order = ["tcp"]', (2, 1), ["unknown method 'tcp'"]),
        ("[pools.default]\ntolerance = -0.1", (2, 1), ["tolerance == -0.1"]),
        ("[pools.default]\ntolerance = 1979-05-27", (2, 1), ["share from 0 to 1"]),
        ("pools = 5", (1, 1), ["pools == 5", "must be a table"]),
        ("[pools]\nml = 5", (2, 1), ["pools.ml == 5", "must be a table"]),
        ('"pools"."ml"."goal" = "fast"', (1, 1), ["pools.ml.goal == 'fast'"]),
        ("[publish]\nmin_launches = 0", (2, 1), ["publish.min_launches == 0", "whole number from 1, such as 3"]),
        ("[publish]\nmin_observations = true", (2, 1), ["min_observations == True", "such as 30"]),
        ("[publish]\nmax_step = 1", (2, 1), ["max_step == 1", "a factor of more than 1, such as 4"]),
        ("[publish]\nmax_step = nan", (2, 1), ["max_step == nan"]),
        ('[publish]\nmax_loss = "much"', (2, 1), ["publish.max_loss == 'much'", "share from 0 to 1"]),
        ("[publish]\nmax_gain = 1", (2, 1), ["unknown key 'max_gain'", "max_loss"]),
        ("[engine\n", (1, 8), ["not TOML"]),
        ('[engine]\nmode = "decide"\nmode = "observe"', (3, 17), ["not TOML", "overwrite"]),
        ("[engine]\nmode = ", (2, 8), ["not TOML", "text needs quotes"]),
        ('[engine]\nmode = """x', (2, 12), ["not TOML", "close the text"]),
        ("[engine]\nmode = '''x", (2, 12), ["not TOML", "close the text"]),
        ('[engine]\nmode = "\\q"', (2, 11), ["not TOML", "single quotes"]),
        ("[engine]\nmode = {a = 1", (2, 14), ["not TOML", "close the table with }"]),
        ("[engine]\n= 1", (2, 1), ["not TOML", "expected"]),
        ("[engine] mode = 1", (1, 10), ["not TOML", "per line"]),
        ("[engine]\n[engine]", (2, 8), ["not TOML", "given once"]),
        (f"a = {'9' * 5000}", (None, None), ["not TOML"]),
        ("a = " + "[" * 5000, (None, None), ["nested too deeply"]),
        (b"[engine]\nmode = '\xff'", (2, None), ["not UTF-8", "0xff"]),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_is_allowed(settings_file, text, place, expected) -> None:
    path = settings_file(text)
    with pytest.raises(ConfigError) as caught:
        load_perfkit_toml(path)
    assert (caught.value.line, caught.value.column) == place
    assert str(caught.value).startswith(str(path))
    for part in expected:
        assert part in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 400


@pytest.mark.parametrize("text", ["", "\n# nothing\n", b"\xef\xbb\xbf[engine]\r\nmode = 'decide'\r\n"])
def test_an_empty_file_and_a_byte_order_mark_are_fine(settings_file, text) -> None:
    assert load_perfkit_toml(settings_file(text)).pools == Settings().pools


def test_a_missing_file_says_how_to_make_one_and_may_mean_the_defaults(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="perfkit init") as caught:
        load_perfkit_toml(tmp_path / "perfkit.toml")
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert read_settings(tmp_path / "perfkit.toml") == read_settings(None) == Settings()


@pytest.mark.parametrize("name", [".", "perfkit.toml/below", "null\0byte", "x" * 300])
def test_a_path_that_is_no_file_is_refused(settings_file, tmp_path: Path, name: str) -> None:
    settings_file("")
    with pytest.raises(ConfigError):
        load_perfkit_toml(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", (7, 400)),
        ("[lake]", (7, 400)),
        ("[lake]\nkeep_rows = '1 day'", (1, 400)),
        ("[lake]\nkeep_rows = '720h'\nkeep_rollups = '30 days'", (30, 30)),
        ("[lake]\nkeep_rows = '500 days'", (500, 500)),
    ],
)
def test_the_lake_is_kept_for_whole_days(settings_file, text: str, kept: tuple[int, int]) -> None:
    lake = load_perfkit_toml(settings_file(text)).lake
    assert (lake.keep_rows_days, lake.keep_rollups_days) == kept


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keep_rows = '36h'", "must be whole days, from 1 to 36500, such as '7 days'"),
        ("keep_rows = 7", "must be whole days"),
        ("keep_rows = '0 days'", "must be whole days"),
        ("keep_rows = '1e999 days'", "must be whole days"),
        ("keep_rows = 'a week'", "must be whole days"),
        ("keep_rollups = '3 days'", "must not be below keep_rows, which is 7 days"),
        ("keep_events = '3 days'", "keep_events"),
    ],
)
def test_what_is_no_time_to_keep_a_lake_is_refused(settings_file, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_perfkit_toml(settings_file(f"[lake]\n{text}"))


KEYS = st.sampled_from(["engine", "pools", "default", "ml", "goal", "methods", "mode", "tolerance", "rules", "x"])
VALUES = st.one_of(
    st.sampled_from(["latency", "grpc", "observe", "5%", "decide"]).map(lambda text: f'"{text}"'),
    st.sampled_from(["nan", "-inf", "1e999", "0.5", "true", "[]", "{}", "[[1], {a=2}]", "1979-05-27T07:32:00Z"]),
    st.integers().map(str),
)
LINES = st.one_of(
    st.builds("[{}.{}]".format, KEYS, KEYS),
    st.builds("[[{}.{}]]".format, KEYS, KEYS),
    st.builds("{} = {}".format, KEYS, VALUES),
    st.builds("{}.{} = {}".format, KEYS, KEYS, VALUES),
    st.text(max_size=20),
)


@given(st.one_of(st.binary(max_size=200), st.lists(LINES, max_size=8).map(lambda lines: "\n".join(lines).encode())))
def test_any_content_gives_settings_or_a_config_error(tmp_path_factory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-perfkit.toml"
    path.write_bytes(content)
    with contextlib.suppress(ConfigError):
        assert isinstance(load_perfkit_toml(path).pool("default"), PoolSettings)

"""Stored models: what was written comes back, or `ModelError`."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from perfkit.errors import FileError, ModelError
from perfkit.learn.models import storing

X = np.random.default_rng(0).normal(size=(200, 2))
BOOSTER = HistGradientBoostingRegressor(max_iter=2, random_state=0).fit(X, X[:, 0])


class Foreign:
    """A type that no model needs."""


class Harmful:
    """What a pickle of it would do on loading: make a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was written, to be copied before it is damaged."""
    folder = tmp_path_factory.mktemp("written") / "v0001"
    storing.write_parts({"n": 200}, {"residual": BOOSTER}, folder)
    return folder


@pytest.fixture
def stored(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "v0001"))


def _replace_boosters(folder: Path, data: bytes) -> None:
    """As somebody would who also knows how to recompute the hashes."""
    content: dict[str, Any] = json.loads((folder / storing.PLAIN).read_text())["content"]
    content["files"][storing.BOOSTERS] = storing._sha256(data)
    document = {"sha256": storing._sha256(storing._canonical(content)), "content": content}
    (folder / storing.PLAIN).write_text(json.dumps(document))
    (folder / storing.BOOSTERS).write_bytes(data)


def test_what_was_written_comes_back_and_is_never_overwritten(stored: Path) -> None:
    plain, estimators = storing.read_parts(stored)
    assert plain == {"n": 200}
    np.testing.assert_array_equal(estimators["residual"].predict(X), BOOSTER.predict(X))
    assert [path.name for path in stored.parent.iterdir()] == ["v0001"]
    with pytest.raises(FileError, match="never overwritten"):
        storing.write_parts({}, {}, stored)


@pytest.mark.parametrize("name", [storing.PLAIN, storing.BOOSTERS])
def test_damage_is_refused_or_changes_nothing(stored: Path, name: str) -> None:
    file, rng = stored / name, np.random.default_rng(1)
    whole = file.read_bytes()
    for at in rng.integers(0, len(whole), 20):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]):
            file.write_bytes(damaged)
            with pytest.raises(ModelError, match="perfkit learn"):
                storing.read_parts(stored)
    file.unlink()
    with pytest.raises(ModelError, match=name):
        storing.read_parts(stored)


def test_foreign_types_and_pickles_are_refused_by_name(stored: Path) -> None:
    import skops.io

    _replace_boosters(stored, skops.io.dumps({"residual": Foreign()}))
    with pytest.raises(ModelError, match="Foreign"):
        storing.read_parts(stored)
    _replace_boosters(stored, pickle.dumps({"residual": 1}))
    with pytest.raises(ModelError, match="cannot be read"):
        storing.read_parts(stored)


def test_loading_executes_nothing(stored: Path, tmp_path: Path) -> None:
    import skops.io

    mark = tmp_path / "executed"
    for data in (pickle.dumps({"residual": Harmful(mark)}), skops.io.dumps({"residual": Harmful(mark)})):
        _replace_boosters(stored, data)
        with pytest.raises(ModelError):
            storing.read_parts(stored)
        assert not mark.exists()
    pickle.loads(pickle.dumps(Harmful(mark)))  # it would have been harmful
    assert mark.exists()


def _forged(stored: Path, **columns: float) -> None:
    """The stored booster with other figures in the first node of its first tree, and hashes that fit."""
    import skops.io

    booster = copy.deepcopy(BOOSTER)
    for column, value in columns.items():
        booster._predictors[0][0].nodes[column][0] = value
    _replace_boosters(stored, skops.io.dumps({"residual": booster}))


def test_a_tree_put_there_anew_but_not_changed_is_read(stored: Path) -> None:
    """So what the next tests find refused is refused for what they changed."""
    _forged(stored)
    storing.read_parts(stored)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("left", 4_000_000_000),
        ("right", 0),
        ("feature_idx", 2),
        ("feature_idx", -1),
        ("is_categorical", 1),
        ("value", np.inf),
        ("num_threshold", np.nan),
    ],
)
def test_forged_trees_are_refused_before_compiled_code_walks_them(stored: Path, column: str, value: float) -> None:
    _forged(stored, **{column: value})
    with pytest.raises(ModelError, match="residual has a tree"):
        storing.read_parts(stored)


def test_other_estimators_and_boosters_of_categories_are_refused(stored: Path) -> None:
    import skops.io
    from sklearn.linear_model import LinearRegression

    _replace_boosters(stored, skops.io.dumps({"residual": LinearRegression().fit(X, X[:, 0])}))
    with pytest.raises(ModelError, match="LinearRegression"):
        storing.read_parts(stored)
    booster = copy.deepcopy(BOOSTER)
    booster._in_fit = True  # the trees would be walked by positions of bins
    _replace_boosters(stored, skops.io.dumps({"residual": booster}))
    with pytest.raises(ModelError, match="not fitted"):
        storing.read_parts(stored)


def test_flipped_bits_are_refused(stored: Path) -> None:
    rng = np.random.default_rng(2)
    for name in (storing.PLAIN, storing.BOOSTERS):
        file = stored / name
        whole = file.read_bytes()
        for at, bit in zip(rng.integers(0, len(whole), 40), rng.integers(0, 8, 40), strict=True):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << int(bit))]) + whole[at + 1 :])
            # White space of the plain file may become other white space, which says the same.
            if name == storing.BOOSTERS or json.loads(whole) != _parsed(file):
                with pytest.raises(ModelError):
                    storing.read_parts(stored)
        file.write_bytes(whole)


def _parsed(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except ValueError:
        return None


def test_a_file_that_cannot_be_read_names_the_libraries_it_was_made_with(stored: Path, tmp_path: Path) -> None:
    plain = {"provenance": {"libraries": {"scikit-learn": "0.1", "numpy": np.__version__, "nobody-has-this": "1"}}}
    storing.write_parts(plain, {}, tmp_path / "v0002")
    _replace_boosters(tmp_path / "v0002", b"of another format")
    with pytest.raises(ModelError, match=r"made with scikit-learn 0\.1 \(here .*nobody-has-this 1 \(here none\)"):
        storing.read_parts(tmp_path / "v0002")


def test_an_unknown_schema_and_figures_that_are_not_finite_are_refused(stored: Path, tmp_path: Path) -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(FileError, match="cannot be stored"):
            storing.write_parts({"n": value}, {}, tmp_path / "v0002")
    assert not (tmp_path / "v0002").exists()
    document = json.loads((stored / storing.PLAIN).read_text())
    document["content"]["schema"] = 99
    (stored / storing.PLAIN).write_text(json.dumps(document))
    with pytest.raises(ModelError, match="schema 99, this perfkit reads 1"):
        storing.read_plain(stored)
    document["content"]["schema"], document["content"]["model"]["n"] = 1, float("nan")
    (stored / storing.PLAIN).write_text(json.dumps(document))
    with pytest.raises(ModelError, match="not a stored model"):
        storing.read_plain(stored)


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path, data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storing, "_write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storing.write_parts({}, {}, tmp_path / "models" / "v0001")
    assert list((tmp_path / "models").iterdir()) == []

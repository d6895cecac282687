"""Stored models: what was written comes back, or `ModelError`."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from perfkit.errors import FileError, ModelError
from perfkit.learn.models import storing

X = np.random.default_rng(0).normal(size=(200, 2))


class Foreign:
    """A type that no model needs."""


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    booster = HistGradientBoostingRegressor(max_iter=2, random_state=0).fit(X, X[:, 0])
    storing.write_parts({"n": 200}, {"residual": booster}, tmp_path / "v0001")
    return tmp_path / "v0001"


def _replace_boosters(folder: Path, data: bytes) -> None:
    """As somebody would who also knows how to recompute the hashes."""
    content: dict[str, Any] = json.loads((folder / storing.PLAIN).read_text())["content"]
    content["files"][storing.BOOSTERS] = storing._sha256(data)
    document = {"sha256": storing._sha256(storing._canonical(content)), "content": content}
    (folder / storing.PLAIN).write_text(json.dumps(document))
    (folder / storing.BOOSTERS).write_bytes(data)


def test_what_was_written_comes_back_and_is_never_overwritten(stored: Path) -> None:
    plain, estimators = storing.read_parts(stored)
    expected = HistGradientBoostingRegressor(max_iter=2, random_state=0).fit(X, X[:, 0]).predict(X)
    assert plain == {"n": 200}
    np.testing.assert_array_equal(estimators["residual"].predict(X), expected)
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

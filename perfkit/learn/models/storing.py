"""The parts of a cost model on disk: plain JSON and boosters in skops' format, never a pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.errors import FileError, ModelError

__all__ = ["read_parts", "write_parts"]

SCHEMA = 1
PLAIN, BOOSTERS = "model.json", "boosters.skops"
# What scikit-learn's HistGradientBoostingRegressor needs beyond the types that skops trusts itself.
ALLOWED_TYPES = (
    "functools.partial",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
)


def write_parts(plain: Mapping[str, Any], estimators: Mapping[str, Any], folder: str | Path) -> None:
    """Write a model's parts into a new folder: all of it appears, or nothing.

    Args:
        plain: what JSON can hold.
        estimators: fitted regressors by name.
        folder: must not exist; a version is never overwritten.

    Raises:
        FileError: the folder exists or cannot be written.
    """
    import skops.io

    target = Path(folder)
    if target.exists():
        raise FileError(f"{target}: exists already; a stored model is never overwritten, choose a new folder")
    boosters = skops.io.dumps(dict(estimators))
    content = {"schema": SCHEMA, "files": {BOOSTERS: _sha256(boosters)}, "model": dict(plain)}
    document = {"sha256": _sha256(_canonical(content)), "content": content}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            _write(beside / BOOSTERS, boosters)
            _write(beside / PLAIN, json.dumps(document, indent=1).encode())
            _sync_folder(beside)
            beside.rename(target)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        _sync_folder(target.parent)
    except OSError as error:
        raise FileError(f"{target}: cannot be written ({error}); what was there is as it was") from error


def read_parts(folder: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what `write_parts` wrote, after its hashes and types were checked.

    Raises:
        ModelError: a file is missing, damaged, of another schema, or holds a type that no model needs.
    """
    import skops.io

    plain_path, boosters_path = Path(folder) / PLAIN, Path(folder) / BOOSTERS
    try:
        document = json.loads(_read(plain_path))
        content = document["content"]
        schema, recorded, files = content["schema"], document["sha256"], content["files"]
        plain, wanted = dict(content["model"]), files[BOOSTERS]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"is not a stored model ({type(error).__name__})", path=plain_path) from error
    if schema != SCHEMA:
        raise ModelError(f"schema {schema!r}, this perfkit reads {SCHEMA}", path=plain_path)
    if recorded != _sha256(_canonical(content)):
        raise ModelError("sha256 differs from the one recorded", path=plain_path)
    data = _read(boosters_path)
    if wanted != _sha256(data):
        raise ModelError("sha256 differs from the one recorded", path=boosters_path)
    try:
        foreign = sorted(set(skops.io.get_untrusted_types(data=data)) - set(ALLOWED_TYPES))
        if not foreign:
            return plain, dict(skops.io.loads(data, trusted=list(ALLOWED_TYPES)))
    except Exception as error:  # a file made by someone else may fail anywhere inside skops
        raise ModelError(f"cannot be read ({type(error).__name__})", path=boosters_path) from error
    raise ModelError(f"holds types that no model needs: {', '.join(foreign)}", path=boosters_path)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _canonical(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror})", path=path) from error


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

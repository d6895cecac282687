"""The parts of a cost model on disk: plain JSON and boosters in skops' format, never a pickle."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit.errors import FileError, InputError, ModelError, PerfkitError
from perfkit.learn.models.stored_trees import check_booster

if TYPE_CHECKING:
    from perfkit.learn.models.model import CostModel

__all__ = ["load_model", "read_parts", "read_plain", "save_model", "write_parts"]

SCHEMA = 1
PLAIN, BOOSTERS = "model.json", "boosters.skops"
# What scikit-learn's HistGradientBoostingRegressor needs beyond the types that skops trusts itself.
ALLOWED_TYPES = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",)


def save_model(model: CostModel, folder: str | Path) -> None:
    """Store a cost model in a new folder: all of it appears, or nothing.

    Args:
        model: what `perfkit.train` returned, or an update of it.
        folder: must not exist; a stored model is never overwritten.

    Raises:
        FileError: the folder exists or cannot be written, or the model holds a figure that is not finite.
    """
    write_parts(*model.parts(), folder)


def load_model(folder: str | Path) -> CostModel:
    """Read a stored cost model after its hashes, types and trees were checked; nothing in it is ever executed.

    Args:
        folder: what `save_model` wrote, such as ``data/models/v0001``.

    Raises:
        InputError: the folder is no path.
        ModelError: a file is missing, damaged, of another schema, holds a type that no model needs, or no model.
    """
    from perfkit.learn.models.model import CostModel

    if not isinstance(folder, str | Path):
        raise InputError(f"folder == {folder!r}, must be the path of a stored model, such as data/models/v0001")
    plain, estimators = read_parts(folder)
    try:
        model = CostModel.from_parts(plain, estimators)
        for target in model.targets:  # boosters of other columns show only when they are asked
            model.median(1024, target=target, method=next(iter(model.encoding.names["method"])))
        return model
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration, PerfkitError) as error:
        raise ModelError(f"is not a cost model ({error})", path=Path(folder) / PLAIN) from error


def write_parts(plain: Mapping[str, Any], estimators: Mapping[str, Any], folder: str | Path) -> None:
    """Write a model's parts into a new folder: all of it appears, or nothing.

    Args:
        plain: what JSON can hold; every figure finite.
        estimators: fitted regressors by name.
        folder: must not exist; a version is never overwritten.

    Raises:
        FileError: the folder exists or cannot be written, or `plain` holds what JSON cannot.
    """
    import skops.io

    target = Path(folder)
    if target.exists():
        raise FileError(f"{target}: exists already; a stored model is never overwritten, choose a new folder")
    boosters = skops.io.dumps(dict(estimators))
    content = {"schema": SCHEMA, "files": {BOOSTERS: _sha256(boosters)}, "model": dict(plain)}
    try:
        document = json.dumps({"sha256": _sha256(_canonical(content)), "content": content}, indent=1, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise FileError(f"{target}: the model cannot be stored: {error}; train it anew") from error
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            _write(beside / BOOSTERS, boosters)
            _write(beside / PLAIN, document.encode())
            _sync_folder(beside)
            beside.rename(target)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        _sync_folder(target.parent)
    except OSError as error:
        raise FileError(f"{target}: cannot be written ({error}); what was there is as it was") from error


def read_plain(folder: str | Path) -> dict[str, Any]:
    """Read the plain part of a stored model alone, after its hash was checked.

    Raises:
        ModelError: the file is missing, damaged or of another schema.
    """
    return dict(_read_content(Path(folder) / PLAIN)["model"])


def read_parts(folder: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what `write_parts` wrote, after its hashes, types and trees were checked.

    Raises:
        ModelError: a file is missing, damaged, of another schema, or holds what no model needs.
    """
    import skops.io

    plain_path, boosters_path = Path(folder) / PLAIN, Path(folder) / BOOSTERS
    content = _read_content(plain_path)
    plain = dict(content["model"])
    data = _read(boosters_path)
    if content["files"][BOOSTERS] != _sha256(data):
        raise ModelError("sha256 differs from the one recorded", path=boosters_path)
    try:
        foreign = sorted(set(skops.io.get_untrusted_types(data=data)) - set(ALLOWED_TYPES))
        if not foreign:
            estimators = dict(skops.io.loads(data, trusted=list(ALLOWED_TYPES)))
            for name, booster in estimators.items():
                check_booster(name, booster)
            return plain, estimators
    except Exception as error:  # a file made by someone else may fail anywhere inside skops
        cause = str(error) if isinstance(error, ValueError) else type(error).__name__
        raise ModelError(f"cannot be read ({cause}){_other_libraries(plain)}", path=boosters_path) from error
    raise ModelError(f"holds types that no model needs: {', '.join(foreign)}", path=boosters_path)


def _read_content(path: Path) -> dict[str, Any]:
    """What a model's plain file says, its hash checked. The document must be whole: other parts index into it."""
    try:
        document = json.loads(_read(path), parse_constant=_refuse_constant)
        content = document["content"]
        schema, recorded = content["schema"], document["sha256"]
        if schema == SCHEMA:
            dict(content["model"]), content["files"][BOOSTERS]
        computed = _sha256(_canonical(content))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"is not a stored model ({type(error).__name__})", path=path) from error
    if schema != SCHEMA or isinstance(schema, bool):
        raise ModelError(f"schema {schema!r}, this perfkit reads {SCHEMA}", path=path)
    if recorded != computed:
        raise ModelError("sha256 differs from the one recorded", path=path)
    return dict(content)


def _other_libraries(plain: Mapping[str, Any]) -> str:
    """Which libraries are of another version here than where the model was made, for an error."""
    try:
        recorded = {str(name): str(version) for name, version in plain["provenance"]["libraries"].items()}
    except (KeyError, TypeError, AttributeError):
        return ""
    here = {name: _installed(name) for name in recorded}
    others = [f"{name} {recorded[name]} (here {here[name]})" for name in recorded if here[name] != recorded[name]]
    return f"; it was made with {', '.join(others)}" if others else ""


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no figure")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _canonical(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


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

"""Versions of the cost model in a folder: which one is in force, back to an earlier one, or back to the curves."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from perfkit.config.publication import locked
from perfkit.errors import FileError, InputError, ModelError, UnknownNameError
from perfkit.learn.models.storing import load_model, read_plain, save_model
from perfkit.workflows.learning.history import ModelHistory, ModelVersion, Standing
from perfkit.workflows.learning.learned import FILE, Learned, read_learned

if TYPE_CHECKING:
    from perfkit.learn.models.model import CostModel

__all__ = [
    "MODELS",
    "current_version",
    "fall_back",
    "keep_version",
    "learned_from",
    "list_versions",
    "load_current",
    "load_version",
    "roll_back",
    "version_path",
]

MODELS = "data/models"
"""Folder of the models, beside the lake."""
_KEPT = 20
_CURRENT = "current.json"
_NAME = re.compile(r"v(\d{4,})")


def keep_version(
    model: CostModel,
    folder: str | Path = MODELS,
    *,
    learned: Learned | None = None,
    fallen: str = "",
    instead_of: Standing | None = None,
) -> Standing:
    """Store a model as the newest version and put it into force. Of old versions the last 20 are kept.

    Args:
        model: what was trained or updated.
        folder: where versions are kept; made when missing.
        learned: which rows of the lake it has learned from.
        fallen: why the published curves apply instead of it; empty where it is to be in force itself.
        instead_of: what has to be in force still; None for whatever is.

    Raises:
        FileError: the folder cannot be written to, or something else is in force; what is stays in force.
    """
    folder = Path(folder)
    _make(folder)
    with locked(folder):
        if instead_of is not None and current_version(folder) != instead_of:
            raise FileError(f"{folder}: another version was put into force meanwhile, and stays; learn again from it")
        version = max(_numbers(folder), default=0) + 1
        path = version_path(folder, version)
        save_model(model, path)
        if learned is not None:
            _write_learned(path, learned)
        standing = Standing(version, "curves" if fallen else "model", fallen, _now())
        _replace_current(folder, standing)
        _remove_old(folder, in_force=version)
    return standing


def current_version(folder: str | Path = MODELS) -> Standing | None:
    """Which version is in force; None where none was ever kept.

    Raises:
        ModelError: `current.json` is damaged, or names a version that is not there.
    """
    path = Path(folder, _CURRENT)
    try:
        body = json.loads(path.read_bytes())
        standing = Standing(_counted(body["version"]), _state(body["state"]), str(body["reason"]), str(body["since"]))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror})", path=path) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"does not say which version is in force ({type(error).__name__})", path=path) from error
    if not version_path(folder, standing.version).is_dir():
        raise ModelError(f"names version {standing.version}, which is not there", path=path)
    return standing


def load_current(folder: str | Path = MODELS) -> CostModel | None:
    """The model in force; None where none was kept, or where the curves are in force instead of it.

    Raises:
        ModelError: it is damaged, or was made by something this perfkit cannot read.
    """
    standing = current_version(folder)
    if standing is None or standing.state == "curves":
        return None
    return load_model(version_path(folder, standing.version))


def load_version(folder: str | Path, version: int) -> CostModel:
    """One version, in force or not.

    Raises:
        UnknownNameError: there is no such version.
        ModelError: it is damaged, or was made by something this perfkit cannot read.
    """
    _refuse_unknown(Path(folder), version)
    return load_model(version_path(folder, version))


def learned_from(folder: str | Path, version: int, model: CostModel) -> Learned:
    """Which rows of the lake a version has learned from, or is to pass over.

    Who takes an earlier version back does not want what the newer ones learned: it would be learned again in the next
    round, and the newer version's likeness be back. So the rows that the newest version learned from count, too.

    Args:
        folder: where versions are kept.
        version: its number.
        model: what `load_version` gave of it.

    Raises:
        ModelError: its record is damaged.
    """
    own = read_learned(version_path(folder, version), model.provenance.last_observed_at)
    newest = max(_numbers(Path(folder)))
    if newest == version:
        return own
    try:
        passed_over = read_learned(version_path(folder, newest), None)
    except ModelError:  # a damaged one is no reason not to go on with this one
        return own
    if not passed_over.marks and not passed_over.unnumbered.size:
        return own
    return dataclasses.replace(own, marks=passed_over.marks, unnumbered=passed_over.unnumbered, until=passed_over.until)


def list_versions(folder: str | Path = MODELS) -> ModelHistory:
    """Every version that is kept, newest first; a damaged one says what is wrong with it."""
    folder = Path(folder)
    try:
        standing, problem = current_version(folder), ""
    except ModelError as error:
        standing, problem = None, str(error)
    versions = tuple(_version(folder, number) for number in sorted(_numbers(folder), reverse=True))
    return ModelHistory(str(folder), standing, versions, (problem,) if problem else ())


def roll_back(folder: str | Path = MODELS, version: int | None = None, *, reason: str = "rolled back") -> Standing:
    """Put an earlier version back into force. It is read first: a damaged one is refused.

    Args:
        folder: where versions are kept.
        version: the version to bring back; None for the one before the version in force.
        reason: why, for people who list the versions.

    Raises:
        InputError: there is no earlier version.
        UnknownNameError: there is no such version.
        ModelError: it cannot be read.
        FileError: the folder cannot be written to.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} has no models; `perfkit learn` trains the first one")
    with locked(folder):
        if version is None:
            standing = current_version(folder)
            before = standing.version if standing else 0
            version = max((number for number in _numbers(folder) if number < before), default=None)
            if version is None:
                raise InputError(f"{folder} has no earlier version; `perfkit learn --history` lists them")
        load_version(folder, version)
        restored = Standing(version, "model", reason, _now())
        _replace_current(folder, restored)
    return restored


def fall_back(reason: str, folder: str | Path = MODELS) -> Standing:
    """Put the published curves into force instead of the model, until a version is kept or brought back.

    Args:
        reason: why, for people who list the versions.
        folder: where versions are kept.

    Raises:
        InputError: no version is in force.
        ModelError: `current.json` is damaged.
        FileError: the folder cannot be written to.
    """
    folder = Path(folder)
    if not folder.is_dir() or current_version(folder) is None:
        raise InputError(f"{folder} has no model in force, so the curves apply already")
    with locked(folder):
        standing = current_version(folder)
        assert standing is not None  # `current.json` is replaced, never removed
        fallen = Standing(standing.version, "curves", reason, _now())
        _replace_current(folder, fallen)
    return fallen


def version_path(folder: str | Path, version: int) -> Path:
    """Where a version lies.

    >>> version_path("data/models", 7).name
    'v0007'
    """
    return Path(folder, f"v{version:04d}")


def _version(folder: Path, number: int) -> ModelVersion:
    path = version_path(folder, number)
    try:
        origin = read_plain(path)["provenance"]
        facts = (str(origin["trained_at"]), int(origin["observations"]), str(origin["parent"]))
    except ModelError as error:
        return ModelVersion(number, str(path), "", 0, "", f"{error.path}: {error.cause}")
    except (ValueError, KeyError, TypeError) as error:
        return ModelVersion(number, str(path), "", 0, "", f"says nothing of its origin ({type(error).__name__})")
    return ModelVersion(number, str(path), *facts)


def _numbers(folder: Path) -> list[int]:
    matches = (_NAME.fullmatch(path.name) for path in (folder.iterdir() if folder.is_dir() else ()))
    return [int(match.group(1)) for match in matches if match]


def _refuse_unknown(folder: Path, version: int) -> None:
    numbers = sorted(_numbers(folder))
    if isinstance(version, bool) or version not in numbers:
        hint = "`perfkit learn --history` describes them."
        raise UnknownNameError("version of the model", str(version), tuple(map(str, numbers)), hint)


def _counted(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"version {value!r}")
    return value


def _state(value: Any) -> Literal["model", "curves"]:
    if value == "model":
        return "model"
    if value == "curves":
        return "curves"
    raise ValueError(f"state {value!r}")


def _remove_old(folder: Path, *, in_force: int) -> None:
    for number in sorted(_numbers(folder))[:-_KEPT]:
        if number != in_force:
            shutil.rmtree(version_path(folder, number), ignore_errors=True)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder} cannot be made: {error.strerror}; name a folder that you may write to") from error


def _replace_current(folder: Path, standing: Standing) -> None:
    """Atomic: whoever reads sees the one or the other."""
    path, text = folder / _CURRENT, json.dumps(dataclasses.asdict(standing), indent=1)
    try:
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".current.", delete=False) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror}; what was in force stays in force") from error


def _write_learned(path: Path, learned: Learned) -> None:
    try:
        with (path / FILE).open("x") as file:
            json.dump(learned.to_plain(), file)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        raise FileError(f"{path / FILE} cannot be written: {error.strerror}; what was in force stays") from error


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

"""Replace published files so that an engine finds a consistent pair at every moment, whatever is killed when.

The order of the steps makes it so: the version in force is copied into the history first, then both new files are
written beside the old ones, then the curves are renamed into place, then the thresholds. Between the two renames the
old thresholds are in force, and their curves are found in the history.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from perfkit.config.thresholds import (
    Thresholds,
    curves_path,
    hash_text,
    history_folder,
    history_paths,
    load_thresholds,
    to_toml,
)
from perfkit.errors import ConfigError, PublishError

__all__ = ["Current", "earlier_versions", "locked", "read_current", "replace_current"]

_VERSION_FILE = re.compile(r"v(\d+)\.toml")


@dataclasses.dataclass(frozen=True)
class Current:
    """What is in force at a path: `digest` tells whether the file changed since, `thresholds` is None where nothing is
    published or the file is broken (then `problem` says how)."""

    path: Path
    digest: str | None
    thresholds: Thresholds | None
    problem: str | None = None

    @property
    def next_version(self) -> int:
        """The number after every one that was ever used."""
        used = [version for version, _ in _version_files(self.path)]
        return max([0, *used, *([self.thresholds.version] if self.thresholds else [])]) + 1


def read_current(path: Path) -> Current:
    """What is in force at `path`, broken or not. Raises `PublishError` when the file cannot be read at all."""
    try:
        digest = _digest(path)
    except OSError as error:
        raise PublishError(f"{path} cannot be read: {error.strerror}; name a file that you may use") from error
    try:
        return Current(path, digest, load_thresholds(path))
    except ConfigError as error:
        missing = isinstance(error.__cause__, FileNotFoundError)
        return Current(path, digest, None, None if missing else str(error))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder against other publishers. The lock goes with the process, so that none is ever left behind."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace_current(current: Current, candidate: Thresholds) -> None:
    """Put `candidate` in force and keep what was in force.

    Raises:
        PublishError: the file is no longer what `current` says, or cannot be written. What was in force stays in force.
    """
    path = current.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent):
            if _digest(path) != current.digest:
                raise PublishError(f"{path} was changed by someone else meanwhile; look at it, then publish again")
            _archive(current)
            _replace_files(path, candidate)
    except OSError as error:
        reason = error.strerror or str(error)
        raise PublishError(
            f"{error.filename or path} cannot be written: {reason}; what was in force stays in force. "
            "Make room or give write permission, then publish again"
        ) from error


def earlier_versions(path: Path) -> dict[int, Thresholds | ConfigError]:
    """Every version in the history, oldest first; a damaged one as the error that says what is wrong with it."""
    found: dict[int, Thresholds | ConfigError] = {}
    for version, file in _version_files(path):
        try:
            found[version] = load_thresholds(file)
        except ConfigError as error:
            found[version] = error
    return found


def _version_files(path: Path) -> list[tuple[int, Path]]:
    folder = history_folder(path)
    files = folder.iterdir() if folder.is_dir() else ()
    matches = ((_VERSION_FILE.fullmatch(file.name), file) for file in files)
    return sorted((int(match.group(1)), file) for match, file in matches if match)


def _archive(current: Current) -> None:
    """Copy what is in force into the history; the curves first, so that a thresholds file there has its curves."""
    path = current.path
    if current.digest is None:
        return
    history_folder(path).mkdir(exist_ok=True)
    if current.thresholds is None:  # broken, so its version is unknown: kept under its content's name
        kept = history_folder(path) / f"broken-{current.digest[:12]}.toml"
        _write_all([(kept, path.read_bytes())])
        return
    toml, curves = history_paths(path, current.thresholds.version)
    content = curves_path(path).read_bytes() if curves_path(path).exists() else b""
    if hash_text(content) == current.thresholds.curves_sha256:  # otherwise they are in the history already
        _write_all([(curves, content)])
    _write_all([(toml, path.read_bytes())])


def _replace_files(path: Path, candidate: Thresholds) -> None:
    curves = curves_path(path)
    text = to_toml(candidate, curves_name=curves.name)
    _write_all([(curves, candidate.curves.to_json().encode()), (path, text.encode())])


def _write_all(files: Sequence[tuple[Path, bytes]]) -> None:
    """Write all files of one folder beside their places, then rename them into place in the given order."""
    staged = [(path.with_name(f".{path.name}.new"), path, content) for path, content in files]
    try:
        for temporary, _, content in staged:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for temporary, path, _ in staged:
            temporary.replace(path)
            _sync_folder(path.parent)
    finally:
        for temporary, _, _ in staged:
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str | None:
    """A hash of what the file holds; None where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None

"""Load what an engine runs on, without ever taking the service down: what cannot be used is replaced and reported."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from perfkit.config.fingerprint import collect_fingerprint, differences
from perfkit.config.settings import Settings, load_perfkit_toml
from perfkit.config.thresholds import Thresholds, curves_path, load_thresholds
from perfkit.engine.plan import Publication, known_methods
from perfkit.engine.policies import import_policies
from perfkit.errors import ConfigError

__all__ = ["Files", "Loaded", "Signature", "load_files"]

Signature = tuple[tuple[int, int, int] | None, ...]
"""What tells that a file changed, by file: when it was written, its size, its inode; None where there is none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Files:
    """Where an engine's settings and thresholds lie; the curves lie beside the thresholds."""

    settings: Path
    thresholds: Path

    def absolute(self) -> Files:
        """The same files, wherever the process goes later; as they are where the current folder is gone."""
        try:
            return Files(self.settings.absolute(), self.thresholds.absolute())
        except OSError:
            return self

    def signature(self) -> Signature:
        """What changes when one of the files is written, appears or vanishes."""
        return tuple(map(_signature, (self.settings, self.thresholds, curves_path(self.thresholds))))


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Settings and publication in force.

    Args:
        settings: what people wrote, or the defaults.
        publication: what was published, or nothing.
        thresholds_path: where it was published; None where the defaults hold.
        errors: what was wrong with the files when they were last read.
        files: where to read again, absolute; None for an engine that was made without files.
        signature: of the files, taken before they were read.
    """

    settings: Settings
    publication: Publication
    thresholds_path: str | None = None
    errors: tuple[str, ...] = ()
    files: Files | None = None
    signature: Signature = ()


def load_files(files: Files, last: Loaded | None = None) -> Loaded:
    """Read both files; one that cannot be used leaves in force what `last` holds, and is an error in the result.

    Args:
        files: where to read.
        last: what is in force; by default the defaults are. A missing file is an error only where it was there before.
    """
    signature = files.signature()  # first: what is written from here on is a change
    known = last or Loaded(Settings(), Publication())
    errors: list[str] = []
    publication, thresholds_path = known.publication, known.thresholds_path
    try:
        thresholds = load_thresholds(files.thresholds)
    except ConfigError as error:
        _note(error, errors, was_there=thresholds_path is not None)
    else:
        publication = Publication.of(thresholds, host_warnings(thresholds))
        thresholds_path = thresholds_path or str(files.thresholds)
    settings = known.settings
    try:
        read = load_perfkit_toml(files.settings, measured_methods=known_methods(publication))
    except ConfigError as error:
        _note(error, errors, was_there=settings.path is not None)
    else:
        settings = dataclasses.replace(read, path=settings.path or read.path)  # named as the caller named it
        errors += import_policies(settings.engine.policy_modules)
    return Loaded(settings, publication, thresholds_path, tuple(errors), files.absolute(), signature)


def host_warnings(thresholds: Thresholds) -> tuple[str, ...]:
    """One sentence per difference between the host that was measured and this one."""
    found = differences(thresholds.curves.fingerprint, collect_fingerprint())
    return tuple(f"another host was measured: {sentence}; measure this one with `perfkit run`" for sentence in found)


def _note(error: ConfigError, errors: list[str], *, was_there: bool) -> None:
    if not isinstance(error.__cause__, FileNotFoundError):
        errors.append(str(error))
    elif was_there:
        errors.append(
            f"{error.path}: there is no such file any more, and what it held stays in force; put it back, or restart "
            "the service to go on with the defaults"
        )


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino

"""Find the plan that somebody names: a file, a folder, a published version, or what is in force."""

from __future__ import annotations

import contextlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from perfkit.config.publication import earlier_versions, read_current
from perfkit.config.thresholds import history_paths
from perfkit.engine import Engine
from perfkit.errors import ConfigError, InputError, UnknownNameError

__all__ = ["CURRENT", "load_for_people", "open_plan"]

CURRENT = "current"
_VERSION = re.compile(r"v(\d{1,9})")
_ALLOWED = "a perfkit.toml, a thresholds.toml, a folder with both, a version such as v7, or 'current' for what holds"


def open_plan(what: str | Path | Engine, settings: str | Path = "perfkit.toml") -> Engine:
    """The engine of a plan that somebody names, without a thread of its own.

    Args:
        what: an engine, which is returned as it is; ``current``; a version that is kept, such as ``v7``; a folder; a
            settings file, which goes with the thresholds beside it, or else with those in force; or a thresholds file,
            which goes with the settings beside it, or else with those in force.
        settings: the settings in force; `thresholds.toml` lies beside them.

    Raises:
        InputError: there is no such file or folder.
        UnknownNameError: no such version is kept.
        ConfigError: a file cannot be used.

    >>> open_plan("current", "no-such-folder/perfkit.toml").health().status
    'default'
    """
    if isinstance(what, Engine):
        return what
    settings = Path(settings)
    thresholds = settings.parent / "thresholds.toml"
    if str(what) == CURRENT:
        return load_for_people(settings, thresholds)
    if version := _VERSION.fullmatch(str(what)):
        return load_for_people(settings, _kept(thresholds, int(version.group(1))))
    given = Path(what)
    if given.is_dir():
        files = given / "perfkit.toml", given / "thresholds.toml"
        if not any(file.exists() for file in files):
            raise InputError(
                f"plan {str(what)!r} is a folder without perfkit.toml and thresholds.toml; name {_ALLOWED}"
            )
        return load_for_people(*files)
    if not given.exists():
        raise InputError(f"plan {str(what)!r}: there is no such file; name {_ALLOWED}")
    if _is_published(given):
        return load_for_people(_first_of(given.parent / "perfkit.toml", settings), given)
    return load_for_people(given, _first_of(given.parent / "thresholds.toml", thresholds))


def _first_of(beside: Path, in_force: Path) -> Path:
    return beside if beside.exists() else in_force


def _is_published(file: Path) -> bool:
    """Whether a file is a thresholds file: by what it says, or where that cannot be read, by its name."""
    try:
        return "curves" in tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return file.name.startswith("thresholds")


def _kept(thresholds: Path, version: int) -> Path:
    """The file of a version: the one in force, or in the history."""
    current = read_current(thresholds).thresholds
    if current is not None and current.version == version:
        return thresholds
    file, _ = history_paths(thresholds, version)
    if not file.exists():
        known = {*earlier_versions(thresholds), *([current.version] if current else [])}
        names = [f"v{number}" for number in sorted(known)]
        raise UnknownNameError("version", f"v{version}", names, "`perfkit publish --history` lists them.")
    return file


def load_for_people(settings: Path, thresholds: Path | None = None) -> Engine:
    """The engine, as a service would load it that is started in the current folder; without a thread of its own.

    Args:
        settings: the settings; a missing file means the defaults.
        thresholds: by default those beside `settings`.

    Raises:
        ConfigError: a file cannot be used: where a service goes on with the defaults, a person is told.
    """
    with _importable_folder(str(Path.cwd())):
        engine = Engine.load(settings, thresholds=thresholds, background=False)
    errors = engine.health().errors
    if errors:
        raise ConfigError(f"{errors[0]} (a service goes on with the defaults until this is repaired)")
    return engine


@contextlib.contextmanager
def _importable_folder(folder: str) -> Iterator[None]:
    """Have policies found there: an installed command does not look for modules where it is called."""
    if folder in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)

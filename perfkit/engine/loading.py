"""Load what an engine runs on, without ever taking the service down: what cannot be used is replaced and reported."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from perfkit.config.fingerprint import collect_fingerprint, differences
from perfkit.config.settings import Settings, load_perfkit_toml
from perfkit.config.thresholds import Thresholds, load_thresholds
from perfkit.engine.plan import Publication, known_methods
from perfkit.errors import ConfigError

__all__ = ["Loaded", "load_files"]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Settings and publication in force; the paths are None where the defaults hold, `errors` says what went wrong."""

    settings: Settings
    publication: Publication
    thresholds_path: str | None = None
    errors: tuple[str, ...] = ()


def load_files(settings_path: Path, thresholds_path: Path) -> Loaded:
    """Read both files. A missing one means defaults; a broken one means defaults and an error in the result."""
    errors: list[str] = []
    publication, thresholds = Publication(), None
    try:
        thresholds = load_thresholds(thresholds_path)
    except ConfigError as error:
        _note(error, errors)
    else:
        publication = Publication.of(thresholds, host_warnings(thresholds))
    settings = Settings()
    try:
        settings = load_perfkit_toml(settings_path, measured_methods=known_methods(publication))
    except ConfigError as error:
        _note(error, errors)
    return Loaded(settings, publication, str(thresholds_path) if thresholds else None, tuple(errors))


def host_warnings(thresholds: Thresholds) -> tuple[str, ...]:
    """One sentence per difference between the host that was measured and this one."""
    found = differences(thresholds.curves.fingerprint, collect_fingerprint())
    return tuple(f"another host was measured: {sentence}; measure this one with `perfkit run`" for sentence in found)


def _note(error: ConfigError, errors: list[str]) -> None:
    if not isinstance(error.__cause__, FileNotFoundError):
        errors.append(str(error))

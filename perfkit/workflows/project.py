"""A folder to work in: settings to begin with, and what is to be said about the files in it."""

from __future__ import annotations

from pathlib import Path

from perfkit.config.check import CheckResult
from perfkit.config.template import write_template
from perfkit.errors import FileError
from perfkit.workflows.check import check

__all__ = ["SETTINGS_NAME", "prepare_project"]

SETTINGS_NAME = "perfkit.toml"


def prepare_project(folder: str | Path = ".") -> CheckResult:
    """Make a folder with a commented `perfkit.toml`; what is there already stays as it is.

    Args:
        folder: made where it is missing.

    Returns:
        What a service will find there, as `perfkit check` says it.

    Raises:
        FileError: the folder or the file cannot be written.
        ConfigError: a file that is there already cannot be used.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     prepare_project(folder).ok
    True
    """
    path = Path(folder) / SETTINGS_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{path.parent} cannot be made: {error.strerror}; name another folder") from error
    if not path.exists():
        write_template(path)
    return check(path)

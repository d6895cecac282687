"""Options that several commands share, and what they mean."""

from __future__ import annotations

from pathlib import Path

import click

from perfkit.errors import ConfigError, InputError

__all__ = ["existing", "json_option", "lake_option", "names", "settings_option"]

DEFAULT_SETTINGS = Path("perfkit.toml")

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object as the last line of standard output."
)
lake_option = click.option("--lake", default="data/lake", show_default=True, help="Where observations are kept.")
settings_option = click.option(
    "--settings",
    type=click.Path(path_type=Path),
    default=DEFAULT_SETTINGS,
    show_default=True,
    help="The settings; thresholds.toml lies beside them.",
)


def existing(settings: Path) -> Path | None:
    """The settings file, or None where there is none and nobody asked for one by name.

    Raises:
        ConfigError: a file was named that does not exist.
    """
    if settings.exists():
        return settings
    if settings != DEFAULT_SETTINGS:
        raise ConfigError("there is no such file; `perfkit init` writes one", path=settings)
    return None


def names(text: str | None, option: str) -> tuple[str, ...] | None:
    """The names in a comma-separated option; None when the option was not given.

    Raises:
        InputError: the option was given without a name.

    >>> names("uds, grpc", "--methods"), names(None, "--methods")
    (('uds', 'grpc'), None)
    """
    if text is None:
        return None
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise InputError(f"{option} {text!r} names nothing; separate names by commas, or leave the option out")
    return found

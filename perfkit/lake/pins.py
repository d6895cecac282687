"""Pins: which versions of the tables, and which runs, stay readable whatever retention removes.

A pin is one small file in the lake's `pins` folder. It names its keeper: a path whose existence keeps the pin. A
report keeps the versions that its figures were read from for as long as its folder exists; who deletes the folder needs
to know nothing of pins.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.errors import InputError, LakeError
from perfkit.lake.checkpoints import sync_files
from perfkit.lake.lake import Lake

__all__ = ["PINS_FOLDER", "Pin", "active_pins", "all_pins", "pin", "pin_run", "pinned_runs", "unpin", "unpin_run"]

PINS_FOLDER = "pins"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_RUN_PREFIX = "run."


@dataclasses.dataclass(frozen=True)
class Pin:
    """What stays readable, and for how long.

    Args:
        name: name of the pin's file; letters, digits, dots, hyphens and underscores.
        versions: version by table; a table that is not named is not pinned.
        run_id: a run whose rows survive retention; empty for a pin of versions.
        keeper: path whose existence keeps the pin, relative to the lake's folder, both without symbolic links; empty:
            until it is unpinned.
        pinned_at: when, in UTC, ISO 8601.
    """

    name: str
    versions: Mapping[str, int]
    run_id: str = ""
    keeper: str = ""
    pinned_at: str = ""

    def to_plain(self) -> dict[str, Any]:
        """The pin as values that JSON can hold."""
        return dataclasses.asdict(self)


def pin(lake: Lake, name: str, versions: Mapping[str, int], keeper: str | Path = "") -> Pin:
    """Keep versions of tables readable. A pin of the same name is replaced.

    Args:
        lake: the lake.
        name: letters, digits, dots, hyphens and underscores, such as the name of a report.
        versions: version by table, as `Lake.versions` gives them; -1 (the table was empty) needs no pin.
        keeper: the pin ends when this path does not exist any more; empty: when `unpin` is called.

    Returns:
        The pin, durable on disk.

    Raises:
        InputError: the name cannot be that of a file.
        LakeError: the file cannot be written; nothing was pinned.
    """
    # Without links: where the lake is one, ".." of the path that people write is another folder than ".." on disk.
    relative = os.path.relpath(os.path.realpath(keeper), os.path.realpath(lake.path)) if str(keeper) else ""
    kept = {table: version for table, version in versions.items() if version >= 0}
    return _write(lake, Pin(name, kept, keeper=relative, pinned_at=_now()))


def pin_run(lake: Lake, run_id: str) -> Pin:
    """Keep the rows of a run, however old they get. Pinning it again changes nothing.

    Raises:
        InputError: the id cannot be part of a file's name.
        LakeError: the file cannot be written; nothing was pinned.
    """
    return _write(lake, Pin(f"{_RUN_PREFIX}{run_id}", {}, run_id=run_id, pinned_at=_now()))


def unpin(lake: Lake, name: str) -> bool:
    """Release a pin; says whether there was one.

    Raises:
        InputError: the name cannot be that of a file.
        LakeError: the file cannot be removed; the pin holds.
    """
    file = _file(lake, name)
    try:
        file.unlink()
        sync_files([file.parent])
    except FileNotFoundError:
        return False
    except OSError as error:
        raise LakeError(
            f"pin {file} cannot be removed: {error.strerror}; check the permissions of {lake.path}"
        ) from error
    return True


def unpin_run(lake: Lake, run_id: str) -> bool:
    """Let retention have the rows of a run; says whether it was pinned.

    Raises:
        InputError: the id cannot be part of a file's name.
        LakeError: the file cannot be removed; the pin holds.
    """
    return unpin(lake, f"{_RUN_PREFIX}{run_id}")


def all_pins(lake: Lake) -> tuple[Pin, ...]:
    """Every pin by name, also those whose keeper is gone.

    Raises:
        LakeError: a pin cannot be read; nothing may be removed before it is clear what it keeps.
    """
    return tuple(_read(file) for file in sorted((lake.path / PINS_FOLDER).glob("*.json")))


def active_pins(lake: Lake) -> tuple[Pin, ...]:
    """The pins that hold: those without a keeper, and those whose keeper exists.

    Raises:
        LakeError: as `all_pins`.
    """
    return tuple(one for one in all_pins(lake) if not one.keeper or _keeper_exists(lake, one.keeper))


def pinned_runs(lake: Lake) -> frozenset[str]:
    """The ids of the runs whose rows survive retention.

    Raises:
        LakeError: as `all_pins`.
    """
    return frozenset(one.run_id for one in active_pins(lake) if one.run_id)


def _keeper_exists(lake: Lake, keeper: str) -> bool:
    """Whether a keeper is found from where the lake is on disk, or from where people see it.

    The latter finds it when the lake was moved after it was pinned, and a link left in its place. A pin that holds too
    long takes room; one that ends too early costs what it keeps.
    """
    on_disk, as_seen = Path(lake.path).resolve(), Path(os.path.abspath(lake.path))  # noqa: PTH100 - keeps links
    return any(Path(os.path.normpath(folder / keeper)).exists() for folder in (on_disk, as_seen))


def _file(lake: Lake, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise InputError(
            f"pin name {name!r} cannot be that of a file; use up to 200 letters, digits, dots, hyphens and underscores"
        )
    return lake.path / PINS_FOLDER / f"{name}.json"


def _write(lake: Lake, one: Pin) -> Pin:
    file = _file(lake, one.name)
    partial = file.with_name(f".{one.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(one.to_plain(), indent=1) + "\n", encoding="utf-8")
        sync_files([partial])
        partial.replace(file)
        sync_files([file])
    except OSError as error:
        with contextlib.suppress(OSError):  # it could not even be made
            partial.unlink()
        raise LakeError(
            f"pin {file} cannot be written: {error.strerror}; check free space and permissions of {lake.path}"
        ) from error
    return one


def _read(file: Path) -> Pin:
    try:
        return Pin(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise LakeError(
            f"pin {file} cannot be read: {error}; restore the file, or remove it and let go what it keeps"
        ) from error


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

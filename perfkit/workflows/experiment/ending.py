"""Take an experiment back, and put away what is left of one."""

from __future__ import annotations

import dataclasses
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from perfkit.config.experiment_plan import plan_path, plans_folder
from perfkit.config.publication import read_current
from perfkit.errors import FileError, InputError
from perfkit.lake import DEFAULT_LAKE_PATH
from perfkit.tables import ResultTable
from perfkit.workflows.events import record_event
from perfkit.workflows.experiment.planned import ARCHIVE, Planned, find_experiment, settings_of, write_outcome
from perfkit.workflows.experiment.settings_text import difference, with_switch
from perfkit.workflows.publish import rollback as roll_thresholds_back
from perfkit.workflows.published import PublishResult

__all__ = ["Archived", "RolledBack", "archive_experiment", "roll_back_experiment"]

_WIDTH = 78


@dataclasses.dataclass(frozen=True)
class RolledBack:
    """How an experiment, or its promotion, is taken back.

    Args:
        name: of the experiment.
        settings_path: the `perfkit.toml`.
        promoted: variant whose promotion is taken back; empty for an experiment that runs or waits.
        patch: the change to the settings; empty where nothing is to be changed.
        patch_path: the file that holds it.
        publication: what bringing earlier thresholds back did; None where the promotion published none.
        warnings: what could not be done besides.
    """

    name: str
    settings_path: Path
    promoted: str
    patch: str
    patch_path: Path
    publication: PublishResult | None = None
    warnings: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What is to do."""
        thresholds = ""
        if self.publication is not None:
            thresholds = (
                f" Version {self.publication.restores} of the thresholds is back as {self.publication.version}."
            )
        if not self.patch:
            return f"{self.name} does not run: {self.settings_path} is as it should be.{thresholds}"
        what = f"takes {self.promoted} out of the default" if self.promoted else "is the kill switch"
        return (
            f"The change below {what}. Apply it (`patch {self.settings_path} {self.patch_path}`): services take it up "
            f"within a second. `engine.stop_experiment({self.name!r})` stops one process at once.{thresholds}"
        )

    def to_table(self) -> ResultTable:
        """What is to do, and the change."""
        said = [self.sentence, *(f"! {warning}" for warning in self.warnings)]
        notes = tuple(line for note in said for line in textwrap.wrap(note, _WIDTH, break_on_hyphens=False))
        shown = ("", *self.patch.splitlines()) if self.patch else ()
        return ResultTable(f"Rollback of {self.name}", (), (), (*notes, *shown))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {
            "name": self.name,
            "settings": str(self.settings_path),
            "promoted": self.promoted,
            "sentence": self.sentence,
            "patch": self.patch,
            "patch_path": str(self.patch_path),
            "publication": None if self.publication is None else self.publication.to_plain(),
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


@dataclasses.dataclass(frozen=True)
class Archived:
    """An experiment that was put away.

    Args:
        name: of the experiment.
        files: where its plan, its result and its patches are now.
        verdict: how it ended.
        warnings: what could not be done besides.
    """

    name: str
    files: tuple[Path, ...]
    verdict: str
    warnings: tuple[str, ...] = ()

    def to_table(self) -> ResultTable:
        """Where the files are."""
        rows = tuple((str(path),) for path in self.files)
        notes = tuple(f"! {warning}" for warning in self.warnings)
        return ResultTable(f"Archived experiment {self.name}: {self.verdict}", ("file",), rows, notes)

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {**dataclasses.asdict(self), "files": [str(path) for path in self.files]}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def roll_back_experiment(
    name: str, *, lake: str | Path = DEFAULT_LAKE_PATH, settings: str | Path = "perfkit.toml"
) -> RolledBack:
    """Show how an experiment is switched off; after a promotion, how that is taken back, thresholds included.

    Nobody judges: taking back is always possible. `perfkit.toml` is not written, the change is kept as a patch;
    thresholds that the promotion published are rolled back at once, if they are still in force.

    Args:
        name: of the experiment.
        lake: where it becomes an event.
        settings: the `perfkit.toml`.

    Raises:
        UnknownNameError: there is no such experiment.
        FileError: the patch cannot be written.
        PublishError: the thresholds cannot be brought back.
    """
    planned = find_experiment(name, settings)
    promoted = str(planned.outcome.get("promoted", ""))
    after = _text_without(planned, promoted)
    patch = difference(planned.text, after, planned.settings_path)
    patch_path = planned.outcome_path.with_name(f"{name}.rollback.patch")
    if patch:
        settings_of(after, planned.settings_path, "rolled back")
        _write(patch_path, patch)
    publication = _thresholds_back(planned, after, lake) if promoted else None
    result = RolledBack(name, planned.settings_path, promoted, patch, patch_path, publication)
    if promoted:
        write_outcome(planned, promoted="", rolled_back=promoted)
    details = {"promoted": promoted, "patch": patch}
    warnings = record_event(
        lake, "experiment rolled back", subject=name, message=result.sentence, details=details, severity="warning"
    )
    return dataclasses.replace(result, warnings=warnings)


def archive_experiment(
    name: str, *, lake: str | Path = DEFAULT_LAKE_PATH, settings: str | Path = "perfkit.toml"
) -> Archived:
    """Put the plan of an experiment away, with its result.

    Args:
        name: of the experiment.
        lake: where it becomes an event.
        settings: the `perfkit.toml`, which must not hold the experiment any more, or have it switched off.

    Raises:
        UnknownNameError: there is no such experiment.
        InputError: it still runs, or nothing of it is kept.
        FileError: the files cannot be moved.
    """
    planned = find_experiment(name, settings)
    if planned.experiment is not None and planned.experiment.enabled:
        raise InputError(f"experiment {name!r} is enabled in {settings}; conclude it and remove it there first")
    folder = plans_folder(settings)
    found = sorted({plan_path(settings, name), planned.outcome_path, *folder.glob(f"{name}.*.patch")})
    files = [path for path in found if path.exists()]
    if not files:
        raise InputError(f"nothing of experiment {name!r} is kept in {folder}")
    target = _free_folder(folder / ARCHIVE / name)
    try:
        target.mkdir(parents=True)
        moved = [path.rename(target / path.name) for path in files]
    except OSError as error:
        raise FileError(
            f"{target} cannot be written: {error.strerror}; give write permission, then try again"
        ) from error
    verdict = str(planned.outcome.get("conclusion", {}).get("verdict", "never concluded"))
    message = f"Experiment {name} was archived: {verdict}."
    warnings = record_event(lake, "experiment archived", subject=name, message=message, details={"verdict": verdict})
    return Archived(name, tuple(moved), verdict, warnings)


def _text_without(planned: Planned, promoted: str) -> str:
    """The settings without a promotion, or with the experiment switched off."""
    if promoted:
        before = str(planned.outcome.get("text_before", planned.text))
        after = str(planned.outcome.get("text_after", ""))
        if planned.text.rstrip() != after.rstrip():
            raise InputError(
                f"{planned.settings_path} changed since {promoted} was promoted; take the change back by hand: "
                f"`patch -R {planned.settings_path} {planned.outcome_path.with_name(f'{planned.name}.promote.patch')}`"
            )
        return with_switch(before, planned.name, enabled=False)
    if planned.experiment is None or not planned.experiment.enabled:
        return planned.text
    return with_switch(planned.text, planned.name, enabled=False)


def _thresholds_back(planned: Planned, text: str, lake: str | Path) -> PublishResult | None:
    """Bring back the thresholds of before a promotion, where those that it published are in force.

    Args:
        planned: the experiment.
        text: what the settings will be: the readable ranges are theirs.
        lake: where it becomes an event.
    """
    versions = planned.outcome.get("published_versions") or []
    path = planned.settings_path.with_name("thresholds.toml")
    current = read_current(path).thresholds
    if len(versions) != 2 or versions[0] is None or current is None or current.version != versions[1]:
        return None
    with tempfile.TemporaryDirectory() as folder:
        proposed = Path(folder) / planned.settings_path.name
        proposed.write_text(text, encoding="utf-8")
        return roll_thresholds_back(path, versions[0], settings=proposed, lake=lake)


def _free_folder(path: Path) -> Path:
    """The folder, or one with a number behind its name: a name may be taken again once its plan is away."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror}; give write permission, then try again") from error

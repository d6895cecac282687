"""One round of continual learning: what a lake holds since the model last looked, and what follows from it."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit.errors import FitError, ModelError
from perfkit.lake import Lake
from perfkit.tables import ResultTable
from perfkit.workflows.events import record_event
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.learning.versions import MODELS, current_version, fall_back, keep_version, load_version

if TYPE_CHECKING:
    import pyarrow

    from perfkit.learn.models.model import CostModel
    from perfkit.learn.models.updating import Update
    from perfkit.workflows.published import PublishResult

__all__ = ["RefreshResult", "refresh"]

IDLE, UPDATED, RETRAINED, FELL_BACK, NO_MODEL = "nothing new", "updated", "trained anew", "fell back", "no model"
"""What a round may end in."""

_FEWEST_NEW = 100
_FEWEST_TO_TRAIN = 1000
_MOST_ROWS = 1_000_000
_MOST_BEFORE = 20_000
_WAITING = "to be trained anew on what is observed since "


@dataclasses.dataclass(frozen=True)
class RefreshResult:
    """What a round of continual learning did.

    Attributes:
        verdict: ``nothing new``, ``updated``, ``trained anew``, ``fell back`` (to the curves) or ``no model``.
        n: new observations that were read.
        version: the version in force afterwards; None without any.
        update: what the new observations showed; None where there was nothing to update.
        published: what publishing did; None where it was not asked for, or nothing changed.
        warnings: what could not be done, each with the next step to take.
    """

    verdict: str
    n: int
    version: int | None
    update: Update | None = None
    published: PublishResult | None = None
    warnings: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """How it is done, for people."""
        return "updated from new observations alone; trained anew after a shift"

    def to_table(self) -> ResultTable:
        """What happened, and why."""
        reasons = () if self.update is None else self.update.reasons
        rows = ((self.verdict, str(self.n), "none" if self.version is None else str(self.version)),)
        notes = (*reasons, *([] if self.published is None else [str(self.published)]), *self.warnings)
        return ResultTable("Continual learning", ("round", "new observations", "version"), rows, notes, (1, 2))

    def to_plain(self) -> dict[str, Any]:
        """The result as plain values."""
        return {
            "verdict": self.verdict,
            "n": self.n,
            "version": self.version,
            "update": None if self.update is None else self.update.to_plain(),
            "published": None if self.published is None else self.published.to_plain(),
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def refresh(
    lake: str | Path = "data/lake",
    models: str | Path = MODELS,
    *,
    publish: bool = False,
    thresholds: str | Path = "thresholds.toml",
    settings: str | Path | None = None,
    seed: int = 0,
) -> RefreshResult:
    """Bring the model in force up to date with what a lake holds since it last looked.

    After a shift of its errors it is trained anew, as soon as there are 1000 observations from after the shift; until
    then updates correct its level. Where its trees became worse than the curves, the curves apply, and an event of
    severity ``error`` says so.

    Args:
        lake: folder of the lake.
        models: folder of the versions.
        publish: also distil what changed, and publish it through the same gate as `perfkit publish`.
        thresholds: the thresholds file to publish to.
        settings: the `perfkit.toml`.
        seed: of everything random.

    Returns:
        What was done. Without a model, ``no model`` and how to train the first.

    Raises:
        LakeError: the lake cannot be read.
        ModelError: the version in force is damaged.
        FileError: a new version cannot be written.
    """
    from perfkit.learn.models.updating import update

    standing = current_version(models)
    if standing is None:
        said = f"{models} holds no model; `perfkit learn --lake {lake}` trains the first one"
        return RefreshResult(NO_MODEL, 0, None, warnings=(said,))
    model = load_version(models, standing.version)
    opened = open_fresh_lake(lake)
    seen_until = _moment(model.provenance.last_observed_at)
    new = _rows(opened, after=seen_until)
    if new.num_rows < _FEWEST_NEW:
        return RefreshResult(IDLE, new.num_rows, standing.version)
    before = _rows(opened, until=seen_until, most=_MOST_BEFORE) if seen_until else None
    try:
        found = update(model, new, seed=seed, before=_or_none(before), parent=f"v{standing.version:04d}")
    except FitError as error:  # rows of another stage alone, or figures that a service got wrong
        return RefreshResult(IDLE, new.num_rows, standing.version, warnings=(str(error),))
    retrained = _retrained(opened, model, found, seed)
    chosen = retrained or _marked(model, found)
    version = keep_version(chosen, models).version
    verdict, warnings = RETRAINED if retrained else UPDATED, list[str]()
    if found.degraded and retrained is None:
        verdict = FELL_BACK
        fall_back(f"worse than the curves: {', '.join(found.degraded)}", models)
    warnings += _told(lake, verdict, version, found)
    published = None
    if publish and verdict != FELL_BACK:
        published, problems = _published(chosen, thresholds, settings, lake)
        warnings += problems
    return RefreshResult(verdict, new.num_rows, version, found, published, tuple(warnings))


def _retrained(lake: Lake, model: CostModel, found: Update, seed: int) -> CostModel | None:
    """The model trained anew, where that is called for and there is enough from after the shift."""
    from perfkit.learn.models.training import train

    since = _since(model, found)
    if not found.needs_retraining and since is None:
        return None
    rows = _rows(lake, after=since)
    if rows.num_rows < _FEWEST_TO_TRAIN:
        return None
    try:
        return train(rows, seed=seed, table_versions=lake.versions())
    except FitError:
        return None


def _since(model: CostModel, found: Update) -> datetime.datetime | None:
    """From when on observations are of the world as it is now; None where all are."""
    if found.drifted:
        return _moment(found.model.provenance.last_observed_at) if found.shifted_at is None else found.shifted_at
    waiting = [one for one in model.provenance.warnings if one.startswith(_WAITING)]
    return _moment(waiting[-1].removeprefix(_WAITING)) if waiting else None


def _marked(model: CostModel, found: Update) -> CostModel:
    """The updated model; after a shift it remembers from when on it is to be trained anew."""
    since = _since(model, found)
    kept = tuple(one for one in found.model.provenance.warnings if not one.startswith(_WAITING))
    warnings = kept if since is None else (*kept, f"{_WAITING}{since.isoformat()}")
    return dataclasses.replace(found.model, provenance=dataclasses.replace(found.model.provenance, warnings=warnings))


def _told(lake: str | Path, verdict: str, version: int, found: Update) -> tuple[str, ...]:
    """Events of what people should know: a fall back is an error, a shift a warning."""
    if verdict != FELL_BACK and not found.needs_retraining:
        return ()
    severity = "error" if verdict == FELL_BACK else "warning"
    message = f"{verdict}: {'; '.join(found.reasons)}"
    name = "model degraded" if verdict == FELL_BACK else "model drifted"
    return record_event(
        lake, name, subject=f"v{version:04d}", message=message, details={"n": found.n_new}, severity=severity
    )


def _published(
    model: CostModel, thresholds: str | Path, settings: str | Path | None, lake: str | Path
) -> tuple[PublishResult | None, tuple[str, ...]]:
    from perfkit.config.thresholds import load_thresholds
    from perfkit.learn.models.distilling import distil
    from perfkit.workflows.publish import publish_if_sound

    if not Path(thresholds).exists():
        return None, (f"{thresholds} does not exist: nothing to distil onto; `perfkit publish` makes it first",)
    distilled = distil(model, load_thresholds(thresholds).curves)
    return publish_if_sound(distilled, path=thresholds, settings=settings, lake=lake), ()


def _rows(
    lake: Lake,
    *,
    after: datetime.datetime | None = None,
    until: datetime.datetime | None = None,
    most: int = _MOST_ROWS,
) -> pyarrow.Table:
    """Transfers of a span of time, the newest of them, oldest first."""
    rows = lake.transfers
    rows = rows.filter(rows.source != "replay")
    if after is not None:
        rows = rows.filter(rows.observed_at > after)
    if until is not None:
        rows = rows.filter(rows.observed_at <= until)
    rows = rows.order_by(rows.observed_at.desc()).limit(most)
    return lake.read(rows.order_by("observed_at"))


def _or_none(table: pyarrow.Table | None) -> pyarrow.Table | None:
    return table if table is not None and table.num_rows else None


def _moment(text: str | None) -> datetime.datetime | None:
    if not text:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise ModelError(f"last_observed_at == {text!r}, must be a moment in ISO 8601", path=Path(MODELS)) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)

"""Find an experiment: what `perfkit.toml` says of it, what was planned, and what came of it."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from perfkit.config.experiment_plan import ExperimentPlan, load_plan, plan_path, plans_folder
from perfkit.config.experiments import Experiment
from perfkit.config.pool_settings import DEFAULT_POOL
from perfkit.config.publication import read_current
from perfkit.config.settings import Settings, read_settings
from perfkit.config.source import read_text
from perfkit.engine.plan import Publication, known_methods
from perfkit.errors import ConfigError, FileError, UnknownNameError
from perfkit.workflows.experiment.reporting import Analysis

__all__ = [
    "ARCHIVE",
    "Planned",
    "find_experiment",
    "known_experiments",
    "load_settings",
    "settings_of",
    "write_outcome",
]

ARCHIVE = "archive"
RESULT_ENDING = ".result.json"


@dataclasses.dataclass(frozen=True)
class Planned:
    """An experiment as its files describe it.

    Args:
        name: of the experiment.
        settings_path: the `perfkit.toml`.
        settings: what it says.
        text: as people wrote it.
        experiment: its section there; None once it was removed.
        plan: what was planned; the defaults where nobody wrote a plan.
        has_plan: whether somebody did.
        outcome: what `perfkit ab conclude` and `promote` kept; empty before.
    """

    name: str
    settings_path: Path
    settings: Settings
    text: str
    experiment: Experiment | None
    plan: ExperimentPlan
    has_plan: bool
    outcome: Mapping[str, Any]

    @property
    def state(self) -> str:
        """``planned``, ``running``, ``stopped``, ``concluded`` or ``promoted``."""
        if self.outcome.get("promoted"):
            return "promoted"
        if "conclusion" in self.outcome:
            return "concluded"
        if self.experiment is None:
            return "planned"
        return "running" if self.experiment.enabled else "stopped"

    @property
    def outcome_path(self) -> Path:
        """The file beside the plan that keeps what came of it."""
        plan = plan_path(self.settings_path, self.name)
        return plan.with_name(f"{self.name}{RESULT_ENDING}")

    @property
    def variants(self) -> Mapping[str, Mapping[str, Any]]:
        """What each variant has other than its pool, as the settings hold it; the first is the control."""
        if self.experiment is None:
            found: Mapping[str, Mapping[str, Any]] = self.outcome.get("variants", {})
            return found
        tables = tomllib.loads(self.text)["experiments"][self.name]["variants"]
        return {name: {key: value for key, value in table.items() if key != "share"} for name, table in tables.items()}

    @property
    def pools(self) -> tuple[str, ...]:
        """Sections of the settings that take part."""
        if self.experiment is None:
            return tuple(self.outcome.get("pools", ()))
        return self.experiment.pools or tuple(self.settings.pools)

    @property
    def pool_tables(self) -> Mapping[str, Any]:
        """What the settings say of each pool that takes part, and of the one that all others inherit from."""
        tables = tomllib.loads(self.text).get("pools", {})
        return {name: tables[name] for name in dict.fromkeys((DEFAULT_POOL, *self.pools)) if name in tables}

    def analysis(self) -> Analysis:
        """How it is analysed: by its plan."""
        shares = {variant.name: variant.share for variant in self.experiment.variants} if self.experiment else {}
        total = sum(shares.values())
        return Analysis(
            metrics=self.plan.metrics,
            control=next(iter(self.variants)),
            time="observed_at",
            inference=self.plan.inference,
            alpha=self.plan.alpha,
            margin=self.plan.margin,
            minimum=self.plan.minimum,
            shares={name: share / total for name, share in shares.items()} if total else None,
            guardrails=self.plan.guardrails,
            segments=self.plan.segments,
        )


def find_experiment(name: str, settings: str | Path = "perfkit.toml") -> Planned:
    """What the files say of an experiment.

    Args:
        name: of the experiment.
        settings: the `perfkit.toml`; plans lie in `experiments/` beside it.

    Raises:
        UnknownNameError: neither the settings nor a plan know it.
        ConfigError: a file cannot be used.
    """
    settings = Path(settings)
    loaded = load_settings(settings)
    text = read_text(settings) if settings.exists() else ""
    experiment = next((one for one in loaded.experiments if one.name == name), None)
    known = known_experiments(settings, loaded)
    if name not in known:
        raise UnknownNameError("experiment", name, known, "`perfkit ab configure` begins one.")
    file = plan_path(settings, name)
    plan = load_plan(file) if file.exists() else ExperimentPlan(name)
    found = Planned(name, settings, loaded, text, experiment, plan, file.exists(), MappingProxyType({}))
    return dataclasses.replace(found, outcome=_read_outcome(found.outcome_path))


def known_experiments(settings: Path, loaded: Settings) -> list[str]:
    """Every experiment that the settings, a plan or a result name, those of the settings first."""
    folder = plans_folder(settings)
    files = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    kept = [name.removesuffix(ending) for ending in (".toml", RESULT_ENDING) for name in files if name.endswith(ending)]
    return list(dict.fromkeys([*(one.name for one in loaded.experiments), *kept]))


def load_settings(path: Path) -> Settings:
    """The settings, methods of one's own that are published included; the defaults where there is no such file.

    Raises:
        ConfigError: the file cannot be used.
    """
    return read_settings(path, measured_methods=_methods(path))


def settings_of(text: str, path: Path, why: str) -> Settings:
    """The settings that a text would be at a place, read as a service would read them.

    Args:
        text: what the file would hold.
        path: where it would be.
        why: what is changed, for the message.

    Raises:
        ConfigError: a service could not use it.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / path.name
        whole.write_text(text, encoding="utf-8")
        try:
            return read_settings(whole, measured_methods=_methods(path))
        except ConfigError as error:
            raise ConfigError(f"{why}: {str(error).replace(f'{whole}:', '')}", path=path) from error


def _methods(path: Path) -> tuple[str, ...]:
    published = read_current(path.with_name("thresholds.toml")).thresholds
    return known_methods(Publication.of(published) if published else Publication())


def write_outcome(planned: Planned, **outcome: Any) -> Planned:
    """Keep what came of an experiment beside its plan; what is kept already and not named stays.

    Raises:
        FileError: the file cannot be written.
    """
    path = planned.outcome_path
    whole = {**planned.outcome, **outcome}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_text(json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror}; give write permission, then try again") from error
    return dataclasses.replace(planned, outcome=MappingProxyType(whole))


def _read_outcome(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return MappingProxyType({})
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot be read ({error}); restore it, or delete it and conclude again", path=path
        ) from error
    if not isinstance(found, dict):
        raise ConfigError("is no result of an experiment; restore it, or delete it and conclude again", path=path)
    return MappingProxyType(found)

"""Every experiment that there is, and how far it has come."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from perfkit.config.experiment_plan import plans_folder
from perfkit.tables import ResultTable
from perfkit.workflows.experiment.planned import (
    ARCHIVE,
    RESULT_ENDING,
    find_experiment,
    known_experiments,
    load_settings,
)

__all__ = ["Experiments", "Listed", "experiments"]


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """One experiment.

    Args:
        name: of the experiment.
        state: ``planned``, ``running``, ``stopped``, ``concluded``, ``promoted`` or ``archived``.
        verdict: how it ended; empty before.
        variants: with their shares, the control first; empty where the settings do not have it.
        hypothesis: what was expected; empty where nobody wrote it down.
    """

    name: str
    state: str
    verdict: str
    variants: str
    hypothesis: str


@dataclasses.dataclass(frozen=True)
class Experiments:
    """Every experiment of some settings."""

    experiments: tuple[Listed, ...]

    def to_table(self) -> ResultTable:
        """One row per experiment."""
        rows = tuple((one.name, one.state, one.verdict, one.variants, one.hypothesis) for one in self.experiments)
        notes = () if rows else ("There are none; `perfkit ab configure` begins one.",)
        return ResultTable("Experiments", ("name", "state", "verdict", "variants", "hypothesis"), rows, notes)

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return dataclasses.asdict(self)

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def experiments(settings: str | Path = "perfkit.toml") -> Experiments:
    """Every experiment that the settings, a plan or the archive know.

    Args:
        settings: the `perfkit.toml`; plans lie in `experiments/` beside it.

    Raises:
        ConfigError: a file cannot be used.

    >>> experiments("no/such/folder/perfkit.toml").experiments
    ()
    """
    settings = Path(settings)
    found = []
    for name in known_experiments(settings, load_settings(settings)):
        planned = find_experiment(name, settings)
        arms = planned.experiment.variants if planned.experiment else ()
        variants = ", ".join(f"{one.name} {100 * one.share:g}%" for one in arms)
        verdict = str(planned.outcome.get("conclusion", {}).get("verdict", ""))
        found.append(Listed(name, planned.state, verdict, variants, planned.plan.hypothesis))
    return Experiments((*found, *_archived(plans_folder(settings) / ARCHIVE)))


def _archived(folder: Path) -> list[Listed]:
    found = []
    for one in sorted(folder.iterdir()) if folder.is_dir() else []:
        verdict = ""
        for result in one.glob(f"*{RESULT_ENDING}"):
            verdict = json.loads(result.read_text(encoding="utf-8")).get("conclusion", {}).get("verdict", "")
        found.append(Listed(one.name, "archived", verdict, "", ""))
    return found

"""The model in force with everything that matters for replacing it, or what is wrong with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from perfkit.errors import ModelError
from perfkit.learn.models import CostModel
from perfkit.workflows.learning.history import Standing
from perfkit.workflows.learning.learned import Learned
from perfkit.workflows.learning.versions import current_version, learned_from, load_version

__all__ = ["Champion", "read_champion"]


@dataclasses.dataclass(frozen=True)
class Champion:
    """What a folder of versions says is in force.

    Attributes:
        standing: version and state; None without any, or where the record of it is damaged.
        model: that version; None without any, or where it is damaged.
        learned: what it has learned from.
        problems: what is damaged, by name, and what applies therefore.
    """

    standing: Standing | None = None
    model: CostModel | None = None
    learned: Learned = dataclasses.field(default_factory=Learned)
    problems: tuple[str, ...] = ()

    @property
    def version(self) -> int | None:
        """Its number."""
        return None if self.standing is None else self.standing.version

    @property
    def has_fallen(self) -> bool:
        """Whether the published curves apply instead of it."""
        return self.standing is not None and self.standing.state == "curves"

    @property
    def absence(self) -> str:
        """Why there is nothing to compare a new model with; empty where there is."""
        if self.problems and self.model is None:
            return "the model that was in force cannot be read"
        if self.model is None:
            return "no model was in force"
        return f"version {self.version} fell back to the curves" if self.has_fallen else ""


def read_champion(models: str | Path) -> Champion:
    """Read what is in force. What is damaged is named, and the curves apply instead of it.

    Args:
        models: folder of the versions.
    """
    standing = None
    try:
        standing = current_version(models)
        if standing is None:
            return Champion()
        model = load_version(models, standing.version)
        return Champion(standing, model, learned_from(models, standing.version, model))
    except ModelError as error:
        said = f"the model in force is not used: {error.path}: {error.cause}; the curves apply instead of it"
        return Champion(standing, problems=(said,))

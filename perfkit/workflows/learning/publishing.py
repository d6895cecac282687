"""A cost model published: distilled onto the curves that are, and through the same gate as every publication."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perfkit.config.thresholds import load_thresholds
from perfkit.errors import ConfigError

if TYPE_CHECKING:
    from perfkit.config.curves import CurveSet
    from perfkit.learn.models.model import CostModel
    from perfkit.workflows.published import PublishResult

__all__ = ["publish_model", "published_curves"]


def published_curves(thresholds: str | Path) -> CurveSet | None:
    """The curves of a thresholds file; None where it is missing or damaged."""
    try:
        return load_thresholds(thresholds).curves
    except ConfigError:
        return None


def publish_model(
    model: CostModel, thresholds: str | Path, settings: str | Path | None, lake: str | Path
) -> tuple[PublishResult | None, tuple[str, ...]]:
    """Distil a model onto the published curves and publish these, if the gate lets them pass.

    Args:
        model: the one in force.
        thresholds: the file to publish to.
        settings: the `perfkit.toml`.
        lake: where services record.

    Returns:
        What publishing did, refused or not; None and why where there is nothing to distil onto.

    Raises:
        PublishError: the file changed at the very moment of writing, or cannot be written.
        ConfigError: `perfkit.toml` cannot be used.
        LakeError: the lake cannot be read.
    """
    from perfkit.learn.models.distilling import distil
    from perfkit.workflows.publish import publish_if_sound

    if not Path(thresholds).exists():
        return None, (f"{thresholds} does not exist: nothing to distil onto; `perfkit publish` makes it first",)
    try:
        curves = load_thresholds(thresholds).curves
    except ConfigError as error:
        return None, (f"nothing was published: {error}",)
    return publish_if_sound(distil(model, curves), path=thresholds, settings=settings, lake=lake), ()

"""Make a variant the default: the change to `perfkit.toml` for people to make, then the thresholds that follow from it.

`perfkit.toml` belongs to people. So a promotion takes two calls: the first one shows and keeps the change, checked to
mean exactly what the variant meant; somebody applies it; the second one finds it applied, and publishes what is in
force anew, so that the readable ranges are those of the pools as they now are.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.config.curves import CurveSet
from perfkit.config.pool_settings import DEFAULT_POOL, PoolSettings
from perfkit.config.publication import read_current
from perfkit.config.settings import Settings
from perfkit.errors import FileError, InputError, UnknownNameError
from perfkit.lake import DEFAULT_LAKE_PATH
from perfkit.tables import ResultTable
from perfkit.workflows.dry_run import dry_run
from perfkit.workflows.dry_run_result import DryRun
from perfkit.workflows.events import record_event
from perfkit.workflows.experiment.planned import Planned, find_experiment, settings_of, write_outcome
from perfkit.workflows.experiment.settings_text import (
    difference,
    experiment_section,
    with_pool_changes,
    with_switch,
    without_experiment,
)
from perfkit.workflows.publish import publish_if_sound
from perfkit.workflows.published import PublishResult

__all__ = ["Promotion", "promote"]

_WIDTH = 78


@dataclasses.dataclass(frozen=True)
class _InForce:
    """The curves that are in force, as `publish` takes them."""

    curves: CurveSet


@dataclasses.dataclass(frozen=True)
class Promotion:
    """A variant on its way to be the default.

    Args:
        name: of the experiment.
        variant: what is promoted.
        settings_path: the `perfkit.toml`.
        refusals: what forbids it.
        forced: whether somebody promotes in spite of them.
        applied: whether the settings say what the variant says.
        patch: the change to the settings, as `patch` takes it; empty once it is applied.
        patch_path: the file that holds it.
        settings_text: the settings with the change.
        inherited: pools that took no part and would change, too: they take what they do not say from ``default``.
        traffic: what the settings with the change would decide on the traffic of the last day; None once it is applied.
        publication: what publishing anew did, or would do; None where no thresholds are in force.
        warnings: what could not be done besides.
    """

    name: str
    variant: str
    settings_path: Path
    refusals: tuple[str, ...]
    forced: bool
    applied: bool
    patch: str
    patch_path: Path
    settings_text: str
    inherited: tuple[str, ...] = ()
    traffic: DryRun | None = None
    publication: PublishResult | None = None
    warnings: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether nothing was done: the experiment does not carry it, or the gate of `publish` refused."""
        of_publish = self.publication is not None and self.publication.refused and self.applied
        return (bool(self.refusals) and not self.forced) or of_publish

    @property
    def sentence(self) -> str:
        """What was done, and what is to do."""
        if self.refusals and not self.forced:
            return f"{self.variant} is not promoted: {'; '.join(self.refusals)}."
        if not self.applied:
            return (
                f"{self.settings_path} is yours: review the change, apply it (`patch {self.settings_path} "
                f"{self.patch_path}`), then call `perfkit ab promote {self.name}` once more."
            )
        if self.publication is not None and self.publication.refused:
            return f"{self.settings_path} has {self.variant}'s settings, but publishing is refused: see below."
        then = ""
        if self.publication is not None and self.publication.published:
            then = f" Version {self.publication.version} of the thresholds goes with them."
        return f"{self.variant} is the default: {self.settings_path} has its settings.{then}"

    def to_table(self) -> ResultTable:
        """What was done, and what is to do; the change itself is `patch`."""
        said = [self.sentence]
        said += [f"! forced: {'; '.join(self.refusals)}"] if self.refusals and self.forced else []
        if self.traffic is not None and self.traffic.transfers:
            moves = ", ".join(f"{count} from {old} to {new}" for (old, new), count in self.traffic.moves.items())
            changed = f"{self.traffic.changed} of {self.traffic.transfers} decisions of the last day would change"
            said.append(f"{changed}{': ' if moves else ''}{moves}. `perfkit plan --diff` shows where.")
        if self.inherited:
            said.append(f"! {', '.join(self.inherited)} took no part and would change, too: they inherit from default")
        said += [f"! {warning}" for warning in self.warnings]
        notes = tuple(line for note in said for line in textwrap.wrap(note, _WIDTH, break_on_hyphens=False))
        shown = () if self.refused or not self.patch else ("", *self.patch.splitlines())
        return ResultTable(f"Promotion of {self.variant} of {self.name}", (), (), (*notes, *shown))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {
            "name": self.name,
            "variant": self.variant,
            "settings": str(self.settings_path),
            "refused": self.refused,
            "refusals": list(self.refusals),
            "forced": self.forced,
            "applied": self.applied,
            "sentence": self.sentence,
            "patch": self.patch,
            "patch_path": str(self.patch_path),
            "inherited": list(self.inherited),
            "traffic": None if self.traffic is None else self.traffic.to_plain(),
            "publication": None if self.publication is None else self.publication.to_plain(),
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        text = self.to_table().to_text()
        shows = self.publication is not None and (self.publication.refused or self.publication.published)
        return f"{text}\n\n{self.publication}" if shows else text


def promote(
    name: str,
    variant: str | None = None,
    *,
    force: bool = False,
    lake: str | Path = DEFAULT_LAKE_PATH,
    settings: str | Path = "perfkit.toml",
) -> Promotion:
    """Take a concluded variant towards being the default.

    Refused without a conclusion, and where the conclusion does not show that the variant is not worse than the control
    by the margin and breaks no guardrail.

    Args:
        name: of the experiment.
        variant: what to promote; by default what was recommended.
        force: promote in spite of what the conclusion, and the gate of `publish`, say.
        lake: where it becomes an event.
        settings: the `perfkit.toml`; `thresholds.toml` lies beside it, the plan in `experiments/`.

    Returns:
        The change to the settings, kept as a patch; once the settings have it, what publishing anew did.

    Raises:
        UnknownNameError: there is no such experiment or variant.
        InputError: there is no variant to promote, or the change cannot be written as one.
        ConfigError: a file cannot be used.
        FileError: the patch cannot be written.
        PublishError: the thresholds cannot be written.
    """
    planned = find_experiment(name, settings)
    chosen = _chosen(planned, variant)
    refusals = tuple(_refusals(planned, chosen))
    patch_path = planned.outcome_path.with_name(f"{name}.promote.patch")
    promotion = Promotion(
        name=name,
        variant=chosen,
        settings_path=planned.settings_path,
        refusals=refusals,
        forced=force and bool(refusals),
        applied=_is_applied(planned, chosen),
        patch="",
        patch_path=patch_path,
        settings_text=planned.text,
    )
    if promotion.refused:
        return promotion
    if promotion.applied:
        return _publish_anew(promotion, planned, lake, force=force)
    if planned.experiment is None:
        raise InputError(
            f"experiment {name!r} is no longer in {planned.settings_path}, and the settings of {chosen} are not, "
            f"either; restore the file, or apply {patch_path}"
        )
    return _propose(promotion, planned, lake)


def promoted_settings(planned: Planned, variant: str) -> tuple[str, Settings]:
    """The settings with a variant's changes as the pools' own and without the experiment, as text and as read.

    Raises:
        InputError: they cannot be changed line by line.
        ConfigError: a service could not use them.
    """
    text, why = without_experiment(planned.text, planned.name), f"with {variant} promoted"
    wanted = _wanted(planned, variant)
    read = settings_of(text, planned.settings_path, why)
    for pool in sorted(planned.pools, key=lambda name: name != DEFAULT_POOL):
        if _essence(read.pools[pool]) != _essence(wanted[pool]):  # it may have inherited the change already
            text = with_pool_changes(text, pool, planned.variants[variant])
            read = settings_of(text, planned.settings_path, why)
    for pool in planned.pools:
        if _essence(read.pools[pool]) != _essence(wanted[pool]):
            raise InputError(
                f"pools.{pool} with the lines of {variant} would not be what {variant} is: "
                f"write the change into {planned.settings_path} by hand, and remove the experiment"
            )
    return text, read


def _propose(promotion: Promotion, planned: Planned, lake: str | Path) -> Promotion:
    text, read = promoted_settings(planned, promotion.variant)
    patch = difference(planned.text, text, planned.settings_path)
    inherited = [
        name
        for name, pool in planned.settings.pools.items()
        if name not in planned.pools and _essence(read.pools[name]) != _essence(pool)
    ]
    try:
        promotion.patch_path.parent.mkdir(parents=True, exist_ok=True)
        promotion.patch_path.write_text(patch, encoding="utf-8")
    except OSError as error:
        raise FileError(f"{promotion.patch_path} cannot be written: {error.strerror}") from error
    write_outcome(planned, text_before=planned.text, text_after=text)
    preview = None
    thresholds = planned.settings_path.with_name("thresholds.toml")
    current = read_current(thresholds).thresholds
    with tempfile.TemporaryDirectory() as folder:
        proposed = Path(folder) / planned.settings_path.name
        proposed.write_text(text, encoding="utf-8")
        traffic = dry_run(proposed, lake=lake, settings=planned.settings_path)
        if current is not None:
            preview = publish_if_sound(
                _InForce(current.curves), path=thresholds, settings=proposed, lake=lake, dry_run=True
            )
    return dataclasses.replace(
        promotion,
        patch=patch,
        settings_text=text,
        inherited=tuple(inherited),
        traffic=traffic,
        publication=preview,
    )


def _publish_anew(promotion: Promotion, planned: Planned, lake: str | Path, *, force: bool) -> Promotion:
    thresholds = planned.settings_path.with_name("thresholds.toml")
    current = read_current(thresholds).thresholds
    result = None
    if current is not None:
        result = publish_if_sound(
            _InForce(current.curves), path=thresholds, settings=planned.settings_path, lake=lake, force=force
        )
    done = dataclasses.replace(promotion, publication=result)
    if done.refused or planned.outcome.get("promoted") == promotion.variant:
        return done
    versions = [result.previous_version, result.version] if result and result.published else []
    write_outcome(planned, promoted=promotion.variant, published_versions=versions)
    details = {"variant": promotion.variant, "versions": versions, "refusals": list(promotion.refusals)}
    warnings = record_event(
        lake,
        "experiment promoted",
        subject=promotion.name,
        message=f"Experiment {promotion.name}: {promotion.sentence}",
        details=details,
        severity="warning" if promotion.forced else "info",
    )
    return dataclasses.replace(done, warnings=warnings)


def _chosen(planned: Planned, variant: str | None) -> str:
    others = list(planned.variants)[1:]
    if variant is not None:
        if variant not in others:
            raise UnknownNameError("variant", variant, others)
        return variant
    recommended = planned.outcome.get("conclusion", {}).get("recommended")
    if recommended in others:
        return str(recommended)
    if len(others) == 1:
        return others[0]
    raise InputError(f"experiment {planned.name!r} recommends none of {', '.join(others)}; name the one to promote")


def _refusals(planned: Planned, variant: str) -> list[str]:
    """What forbids a promotion, as the conclusion has it."""
    conclusion = planned.outcome.get("conclusion")
    if conclusion is None:
        return [f"the experiment is not concluded; `perfkit ab conclude {planned.name}` judges it"]
    concluded = planned.outcome.get("variants", {})
    again = f"restore it, or conclude anew: `perfkit ab conclude {planned.name}`"
    if concluded.get(variant) != json.loads(json.dumps(planned.variants[variant])):
        return [f"{variant} is not what it was when the experiment was concluded, so nobody has tested it; {again}"]
    if set(planned.pools) != set(planned.outcome.get("pools", ())):
        return [f"the pools that take part are not those that the experiment was concluded for; {again}"]
    now, then = (json.loads(json.dumps(one)) for one in (planned.pool_tables, planned.outcome.get("pool_tables")))
    if then is not None and now != then and not _is_applied(planned, variant):
        edited = ", ".join(f"pools.{name}" for name in {**then, **now} if then.get(name) != now.get(name))
        return [f"{edited} changed after the conclusion, so the control is not what was compared; {again}"]
    problems: Mapping[str, list[str]] = conclusion["promotion_problems"]
    return problems[variant]


def _is_applied(planned: Planned, variant: str) -> bool:
    """Whether the pools are as the variant wanted them, and nobody is assigned to it any more."""
    if planned.experiment is not None and planned.experiment.enabled:
        return False
    if not set(planned.pools) <= set(planned.settings.pools):
        return False
    wanted = _wanted(planned, variant)
    return all(_essence(planned.settings.pools[pool]) == _essence(one) for pool, one in wanted.items())


def _wanted(planned: Planned, variant: str) -> dict[str, PoolSettings]:
    """The pools that take part as the variant has them."""
    experiment = planned.experiment
    if experiment is None:  # removed meanwhile: read what is kept of it as a service would
        shares = dict.fromkeys(planned.variants, 0.0)
        section = experiment_section(planned.name, planned.pools, shares, planned.variants)
        section = with_switch(section, planned.name, enabled=False)
        read = settings_of(f"{planned.text}\n{section}", planned.settings_path, f"with {planned.name} as it was")
        experiment = next(one for one in read.experiments if one.name == planned.name)
    chosen = next(one for one in experiment.variants if one.name == variant)
    return {pool: chosen.applied_to(planned.settings.pools[pool]) for pool in planned.pools}


def _essence(pool: PoolSettings) -> tuple[PoolSettings, tuple[object, ...]]:
    """What a pool's settings come to: a rule that stands twice counts where it stands first, whatever its name."""
    rules = dict.fromkeys((rule.when.text, rule.use, rule.avoid) for rule in pool.rules)
    return dataclasses.replace(pool, rules=()), tuple(rules)

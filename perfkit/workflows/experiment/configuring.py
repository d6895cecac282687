"""Begin an experiment: the section that `perfkit.toml` needs, and the plan that it will be judged by."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perfkit.config.experiment_plan import ExperimentPlan, load_plan, plan_path, plan_to_toml
from perfkit.errors import FileError, InputError
from perfkit.tables import ResultTable
from perfkit.workflows.events import record_event
from perfkit.workflows.experiment.planned import load_settings, settings_of
from perfkit.workflows.experiment.recorded import checked_column
from perfkit.workflows.experiment.settings_text import experiment_section

__all__ = ["Configured", "configure", "parse_change", "plan_digest"]


@dataclasses.dataclass(frozen=True)
class Configured:
    """An experiment that was written down.

    Args:
        name: of the experiment.
        settings_path: the `perfkit.toml` that the section belongs into.
        section: the text to add there; empty where it is there already.
        plan: what it will be judged by.
        plan_path: where that was written.
        written_to: file that the section was written to; None where it was only to be shown.
        warnings: what could not be done besides.
    """

    name: str
    settings_path: Path
    section: str
    plan: ExperimentPlan
    plan_path: Path
    written_to: Path | None = None
    warnings: tuple[str, ...] = ()

    def to_table(self) -> ResultTable:
        """What to do next, and the section."""
        return ResultTable(f"Experiment {self.name}", (), (), tuple(str(self).splitlines()[1:]))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {
            "name": self.name,
            "settings": str(self.settings_path),
            "section": self.section,
            "written_to": None if self.written_to is None else str(self.written_to),
            "plan_path": str(self.plan_path),
            "plan": self.plan.to_plain(),
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        told = [f"Experiment {self.name}", f"The plan is in {self.plan_path}: review it and commit it."]
        if not self.section:
            told.append(f"{self.settings_path} has the experiment already.")
        elif self.written_to is not None:
            told.append(f"Its section is in {self.written_to}; it belongs at the end of {self.settings_path}.")
        else:
            told += [f"Add this at the end of {self.settings_path}:", "", self.section.rstrip("\n")]
        return "\n".join([*told, *(f"! {warning}" for warning in self.warnings)])


def configure(
    plan: ExperimentPlan,
    *,
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    shares: Mapping[str, float] | None = None,
    pools: Sequence[str] = (),
    settings: str | Path = "perfkit.toml",
    output: str | Path | None = None,
    lake: str | Path | None = None,
) -> Configured:
    """Write the plan of an experiment, and show the section that starts it.

    `perfkit.toml` belongs to people: it is never written. The section is checked as a service would read it.

    Args:
        plan: what the experiment will be judged by.
        variants: what each variant has other than its pool, as `perfkit.toml` would hold it; the first is the control.
            None for an experiment that the settings have already.
        shares: of the sessions, by variant, 0 to 1; by default equal ones.
        pools: sections of the settings that take part; none for all.
        settings: the `perfkit.toml`.
        output: file to write the section to, which must not exist.
        lake: where it becomes an event, with the digest of the plan; None tells no lake.

    Raises:
        InputError: the experiment or its plan exists already, or the shares do not fit the variants.
        UnknownNameError: transfers have no such metric or segment.
        ConfigError: the settings, or the settings with the experiment, cannot be used.
        FileError: a file cannot be written.
    """
    settings = Path(settings)
    path = plan_path(settings, plan.name)
    if path.exists():
        raise InputError(f"{path} exists already, and a plan is not written twice; take another name, or edit it")
    for column in (*plan.metrics, *plan.guardrails, *plan.segments):
        checked_column(column)
    if output is not None and Path(output).exists():
        raise InputError(f"{output} exists already; name another file for the section")
    section = _section(plan, variants, shares, pools, settings)
    if plan.registered_at is None:
        plan = dataclasses.replace(plan, registered_at=datetime.datetime.now(datetime.UTC).replace(microsecond=0))
    _write_new(path, plan_to_toml(plan))
    plan = load_plan(path)
    if output is not None and section:
        _write_new(Path(output), section)
    warnings: tuple[str, ...] = ()
    if lake is not None:
        details = {**plan.to_plain(), "sha256": plan_digest(path)}
        message = f"Experiment {plan.name} was planned: {plan.hypothesis or 'no hypothesis'}"
        warnings = record_event(lake, "experiment planned", subject=plan.name, message=message, details=details)
    return Configured(plan.name, settings, section, plan, path, Path(output) if output and section else None, warnings)


def parse_change(text: str) -> tuple[str, str, Any]:
    """A variant with one key that it changes, as people write it.

    Args:
        text: the variant, then ``:key=value``, where the value is TOML or plain text; the variant alone for one that
            is as its pool.

    Returns:
        Variant, key (empty for none) and value.

    Raises:
        InputError: it is none.

    >>> parse_change("B:goal=latency"), parse_change("B:methods=['uds', 'grpc']"), parse_change("A")
    (('B', 'goal', 'latency'), ('B', 'methods', ['uds', 'grpc']), ('A', '', None))
    """
    variant, colon, change = text.partition(":")
    key, equals, value = change.partition("=")
    if not variant.strip() or (colon and not (equals and key.strip() and value.strip())):
        raise InputError(f"{text!r} is no variant; write its name and what it changes, such as 'B:goal=latency'")
    try:
        read = tomllib.loads(f"value = {value}")["value"] if colon else None
    except ValueError:
        read = value.strip()
    return variant.strip(), key.strip(), read


def plan_digest(path: Path) -> str:
    """A hash of a plan as it was written: whether it changed after the data came."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _section(
    plan: ExperimentPlan,
    variants: Mapping[str, Mapping[str, Any]] | None,
    shares: Mapping[str, float] | None,
    pools: Sequence[str],
    settings: Path,
) -> str:
    """The checked section of the settings; empty for an experiment that they have."""
    exists = any(one.name == plan.name for one in load_settings(settings).experiments)
    if variants is None:
        if not exists:
            raise InputError(f"experiment {plan.name!r} is not in {settings}; name what its variants change")
        return ""
    if exists:
        raise InputError(f"experiment {plan.name!r} is in {settings} already; leave variants and shares out")
    shares = shares or dict.fromkeys(variants, math.floor(1000 / max(len(variants), 1)) / 1000)
    if set(shares) != set(variants):
        raise InputError(f"shares are of {', '.join(shares)}, variants are {', '.join(variants)}; name the same ones")
    section = experiment_section(plan.name, pools, {name: shares[name] for name in variants}, variants)
    text = settings.read_text(encoding="utf-8") if settings.exists() else ""
    settings_of(f"{text}\n{section}", settings, "with the experiment")
    return section


def _write_new(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror}; name a place that you may write to") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)

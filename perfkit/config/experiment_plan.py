"""`experiments/NAME.toml`: what an experiment is to show, written down before it has any data."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.config.reading import Key, Section, read_keys
from perfkit.config.source import read_source
from perfkit.config.toml_text import toml_value
from perfkit.config.values import Choice, Share, Text, Whole
from perfkit.errors import ConfigError, InputError

__all__ = [
    "INFERENCES",
    "PLAN_KEYS",
    "ExperimentPlan",
    "load_plan",
    "parse_metric",
    "plan_path",
    "plan_to_toml",
    "plans_folder",
]

INFERENCES = ("sequential", "fixed")
_LARGEST = 2**53
_STATISTIC = re.compile(r"mean|ratio|rank|p\d{1,2}(\.\d+)?")
_METRIC = re.compile(r"[A-Za-z_]\w*")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*")
_HEADER = """\
# What this experiment is to show, written before it had data: `perfkit ab` judges it by this, and by nothing else.
# Commit it together with perfkit.toml. Changed after the first look, it proves nothing.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class _Metrics:
    """Metrics with their statistics."""

    @property
    def allowed(self) -> str:
        """What may be written."""
        return "a list of metrics with their statistics, such as ['latency_ns:mean,p95', 'failed:ratio']"

    def read(self, section: Section, key: str) -> Mapping[str, tuple[str, ...]]:
        """Statistics by metric."""
        value = section.table[key]
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            section.refuse_value(key, self.allowed)
        found: dict[str, tuple[str, ...]] = {}
        for text in value:
            try:
                metric, statistics = parse_metric(text)
            except InputError as error:
                section.refuse(key, f": {error}")
            found[metric] = (*found.get(metric, ()), *statistics)
        return found

    def written(self, value: Mapping[str, tuple[str, ...]]) -> str:
        """How it is written."""
        return f"`{metric_texts(value)}`" if value else "none"


@dataclasses.dataclass(frozen=True, slots=True)
class _Columns:
    """Names of columns."""

    @property
    def allowed(self) -> str:
        """What may be written."""
        return "a list of columns, such as ['kind']"

    def read(self, section: Section, key: str) -> tuple[str, ...]:
        """The names, each once."""
        value = section.table[key]
        if not isinstance(value, list) or not all(isinstance(one, str) and _METRIC.fullmatch(one) for one in value):
            section.refuse_value(key, self.allowed)
        return tuple(dict.fromkeys(value))

    def written(self, value: tuple[str, ...]) -> str:
        """How it is written."""
        return f"`{list(value)}`" if value else "none"


@dataclasses.dataclass(frozen=True, slots=True)
class _Moment:
    """A moment with its time zone."""

    @property
    def allowed(self) -> str:
        """What may be written."""
        return "a moment with its time zone, such as 2026-11-26T09:00:00Z"

    def read(self, section: Section, key: str) -> datetime.datetime:
        """The moment."""
        value = section.table[key]
        if not isinstance(value, datetime.datetime) or value.tzinfo is None:
            section.refuse_value(key, self.allowed)
        return value

    def written(self, value: datetime.datetime) -> str:
        """How it is written."""
        return f"`{toml_value(value)}`"


PLAN_KEYS = (
    Key("hypothesis", Text("a sentence", 400), "what is expected, and why"),
    Key("metrics", _Metrics(), "what is compared; the verdict rests on the first statistic of the first metric"),
    Key("guardrails", _Metrics(), "what must not get worse"),
    Key("segments", _Columns(), "columns by which the effects are shown apart, too"),
    Key("margin", Share(positive=True), "largest relative change that does not matter"),
    Key("minimum", Whole(1, _LARGEST, 10_000), "observations of each variant before there is a conclusion"),
    Key("planned_units", Whole(2, _LARGEST, 600), "sessions of all variants together after which it ends"),
    Key("inference", Choice(INFERENCES), "`sequential`: may end at any look; `fixed`: judged once, at its planned end"),
    Key("alpha", Share(0.5, positive=True), "accepted share of wrong verdicts where nothing changed"),
    Key("registered_at", _Moment(), "when it was written down", default="unknown"),
)


@dataclasses.dataclass(frozen=True)
class ExperimentPlan:
    """What was decided about an experiment before it had data.

    Args:
        name: of the experiment.
        hypothesis: what is expected, and why; empty where nobody said.
        metrics: statistics (``mean``, ``ratio``, ``rank``, ``p95`` …) by metric; the verdict rests on the first.
        guardrails: likewise; what must not get worse.
        segments: columns by which the effects are shown apart, too.
        margin: largest relative change that does not matter, above 0.
        minimum: observations of each variant before there is a conclusion.
        planned_units: units of all variants after which it ends; None where nobody said.
        inference: one of `INFERENCES`.
        alpha: accepted share of wrong verdicts where nothing changed, above 0 to 0.5.
        registered_at: when it was written down; None where that is unknown.

    >>> ExperimentPlan("larger").primary
    ('latency_ns', 'mean')
    """

    name: str
    hypothesis: str = ""
    metrics: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=lambda: {"latency_ns": ("mean", "p50", "p95", "p99")}
    )
    guardrails: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=lambda: {"failed": ("ratio",)})
    segments: tuple[str, ...] = ()
    margin: float = 0.05
    minimum: int = 10_000
    planned_units: int | None = None
    inference: str = "sequential"
    alpha: float = 0.05
    registered_at: datetime.datetime | None = None

    @property
    def primary(self) -> tuple[str, str]:
        """Metric and statistic that the verdict rests on."""
        metric, statistics = next(iter(self.metrics.items()))
        return metric, statistics[0]

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        at = self.registered_at
        plain = dataclasses.asdict(self)
        return {**plain, "primary": ":".join(self.primary), "registered_at": None if at is None else at.isoformat()}


def parse_metric(text: str) -> tuple[str, tuple[str, ...]]:
    """A metric with its statistics, as people write it.

    Args:
        text: a column, then ``:`` and its statistics; ``mean`` where there are none.

    Raises:
        InputError: it is none.

    >>> parse_metric("latency_ns:mean,p95"), parse_metric("failed")
    (('latency_ns', ('mean', 'p95')), ('failed', ('mean',)))
    """
    metric, _, rest = text.partition(":")
    statistics = tuple(one.strip() for one in rest.split(",")) if rest else ("mean",)
    if not _METRIC.fullmatch(metric.strip()) or not all(map(_STATISTIC.fullmatch, statistics)):
        raise InputError(
            f"{text!r} is no metric; write a column and its statistics, such as latency_ns:mean,p95 "
            "(mean, ratio, rank, or a quantile such as p50, p99.9)"
        )
    return metric.strip(), tuple(dict.fromkeys(statistics))


def metric_texts(metrics: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Metrics as people write them.

    >>> metric_texts({"latency_ns": ("mean", "p95")})
    ['latency_ns:mean,p95']
    """
    return [f"{metric}:{','.join(statistics)}" for metric, statistics in metrics.items()]


def plans_folder(settings: str | Path) -> Path:
    """Where the plans lie: beside `perfkit.toml`."""
    return Path(settings).parent / "experiments"


def plan_path(settings: str | Path, name: str) -> Path:
    """The file of an experiment's plan.

    Raises:
        InputError: the name cannot be that of a file.

    >>> print(plan_path("perfkit.toml", "larger"))
    experiments/larger.toml
    """
    if not _FILE_NAME.fullmatch(name) or name == "archive":
        raise InputError(
            f"experiment {name!r} can have no plan: its name becomes that of a file; "
            "take letters, digits, spaces, - _ and ., and not 'archive'"
        )
    return plans_folder(settings) / f"{name}.toml"


def load_plan(path: str | Path) -> ExperimentPlan:
    """Read the plan of an experiment; its name is that of the file.

    Raises:
        ConfigError: the file cannot be read or says what cannot be: with its place. Its ``__cause__`` is a
            `FileNotFoundError` where there is none.
    """
    path = Path(path)
    source = read_source(path, advice=f"`perfkit ab configure {path.stem}` writes one")
    section = Section(source, "", source.body)
    section.refuse_unknown(PLAN_KEYS)
    given = read_keys(section, PLAN_KEYS)
    if "metrics" in given and not given["metrics"]:
        raise ConfigError("metrics names none; write ['latency_ns:mean,p95']", path=path)
    return ExperimentPlan(path.stem, **given)


def plan_to_toml(plan: ExperimentPlan) -> str:
    """The text of a plan; `load_plan` reads it."""
    values: dict[str, Any] = {
        "registered_at": plan.registered_at,
        "hypothesis": plan.hypothesis or None,
        "metrics": metric_texts(plan.metrics),
        "guardrails": metric_texts(plan.guardrails),
        "segments": list(plan.segments) or None,
        "margin": f"{100 * plan.margin:g}%",
        "minimum": plan.minimum,
        "planned_units": plan.planned_units,
        "inference": plan.inference,
        "alpha": f"{100 * plan.alpha:g}%",
    }
    meanings = {key.name: key.meaning.replace("`", "") for key in PLAN_KEYS}
    lines = [f"{key} = {toml_value(value)}" for key, value in values.items() if value is not None]
    width = max(map(len, lines), default=0)
    described = (f"{line:<{min(width, 44)}}  # {meanings[line.partition(' = ')[0]]}" for line in lines)
    return f"{_HEADER}\n" + "\n".join(described) + "\n"

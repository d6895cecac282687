"""Read both files the way a service does, and say what a service would not say aloud."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from perfkit.config.curves import ANY
from perfkit.config.experiments import Experiment
from perfkit.config.fingerprint import collect_fingerprint, differences
from perfkit.config.pipelines import read_pipelines
from perfkit.config.pool_settings import DEFAULT_POOL, PoolSettings
from perfkit.config.rule_notes import rule_notes
from perfkit.config.settings import Settings, read_settings
from perfkit.config.thresholds import Thresholds, load_thresholds
from perfkit.errors import ConfigError
from perfkit.tables import ResultTable, plural

__all__ = ["CheckResult", "Finding", "check_files"]


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `state` is ``ok``, ``note`` (good to know) or ``problem`` (the check fails)."""

    file: str
    state: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class CheckResult:
    """What was found in `perfkit.toml` and the thresholds beside it."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is a problem."""
        return all(finding.state != "problem" for finding in self.findings)

    def to_table(self) -> ResultTable:
        """One row per finding."""
        rows = tuple((finding.file, finding.state, finding.message) for finding in self.findings)
        verdict = "the files are in order" if self.ok else "something is to be done"
        return ResultTable(f"Check: {verdict}", ("file", "state", "finding"), rows)

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return {"ok": self.ok, "findings": [dataclasses.asdict(finding) for finding in self.findings]}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def check_files(
    path: str | Path = "perfkit.toml", *, policy_problems: Callable[[Settings], Iterable[str]] = lambda _: ()
) -> CheckResult:
    """Check `perfkit.toml` and the `thresholds.toml` beside it.

    Args:
        path: the settings.
        policy_problems: says what is wrong with the policies in Python that settings name; by default nobody looks.

    Returns:
        What was found. Thresholds that were measured on another host and policies that cannot be asked are a problem;
        thin evidence, rules that do nothing, and methods of a pool without evidence are worth a note; so are files that
        are missing, for which an engine takes the defaults.

    Raises:
        ConfigError: a file cannot be used at all: with path, line, column, what was got and what is allowed. Where an
            engine would go on with the defaults, a check stops.
    """
    path = Path(path)
    thresholds_path = path.parent / "thresholds.toml"
    thresholds = _load_published(thresholds_path)
    methods = _measured_methods(thresholds) if thresholds else ()
    settings = read_settings(path, measured_methods=methods)
    findings = [_settings_finding(path.name, settings)]
    findings += (Finding(path.name, "ok", sentence) for sentence in map(_experiment_sentence, settings.experiments))
    findings += (Finding(path.name, "problem", sentence) for sentence in policy_problems(settings))
    findings += (Finding(path.name, "note", sentence) for sentence in _notes(settings))
    if pipelines := read_pipelines(path):
        findings.append(Finding(path.name, "ok", f"{plural(len(pipelines), 'pipeline')}: {', '.join(pipelines)}"))
    if thresholds is None:
        message = "nothing is published, the defaults hold; `perfkit run` measures and publishes"
        findings.append(Finding(thresholds_path.name, "note", message))
    else:
        findings += _findings(thresholds_path.name, thresholds, settings)
    return CheckResult(tuple(findings))


def _settings_finding(file: str, settings: Settings) -> Finding:
    if settings.path is None:
        return Finding(file, "note", f"no {file}: the defaults apply; `perfkit init` writes one")
    return Finding(file, "ok", f"{plural(len(settings.pools), 'pool')}: {', '.join(settings.pools)}")


def _experiment_sentence(experiment: Experiment) -> str:
    shares = ", ".join(f"{variant.name} {variant.share:.3g}" for variant in experiment.variants)
    where = ", ".join(experiment.pools) or "every pool"
    return f"experiment {experiment.name}{'' if experiment.enabled else ', switched off'}: {shares} in {where}"


def _notes(settings: Settings) -> Iterator[str]:
    """What an engine follows without a word, and people may not have meant."""
    default = settings.pools[DEFAULT_POOL]
    for name, pool in settings.pools.items():
        inherited = 0 if name == DEFAULT_POOL else len(default.rules)
        yield from rule_notes(name, pool, len(pool.rules) - inherited)
        named = [pool.override, *(method for rule in pool.rules for method in rule.use)]
        named += [part.method for part in pool.thresholds]
        left_out = [method for method in dict.fromkeys(named) if method and method not in (pool.methods or named)]
        if left_out:
            message = f"pool {name} may not use {', '.join(left_out)}, which it inherits from {DEFAULT_POOL}"
            yield f"{message}; it is passed over there"
    for experiment in settings.experiments:
        for variant in experiment.variants:
            rules = variant.changes.get("rules", ())
            for note in rule_notes(DEFAULT_POOL, PoolSettings(rules=rules), len(rules)):
                yield f"experiment {experiment.name}, {note.partition(', ')[2]}"


def _load_published(path: Path) -> Thresholds | None:
    try:
        return load_thresholds(path)
    except ConfigError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _measured_methods(thresholds: Thresholds) -> tuple[str, ...]:
    return tuple(sorted({key.method for key in thresholds.curves.curves} - {ANY}))


def _findings(file: str, thresholds: Thresholds, settings: Settings) -> Iterator[Finding]:
    evidence = thresholds.curves.evidence
    moment = f"{thresholds.published_at:%Y-%m-%d %H:%M} UTC"
    observations = plural(evidence.observations, "observation")
    yield Finding(file, "ok", f"version {thresholds.version} of {moment}, {observations}")
    for sentence in differences(thresholds.curves.fingerprint, collect_fingerprint()):
        message = f"another host was measured: {sentence}; measure this one with `perfkit run`"
        yield Finding(file, "problem", message)
    measured = _measured_methods(thresholds)
    for name, pool in settings.pools.items():
        missing = [method for method in pool.methods or () if method not in measured]
        if missing:
            message = f"pool {name} may use {', '.join(missing)}, of which nothing was measured: never chosen"
            yield Finding(file, "note", message)
    for warning in evidence.warnings:
        yield Finding(file, "note", warning)

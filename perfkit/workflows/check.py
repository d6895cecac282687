"""Check the files of an engine, the policies that they name, and the plan: the verdict of a service, in advance."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from perfkit.config.check import CheckResult, Finding, check_files
from perfkit.config.settings import Settings
from perfkit.engine import Engine
from perfkit.engine.policies import find_policy
from perfkit.errors import UnknownNameError

__all__ = ["check"]


def check(path: str | Path = "perfkit.toml") -> CheckResult:
    """Check `perfkit.toml`, the `thresholds.toml` beside it, the policies in Python, and the plan that comes of them.

    Args:
        path: the settings.

    Returns:
        What was found. A service would start with all of it: a problem is what it would report, a note is good to know.

    Raises:
        ConfigError: a file cannot be used at all: with path, line, column, what was got and what is allowed. Where an
            engine would go on with what it has, a check stops.
    """
    found = check_files(path, policy_problems=_policy_problems)
    return CheckResult((*found.findings, *_plan_findings(Path(path)))) if found.ok else found


def _policy_problems(settings: Settings) -> Iterator[str]:
    """What is wrong with the modules and policies that settings name; importing a module runs it."""
    for module in settings.engine.policy_modules:
        try:
            _import_from_here(module)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever somebody else's module does when imported
            advice = "correct it, or check where the service runs"
            yield f"module {module} of engine.policies cannot be imported: {error!r}; {advice}"
    named = {f"pools.{name}": pool.policy for name, pool in settings.pools.items()}
    for experiment in settings.experiments:
        for variant in experiment.variants:
            name = f"experiments.{experiment.name}.variants.{variant.name}"
            named[name] = variant.changes.get("policy")
    for table, policy in named.items():
        if policy is not None:
            try:
                find_policy(policy)
            except UnknownNameError as error:
                yield f"{table}.policy: {error}"


def _plan_findings(path: Path) -> Iterator[Finding]:
    """What comes to light when an engine compiles the plan of every pool and codec."""
    engine = Engine.load(path, background=False)
    try:
        plan = engine.plan()
        problems = dict.fromkeys(problem for cell in plan.cells for problem in cell.problems)
        problems |= dict.fromkeys(engine.health().errors)
    finally:
        engine.close()
    warnings = dict.fromkeys(warning for cell in plan.cells for warning in cell.warnings)
    yield from (Finding(path.name, "problem", problem) for problem in problems)
    for warning in warnings:
        if warning not in problems and warning not in plan.publication.warnings:
            yield Finding(path.name, "note", warning)


def _import_from_here(module: str) -> None:
    """Import a module as a service started in the current folder would."""
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        importlib.import_module(module)
    finally:
        if added and here in sys.path:
            sys.path.remove(here)

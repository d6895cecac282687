"""Check the files of an engine and the policies that they name: the verdict of a service, in advance."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from perfkit.config.check import CheckResult, check_files
from perfkit.config.settings import Settings
from perfkit.engine.policies import find_policy
from perfkit.errors import UnknownNameError

__all__ = ["check"]


def check(path: str | Path = "perfkit.toml") -> CheckResult:
    """Check `perfkit.toml`, the `thresholds.toml` beside it, and the policies in Python that it names.

    Args:
        path: the settings.

    Returns:
        What was found. A service would start with all of it: a problem is what it would report, a note is good to know.

    Raises:
        ConfigError: a file cannot be used at all: with path, line, column, what was got and what is allowed. Where an
            engine would go on with what it has, a check stops.
    """
    return check_files(path, policy_problems=_policy_problems)


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

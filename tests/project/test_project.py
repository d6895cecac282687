"""The project's own files agree with each other."""

from __future__ import annotations

import ast
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"msgpack": "msgpack-python", "duckdb": "python-duckdb", "ibis-framework[duckdb]": "ibis-duckdb"}


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def bounds(requirements: list[str]) -> dict[str, str]:
    """The lower bound per package; requirements on perfkit's own extras left out."""
    split = (re.match("([^<>=!~]+)(.*)", requirement) for requirement in requirements)
    return {parts[1]: parts[2] for parts in split if parts and not parts[1].startswith("perfkit[")}


def test_conda_and_pip_install_the_same_versions(project: dict) -> None:
    extras = project["optional-dependencies"]
    wanted = bounds(project["dependencies"] + extras["transfer"] + extras["lab"])
    wanted = {CONDA_NAMES.get(name, name): bound for name, bound in wanted.items()}
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    listed = bounds([item for item in environment["dependencies"] if isinstance(item, str) and ">=" in item])
    assert listed.pop("python") == project["requires-python"]
    assert listed == wanted


def test_the_environment_installs_the_checkout_itself() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["dependencies"][-1] == {"pip": ["--editable .[all,dev]"]}


def test_the_licence_is_the_one_that_is_declared(project: dict) -> None:
    assert project["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_changelog_knows_this_version(project: dict) -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## Unreleased" in changelog
    assert f"## {project['version']}" in changelog or project["version"] == "0.1.0"


def test_every_helper_of_the_makefile_is_described() -> None:
    makefile = (ROOT / "Makefile").read_text()
    described = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    for target in phony.group(1).split():
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{target} has no rule"
        assert target in ("help", "notebooks") or target in described, f"make help does not describe {target}"


def test_make_run_and_make_test_start_from_a_fresh_clone() -> None:
    # The make that runs these tests must not lend its flags to this one.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"
    }
    for target, last in (("run", "perfkit run quick"), ("test", "pytest --numprocesses"), ("coverage", "--cov")):
        command = ["make", "--dry-run", "--always-make", target]
        steps = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
        assert "-m venv .venv" in steps
        assert "pip install" in steps
        assert last in steps.strip().splitlines()[-1]


def test_ci_is_executable_and_well_formed() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & stat.S_IXUSR
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert "set -euo pipefail" in script.read_text()


def test_every_package_that_is_imported_is_declared(project: dict) -> None:
    extras = project["optional-dependencies"].values()
    declared = bounds([requirement for group in (project["dependencies"], *extras) for requirement in group])
    names = {re.sub(r"\[.*", "", name).replace("-", "_") for name in declared}
    names |= {
        "grpc",
        "google",
        "ibis",
        "vl_convert",
        "IPython",
        "opentelemetry",
        "perfkit",
        "sklearn",
    }  # under other names
    for file in (ROOT / "perfkit").rglob("*.py"):
        undeclared = imported_packages(file) - names - sys.stdlib_module_names
        assert not undeclared, f"{file.relative_to(ROOT)} imports {undeclared}, which pyproject.toml does not declare"


def imported_packages(file: Path) -> set[str]:
    """Top-level packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found

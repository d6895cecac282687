"""`perfkit plan` and `perfkit explain`: what a service here will decide, why, and what another plan would change."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perfkit.cli.options import existing, json_option, settings_option
from perfkit.cli.output import show
from perfkit.errors import InputError, UnknownNameError
from perfkit.schema import FORMATS, KINDS
from perfkit.units import parse_bytes

if TYPE_CHECKING:
    from perfkit.engine.engine import Engine

__all__ = ["explain_command", "plan_command"]

_CONTEXT_HELP = {
    "pool": "Pool of workers.",
    "kind": "tensor, dataframe, binary or text.",
    "format": "numpy, arrow, pickle, msgpack, json or raw.",
    "compression": "none, lz4 or zstd.",
    "signalling": "How shared memory is announced: uds or grpc.",
}


def _context_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each part of a context that can be named."""
    for name, help_text in reversed(_CONTEXT_HELP.items()):
        command = click.option(f"--{name}", help=help_text)(command)
    return command


@click.command("plan", short_help="Print the ranges in force, or compare two plans.")
@_context_options
@click.option(
    "--diff",
    nargs=2,
    metavar="OLD NEW",
    help="Compare two plans: files, folders, v7 or current.",
)
@click.option("--traffic", metavar="WINDOW", help="With --diff: what would change on traffic such as '1 day'.")
@click.option("--lake", help="With --traffic: where observations are kept.  [default: data/lake]")
@click.option("--exit-code", is_flag=True, help="With --diff: exit code 1 if anything changes.")
@settings_option
@json_option
def plan_command(
    settings: Path,
    as_json: bool,
    diff: tuple[str, str] | None,
    traffic: str | None,
    lake: str | None,
    exit_code: bool,
    **context: str | None,
) -> int:
    """Print the ranges in force: sizes, method, expected cost, evidence.

    Without options for every context; (?) marks what is estimated rather than
    measured.

    With --diff, the sizes at which NEW takes another method than OLD. Each is a
    perfkit.toml, a thresholds.toml (the other file is the one beside it, or else
    the one in force), a folder with both, a published version such as v7, or
    current. With --traffic, the decisions that would change on the traffic that
    services recorded.
    """
    named = {name: value for name, value in context.items() if value is not None}
    if diff is not None:
        return _compare(diff, settings, named, traffic, lake, exit_code, as_json)
    _refuse_without("--diff", {"--traffic": traffic, "--exit-code": exit_code or None, "--lake": lake})
    engine = _load(settings)
    view = engine.plan(**named)
    if {"kind", "format"} & set(named) and not any(
        cell.context.format in _formats_of_kind()[cell.context.kind] for cell in view.cells
    ):
        view = engine.plan(**_completed(named))
    show(view, as_json=as_json)
    return 0


def _compare(
    diff: tuple[str, str],
    settings: Path,
    named: dict[str, str],
    traffic: str | None,
    lake: str | None,
    exit_code: bool,
    as_json: bool,
) -> int:
    """Print what another plan would do differently, in every context or on recorded traffic."""
    from perfkit.engine import diff_plans
    from perfkit.workflows.plan_files import open_plan

    existing(settings)
    if named:
        raise InputError(f"--{next(iter(named))} and --diff exclude each other: a comparison is of all contexts")
    if traffic is None:
        _refuse_without("--traffic", {"--lake": lake})
    old, new = (open_plan(name, settings) for name in diff)
    if traffic is not None:
        from perfkit.lake import DEFAULT_LAKE_PATH
        from perfkit.workflows.dry_run import dry_run

        result = dry_run(new, old, window=traffic, lake=lake or DEFAULT_LAKE_PATH)
        show(result, as_json=as_json)
        return int(exit_code and result.changed > 0)
    found = diff_plans(old, new)
    show(found, as_json=as_json)
    return int(exit_code and bool(found))


def _refuse_without(needed: str, given: Mapping[str, object]) -> None:
    for option, value in given.items():
        if value is not None:
            raise InputError(f"{option} goes with {needed} only; add {needed}, or leave {option} out")


@click.command("explain", short_help="Say which method a payload takes, and why.")
@click.argument("size")
@_context_options
@settings_option
@json_option
def explain_command(size: str, settings: Path, as_json: bool, **context: str | None) -> None:
    """Say which method a payload of SIZE (such as 10MiB) takes, and why.

    What is not said is binary, in the natural format of its kind, uncompressed,
    in the default pool, announced over a Unix socket.
    """
    payload_bytes = parse_bytes(size)
    engine = _load(settings)
    named = {name: value for name, value in context.items() if value is not None}
    engine.plan(**named)  # refuses names that do not exist; a service counts them and takes the default
    named = _completed(named)
    show(engine.decide(payload_bytes, **named).explain(payload_bytes), as_json=as_json)


def _completed(named: dict[str, str]) -> dict[str, str]:
    """The context with the natural format of its kind where none is named.

    Raises:
        UnknownNameError: the kind has no such format.
    """
    kind = named.get("kind", "binary")
    formats_of_kind = _formats_of_kind()
    formats = formats_of_kind[kind]
    format_name = named.get("format", formats[0])
    if format_name not in formats:
        kinds = ", ".join(kind for kind, formats in formats_of_kind.items() if format_name in formats)
        raise UnknownNameError(f"format of kind {kind!r}", format_name, formats, f"Kinds with this format: {kinds}.")
    return {**named, "kind": kind, "format": format_name}


def _formats_of_kind() -> Mapping[str, tuple[str, ...]]:
    """The formats of each kind, the natural one first; without NumPy there are no codecs that could refuse one."""
    if importlib.util.find_spec("numpy") is None:
        return dict.fromkeys(KINDS, ("raw", *FORMATS))
    from perfkit.transfer.codecs import FORMATS_OF_KIND

    return FORMATS_OF_KIND


def _load(settings: Path) -> Engine:
    """The engine, as a service would load it; but where a service goes on with the defaults, a person is told."""
    from perfkit.workflows.plan_files import load_for_people

    existing(settings)
    return load_for_people(settings)

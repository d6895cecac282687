"""`perfkit gate` and `perfkit slos`: may this be released, and is what was promised kept?"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click

from perfkit.cli.options import existing, json_option, lake_option, settings_option
from perfkit.cli.output import show
from perfkit.errors import FileError
from perfkit.units import parse_share

__all__ = ["gate_command", "slos_command"]


@click.command("gate", short_help="Block a release that is slower, or that breaks a promise.")
@click.argument("candidate")
@click.option("--baseline", multiple=True, help="What it is judged by; given more than once, the runs are pooled.")
@click.option("--tolerance", default="5%", show_default=True, help="Largest slow-down that never blocks.")
@click.option("--false-blocks", default="1%", show_default=True, help="Unchanged candidates that may be blocked.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write the checks as JUnit XML into this file.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write a comment for a pull request into this file.")
@click.option("--github", is_flag=True, help="Print annotations for GitHub; on by itself within GitHub Actions.")
@click.option("--force", is_flag=True, help="Judge although the two come from different hosts.")
@settings_option
@lake_option
@json_option
@click.pass_context
def gate_command(
    context: click.Context,
    candidate: str,
    baseline: tuple[str, ...],
    tolerance: str,
    false_blocks: str,
    junit: Path | None,
    markdown: Path | None,
    github: bool,
    force: bool,
    settings: Path,
    lake: str,
    as_json: bool,
) -> None:
    """Judge CANDIDATE by what is released: exit code 1 blocks it.

    CANDIDATE and the baseline are runs, named by their id, the beginning of
    it, or as latest, latest~1 …, or .csv or .parquet files of observations.
    Without --baseline the newest run before the candidate is taken, with the
    same preset on the same host.

    Blocked is a slow-down above the tolerance that is significant, over all
    methods or in one; transfers that fail; and a broken promise of
    perfkit.toml ([slos.NAME]). What few launches cannot settle is
    inconclusive, which does not block; it says how many launches would.
    """
    most, rate = parse_share(tolerance), parse_share(false_blocks)
    promises = existing(settings)
    from perfkit.workflows.gate import gate
    from perfkit.workflows.gate_reports import to_annotations, to_junit, to_markdown

    result = gate(
        candidate,
        baseline=list(baseline) or None,
        lake=lake,
        tolerance=most,
        false_block_rate=rate,
        slos=promises,
        force=force,
    )
    _write(junit, lambda: to_junit(result))
    _write(markdown, lambda: to_markdown(result))
    if github or os.environ.get("GITHUB_ACTIONS") == "true":
        click.echo("\n".join(to_annotations(result)))
    show(result, as_json=as_json)
    context.exit(1 if result.blocked else 0)


@click.command("slos", short_help="Say whether promises are kept, and what is left of their error budgets.")
@click.argument("run", required=False)
@settings_option
@lake_option
@json_option
@click.pass_context
def slos_command(context: click.Context, run: str | None, settings: Path, lake: str, as_json: bool) -> None:
    """Say whether the promises of perfkit.toml ([slos.NAME]) are kept.

    Promises about a pool are judged by what services recorded, with error
    budgets and burn rates; promises about scenarios by RUN. Exit code 1 where
    a promise is broken or its budget burns too fast.
    """
    from perfkit.workflows.slos import slos

    report = slos(run, settings=settings, lake=lake)
    show(report, as_json=as_json)
    context.exit(0 if report.ok else 1)


def _write(path: Path | None, text: Callable[[], str]) -> None:
    if path is None:
        return
    from perfkit.report.whole_files import write_whole

    try:
        write_whole(path, text())
    except OSError as error:
        advice = "make its folder, or name another place"
        raise FileError(f"{path} cannot be written: {error.strerror}; {advice}") from error

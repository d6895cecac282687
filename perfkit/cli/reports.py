"""`perfkit reports`: list, show, compare and remove reports, write their index anew, open one."""

from __future__ import annotations

import dataclasses
import os
import sys
import webbrowser
from pathlib import Path

import click

from perfkit.cli.groups import NamedCommands
from perfkit.cli.options import json_option
from perfkit.cli.output import show, to_json
from perfkit.errors import InputError, ReportError

__all__ = ["reports_command"]

_LISTED = 20
_reports_option = click.option(
    "--reports",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("reports"),
    show_default=True,
    help="Folder of the reports.",
)


@click.group(
    "reports", cls=NamedCommands, invoke_without_command=True, short_help="List, show, compare and remove reports."
)
@_reports_option
@json_option
@click.pass_context
def reports_command(context: click.Context, reports: Path, as_json: bool) -> None:
    """List the newest reports; with a command, do more with them.

    A report is named by its run's id, by the beginning of it as far as no other
    begins like that, as latest (the newest that completed), or by its folder.
    """
    if context.invoked_subcommand is not None:  # `perfkit reports --reports elsewhere show` means what it says
        given = {"reports": reports, "as_json": as_json}
        context.default_map = dict.fromkeys(reports_command.commands, given)
        return
    from perfkit.report.site.listing import list_reports

    show(list_reports(_existing(reports), most=_LISTED), as_json=as_json)


@reports_command.command("list")
@click.option("--all", "everything", is_flag=True, help=f"Not only the newest {_LISTED}.")
@_reports_option
@json_option
def _list(everything: bool, reports: Path, as_json: bool) -> None:
    """List the runs, newest first, and why they failed."""
    from perfkit.report.site.listing import list_reports

    show(list_reports(_existing(reports), most=None if everything else _LISTED), as_json=as_json)


@reports_command.command("show")
@click.argument("run", default="latest")
@_reports_option
@json_option
def _show(run: str, reports: Path, as_json: bool) -> None:
    """Show a run: its notebooks, its figures, and what changed."""
    from perfkit.report.site.listing import report_details

    show(report_details(run, _existing(reports)), as_json=as_json)


@reports_command.command("compare")
@click.argument("before")
@click.argument("after", default="latest")
@_reports_option
@json_option
def _compare(before: str, after: str, reports: Path, as_json: bool) -> None:
    """Compare the figures of two runs.

    A figure has changed when its intervals lie apart, or when it got another
    verdict. compare.html in the folder of the reports says the same.
    """
    from perfkit.report.site.listing import compare_reports

    show(compare_reports(before, after, _existing(reports)), as_json=as_json)


@reports_command.command("index")
@_reports_option
@json_option
def _index(reports: Path, as_json: bool) -> None:
    """Write the index and the pages of runs anew where they are out of date."""
    from perfkit.report.site.writing import write_site

    pages = write_site(_existing(reports))
    path = reports / "index.html"
    _say({"index": str(path), "pages": pages}, f"Wrote {path} and {pages} pages of runs.", as_json)


@reports_command.command("clean")
@click.option("--keep-runs", type=click.IntRange(min=1), help="Keep so many of a pipeline that sets no limit itself.")
@click.option("--keep-days", type=click.IntRange(min=1), help="Keep those of so many days, likewise.")
@click.option("--settings", type=click.Path(path_type=Path), help="The settings; those beside the reports by default.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_reports_option
@json_option
def _clean(
    keep_runs: int | None,
    keep_days: int | None,
    settings: Path | None,
    dry_run: bool,
    yes: bool,
    reports: Path,
    as_json: bool,
) -> None:
    """Remove the reports that are over their pipeline's limits.

    keep_runs and keep of [pipelines.NAME] in perfkit.toml set them. The last
    good run of each pipeline stays, what is under way, and a report whose
    folder holds a file named keep.
    """
    if as_json and not (yes or dry_run):
        raise InputError("--json asks nobody; give it together with --yes or --dry-run")
    from perfkit.config.pipelines import load_pipelines, read_pipelines
    from perfkit.report.running.retention import KeepLimits, limits_of, plan_removal, remove_reports
    from perfkit.report.site.writing import write_site

    folder = _existing(reports)
    pipelines = (
        read_pipelines(folder.resolve().parent / "perfkit.toml") if settings is None else load_pipelines(settings)
    )
    plan = plan_removal(folder, limits_of(pipelines), everywhere=KeepLimits(keep_runs, keep_days))
    if dry_run or not plan.removals:
        removals = [dataclasses.asdict(one) for one in plan.removals]
        kept = [dataclasses.asdict(one) for one in plan.kept]
        _say({"removed": [], "would_remove": removals, "kept": kept}, str(plan), as_json)
        return
    if not yes:
        click.echo(str(plan))
        if not click.confirm("Remove?"):
            click.echo("Nothing was removed.")
            return
    result = remove_reports(plan)
    write_site(folder)
    removed = [one.run_id for one in result.removed]
    plain = {"removed": removed, "freed_bytes": result.freed_bytes, "problems": list(result.problems)}
    told = "\n".join((f"Removed {len(removed)} reports.", *(f"! {problem}" for problem in result.problems)))
    _say(plain, told, as_json)
    if result.problems:
        raise click.exceptions.Exit(1)


@reports_command.command("open")
@click.argument("run", default="latest")
@_reports_option
@json_option
def _open(run: str, reports: Path, as_json: bool) -> None:
    """Open a run's page in the browser; index opens the index of all.

    Without a display, and with --json, the path is printed.
    """
    from perfkit.report.site.runs import find_kept_run, read_runs

    folder = _existing(reports)
    target = folder if run == "index" else find_kept_run(read_runs(folder)[0], run).run.report_path
    page = target / "index.html"
    if not page.is_file():
        raise ReportError(f"{page} is not there; `perfkit reports index` writes it")
    if not as_json and _has_display():
        webbrowser.open(page.resolve().as_uri())
    _say({"page": str(page)}, str(page), as_json)


def _has_display() -> bool:
    return sys.platform != "linux" or any(name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _existing(reports: Path) -> Path:
    if not reports.is_dir():
        raise InputError(f"there is no folder {reports}; `perfkit run` makes it, or give another one with --reports")
    return reports


def _say(plain: dict[str, object], sentence: str, as_json: bool) -> None:
    click.echo(to_json(plain) if as_json else sentence)

"""Bring the site of a reports folder up to date: the index, the page that compares, the pages of runs that changed."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from perfkit.config.pipelines import PipelineSettings, read_pipelines
from perfkit.errors import ConfigError, ReportError
from perfkit.report.site.compare_page import FIGURES_FILE, compare_html, figures_script
from perfkit.report.site.index import index_html
from perfkit.report.site.notebook_page import mend_notebook_page
from perfkit.report.site.run_page import Neighbours, run_html
from perfkit.report.site.runs import KeptRun, read_runs
from perfkit.report.site.standing import standings
from perfkit.report.site.templating import edition
from perfkit.report.whole_files import write_whole

__all__ = ["RUN_PAGE", "write_site"]

RUN_PAGE = "index.html"
_SETTINGS = "perfkit.toml"
_KEY_BYTES = 120


def write_site(reports_folder: Path, now: datetime.datetime | None = None) -> int:
    """Write anew what is out of date, each file in one step: readers never see half of it.

    Cheap enough for every step of a run: pages of runs that did not change stay as they are. A run whose record cannot
    be read is named at the foot of the index, and does not keep the others from being listed.

    Args:
        reports_folder: what holds a folder per run. Schedules are read from the ``perfkit.toml`` beside it.
        now: an aware moment; None for this one.

    Returns:
        How many pages of runs were written.

    Raises:
        ReportError: a page cannot be written.
    """
    moment = now or datetime.datetime.now(datetime.UTC)
    runs, unreadable = read_runs(reports_folder, moment)
    pipelines, problem, scheduled_since = _pipelines(reports_folder)
    try:
        written = sum(_write_run(*one) for one in _with_neighbours(runs))
        write_whole(reports_folder / "compare.html", compare_html(runs), durable=False)
        reports = standings(runs, pipelines, moment, scheduled_since)
        text = index_html(reports, unreadable, problem, moment)
        write_whole(reports_folder / "index.html", text, durable=False)
    except OSError as error:
        raise ReportError(
            f"the site in {reports_folder} cannot be written: {error}; free space, then `perfkit reports index`"
        ) from error
    return written


def _write_run(kept: KeptRun, neighbours: Neighbours) -> bool:
    folder = kept.run.report_path
    page = folder / RUN_PAGE
    parts = [edition(), kept.stamp, *(f"{one.run.run_id} {one.run.status}" if one else "" for one in neighbours)]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
    try:
        with page.open("rb") as opened:
            if key.encode() in opened.read(_KEY_BYTES):
                return False
    except OSError:
        pass  # there is none yet
    write_whole(folder / FIGURES_FILE, figures_script(kept.run), durable=False)
    for notebook in kept.run.notebooks:
        if notebook.status != "complete":
            mend_notebook_page(folder / f"{notebook.page_name}.html")
    write_whole(page, run_html(kept, neighbours, key), durable=False)
    return True


def _with_neighbours(runs: Sequence[KeptRun]) -> Iterator[tuple[KeptRun, Neighbours]]:
    grouped: dict[str, list[KeptRun]] = {}
    for one in reversed(runs):
        grouped.setdefault(one.run.pipeline, []).append(one)
    for kept in grouped.values():
        last_good: KeptRun | None = None
        for before, one, after in zip([None, *kept[:-1]], kept, [*kept[1:], None], strict=True):
            yield one, (before, after, last_good)
            last_good = one if one.is_good else last_good


def _pipelines(reports_folder: Path) -> tuple[Mapping[str, PipelineSettings], str, datetime.datetime | None]:
    """The pipelines, why there are none, and since when they are what they are."""
    settings = reports_folder.parent / _SETTINGS
    try:
        pipelines = read_pipelines(settings)
        changed = datetime.datetime.fromtimestamp(settings.stat().st_mtime, datetime.UTC)
    except ConfigError as error:
        return {}, str(error).replace(f"{reports_folder.parent}/", ""), None
    except OSError:  # there is no such file
        return {}, "", None
    return pipelines, "", changed

"""Comparing any two runs in the browser: a page that loads the figures of the two that are chosen.

A page that was opened from a file may not fetch another file, but it may load a script: each run's figures are one.
"""

from __future__ import annotations

from collections.abc import Sequence

from perfkit.config.fingerprint import FINGERPRINT_KEYS
from perfkit.report.notebook.records import Record
from perfkit.report.results import PipelineResult
from perfkit.report.site.runs import KeptRun
from perfkit.report.site.templating import read_template, render, script_json

__all__ = ["FIGURES_FILE", "compare_html", "figures_script"]

FIGURES_FILE = "figures.js"


def compare_html(runs: Sequence[KeptRun]) -> str:
    """The page that compares two runs.

    Args:
        runs: those that can be chosen, newest first.
    """
    choices = [[one.run.run_id, one.run.pipeline, one.run.status, one.run.started_at] for one in runs]
    return render("compare.html.j2", choices=script_json(choices), script=read_template("compare.js"), runs=len(runs))


def figures_script(run: PipelineResult) -> str:
    """What a run recorded, as a script for that page. Figures come with their text: the page formats no unit."""
    pages = [
        {
            "page": one.page_name,
            "title": one.title,
            "complete": one.status == "complete",
            "records": [_plain(kept) for kept in one.records],
        }
        for one in run.notebooks
    ]
    plain = {
        "id": run.run_id,
        "pipeline": run.pipeline,
        "started": run.started_at,
        "parameters": {name: str(value) for name, value in run.parameters.items()},
        "host": {
            words: run.fingerprint[key]
            for key, words in FINGERPRINT_KEYS.items()
            if key != "perfkit" and key in run.fingerprint
        },
        "installed": dict(sorted(run.installed.items(), key=lambda item: item[0].lower())),
        "pages": pages,
    }
    return f"(window.perfkitRuns ??= {{}})[{script_json(run.run_id)}] = {script_json(plain)};\n"


def _plain(kept: Record) -> dict[str, object]:
    return {**kept.to_plain(), "text": kept.value_text, "interval": kept.interval_text}

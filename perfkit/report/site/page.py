"""An executed notebook as one self-contained page: code hidden, charts drawn, nothing loaded from a network."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perfkit.errors import ReportError
from perfkit.report.bundles import bundle
from perfkit.report.site.templating import TEMPLATES, read_template, script_json
from perfkit.report.theme import DARK_CONFIG, LIGHT_CONFIG
from perfkit.report.whole_files import write_whole

__all__ = ["failure_of", "print_style", "write_page"]

_ERROR_MARKERS = ("papermill-error-cell-tag",)  # papermill's own; the page has a banner instead


def write_page(
    notebook: Any, path: Path, *, run_id: str, facts: Mapping[str, str], banner: str = "", intro: str = ""
) -> None:
    """Write an executed notebook as a self-contained page.

    Args:
        notebook: an nbformat node.
        path: the page to write.
        run_id: run of the pipeline that the notebook belongs to.
        facts: name and value of what is worth knowing about how the page was made, for its foot.
        banner: HTML that stands above everything: why the notebook failed. Empty for one that succeeded.
        intro: HTML that stands below the title: what changed.

    Raises:
        ReportError: the page could not be produced or written.
    """
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    config = Config()
    config.TagRemovePreprocessor.remove_cell_tags = list(_ERROR_MARKERS)
    config.TagRemovePreprocessor.enabled = True
    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        config=config,
        template_name="perfkit",
        extra_template_basedirs=[str(TEMPLATES)],
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    has_charts = "perfkit-chart" in json.dumps(notebook)
    page = {
        "title": _title(notebook, path.stem),
        "name": path.stem,
        "run_id": run_id,
        "facts": list(facts.items()),
        "banner": banner,
        "style": read_template("style.css") + (print_style() if has_charts else ""),
        "chart_library": chart_library() if has_charts else "",
        "script": _chart_script(),
        "copy_script": read_template("copy.js") if "data-copy" in banner else "",
    }
    try:
        text, _ = exporter.from_notebook_node(_with_intro(notebook, intro), resources={"perfkit": page})
        write_whole(path, text)
    except Exception as cause:
        raise ReportError(
            f"page {path} could not be written: {cause}; the executed notebook beside it is complete, "
            "open it in JupyterLab"
        ) from cause


def failure_of(notebook: Any) -> str:
    """The last line of a notebook's traceback; empty when no cell failed."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                return f"{output.ename}: {output.evalue}"
    return ""


@functools.cache
def chart_library() -> str:
    """The drawing library with all that it needs, as one script that is safe within HTML."""
    return bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script")


@functools.cache
def print_style() -> str:
    """What turns charts that were drawn for a dark screen into those of white paper, without drawing them again.

    A browser does not wait for a script before it prints; a rule for each colour that differs is there in time.

    >>> "@media print" in print_style()
    True
    """
    pairs = sorted({pair for pair in _colours(DARK_CONFIG, LIGHT_CONFIG) if pair[0] != pair[1]})
    rules = [
        f'.perfkit-chart svg [{name}="{dark}"] {{ {name}: {light}; }}'
        for dark, light in pairs
        for name in ("fill", "stroke")
    ]
    return "@media print {\n" + "\n".join(rules) + "\n}\n"


def _colours(dark: Mapping[str, Any], light: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in dark.items():
        other = light.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            yield from _colours(value, other)
        elif isinstance(value, str) and isinstance(other, str) and value.startswith("#") and other.startswith("#"):
            yield value, other


def _with_intro(notebook: Any, intro: str) -> Any:
    """The notebook with the intro below its title."""
    if not intro:
        return notebook
    import nbformat

    output = nbformat.v4.new_output("display_data", data={"text/html": intro})  # type: ignore[no-untyped-call]
    cell = nbformat.v4.new_code_cell(outputs=[output])  # type: ignore[no-untyped-call]
    longer = notebook.copy()
    longer.cells = [*notebook.cells[:1], cell, *notebook.cells[1:]]
    return longer


def _chart_script() -> str:
    configs = script_json({"light": LIGHT_CONFIG, "dark": DARK_CONFIG})
    return f"const CHART_CONFIG = {configs};\n{read_template('page.js')}"


def _title(notebook: Any, fallback: str) -> str:
    for cell in notebook.cells:
        for line in cell.source.splitlines():
            if cell.cell_type == "markdown" and line.startswith("# "):
                return str(line[2:].strip())
    return fallback

"""An executed notebook as one self-contained page: code hidden, charts drawn, nothing loaded from a network."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.errors import ReportError
from perfkit.report.theme import DARK_CONFIG, LIGHT_CONFIG

__all__ = ["failure_of", "write_page"]

TEMPLATES = Path(__file__).parent / "templates"
_ERROR_MARKERS = ("papermill-error-cell-tag",)  # papermill's own; the page has a banner instead


def write_page(notebook: Any, path: Path, *, run_id: str, facts: Mapping[str, str], error: str = "") -> None:
    """Write an executed notebook as a self-contained page.

    Args:
        notebook: an nbformat node.
        path: the page to write.
        run_id: run of the pipeline that the notebook belongs to.
        facts: name and value of what is worth knowing about how the page was made, for its foot.
        error: why the notebook failed; shown as a banner. Empty for one that succeeded.

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
    page = {
        "title": _title(notebook, path.stem),
        "run_id": run_id,
        "facts": list(facts.items()),
        "error": error,
        "style": _template("style.css"),
        "chart_library": chart_library() if "perfkit-chart" in json.dumps(notebook) else "",
        "script": _chart_script(),
    }
    try:
        text, _ = exporter.from_notebook_node(_until_failure(notebook), resources={"perfkit": page})
        path.write_text(text, encoding="utf-8")
    except Exception as cause:
        raise ReportError(
            f"page {path} could not be written: {cause}; the executed notebook beside it is complete, "
            "open it in JupyterLab"
        ) from cause


def _until_failure(notebook: Any) -> Any:
    """The notebook without the cells after the one that failed: headings with nothing below them say nothing."""
    for index, cell in enumerate(notebook.cells):
        if any(output.output_type == "error" for output in cell.get("outputs", ())):
            shorter = notebook.copy()
            shorter.cells = notebook.cells[: index + 1]
            return shorter
    return notebook


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
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace("</script", "<\\/script")


def _chart_script() -> str:
    configs = json.dumps({"light": LIGHT_CONFIG, "dark": DARK_CONFIG})
    return f"const CHART_CONFIG = {configs};\n{_template('page.js')}"


def _template(name: str) -> str:
    return (TEMPLATES / "perfkit" / name).read_text(encoding="utf-8")


def _title(notebook: Any, fallback: str) -> str:
    for cell in notebook.cells:
        for line in cell.source.splitlines():
            if cell.cell_type == "markdown" and line.startswith("# "):
                return str(line[2:].strip())
    return fallback

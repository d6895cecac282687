"""A page needs nothing but itself."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pyarrow as pa
import pytest

from perfkit.errors import ReportError
from perfkit.learn import Fit
from perfkit.report import latency_chart, ranges_chart
from perfkit.report.notebook.rendering import chart_figure
from perfkit.report.site.page import write_page

EXTERNAL = re.compile(r"""(?:src|href|action|poster)\s*=\s*["']?(?:https?:)?//|url\(\s*["']?https?:|@import""", re.I)


def notebook_of(*figures: str) -> nbformat.NotebookNode:
    outputs = [nbformat.v4.new_output("display_data", data={"text/html": figure}) for figure in figures]
    title = nbformat.v4.new_markdown_cell("# Which <method>?\n\nA sentence with $x$.")
    return nbformat.v4.new_notebook(cells=[title, nbformat.v4.new_code_cell("draw_it()", outputs=outputs)])


def test_a_page_with_charts_is_self_contained_and_small(observations: pa.Table, fitted: Fit, tmp_path: Path) -> None:
    charts = [latency_chart(observations), latency_chart(observations, fitted.curves), ranges_chart(fitted.curves)]
    figures = [chart_figure(chart.to_dict()) for chart in charts]
    write_page(notebook_of(*figures), tmp_path / "page.html", run_id="run", facts={"Host": "here"})
    text = (tmp_path / "page.html").read_text()
    markup = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert not EXTERNAL.search(markup)
    assert "mathjax" not in text.lower()
    assert "require.js" not in text.lower()
    assert len(text) < 2_000_000
    assert text.count("window.vegaEmbed=") == 1
    assert "draw_it" not in text
    assert "<title>Which &lt;method&gt;?</title>" in text


def test_a_page_without_charts_carries_no_drawing_library(tmp_path: Path) -> None:
    write_page(notebook_of("<p>hello</p>"), tmp_path / "page.html", run_id="run", facts={})
    assert len((tmp_path / "page.html").read_text()) < 50_000


def test_the_same_chart_gives_the_same_figure_and_data_cannot_end_its_script() -> None:
    spec = {"mark": "point", "data": {"values": [{"name": "</script><script>alert(1)</script>"}]}, "config": {"a": 1}}
    figure = chart_figure(spec)
    assert figure == chart_figure(dict(reversed(spec.items())))
    assert figure.count("</script>") == 1
    assert '"config"' not in figure


def test_a_page_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"no/page.html could not be written"):
        write_page(notebook_of(), tmp_path / "no" / "page.html", run_id="run", facts={})

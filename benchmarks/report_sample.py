"""Measure this machine and keep the report as the sample: `python benchmarks/report_sample.py`.

    python benchmarks/report_sample.py [--pipeline quick] [--output reports/sample] [--picture docs/images/report.png]

The pipeline runs in a temporary folder, with a copy of the notebooks. Of its reports folder the pages go into the
sample: they need nothing else. The executed notebooks and the lake do not; links to them are left out. The picture is
the first chart of the last notebook with what stands around it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from perfkit.report.site.writing import write_site

ROOT = Path(__file__).parents[1]
MOST_BYTES = 4 * 2**20
KEPT = ("*.html", "figures.js", "run.json")
PICTURE_PAGE = "30_tune.html"
VIEWPORT = {"width": 1280, "height": 900}
AROUND_THE_FIRST_CHART = """() => {
    const figure = document.querySelector(".perfkit-chart");
    const above = (one) => one.compareDocumentPosition(figure) & Node.DOCUMENT_POSITION_FOLLOWING;
    const heading = [...document.querySelectorAll("h2")].filter(above).at(-1);
    const caption = figure.querySelector("figcaption");
    return [heading.getBoundingClientRect().top, caption.getBoundingClientRect().bottom];
}"""


def main() -> None:
    """Run, copy, and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", default="quick", help="what to run")
    parser.add_argument("-p", "--parameter", action="append", default=[], help="as for perfkit run")
    parser.add_argument("--output", type=Path, default=ROOT / "reports" / "sample")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "images" / "report.png")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary)
        shutil.copytree(ROOT / "notebooks", project / "notebooks")
        run = run_pipeline(project, given.pipeline, given.parameter)
        leave_out_what_is_not_kept(run)
        refuse_places(run.parent, project)
        keep(run.parent, run.name, given.output)
    take_picture(given.output / run.name / PICTURE_PAGE, given.picture)
    print(f"{given.output}: {sum(size_bytes(given.output)):,} bytes")


def run_pipeline(project: Path, pipeline: str, parameters: list[str]) -> Path:
    """The folder of the run."""
    options = [word for one in parameters for word in ("-p", one)]
    command = [sys.executable, "-m", "perfkit", "run", pipeline, *options, "--json"]
    told = subprocess.run(command, cwd=project, stdout=subprocess.PIPE, text=True, check=True).stdout
    return project / "reports" / json.loads(told.splitlines()[-1])["run"]


def leave_out_what_is_not_kept(run: Path) -> None:
    """Remove what the sample does not have, and write the page of the run anew without links to it."""
    kept = {file for pattern in KEPT for file in run.glob(pattern)}
    for file in run.iterdir():
        if file not in kept:
            file.unlink()
    (run / "index.html").unlink()
    write_site(run.parent)


def refuse_places(reports: Path, project: Path) -> None:
    """End when a page tells where its author keeps things."""
    for file in (*reports.glob("*.html"), *(file for pattern in KEPT for file in reports.glob(f"*/{pattern}"))):
        text = file.read_text(encoding="utf-8")
        named = [place for place in (project, ROOT) if str(place) in text]
        if named:
            sys.exit(f"{file.name} names {named[0]}, a folder of this machine")


def keep(reports: Path, run: str, output: Path) -> None:
    """Put the index and the pages of the run in the place of the sample."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    for name in ("index.html", "compare.html"):
        shutil.copy(reports / name, output / name)
    shutil.copytree(reports / run, output / run)
    if sum(size_bytes(output)) > MOST_BYTES:
        sys.exit(f"{output} is larger than {MOST_BYTES:,} bytes")


def size_bytes(folder: Path) -> list[int]:
    """Of every file."""
    return [file.stat().st_size for file in folder.rglob("*") if file.is_file()]


def take_picture(page: Path, picture: Path) -> None:
    """The first chart of a page, from its heading to its caption."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        opened = browser.new_page(viewport=VIEWPORT, color_scheme="light", device_scale_factor=1.5)
        opened.goto(page.resolve().as_uri())
        opened.wait_for_function("document.querySelectorAll('.perfkit-chart:not([data-drawn])').length === 0")
        top, bottom = opened.evaluate(AROUND_THE_FIRST_CHART)
        clip = {"x": 116, "y": top - 24, "width": 1048, "height": bottom - top + 26}
        opened.screenshot(path=picture, full_page=True, clip=clip)
        browser.close()


if __name__ == "__main__":
    main()

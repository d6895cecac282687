"""A browser for the tests, or the reason why there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser. Without one the tests are skipped, except where PERFKIT_REQUIRE says that one is needed."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is not None:
        return found
    reason = "no Chromium on this machine: install the package chromium"
    if "browser" in os.environ.get("PERFKIT_REQUIRE", "").split(","):
        pytest.fail(f"{reason}; PERFKIT_REQUIRE asks for it")
    pytest.skip(reason)


@pytest.fixture(scope="module")  # not session: while Playwright runs, `asyncio.run` of other modules' tests is refused
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(SWITCHES))
        yield browser
        browser.close()

"""A browser, and a page of a report opened in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from t2i_shards.pipeline.report import collect_dataset, render_page
from tests.pipeline.report.browsing import COUNT, ROWS
from tests.pipeline.report.crawl import look_here, make_crawl

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1300,1000"),
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    from selenium import webdriver

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Without the driver's path selenium would look for one on the network.
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets on one page, the first of which is handled."""
    folder = tmp_path_factory.mktemp("page")
    facts = []
    for name, count, rows in (("root", COUNT, ROWS), ("other", 7, 3)):
        make_crawl(folder / name, count)
        facts.append(collect_dataset(str(folder / name), rows, look_here))
    (folder / "report.html").write_text(render_page(facts, None), "utf-8")
    return folder / "report.html"


@pytest.fixture
def opened(browser: Chrome, page: Path) -> Chrome:
    browser.get(page.as_uri())
    return browser

"""The report of a dataset that is too large for one page, in a browser: samples are in files next to the page."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.support.wait import WebDriverWait

from t2i_shards.pipeline.report import collect, collect_dataset, render_page
from t2i_shards.pipeline.report.strips import Beside
from tests.pipeline.report.browsing import COUNT, field
from tests.pipeline.report.crawl import caption, kept, key, look_here, make_crawl, reason, score

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

KEYS = list(map(key, kept(COUNT)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """report.html, with five samples to a side file."""
    folder = tmp_path_factory.mktemp("large")
    make_crawl(folder / "root", COUNT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect, "MOST_BESIDE_STRIPS", 0)
        patch.setattr(collect, "SIDE_FILE", 5)
        facts = collect_dataset(
            str(folder / "root"), 3, look_here, Beside(folder / "my files#1/d1", "my files#1/d1")
        )
    assert not facts.index.entries
    (folder / "report.html").write_text(render_page([facts], None), "utf-8")
    return folder


class Server(SimpleHTTPRequestHandler):
    """Of the folder's files; a browser that asks for an icon of the site gets an empty answer."""

    def do_GET(self) -> None:
        if self.path != "/favicon.ico":
            return super().do_GET()
        self.send_response(204)
        return self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=["file", "http"])
def address(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """Of the page, from the disk and from a server."""
    if request.param == "file":
        yield (folder / "report.html").as_uri()
        return
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/report.html"
        server.shutdown()


def wait(browser: Chrome, until: Callable[[], object]) -> None:
    WebDriverWait(browser, 60, 0.05).until(lambda _: until())


def shown_keys(browser: Chrome) -> list[str]:
    """As they are at one moment of a page that changes."""
    script = """const part = document.querySelector("#d1");
    return [...part.querySelectorAll(".sheet .card")].map((card) => card.dataset.key)
      .concat([...part.querySelectorAll(".hits code")].map((code) => code.textContent))"""
    found: list[str] = browser.execute_script(script)  # type: ignore[no-untyped-call]
    return found


def ended(browser: Chrome) -> str:
    """What the search says once it has ended."""
    output = browser.find_element("css selector", "#d1 .search output")
    wait(browser, lambda: " samples" in output.text)
    return output.text


def open_page(browser: Chrome, address: str) -> None:
    browser.get(address)
    wait(browser, lambda: len(shown_keys(browser)) == 24)


def all_keys(browser: Chrome) -> list[str]:
    """Of all pages, in order."""
    found = shown_keys(browser)
    following = browser.find_elements("css selector", "#d1 .pager button")[1]
    while following.is_displayed() and following.is_enabled():
        before = shown_keys(browser)
        following.click()
        wait(browser, lambda before=before: shown_keys(browser) != before)  # type: ignore[misc]
        found += shown_keys(browser)
    return found


def test_every_sample_is_on_one_page_in_order_from_a_disk_and_from_a_server(browser: Chrome, address: str) -> None:
    open_page(browser, address)
    assert all_keys(browser) == KEYS
    number = browser.find_element("css selector", "#d1 .pager input")
    number.send_keys("\ue003" + "1\ue007")  # backspace, 1, enter
    wait(browser, lambda: shown_keys(browser) == KEYS[:24])
    number.send_keys("99\ue007")  # no such page: the last
    wait(browser, lambda: shown_keys(browser) == KEYS[24:])
    assert caption(0) not in browser.page_source.split("<main>")[0]
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


@pytest.fixture
def opened(browser: Chrome, folder: Path) -> Chrome:
    open_page(browser, (folder / "report.html").as_uri())
    return browser


def test_what_strangers_wrote_in_a_side_file_stays_text(opened: Chrome) -> None:
    assert caption(0) in opened.find_element("css selector", "#d1 .card").text
    assert opened.find_elements("css selector", ".card script, .card b, head script") == []
    inject = """const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.body.append(script);
    return window.ran === undefined"""
    assert opened.execute_script(inject)  # type: ignore[no-untyped-call]
    wait(opened, lambda: "Content Security Policy" in str(opened.get_log("browser")))  # type: ignore[no-untyped-call]


def test_words_filters_and_orders_find_what_they_would_find_in_one_page(opened: Chrome) -> None:
    opened.find_element("css selector", "#d1 input[type='search']").send_keys("cat")
    cats = [i for i in kept(COUNT) if "cat" in caption(i)]
    assert ended(opened) == f"{len(cats)} of {len(KEYS)} samples"
    assert all_keys(opened) == list(map(key, cats))
    watch = """new MutationObserver(() => (window.said = true))
    .observe(document.querySelector("#d1 .search output"), {childList: true})"""
    opened.execute_script(watch)  # type: ignore[no-untyped-call]
    opened.find_element("css selector", "#d1 .mark").click()  # the box loses the focus: that asks nothing new
    assert opened.execute_script("return window.said") is None  # type: ignore[no-untyped-call]
    field(opened, "[data-field='sort']", "Aesthetic score, highest")
    ended(opened)
    assert all_keys(opened) == [key(i) for i in sorted(cats, key=lambda i: -(score(i) or 0))]
    opened.find_element("css selector", "#d1 input[type='search']").clear()
    field(opened, "[data-number='0'][data-end='low']", "4.5")
    scored = [i for i in kept(COUNT) if (score(i) or 0) >= 4.5]
    wait(opened, lambda: ended(opened).startswith(f"{len(scored)} of"))
    assert all_keys(opened) == [key(i) for i in sorted(scored, key=lambda i: -(score(i) or 0))]
    opened.find_element("css selector", "#d1 [data-number='0'][data-end='low']").clear()
    field(opened, "[data-number='2'][data-end='low']", "1")
    field(opened, "[data-field='label']", "dog")
    field(opened, "[data-field='sort']", "by file name")
    dogs = sorted((i for i in kept(COUNT) if i % 3), key=lambda i: (i % 3, i))  # host1, host2
    assert ended(opened) == f"{len(dogs)} of {len(KEYS)} samples"
    assert all_keys(opened) == list(map(key, dogs))


def test_dropped_files_are_found_with_the_samples_of_side_files(opened: Chrome) -> None:
    field(opened, "[data-field='drop']", "images: http 404")
    lost = [key(i) for i in range(COUNT) if reason(i) == "http 404"]
    assert ended(opened) == f"0 of {len(KEYS)} samples; {len(lost)} dropped files"
    assert shown_keys(opened) == lost


def test_marks_of_all_pages_are_saved_and_shown_alone(opened: Chrome, tmp_path: Path) -> None:
    opened.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    opened.find_elements("css selector", "#d1 .mark")[2].click()
    opened.find_elements("css selector", "#d1 .open")[23].click()
    wait(opened, lambda: opened.find_element("css selector", "dialog").is_displayed())
    title = opened.find_element("css selector", "dialog h2")
    opened.find_element("css selector", "dialog .next").click()  # in the next side file
    wait(opened, lambda: title.text == KEYS[24])
    opened.find_element("css selector", ".marking input").click()
    opened.find_element("css selector", "dialog .close").click()
    opened.find_element("css selector", "#d1 .marks button").click()
    saved = tmp_path / "remove-d1.txt"
    wait(opened, saved.exists)
    assert saved.read_text().splitlines() == [KEYS[2], KEYS[24]]
    field(opened, "[data-field='sort']", "by file name")
    opened.find_element("css selector", "#d1 [data-field='marked']").click()
    wait(opened, lambda: "2 of" in ended(opened))
    assert sorted(shown_keys(opened)) == [KEYS[2], KEYS[24]]


def test_side_files_that_were_not_asked_for_long_are_let_go_of(opened: Chrome) -> None:
    script = """const done = arguments[0];
    const samples = open_samples(document.querySelector(".index"), 10);
    let asked = 0;
    const append = document.head.append;
    document.head.append = (script) => (asked++, append.call(document.head, script));
    (async () => {
      let keys = [];
      for await (const [chunk] of samples.chunks(() => true)) keys.push(...chunk.map(({ key }) => key));
      const before = asked;
      await samples.at(samples.length - 1);
      const last = asked - before;
      await samples.at(0);
      const first = asked - before;
      let numbers = 0;
      for await (const [chunk] of samples.chunks(() => true, true)) numbers += chunk.length;
      done([keys, last, first, numbers, asked - before]);
    })();"""
    assert opened.execute_async_script(script) == [KEYS, 0, 1, len(KEYS), 1]  # type: ignore[no-untyped-call]


def test_without_its_folder_the_page_says_so_and_keeps_what_it_has(
    browser: Chrome, folder: Path, tmp_path: Path
) -> None:
    html = (folder / "report.html").read_bytes()
    (tmp_path / "report.html").write_bytes(html)
    browser.get((tmp_path / "report.html").as_uri())
    missing = browser.find_element("css selector", "#d1 .missing")
    wait(browser, missing.is_displayed)
    assert "my files#1/d1/" in missing.text
    assert len(shown_keys(browser)) == 3
    browser.find_elements("css selector", "#d1 .open")[1].click()
    wait(browser, browser.find_element("css selector", "dialog").is_displayed)
    assert browser.find_element("css selector", "dialog h2").text == shown_keys(browser)[1]
    assert browser.find_element("css selector", "dialog .place").text == "2 of 3"
    assert b"Without JavaScript this page shows 3 samples of 33" in html
    browser.get_log("browser")  # type: ignore[no-untyped-call]


@pytest.fixture
def half(browser: Chrome, folder: Path, tmp_path: Path) -> Chrome:
    """The page and a folder that lacks the last shard's files."""
    shutil.copytree(folder, tmp_path / "half", ignore=shutil.ignore_patterns("000003", "root"))
    open_page(browser, (tmp_path / "half" / "report.html").as_uri())
    return browser


def test_of_a_folder_that_was_copied_in_part_the_rest_can_be_shown(half: Chrome) -> None:
    missing = half.find_element("css selector", "#d1 .missing")
    previous, following = half.find_elements("css selector", "#d1 .pager button")
    following.click()
    wait(half, missing.is_displayed)
    assert shown_keys(half) == []
    previous.click()
    wait(half, lambda: shown_keys(half) == KEYS[:24])
    assert not missing.is_displayed()
    field(half, "[data-field='sort']", "by file name")
    wait(half, missing.is_displayed)
    told = half.find_element("css selector", "#d1 .search output")
    read = kept(36)
    assert told.text == f"{len(read)} found before a file that is missing"
    assert half.find_element("css selector", "#d1 .sheet").get_attribute("aria-busy") is None
    found = shown_keys(half)
    assert set(found) < set(map(key, read))
    half.find_elements("css selector", "#d1 .open")[1].click()
    wait(half, half.find_element("css selector", "dialog").is_displayed)
    assert half.find_element("css selector", "dialog h2").text == found[1]
    assert "javascript" not in {line["source"] for line in half.get_log("browser")}  # type: ignore[no-untyped-call]

"""The report in a browser: what a click and a word in the search box leave to see."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from t2i_shards.pipeline.report import collect_dataset, render_page
from tests.pipeline.report.crawl import caption, kept, key, look_here, make_crawl

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

COUNT, ROWS = 40, 6
COLUMNS = ["images", "sketch", "keypose", "seg", "color"]
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1300,1000"),
)


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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


def seen(browser: Chrome, dataset: str, attribute: str, selector: str) -> list[str]:
    """The attribute of what can be seen, in order."""
    found = browser.find_elements("css selector", f"#{dataset} {selector}")
    return [element.get_attribute(attribute) or "" for element in found if element.is_displayed()]


def columns(browser: Chrome, dataset: str = "d1") -> list[str]:
    return seen(browser, dataset, "data-column", ".sheet [data-column]")


def press(browser: Chrome, column: str) -> None:
    browser.find_element("css selector", f"#d1 button[data-column='{column}']").click()


def pressed(browser: Chrome) -> list[str]:
    found = browser.find_elements("css selector", "#d1 button[aria-pressed='true']")
    return [button.text for button in found]


def search(browser: Chrome, text: str, dataset: str = "d1") -> tuple[list[str], list[str], str]:
    """(keys with pictures, keys that are listed, what is said)"""
    box = browser.find_element("css selector", f"#{dataset} input")
    box.clear()
    box.send_keys(text)
    told = browser.find_element("css selector", f"#{dataset} output").text
    pictures = seen(browser, dataset, "data-key", ".sheet .card")
    return pictures, seen(browser, dataset, "textContent", ".hits code"), told


def test_a_click_on_a_condition_hides_the_others(opened: Chrome) -> None:
    assert columns(opened) == ROWS * COLUMNS
    assert pressed(opened) == ["all"]
    press(opened, "sketch")
    assert columns(opened) == ROWS * ["sketch"]
    assert pressed(opened) == ["sketch"]
    press(opened, "images")
    assert columns(opened) == ROWS * ["images", "sketch"]
    press(opened, "sketch")
    assert columns(opened) == ROWS * ["images"]
    press(opened, "")
    assert columns(opened) == ROWS * COLUMNS
    assert pressed(opened) == ["all"]
    press(opened, "seg")
    press(opened, "seg")
    assert columns(opened) == ROWS * COLUMNS
    for column in COLUMNS:
        press(opened, column)
    assert pressed(opened) == ["all"]
    assert columns(opened, "d2") == 3 * COLUMNS


def test_the_buttons_are_reached_and_pressed_from_the_keyboard(opened: Chrome) -> None:
    for button in opened.find_elements("css selector", "#d1 button"):
        opened.switch_to.active_element.send_keys("\ue004")  # tab
        while opened.switch_to.active_element.tag_name != "button":
            opened.switch_to.active_element.send_keys("\ue004")
        assert opened.switch_to.active_element == button
    opened.switch_to.active_element.send_keys(" ")
    assert columns(opened) == ROWS * ["color"]
    opened.switch_to.active_element.send_keys("\ue004")
    assert opened.switch_to.active_element.get_attribute("type") == "search"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cat", [i for i in kept(COUNT) if "cat" in caption(i)]),
        ("CAT  number", [i for i in kept(COUNT) if "cat" in caption(i)]),
        ("second caption 3", [i for i in kept(COUNT) if "3" in f"{key(i)} {caption(i)} {i}"]),
        ("</script><script>", [0]),
        ('"quotes"', [0]),
        ("'quotes'", [2]),
        ("gruen", []),
        ("grun wide istanbul", [1]),
        ("猫", [1]),
        ("\\u003c", [2]),
        (key(33), [33]),
        ("<", [0]),
        ("nowhere to be seen", []),
    ],
)
def test_the_search_finds_exactly_the_samples_with_the_words(opened: Chrome, text: str, found: list[int]) -> None:
    with_pictures = seen(opened, "d1", "data-key", ".sheet .card")
    assert len(with_pictures) == ROWS
    pictures, listed, told = search(opened, text)
    keys = [key(i) for i in found]
    assert pictures == [k for k in with_pictures if k in keys]
    assert listed == [k for k in keys if k not in with_pictures]
    assert told.startswith(f"{len(found)} of 33 samples")
    assert len(seen(opened, "d2", "data-key", ".sheet .card")) == 3


def test_each_dataset_is_searched_by_itself(opened: Chrome) -> None:
    pictures, listed, told = search(opened, "second", "d2")
    assert sorted(pictures + listed) == [key(i) for i in kept(7)]
    assert told == "6 of 6 samples: 3 with pictures, 3 as text"
    assert seen(opened, "d1", "textContent", ".hits code") == []


def test_an_empty_search_shows_all_again(opened: Chrome) -> None:
    before = seen(opened, "d1", "data-key", ".sheet .card")
    assert search(opened, "nowhere")[0] == []
    box = opened.find_element("css selector", "#d1 input")
    box.send_keys(7 * "\ue003")  # backspace
    assert seen(opened, "d1", "data-key", ".sheet .card") == before
    assert seen(opened, "d1", "textContent", ".hits code") == []
    assert opened.find_element("css selector", "#d1 output").text == ""


def test_a_listed_caption_is_text(opened: Chrome) -> None:
    search(opened, "caption")
    lines = opened.find_elements("css selector", "#d1 .hits li")
    shown = seen(opened, "d1", "data-key", ".sheet .card")
    others = [i for i in kept(COUNT) if key(i) not in shown]
    assert [line.find_element("css selector", "span").get_property("textContent") for line in lines] == [
        f"{caption(i)}\nsecond caption {i}" for i in others
    ]
    assert opened.find_elements("css selector", ".hits script, .card script") == []


def test_every_picture_is_drawn_nothing_is_fetched_and_nothing_complains(opened: Chrome) -> None:
    opened.execute_script("for (const image of document.images) image.loading = 'eager'")  # type: ignore[no-untyped-call]
    widths = "return Promise.all([...document.images].map((i) => i.decode().then(() => i.naturalWidth)))"
    assert min(opened.execute_script(widths)) > 0  # type: ignore[no-untyped-call]
    fetched = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert [name for name in opened.execute_script(fetched) if not name.startswith("data:")] == []  # type: ignore[no-untyped-call]
    assert opened.get_log("browser") == []  # type: ignore[no-untyped-call]


def test_the_screen_shows_the_label_maps_and_only_them(opened: Chrome) -> None:
    whole = colours(opened)
    press(opened, "seg")
    chosen = colours(opened)
    person = (128, 0, 0)  # the upper half of every label map
    assert chosen[person] > 2 * whole[person] > 10_000
    assert len(chosen) < len(whole) / 2


def colours(browser: Chrome) -> dict[tuple[int, int, int], int]:
    """colour -> pixels of what the screen shows"""
    screen = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    return {colour: count for count, colour in screen.getcolors(2**24)}  # type: ignore[misc, union-attr]

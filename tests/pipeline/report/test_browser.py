"""The report in a browser: what a click and a word in the search box leave to see."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from t2i_shards.jobs.command import EngineOptions
from t2i_shards.jobs.report import ReportCommand
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.report import collect_dataset, render_page
from tests.pipeline.report.crawl import caption, host, kept, key, look_here, make_crawl, reason, score

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
    box = browser.find_element("css selector", f"#{dataset} input[type='search']")
    box.clear()
    box.send_keys(text)
    told = browser.find_element("css selector", f"#{dataset} .search output").text
    pictures = seen(browser, dataset, "data-key", ".sheet .card")
    return pictures, seen(browser, dataset, "textContent", ".hits li:not(:has(.drop)) code"), told


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
    for button in opened.find_elements("css selector", "#d1 .choice button"):
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
        ("second caption 3", [3]),
        ("second caption 3*", [i for i in kept(COUNT) if str(i).startswith("3")]),
        ("ca", []),
        ("ca*", kept(COUNT)),
        ("host1.example/22.png", [22]),
        ("host 22", [22]),
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
    assert seen(opened, "d1", "textContent", ".hits li:not(:has(.drop)) code") == []


def test_an_empty_search_shows_all_again(opened: Chrome) -> None:
    before = seen(opened, "d1", "data-key", ".sheet .card")
    assert search(opened, "nowhere")[0] == []
    box = opened.find_element("css selector", "#d1 input[type='search']")
    box.send_keys(7 * "\ue003")  # backspace
    assert seen(opened, "d1", "data-key", ".sheet .card") == before
    assert seen(opened, "d1", "textContent", ".hits li:not(:has(.drop)) code") == []
    assert opened.find_element("css selector", "#d1 .search output").text == ""


def test_a_listed_caption_is_text(opened: Chrome) -> None:
    search(opened, "caption")
    lines = opened.find_elements("css selector", "#d1 .hits li")
    shown = seen(opened, "d1", "data-key", ".sheet .card")
    others = [i for i in kept(COUNT) if key(i) not in shown]
    assert [line.find_element("css selector", "span").get_property("textContent") for line in lines] == [
        f"{caption(i)}\nsecond caption {i}\nhttps://{host(i)}/{i}.png" for i in others
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
    opened.execute_script("document.querySelector('#d1-samples').scrollIntoView()")  # type: ignore[no-untyped-call]
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


def field(browser: Chrome, selector: str, value: str) -> None:
    """Choose what begins so in a select, or type into an input."""
    found = browser.find_element("css selector", f"#d1 {selector}")
    filters = browser.find_element("css selector", "#d1 .filters")
    if not filters.get_attribute("open"):
        filters.find_element("css selector", "summary").click()
    if found.tag_name == "select":
        next(option for option in Select(found).options if option.text.startswith(value)).click()
    else:
        found.send_keys(value)


def shown_keys(browser: Chrome) -> list[str]:
    """Keys in the order of the page: samples with pictures, then those that are listed."""
    return seen(browser, "d1", "data-key", ".sheet .card") + seen(browser, "d1", "textContent", ".hits code")


def test_samples_are_filtered_by_score_persons_and_label_at_once(opened: Chrome) -> None:
    field(opened, "[data-number='0'][data-end='low']", "4.5")
    scored = [i for i in kept(COUNT) if (score(i) or 0) >= 4.5]
    assert sorted(shown_keys(opened)) == list(map(key, scored))
    field(opened, "[data-number='2'][data-end='high']", "1")
    few = [i for i in scored if i % 3 <= 1]
    assert sorted(shown_keys(opened)) == list(map(key, few))
    field(opened, "[data-field='label']", "dog")
    found = [key(i) for i in few if i % 3 != 0]
    assert sorted(shown_keys(opened)) == found != []
    pictures, _, told = search(opened, "")
    assert (
        told == f"{len(found)} of 33 samples: {len(pictures)} with pictures, {len(found) - len(pictures)} as text"
    )


def test_samples_are_sorted_those_without_the_number_last(opened: Chrome) -> None:
    pictures = seen(opened, "d1", "data-key", ".sheet .card")
    field(opened, "[data-field='sort']", "Aesthetic score, highest")
    scores = [score(int(k)) or 0.0 for k in seen(opened, "d1", "data-key", ".sheet .card")]
    assert scores == sorted(scores, reverse=True)
    listed = [score(int(k)) or 0.0 for k in seen(opened, "d1", "textContent", ".hits code")]
    assert listed == sorted(listed, reverse=True)
    assert len(listed) == 33 - ROWS
    field(opened, "[data-field='sort']", "as in")
    assert seen(opened, "d1", "data-key", ".sheet .card") == pictures


def test_a_drop_reason_and_a_file_name_find_the_dropped_files(opened: Chrome) -> None:
    field(opened, "[data-field='drop']", "images: http 404")
    lost = [i for i in range(COUNT) if reason(i) == "http 404"]
    assert shown_keys(opened) == list(map(key, lost))
    assert seen(opened, "d1", "textContent", ".hits .drop") == len(lost) * ["dropped, images: http 404"]
    field(opened, "[data-field='drop']", "or not")
    assert search(opened, f"{host(17)}/17.png") == ([], [], "0 of 33 samples; 1 dropped file")
    assert shown_keys(opened) == [key(17)]


def test_a_sample_opens_large_from_the_keyboard_and_keeps_the_focus(opened: Chrome) -> None:
    first, second = opened.find_elements("css selector", "#d1 .card .open")[:2]
    first.send_keys("\ue007")  # enter
    dialog = opened.find_element("css selector", "dialog")
    assert dialog.is_displayed()
    assert dialog.find_element("css selector", "h2").text == first.text
    inside = "return document.activeElement === document.body || !!document.activeElement.closest('dialog')"
    for _ in range(12):
        opened.switch_to.active_element.send_keys("\ue004")  # tab
        assert opened.execute_script(inside)  # type: ignore[no-untyped-call]
    dialog.find_element("css selector", ".close").send_keys("\ue014")  # arrow right
    assert dialog.find_element("css selector", "h2").text == second.text
    dialog.send_keys("\ue00c")  # escape
    assert not dialog.is_displayed()
    assert opened.switch_to.active_element == first


def test_a_click_on_a_map_lays_it_over_the_picture_with_its_legend(opened: Chrome) -> None:
    card = opened.find_element("css selector", "#d1 .card")
    index = int(card.get_attribute("data-key") or "")
    card.find_element("css selector", "[data-column='seg'] img").click()
    layers = opened.find_elements("css selector", ".frame .crop")
    assert [layer.get_dom_attribute("style") for layer in layers] == [None, "opacity: 0.6;"]
    legend = [item.text for item in opened.find_elements("css selector", ".legend-of li")]
    assert sorted(legend) == sorted(["person", "unlabelled" if index % 3 == 0 else "dog"])
    slider = opened.find_element("css selector", ".opacity input")
    slider.send_keys(40 * "\ue014")
    assert opened.find_elements("css selector", ".frame .crop")[1].value_of_css_property("opacity") == "1"
    opened.find_element("css selector", ".choices input[value='keypose']").click()
    assert opened.find_elements("css selector", ".legend-of li") == []
    facts = opened.find_element("css selector", ".facts-of").text.split("\n")
    assert facts[facts.index("Persons in a picture") + 1] == str(index % 3)
    assert facts[facts.index("File") + 1] == f"https://{host(index)}/{index}.png"


def test_what_is_marked_is_saved_as_the_list_that_remove_takes(opened: Chrome, tmp_path: Path) -> None:
    opened.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    boxes = opened.find_elements("css selector", "#d1 .mark")
    keys = seen(opened, "d1", "data-key", ".sheet .card")
    for box in boxes[:3]:
        box.click()
    boxes[1].click()
    opened.find_elements("css selector", "#d1 .open")[4].click()
    opened.find_element("css selector", ".marking input").click()
    opened.find_element("css selector", "dialog .close").click()
    assert boxes[4].is_selected()
    opened.find_element("css selector", "#d1 .marks button").click()
    saved = tmp_path / "remove-d1.txt"
    WebDriverWait(opened, 20).until(lambda _: saved.exists())
    make_crawl(tmp_path / "root", COUNT)
    removed = remove(Dataset.open(str(tmp_path / "root")), "keys", saved.read_text().splitlines())
    assert sorted(removed.removed) == [keys[0], keys[2], keys[4]]
    assert not removed.unknown


@pytest.fixture(scope="module")
def paged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with strips of all samples next to it."""
    root = tmp_path_factory.mktemp("paged") / "root"
    make_crawl(root, COUNT)
    command = ReportCommand((str(root),), all_=True, rows=3, engine=EngineOptions("local", 1))
    assert not command.run().problems
    return root / "report.html"


def turn(browser: Chrome, button: int) -> None:
    browser.find_elements("css selector", "#d1 .pager button")[button].click()


def drawn(browser: Chrome) -> list[bool]:
    """Whether each picture of the sheet has one."""
    script = """const images = [...document.querySelectorAll('.sheet img')];
    for (const image of images) image.loading = 'eager';
    return Promise.all(images.map((image) => image.decode().then(() => true, () => false)))"""
    found: list[bool] = browser.execute_script(script)  # type: ignore[no-untyped-call]
    return found


def test_all_samples_are_shown_page_by_page(browser: Chrome, paged: Path) -> None:
    browser.get(paged.as_uri())
    keys = list(map(key, kept(COUNT)))
    assert shown_keys(browser) == keys[:24]
    assert drawn(browser) == 24 * len(COLUMNS) * [True]
    assert browser.find_element("css selector", "#d1 .pager output").text == "page 1 of 2"
    turn(browser, 1)
    assert shown_keys(browser) == keys[24:]
    assert all(drawn(browser))
    press(browser, "seg")
    assert columns(browser) == len(keys[24:]) * ["seg"]
    turn(browser, 0)
    assert columns(browser) == 24 * ["seg"]
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


def test_what_strangers_wrote_stays_text_in_cards_and_in_the_large_view(browser: Chrome, paged: Path) -> None:
    browser.get(paged.as_uri())
    card = browser.find_element("css selector", "#d1 .card")
    assert caption(0) in card.text
    card.find_element("css selector", ".open").click()
    assert browser.find_element("css selector", "dialog .text").text.startswith(caption(0))
    inside = ".card script, .card b, dialog script, dialog b"
    assert browser.find_elements("css selector", inside) == []
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


def test_every_hit_has_its_pictures_and_marks_stay_over_pages(browser: Chrome, paged: Path) -> None:
    browser.get(paged.as_uri())
    field(browser, "[data-field='sort']", "Persons in a picture, highest")
    persons = [int(k) % 3 for k in shown_keys(browser)]
    assert persons == sorted(persons, reverse=True)
    assert len(persons) == 24
    first = browser.find_element("css selector", "#d1 .mark")
    marked = shown_keys(browser)[0]
    first.click()
    turn(browser, 1)
    assert not browser.find_elements("css selector", "#d1 .mark:checked")
    browser.find_element("css selector", "#d1 [data-field='marked']").click()
    assert shown_keys(browser) == [marked]
    assert browser.find_elements("css selector", "#d1 .mark:checked")


def test_the_large_view_goes_through_all_hits_with_their_own_maps(browser: Chrome, paged: Path) -> None:
    browser.get(paged.as_uri())
    browser.find_elements("css selector", "#d1 .open")[23].click()
    next_ = browser.find_element("css selector", "dialog .next")
    next_.click()
    assert browser.find_element("css selector", "dialog h2").text == key(kept(COUNT)[24])
    browser.find_element("css selector", ".choices input[value='seg']").click()
    image = browser.find_elements("css selector", ".frame img")[1]
    assert (image.get_attribute("src") or "").endswith(f"{key(kept(COUNT)[24])}.webp")
    assert image.value_of_css_property("opacity") == "1"
    ratio = """const width = (selector) => document.querySelector(selector).getBoundingClientRect().width;
    return width('.frame img') / width('.frame')"""
    assert browser.execute_script(ratio) == pytest.approx(len(COLUMNS), abs=0.1)  # type: ignore[no-untyped-call]


def test_a_page_without_its_files_says_so(browser: Chrome, paged: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_bytes(paged.read_bytes())
    browser.get((tmp_path / "report.html").as_uri())
    said = "its file is not next to this page"
    WebDriverWait(browser, 20).until(lambda b: said in b.find_element("css selector", "#d1 .sheet").text)
    browser.get_log("browser")  # type: ignore[no-untyped-call]

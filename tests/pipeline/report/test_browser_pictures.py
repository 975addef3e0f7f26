"""The report in a browser: samples that open large, are marked, and are all shown page by page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.support.wait import WebDriverWait

from t2i_shards.jobs.command import EngineOptions
from t2i_shards.jobs.report import ReportCommand
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.tombstones import remove
from tests.pipeline.report.browsing import COLUMNS, COUNT, columns, field, press, seen, shown_keys
from tests.pipeline.report.crawl import caption, host, kept, key, make_crawl

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


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
    assert browser.find_element("css selector", "#d1 .pager").text.split("\n")[1:3] == ["page", "of 2"]
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

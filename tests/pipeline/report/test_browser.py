"""The report in a browser: what a click, a word in the search box and a filter leave to see."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.pipeline.report.browsing import (
    COLUMNS,
    COUNT,
    ROWS,
    columns,
    field,
    press,
    pressed,
    search,
    seen,
    shown_keys,
)
from tests.pipeline.report.crawl import caption, host, kept, key, reason, score

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


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

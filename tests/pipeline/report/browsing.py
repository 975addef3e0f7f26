"""What a test does on a report's page in a browser, and what it finds there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selenium.webdriver.support.select import Select

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

COUNT, ROWS = 40, 6
COLUMNS = ["images", "sketch", "keypose", "seg", "color"]


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

"""Text from outside as it may be shown: without control sequences, changes of direction, or secrets in URLs."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import Any

PACKAGE = "t2i_shards"
_ENDLESS = re.compile(r"(\S{300})\S{200,}(\S{100})")
"""A word that nobody reads, of 600 characters and more, of which begin and end are shown."""
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters of C0 and C1, those that set the direction of text, line ends, halves of surrogate pairs."""
_USER = re.compile(r"(://)[^/?#\s'\"]*@")
_SECRET = re.compile(
    r"([?&;](?:x-(?:amz|goog)-[a-z-]+|awsaccesskeyid|googleaccessid|key-pair-id|signature|sig|policy|[a-z_-]*token|"
    r"[a-z_-]*key|[a-z_-]*secret|pass(?:word|wd)?|auth[a-z_-]*|credentials?)=)[^&;#\s'\"]*",
    re.IGNORECASE,
)

# As entities: a backslash before the text's own backslash would unescape what comes after it.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{sign: f"&#{ord(sign)};" for sign in "\\`*#[]|~$"}}


def show_plain(text: str) -> str:
    """The text on one line, with what steers a terminal spelled out (\\x1b) and the secrets of URLs left out."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), hide_secrets(text))


def hide_secrets(text: str) -> str:
    """The text with user names, passwords, keys and signatures of the URLs in it replaced by an ellipsis."""
    if "://" not in text:
        return text
    return _SECRET.sub(r"\1…", _USER.sub(r"\1…@", text))


def escape_markdown(value: Any) -> str:
    """The value as one line of text that means nothing in Markdown, in a table of it, or in HTML."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(_ENTITIES.get(sign, sign) for sign in show_plain(" ".join(text.split())))


class PlainFormatter(logging.Formatter):
    """A log line as it may be shown, with its longest words cut."""

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).split("\n")
        return "\n".join(_ENDLESS.sub(r"\1…\2", show_plain(line)) for line in lines)


class PlainHandler(logging.Handler):
    """Writes warnings to what is standard error at that time, as they may be shown."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(PlainFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


def show_logs_plain() -> None:
    """Have the warnings of this process go to stderr as they may be shown; for every process that works for us.

    Those of libraries too, unless they have handlers of their own.
    """
    if isinstance(logging.lastResort, PlainHandler):
        return
    logging.lastResort = handler = PlainHandler()
    logging.getLogger(PACKAGE).addHandler(handler)


def number_of(number: int, noun: str = "", group: str = "") -> str:
    """1 shard, 2 shards, 0 entries, 7. group: "," between thousands."""
    many = re.sub("y$", "ie", noun) + "s"
    return f"{number:{group}} {noun if number == 1 else many}" if noun else f"{number:{group}}"


def format_duration(seconds: float) -> str:
    """40 s, 35 min, 2.5 h"""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def list_counts(counts: Mapping[str, int]) -> str:
    """no caption 2, too small 1"""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))

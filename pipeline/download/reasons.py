"""Why a URL gave no picture: fixed phrases that drops can be counted by, and what may be done about each."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["refused", "opted out", "passing", "gone", "unusable"]
"""refused: by the guard, always. opted out: the owner says no. passing: may succeed next time.
gone: the server says that it has no such picture. unusable: what came is no picture for us."""

SCHEME = "refused: scheme"
URL = "refused: url"
CREDENTIALS = "refused: credentials"
HOST = "refused: host"
PORT = "refused: port"
ADDRESS = "refused: address"
TOO_MANY_REDIRECTS = "refused: redirects"
METHOD = "refused: method"
ENCODED = "refused: encoded"

X_ROBOTS_TAG = "opted out: X-Robots-Tag"
ROBOTS_TXT = "opted out: robots.txt"

TIMED_OUT = "timed out"
SHARD_SPENT = "shard budget spent"
UNRESOLVED = "name not resolved"
UNCONNECTED = "connection failed"
UNTRUSTED = "tls failed"
CUT_OFF = "cut off"
LOST = "lost by the downloader"
ROBOTS_UNREAD = "robots.txt not read"

BAD_ANSWER = "bad answer"
NOT_A_PICTURE = "not a picture"
TOO_LARGE = "too large"
UNKNOWN = "download failed"

PASSING = frozenset({TIMED_OUT, SHARD_SPENT, UNRESOLVED, UNCONNECTED, UNTRUSTED, CUT_OFF, ROBOTS_UNREAD, LOST})
"""CUT_OFF is among them because a cut is the connection's doing, not the picture's: it may come whole next
time (a file that came whole and ends too early is "truncated", by its decoder). So is UNTRUSTED: certificates
run out and are renewed. And LOST, a row of which the downloader gave no word."""

REASONS = PASSING | {
    *(SCHEME, URL, CREDENTIALS, HOST, PORT, ADDRESS, TOO_MANY_REDIRECTS, METHOD, ENCODED),
    *(X_ROBOTS_TAG, ROBOTS_TXT, BAD_ANSWER, NOT_A_PICTURE, TOO_LARGE, UNKNOWN),
}
"""All of them, except "http 404" and the like."""

_HTTP = re.compile(r"http (\d{3})")
_BAD_HOST = re.compile(r"^netloc .* contains invalid|\bIPv(4|6|Future)\b")
_PASSING_HTTP = frozenset({408, 425, 429})


class FetchError(OSError):
    """No picture came, for a reason of this file; str() is the reason.

    wait: seconds that the server asks us to stay away, None where it said nothing.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


def http_reason(status: int) -> str:
    """The reason of an answer with a status that brings no picture."""
    return f"http {status:03d}"


def http_of(reason: str) -> int | None:
    """The HTTP status that a reason names, None where it is another reason."""
    match = _HTTP.fullmatch(reason)
    return int(match[1]) if match else None


def kind_of(reason: str) -> Kind:
    """What may be done about a reason. One that is not of this file is "unusable"."""
    if reason.startswith("refused: "):
        return "refused"
    if reason.startswith("opted out: "):
        return "opted out"
    status = http_of(reason)
    if reason in PASSING or (status is not None and (status >= 500 or status in _PASSING_HTTP)):
        return "passing"
    return "gone" if status is not None and 400 <= status < 500 else "unusable"


def is_retried(reason: str) -> bool:
    """Whether the same request is worth another try at once. A name, a certificate or a limit stays as it is."""
    return reason in (UNCONNECTED, CUT_OFF) or (http_of(reason) is not None and kind_of(reason) == "passing")


def reason_of(message: str) -> str:
    """The reason behind the error_message of img2dataset's Downloader.

    The guard's own come through as they are. urllib refuses a few URLs before it asks any opener, in words that
    change from version to version: those become SCHEME or HOST; what else there may be becomes UNKNOWN.
    """
    if message in REASONS or http_of(message) is not None:
        return message
    if message.startswith("unknown url type"):
        return SCHEME
    return HOST if _BAD_HOST.search(message) else UNKNOWN

"""robots.txt: what a host forbids (RFC 9309)."""

from __future__ import annotations

from collections.abc import Callable

from protego import Protego

from t2i_shards.pipeline.download.reasons import ROBOTS_UNREAD, SHARD_SPENT, TIMED_OUT, FetchError, kind_of
from t2i_shards.pipeline.download.response import Response

ROBOTS_BYTES = 512 << 10
"""A parser has to read 500 KiB."""


def read_robots(fetch: Callable[[], Response]) -> Protego:
    """The rules that `fetch` brings. A host that answers 4xx has none.

    FetchError where they cannot be read: the RFC then has everything closed, for as long as that lasts.
    """
    try:
        text = fetch().read().decode("utf-8", "replace")
    except FetchError as error:
        if kind_of(error.reason) != "gone":
            passes_on = error.reason in (TIMED_OUT, SHARD_SPENT) or kind_of(error.reason) == "refused"
            raise FetchError(error.reason if passes_on else ROBOTS_UNREAD) from None
        text = ""
    return Protego.parse(text.removeprefix("\ufeff"))

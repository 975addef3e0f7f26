"""X-Robots-Tag: what the owner of a picture says about its use, in the answer's headers.

Google's specification, with the directives about learning from pictures that img2dataset and others honour.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from t2i_shards.pipeline.download.limits import NAME

OPT_OUTS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "noml", "none"})
"""`none` is short for noindex, nofollow."""
VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
"""Directives with a colon of their own. The date of the first may hold more colons, and a comma."""
OURS = frozenset({"", "*", NAME})

_AGENT = re.compile(r"[A-Za-z*][^\s/]*(/\S*)?")


def is_opted_out(headers: Iterable[str]) -> bool:
    """True when one of the X-Robots-Tag headers says that this picture is not for us.

    A directive is for the agent that was last named before it in the same header, for everyone before any.
    """
    return any(_closes(header) for header in headers)


def _closes(header: str) -> bool:
    agent = ""
    for part in header.lower().split(","):
        directive = part.strip()
        while ":" in directive:
            before, _, after = directive.partition(":")
            before = before.strip()
            if before in VALUED or not (before == "" or _AGENT.fullmatch(before)):
                break  # the rest is a value
            agent, directive = before.partition("/")[0], after.strip()
        if agent in OURS and directive in OPT_OUTS:
            return True
    return False

"""Who we say we are."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

NAME = "t2i-shards"
"""What robots.txt and X-Robots-Tag may call us."""


def user_agent() -> str:
    """NAME/version, the User-Agent of every request."""
    try:
        return f"{NAME}/{version(NAME)}"
    except PackageNotFoundError:  # run from a checkout
        return f"{NAME}/0"

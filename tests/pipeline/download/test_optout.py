"""X-Robots-Tag."""

import pytest

from t2i_shards.pipeline.download.optout import is_opted_out


@pytest.mark.parametrize(
    "headers",
    [
        *([directive] for directive in ("noai", "noimageai", "noindex", "noimageindex", "noml", "none")),
        ["NoAI"],
        ["nofollow,noai"],
        ["nofollow , noai , noarchive"],
        ["nofollow", "noai"],
        ["otherbot: noindex", "noai"],
        ["t2i-shards: noai"],
        ["T2I-Shards: noai"],
        ["t2i-shards/2.0: noai"],
        ["*: noml"],
        ["nofollow, t2i-shards: noai"],
        ["otherbot: nofollow, t2i-shards: noai"],
        ["t2i-shards: nofollow, noai"],
        ["unavailable_after: 25 Jun 2010 15:00:00 PST, noindex"],
        ["unavailable_after: Friday, 25-Jun-10 15:00:00 GMT, noindex"],
        ["max-snippet:20, noai"],
        ["t2i-shards: max-image-preview: large, noai"],
        [": noai"],
    ],
)
def test_closed_to_us(headers: list[str]) -> None:
    assert is_opted_out(headers)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [""],
        ["all"],
        ["nofollow, noarchive"],
        ["otherbot: noindex"],
        ["otherbot: nofollow, noai"],
        ["t2i-shards-not: noai"],
        ["otherbot: unavailable_after: 25 Jun 2010 15:00:00 PST, noindex"],
        ["unavailable_after: 25 Jun 2010 15:00:00 PST"],
        ["max-image-preview: none"],
        ["noaint, xnoai"],
        ["::::,,:,"],
    ],
)
def test_open_to_us(headers: list[str]) -> None:
    assert not is_opted_out(headers)

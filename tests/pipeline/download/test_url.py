"""One form of each host, which is the one that browsers ask for."""

from __future__ import annotations

import pytest

from t2i_shards.pipeline.download.reasons import FetchError
from t2i_shards.pipeline.download.url import parse_url


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("fa\u00df.de", "xn--fa-hia.de"),
        ("B\u00dcCHER.Example", "xn--bcher-kva.example"),
        ("\u03b2\u03cc\u03bb\u03bf\u03c2.gr", "xn--nxasmm1c.gr"),
        ("\u65e5\u672c\u8a9e\u3002jp", "xn--wgv71a119e.jp"),
        ("\uff45xample.\uff23\uff2f\uff2d", "example.com"),
        ("\u2603.net", "xn--n3h.net"),
        ("xn--fa-hia.de", "xn--fa-hia.de"),
        ("a_b.example.", "a_b.example"),
    ],
)
def test_names_beyond_ascii_by_uts_46(host: str, asked: str) -> None:
    assert parse_url(f"http://{host}/", (80,)).host == asked


@pytest.mark.parametrize(
    "host",
    [
        "\uff11\uff12\uff17.1",
        "a\uff0fb.de",
        "a\u200b..de",
        "\ud800.de",
        "a..de",
        "\u00fc" * 70,
    ],
)
def test_what_is_no_name_is_refused_in_every_script(host: str) -> None:
    with pytest.raises(FetchError, match=r"refused: (host|address)"):
        parse_url(f"http://{host}/", (80,))


def test_an_address_is_known_in_every_script() -> None:
    target = parse_url("http://\u2460\u2461\u2466.0.0.\uff11/", (80,))
    assert (target.host, target.is_address) == ("127.0.0.1", True)

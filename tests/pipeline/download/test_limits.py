"""Limits refuse themselves in one line."""

from typing import Any

import pytest

from t2i_shards.pipeline.download.limits import Limits
from t2i_shards.pipeline.errors import RequestError


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("picture_bytes", 0, "0"),
        ("shard_bytes", -1, "-1"),
        ("host_connections", 0, "0"),
        ("attempts", 0, "0"),
        ("url_seconds", 0.0, "0.0"),
        ("url_seconds", float("nan"), "nan"),
        ("shard_seconds", float("inf"), "inf"),
        ("ports", (), "()"),
        ("ports", (80, 70000), "70000"),
        ("allow_private", ("10.0.0.0/33",), "'10.0.0.0/33'"),
        ("allow_private", ("http://my.lan",), "'http://my.lan'"),
        ("allow_private", ("",), "''"),
        ("allow_private", ("*",), "'*'"),
    ],
)
def test_the_line_names_option_rule_and_value(name: str, value: Any, shown: str) -> None:
    with pytest.raises(RequestError) as caught:
        Limits(**{name: value})
    line = str(caught.value)
    assert line.startswith(f"--{name.replace('_', '-')} must ")
    assert line.endswith(f"not {shown}")
    assert "\n" not in line


@pytest.mark.parametrize("entry", ["127.0.0.1", "10.0.0.0/8", "::1", "fd00::/8", "localhost", "My-NAS.lan"])
def test_exceptions_come_in_every_form(entry: str) -> None:
    assert Limits(allow_private=(entry,)).allow_private == (entry,)

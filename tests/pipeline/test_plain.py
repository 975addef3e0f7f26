"""How text from others is shown."""

from __future__ import annotations

import logging
import sys
import unicodedata

import pytest

from t2i_shards.pipeline.plain import PACKAGE, PlainFormatter, hide_secrets, number_of, show_plain


def test_nothing_steers_a_terminal() -> None:
    every = [chr(code) for code in range(sys.maxunicode + 1)]
    steering = [c for c in every if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    steering += [
        c
        for c in every
        if unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    ]
    steering += ["\u200e", "\u200f", "\u061c"]
    assert show_plain("a" + "".join(steering) + "z").isascii()
    others = "".join(sorted({*every} - {*steering}))
    assert show_plain(others) == others
    assert show_plain("a\x1b[31mb\x9b0m\u202ec\nd") == "a\\x1b[31mb\\x9b0m\\u202ec\\nd"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:pass@host.example/a/b?x=1", "https://…@host.example/a/b?x=1"),
        ("s3://AKIA:secret@bucket/x", "s3://…@bucket/x"),
        ("http://a@b@host/", "http://…@host/"),
        (
            "https://h/x?X-Amz-Credential=AK%2F1&X-Amz-Signature=0f&n=2",
            "https://h/x?X-Amz-Credential=…&X-Amz-Signature=…&n=2",
        ),
        ("cannot read https://h/x?sv=1&sig=a%2Bb: 403", "cannot read https://h/x?sv=1&sig=… 403"),
        ("https://h/x?access_token=t#top", "https://h/x?access_token=…#top"),
        ("{'u': 'https://h/?Signature=a', 'v': 1}", "{'u': 'https://h/?Signature=…', 'v': 1}"),
        ("hf://datasets/user/name@v2", "hf://datasets/user/name@v2"),
        ("mail me@example.org, see https://h/x", "mail me@example.org, see https://h/x"),
    ],
)
def test_secrets_of_urls_are_left_out(url: str, shown: str) -> None:
    assert hide_secrets(url) == shown


def test_what_loaders_log_is_plain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As torch has them iterate, each in a process of its own."""
    from t2i_shards.adapters.training.loader import ErrorForwarding

    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler())  # as in a process that has just started
    monkeypatch.setattr(logging.getLogger(PACKAGE), "handlers", [])
    list(ErrorForwarding([]))
    for name in ("t2i_shards.pipeline.download", "some.library"):
        with monkeypatch.context() as patch:
            patch.setattr(logging.getLogger(name), "propagate", name != "some.library")
            logging.getLogger(name).warning("at %s", "https://a:b@h/\x1b[2J")
    assert capsys.readouterr().err == 2 * "at https://…@h/\\x1b[2J\n"


def test_log_lines_keep_their_ends() -> None:
    address = "https://a:b@h/\x1b[2J"
    record = logging.LogRecord("t2i_shards.pipeline", logging.WARNING, "", 0, "at %s", (address,), None)
    assert PlainFormatter().format(record) == "at https://…@h/\\x1b[2J"


def test_one_is_not_several() -> None:
    told = [number_of(number, "sample", ",") for number in (0, 1, 2, 1234)]
    assert told == ["0 samples", "1 sample", "2 samples", "1,234 samples"]
    assert (number_of(1, "entry"), number_of(3, "entry"), number_of(1234)) == ("1 entry", "3 entries", "1234")

"""Reasons and what may be done about them."""

import copy

import pytest

from t2i_shards.pipeline.download import reasons
from t2i_shards.pipeline.download.reasons import FetchError, http_of, http_reason, is_retried, kind_of, reason_of


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("refused: address", "refused"),
        ("refused: encoded", "refused"),
        ("opted out: X-Robots-Tag", "opted out"),
        ("opted out: robots.txt", "opted out"),
        ("timed out", "passing"),
        ("shard budget spent", "passing"),
        ("name not resolved", "passing"),
        ("connection failed", "passing"),
        ("cut off", "passing"),
        ("http 408", "passing"),
        ("http 429", "passing"),
        ("http 500", "passing"),
        ("http 503", "passing"),
        ("http 599", "passing"),
        ("http 404", "gone"),
        ("http 410", "gone"),
        ("http 403", "gone"),
        ("http 204", "unusable"),
        ("not a picture", "unusable"),
        ("too large", "unusable"),
        ("truncated", "unusable"),
        ("a reason of another's", "unusable"),
    ],
)
def test_kinds(reason: str, kind: str) -> None:
    assert kind_of(reason) == kind


def test_only_what_may_pass_is_tried_again() -> None:
    everything = [*reasons.REASONS, *map(http_reason, range(100, 1000))]
    retried = [reason for reason in everything if is_retried(reason)]
    assert retried
    assert {kind_of(reason) for reason in retried} == {"passing"}


def test_a_status_survives_its_reason() -> None:
    assert [http_of(http_reason(status)) for status in (99, 200, 404, 599)] == [99, 200, 404, 599]
    assert [http_of(reason) for reason in ("http 4040", "http x", "timed out")] == [None] * 3


def test_no_reason_holds_a_value() -> None:
    phrases = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}
    assert phrases == reasons.REASONS


def test_an_error_is_its_reason() -> None:
    error = copy.copy(FetchError("too large"))
    assert str(error) == error.reason == "too large"
    assert isinstance(error, OSError)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("timed out", "timed out"),
        ("http 404", "http 404"),
        ("unknown url type: '//a/b'", "refused: scheme"),
        ("Invalid IPv6 URL", "refused: host"),
        ("'127.0.0.1' does not appear to be an IPv4 or IPv6 address", "refused: host"),
        ("netloc 'a℀' contains invalid characters under NFKC normalization", "refused: host"),
        ("HTTP Error 404: Not Found", "download failed"),
        ("'NoneType' object has no attribute 'strip'", "download failed"),
    ],
)
def test_messages_of_the_downloader_become_phrases(message: str, reason: str) -> None:
    assert reason_of(message) == reason

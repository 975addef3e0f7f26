"""Faults that may pass are retried for at most a minute; others are reported at once."""

from __future__ import annotations

import errno
import logging
from types import SimpleNamespace

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from s3fs.errors import translate_boto_error

from t2i_shards.pipeline.errors import RequestError, Unreachable
from t2i_shards.pipeline.shards.remote_read import (
    RETRY_SECONDS,
    WAITS,
    may_pass,
    read_with_retry,
    translate_errors,
    write_once,
)


class Clock:
    """Time that passes in sleep, and `each` seconds with every request; the request fails `faults` times."""

    def __init__(self, faults: int, error: Exception, each: float = 0.0) -> None:
        self.now, self.faults, self.error, self.each = 0.0, faults, error, each
        self.asked: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> bytes:
        self.asked.append(self.now)
        self.now += self.each
        if len(self.asked) <= self.faults:
            raise self.error
        return b"data"


def start(patch: pytest.MonkeyPatch, faults: int, error: Exception, each: float = 0.0) -> Clock:
    clock = Clock(faults, error, each)
    patch.setattr("t2i_shards.pipeline.shards.remote_read.time", clock)
    return clock


def test_a_passing_fault_is_retried_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = start(monkeypatch, len(WAITS), TimeoutError("slow"))
    with caplog.at_level(logging.WARNING):
        assert read_with_retry("s3://b/a", clock.read) == b"data"
    assert clock.asked == [0, 1, 4, 13, 28]
    assert caplog.messages[0] == "cannot read s3://b/a, trying again in 1 s (try 2 of 5): slow"
    assert len(caplog.messages) == len(WAITS)


def test_a_lasting_fault_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = start(monkeypatch, 99, OSError(errno.EBUSY, "Service\nUnavailable"))
    line = r"cannot read s3://b/a: tried 5 times in 28 s; the last error: \[Errno 16\] Service Unavailable"
    with pytest.raises(Unreachable, match=f"^{line}$"):
        read_with_retry("s3://b/a", clock.read)
    assert clock.now < RETRY_SECONDS


@pytest.mark.parametrize(("each", "times"), [(5, "5 times"), (15, "4 times"), (30, "2 times"), (61, "once")])
def test_a_client_that_takes_long_to_give_up_is_asked_less_often(
    each: float, times: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = start(monkeypatch, 99, TimeoutError("slow"), each)
    with pytest.raises(Unreachable, match=f"tried {times} in"):
        read_with_retry("a", clock.read)
    assert clock.asked[-1] <= RETRY_SECONDS


def answered(status: int) -> OSError:
    """As the Hub's client reports an answer."""
    error = OSError("the Hub says no")
    error.response = SimpleNamespace(status_code=status)  # type: ignore[attr-defined]
    return error


def told_by_s3(code: str) -> Exception:
    made: Exception = translate_boto_error(ClientError({"Error": {"Code": code, "Message": code}}, "GetObject"))
    return made


class HfTransportError(Exception):
    """As the error of an HTTP client, of a class that is not known here."""


class HttpError(Exception):
    """As gcsfs reports an answer."""

    __module__ = "gcsfs.retry"

    def __init__(self, code: int) -> None:
        super().__init__(f"no, {code}")
        self.code = code


def told_by_azure(status: int, what: str = "no") -> Exception:
    error = HfTransportError(f"{what}\nRequestId:7\nContent: <xml>")
    error.response = SimpleNamespace(status_code=status)  # type: ignore[attr-defined]
    return error


FORBIDDEN = OSError("Forbidden: b/o\nno")
"""As gcsfs reports 403."""


PASSES = [
    *map(told_by_s3, ("503", "500", "502", "429", "SlowDown", "InternalError", "RequestTimeout")),
    *map(answered, (429, 500, 503, 504)),
    *map(HttpError, (429, 503)),
    told_by_azure(503),
    EndpointConnectionError(endpoint_url="http://x"),
    ConnectTimeoutError(endpoint_url="http://x"),
    ReadTimeoutError(endpoint_url="http://x"),
    ConnectionResetError(errno.ECONNRESET, "reset"),
    TimeoutError(),
    HfTransportError("half an answer"),
]
STAYS = [
    *map(told_by_s3, ("403", "404", "AccessDenied", "NoSuchBucket", "InvalidRange", "PermanentRedirect")),
    *map(answered, (401, 403, 404)),
    *map(HttpError, (401, 400)),
    told_by_azure(403),
    FORBIDDEN,
    NoCredentialsError(),
    FileNotFoundError(),
    NotADirectoryError(),
    RequestError("no"),
    OSError(errno.ENOSPC, "full"),
    ValueError("a fault of ours"),
    RuntimeError("after shutdown"),
    MemoryError(),
]


@pytest.mark.parametrize("error", PASSES, ids=repr)
def test_what_may_pass(error: Exception) -> None:
    assert may_pass(error)


@pytest.mark.parametrize("error", STAYS, ids=repr)
def test_what_will_not_pass_is_raised_at_once(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = start(monkeypatch, 99, error)
    with pytest.raises(type(error)) as caught:
        read_with_retry("a", clock.read)
    assert caught.value is error
    assert clock.asked == [0]


def test_a_password_that_a_client_repeats_without_its_url_is_left_out() -> None:
    with pytest.raises(ConnectionError, match=r'^cannot reach s3://…@bucket/x: no bucket "…@bucket"$'):  # noqa: SIM117
        with translate_errors("s3://me:word@bucket/x"):
            raise ValueError('no bucket "me:word@bucket"')


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (HttpError(401), "access to gs://b/x is denied: no, 401"),
        (FORBIDDEN, "access to gs://b/x is denied: Forbidden: b/o no"),
        (told_by_azure(403, "not you"), "access to gs://b/x is denied: not you"),
        (HttpError(503), "cannot reach gs://b/x: no, 503"),
        (told_by_azure(500, "busy"), "cannot reach gs://b/x: busy"),
    ],
)
def test_what_the_clients_of_other_stores_say_is_one_line(error: Exception, line: str) -> None:
    with pytest.raises((RequestError, ConnectionError)) as caught, translate_errors("gs://b/x"):
        raise error
    assert str(caught.value) == line


@pytest.mark.parametrize("error", [FileNotFoundError("b/o"), told_by_azure(404)])
def test_a_put_into_no_bucket_says_so(error: Exception) -> None:
    def put() -> None:
        raise error

    with pytest.raises(RequestError, match=r"^cannot write gs://b/x: there is no such bucket$"):
        write_once("gs://b/x", put)

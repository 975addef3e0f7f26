"""Object stores by fsspec, and reading from them.

A fault that may pass is retried for up to a minute; others are reported at once. The clients of S3 and the Hub try
again by themselves, for some seconds; a network that is away for longer must not end a training of days.
"""

from __future__ import annotations

import errno
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from t2i_shards.pipeline.errors import IncompleteError, RequestError, Unreachable
from t2i_shards.pipeline.plain import hide_secrets

log = logging.getLogger(__name__)

T = TypeVar("T")
WAITS = (1.0, 3.0, 9.0, 15.0)
"""Seconds before the second try, the third …"""
RETRY_SECONDS = 60.0
"""No try begins later than so many seconds after the first: a client may itself take minutes to give up."""
PASSING = {
    None, errno.EAGAIN, errno.EBUSY, errno.EIO, errno.EREMOTEIO, errno.ETIMEDOUT, errno.EPIPE, errno.ECONNRESET,
    errno.ECONNREFUSED, errno.ECONNABORTED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENETRESET,
}  # fmt: skip
"""Of networks and servers. s3fs makes EBUSY of 503, EREMOTEIO of 500, and EIO of what it does not know."""


GONE = (404, 410)
PASSING_REFUSALS = (408, 425, 429)
"""HTTP statuses below 500 after which the same request may succeed."""
OF_ACCOUNTS = {
    "AccountProblem", "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId", "InvalidSecurity", "NotSignedUp",
    "RequestTimeTooSkewed", "SignatureDoesNotMatch",
}  # fmt: skip
"""S3's codes for a denial that has nothing to do with the object that was asked for."""
CONFLICT_WAITS = (0.2, 0.4, 0.8, 1.6, 3.2)
"""Seconds before a put is tried again that met another one of the same name (409)."""

EXTRAS = {"gs": "gcs", "gcs": "gcs", "abfs": "azure", "abfss": "azure", "az": "azure"}
"""Protocol -> the extra of this package with its client; that of S3 is always installed."""


class Denied(RequestError):
    """Access is denied, perhaps to this object alone: an archived one, or one with permissions of its own."""


@contextmanager
def translate_errors(root: str) -> Iterator[None]:
    """ConnectionError for what clients raise of a kind of their own: no credentials, no answer.

    RequestError where access is denied, which clients report without the place ("Forbidden"): Denied unless the
    credentials are to blame. FileNotFoundError for status 404, which the Hub's client raises for a file that was
    listed and is gone.
    """
    try:
        yield
    except FileNotFoundError as error:
        if (cause := _find_fault(error)) is None:
            raise
        raise _translate(cause, root) from error
    except PermissionError as error:
        kind = RequestError if _code(error) in OF_ACCOUNTS else Denied
        raise kind(f"access to {hide_secrets(root)} is denied: {_say(error, root)}") from error
    except OSError as error:
        status = _http_status(error)
        if status == 404:
            raise FileNotFoundError(errno.ENOENT, "not there", hide_secrets(root)) from error
        if status == 403 and error.errno is None:
            raise _translate(error, root) from error
        raise
    except (RequestError, IncompleteError):
        raise
    except Exception as error:
        raise _translate(error, root) from error


def find_below(fs: Any, path: str) -> dict[str, Any]:
    """Path -> what fsspec knows of it, of each file below; empty where there is no such folder.

    Raises what the client does where the folder cannot be listed.
    """
    found: dict[str, Any] = fs.find(path, detail=True)
    if not found:
        try:
            fs.ls(path)  # `find` passes over what it cannot list, such as a web server that does not answer
        except FileNotFoundError as error:
            if _find_fault(error) is not None:
                raise
    return found


def list_s3(fs: Any, path: str) -> list[str]:
    """The objects whose names begin with BUCKET/PREFIX. Raises what the client does where it cannot list them."""
    bucket, prefix, _ = fs.split_path(path)
    names, more = list[str](), dict[str, str]()
    while True:
        answer = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
        names += [f"{bucket}/{found['Key']}" for found in answer.get("Contents", ())]
        if not answer.get("IsTruncated"):
            return names
        more = {"ContinuationToken": answer["NextContinuationToken"]}


def _find_fault(error: FileNotFoundError) -> BaseException | None:
    """What fsspec reports as a missing file of a web server, as it does any failure; None for a missing file."""
    cause = error.__cause__
    of_network = isinstance(cause, (ConnectionError, TimeoutError)) or type(cause).__module__.startswith("aiohttp")
    return cause if of_network and getattr(cause, "status", None) not in GONE else None


def _translate(error: BaseException, root: str) -> Exception:
    """What to raise for an error of a client's own kind. A web server's refusal of a file is its last word."""
    status, place = getattr(error, "status", None) or _http_status(error), hide_secrets(root)
    if status in GONE:
        return FileNotFoundError(errno.ENOENT, "not there", place)
    if isinstance(status, int) and 400 <= status < 500 and status not in PASSING_REFUSALS:
        return Denied(f"access to {place} is denied: {_say(error, root)}")
    return ConnectionError(f"cannot reach {place}: {_say(error, root)}")


def read_with_retry(what: str, read: Callable[[], T]) -> T:
    """What `read` gives; asked again while it fails in a way that may pass.

    Raises Unreachable when it is still failing at the end, and at once whatever will not pass.
    """
    begun, what = time.monotonic(), hide_secrets(what)
    for tried, wait in enumerate((*WAITS, math.inf), 1):
        try:
            return read()
        except Exception as error:
            if not may_pass(error):
                raise
            took = time.monotonic() - begun
            if took + wait > RETRY_SECONDS:
                times = "once" if tried == 1 else f"{tried} times"
                raise Unreachable(
                    f"cannot read {what}: tried {times} in {took:.0f} s; the last error: {_say(error)}"
                ) from error
            log.warning(
                "cannot read %s, trying again in %g s (try %d of %d): %s",
                *(what, wait, tried + 1, len(WAITS) + 1, _say(error)),
            )
            time.sleep(wait)
    raise AssertionError("unreachable")


def write_once(url: str, put: Callable[[], object]) -> bool:
    """Whether `put`, which must not replace anything, made its object; False when one of that name is there.

    Raises RequestError where nothing may be written or there is no bucket, Unreachable for a fault that may pass.
    """
    place = hide_secrets(url)
    for wait in (*CONFLICT_WAITS, None):
        try:
            put()
            return True
        except Exception as error:
            if _is_taken(error):
                return False
            if _status(error) == 409 and wait is not None:
                time.sleep(wait)  # another conditional put of this name is under way, and settles it
                continue
            if isinstance(error, PermissionError) or "NoSuchBucket" in repr(error.__cause__):
                raise RequestError(f"cannot write {place}: {_say(error, url)}") from error
            if isinstance(error, FileNotFoundError) or _http_status(error) in GONE:
                raise RequestError(f"cannot write {place}: there is no such bucket") from error
            if _http_status(error) in (401, 403):
                raise RequestError(f"cannot write {place}: access is denied: {_say(error, url)}") from error
            if may_pass(error):
                raise Unreachable(
                    f"cannot write {place}: {_say(error, url)}; the same command continues from here"
                ) from error
            raise
    raise AssertionError("unreachable")


def _is_taken(error: Exception) -> bool:
    """s3fs says FileExistsError only where the server names the condition; else status 412 comes as EINVAL."""
    return isinstance(error, FileExistsError) or (
        isinstance(error, OSError)
        and error.errno == errno.EINVAL
        and "PreconditionFailed" in repr(error.__cause__)
    )


def _code(error: Exception) -> str | None:
    """S3's own code for what botocore's error, of which s3fs made this one, was raised for."""
    response = getattr(error.__cause__, "response", None) or {}
    code = response.get("Error", {}).get("Code")
    return str(code) if code else None


def _status(error: Exception) -> int | None:
    """The HTTP status that botocore's error, of which s3fs made this one, was raised for."""
    response = getattr(error.__cause__, "response", None) or {}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return int(status) if status else None


def _http_status(error: BaseException) -> int | None:
    """The status of the answer that the client of the Hub, of Azure or of Google raised this error for."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is None and type(error).__module__.startswith("gcsfs"):
        status = getattr(error, "code", None)
    if status is None and isinstance(error, OSError) and str(error).startswith("Forbidden: "):
        status = 403  # gcsfs again
    return status if isinstance(status, int) else None


def may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later: there was no answer, half of one, or one of a server in trouble.

    Recognised by names, as the clients of stores that are not used need not be installed.
    """
    status = _http_status(error)
    if status is not None:
        return status in PASSING_REFUSALS or status >= 500
    if isinstance(error, (FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError)):
        return False
    if isinstance(error, OSError):
        return error.errno in PASSING or (error.errno or 0) < 0  # of name servers, which number their own
    # Of Python's own kinds only OSErrors report what happened elsewhere; the others report a wrong call.
    if isinstance(error, (RequestError, IncompleteError, ValueError)) or type(error).__module__ == "builtins":
        return False
    # What else botocore raises: no credentials, no region, a wrong parameter.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return "BotoCoreError" not in kinds or bool(kinds & {"ConnectionError", "HTTPClientError"})


def _say(error: BaseException, root: str = "") -> str:
    """What the error says, without the user and password of `root`, which a client may take for part of a name."""
    text = str(error).partition("\nRequestId:")[0]  # Azure's repeats its answer as XML
    user, at, _ = root.partition("://")[2].partition("/")[0].rpartition("@")
    if at:
        text = text.replace(f"{user}@", "…@")
    return hide_secrets(" ".join(text.split())) or type(error).__name__


def open_filesystem(url: str, **options: Any) -> tuple[Any, str]:
    """(fsspec's file system, the path of `url` in it). Raises RequestError."""
    import fsspec

    try:
        fs, path = fsspec.core.url_to_fs(url, **options)
    except (ValueError, ImportError) as error:
        extra = EXTRAS.get(url.partition("://")[0]) if isinstance(error, ImportError) else None
        way_out = f"; pip install 't2i-shards[{extra}]'" if extra else ""
        raise RequestError(f"cannot open {hide_secrets(url)}: {error}{way_out}") from None
    return fs, str(path)

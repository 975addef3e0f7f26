"""What can go wrong, sorted by what the user has to do about it.

Exit codes of every command: 0 all done, 2 the request is wrong, 3 finished but not complete.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from t2i_shards.pipeline.plain import hide_secrets


class RequestError(Exception):
    """The request is wrong: one line that names what, the rule, and the value. Exit code 2."""


class IncompleteError(Exception):
    """The work ended but something is missing; the same command continues from there. Exit code 3."""


class DamagedShard(IncompleteError):
    """A shard is not what its receipt says. The line names the shard and what differs."""


class BrokenStage(IncompleteError):
    """So many samples failed in a row that the stage, not the data, must be at fault."""


class ShardNotReady(IncompleteError):
    """The shard that this one is made from has no receipt yet."""


class Unreachable(IncompleteError):
    """A store gave no answer, or none that could be used, for as long as one waits for it."""


def describe_full_disk(error: OSError) -> str | None:
    """The one line for a disk or a quota that takes no more; None for any other error."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return None
    where = f" {error.filename}" if isinstance(error.filename, str) else ""
    return f"cannot write{where}: {os.strerror(error.errno)}; nothing that is done is lost"


def describe_os_error(error: OSError) -> str:
    """What the system says of a file, without its number; what the error itself says where it names no file."""
    named = isinstance(error.filename, str) and error.strerror
    return f"{error.filename}: {error.strerror}" if named else str(error)


class Drop(Exception):
    """This row gives no sample, for a reason that is counted in the receipt.

    The reason is a short fixed phrase ("too small"), never a message with values in it, so that drops can
    be counted by it. http: the status that the row's address answered with, where it answered.
    """

    def __init__(self, reason: str, http: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.http = http


def describe_error(error: BaseException) -> str:
    """ValueError: what it said, on one line."""
    text: Any = hide_secrets(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

"""The protocol of an engine's pool: hand shards to workers and report what became of each."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from t2i_shards.pipeline.errors import BrokenStage, RequestError, describe_error
from t2i_shards.pipeline.plain import show_logs_plain
from t2i_shards.pipeline.stages.stage import Careful, Stage, StageResult
from t2i_shards.pipeline.under_way import tell_samples

IN_FLIGHT = 2
"""Shards that a worker holds at most, or its node for it: the one it works on, and the next."""


@dataclass(frozen=True)
class Failure:
    """Why a shard was not made.

    kind: "shard" may be tried again, and "death", where the worker died over it, with care; "setup" too, but a
    stage that is never set up ends the run; "request" and "run" end it at once.
    """

    kind: Literal["shard", "death", "setup", "request", "run"]
    line: str


@dataclass(frozen=True)
class Event:
    """A shard came back: made, failed, or handed back without a result.

    The last is no failure of the shard: its worker died before it began, or the node of its worker is gone.
    """

    shard: int
    result: StageResult | Failure | None


class Pool(Protocol):
    """Workers that hold a stage. `submit` may be called while `free` is true; every shard comes back once."""

    @property
    def free(self) -> bool:
        """True while a worker can take another shard."""

    @property
    def idle(self) -> bool:
        """True while a worker has nothing to do."""

    @property
    def begun(self) -> Sequence[int]:
        """Shards that had waited behind others and that a worker has begun, as of the last `wait`."""

    @property
    def under_way(self) -> int:
        """Samples that are done of the shards in progress, as far as is known."""

    def submit(self, shard: int, careful: bool = False) -> None:
        """Hand a shard to the worker with the least to do. careful: a worker has died over it."""

    def wait(self) -> list[Event]:
        """Block until something came back, at most about a second."""

    def close(self) -> None:
        """End the workers."""


class Worker:
    """What a worker process holds: the stage, and with it the models it loaded.

    tell: called now and then with the samples that are done of the shard in progress.
    """

    def __init__(self, stage: Stage, tell: Callable[[int], object] = lambda _: None) -> None:
        self._stage, self._ready, self._tell = stage, False, tell
        show_logs_plain()

    def run(self, shard: int, careful: bool = False) -> StageResult | Failure:
        """One try at one shard; the first sets the stage up. Never raises."""
        kind: Literal["shard", "setup"] = "shard" if self._ready else "setup"
        try:
            if not self._ready:
                self._stage.setup()
                self._ready, kind = True, "shard"
            with tell_samples(self._tell):
                if careful and isinstance(self._stage, Careful):
                    return self._stage.run_carefully(shard)
                return self._stage(shard)
        except Exception as error:
            return classify(error, kind)


def classify(error: Exception, kind: Literal["shard", "setup"] = "shard") -> Failure:
    """Whether the shard (or the stage's setup), the request or the whole run failed.

    A full or read-only disk would fail every shard alike, so it ends the run.
    """
    if isinstance(error, RequestError):
        return Failure("request", str(error))
    if isinstance(error, BrokenStage):
        return Failure("run", str(error))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
        return Failure("run", f"cannot write: {os.strerror(error.errno)}; nothing that is done is lost")
    return Failure(kind, describe_error(error))

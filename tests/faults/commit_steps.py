"""`python -m tests.faults.commit_steps URL`: an ingest that dies at each step of its commits, in turn.

A step is the moment before a call that changes the file system, or the middle of a write; on S3 it is the moment
after a request that changes the bucket. (The state after one call is the state before the next.) For every step a
forked child
does the work at a fresh place and kills itself there. Then what is left at each place is examined, and the same
work is done to its end. One JSON line per step on stdout: {"step": ..., "partial": [names], "litter": [names],
"same": bool}; the last, with step null, was not disturbed.

Run as a process of its own, because forking is only safe where no thread runs yet.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

# What pyarrow would import in each child anew.
import pandas  # noqa: F401
import pyarrow.dataset  # noqa: F401
import s3fs

from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.errors import DamagedShard, IncompleteError, RequestError
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.store import Store, open_store
from t2i_shards.pipeline.shards.tar import TarWriter
from tests.faults.toys import Pictures, make_images

FILE_CALLS = ("link", "fsync", "mkdir", "unlink", "rmdir", "rename", "replace")
S3_CALLS = ("put_object", "delete_object", "complete_multipart_upload", "copy_object")


def work(root: str) -> None:
    """A plan, dataset.json, the images column and one of truth: one shard each, of two samples."""
    make_images(root, Pictures(2), 2, ("sketch",))


class Steps:
    """Counts steps; at number `fatal` the process dies, with `step` written to `report`."""

    def __init__(self, fatal: int, report: Path) -> None:
        self.fatal, self.report, self.count = fatal, report, 0

    def __call__(self, step: str) -> None:
        self.count += 1
        if self.count == self.fatal:
            self.report.write_text(step)
            os.kill(os.getpid(), signal.SIGKILL)

    def before(self, owner: Any, name: str) -> None:
        """A step before each call of `owner.name`."""
        real: Callable[..., Any] = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self(f"before {name} {args[0]}")
            return real(*args, **kwargs)

        setattr(owner, name, call)

    def inside_writes(self) -> None:
        """A step after the first half of each write of a file."""

        def write_half(writer: TarWriter, *parts: Any) -> None:
            data = b"".join(parts)
            writer._file.write(data[: len(data) // 2])
            writer._file.flush()
            self("inside a write of a tar")
            writer._file.write(data[len(data) // 2 :])
            writer._hash.update(data)
            writer.bytes += len(data)

        def write_bytes(path: Path, data: bytes) -> None:
            with open(path, "wb") as file:
                file.write(data[: len(data) // 2])
                file.flush()
                self(f"inside a write of {path.name}")
                file.write(data[len(data) // 2 :])

        TarWriter._write = write_half  # type: ignore[method-assign, assignment]
        Path.write_bytes = write_bytes  # type: ignore[method-assign, assignment]

    def after_s3(self) -> None:
        """A step after each request that changes the bucket."""
        real = s3fs.S3FileSystem._call_s3

        async def call(fs: Any, method: str, *args: Any, **kwargs: Any) -> Any:
            result = await real(fs, method, *args, **kwargs)
            if method in S3_CALLS:
                self(f"after {method} {kwargs.get('Key')}")
            return result

        s3fs.S3FileSystem._call_s3 = call


def in_child(action: Callable[[], None]) -> bool:
    """Do it in a forked child. False when the child was killed."""
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a child failed, see stderr")
    return not os.WIFSIGNALED(status)


def files(store: Store, folder: str = "") -> Iterator[str]:
    """Every file under a final name."""
    for name in store.names(folder):
        path = f"{folder}/{name}" if folder else name
        if "." in name:
            yield path
        else:
            yield from files(store, path)


def contents(store: Store) -> dict[str, Any]:
    """Path -> bytes; of a receipt all but the time it took."""
    found: dict[str, Any] = {path: bytes(store.load(path)) for path in files(store)}
    for path in found:
        if path.startswith((IMAGES, "sketch")) and path.endswith(".json") and "column" not in path:
            with suppress(DamagedShard):
                found[path] = {**vars(Receipt.decode(found[path], path)), "seconds": 0}
    return found


def die_at(root: str, number: int, report: Path) -> bool:
    """The work, with death at step `number`. True when it ended before that."""

    def act() -> None:
        steps = Steps(number, report)
        if "://" in root:
            steps.after_s3()
        else:
            steps.inside_writes()
            for name in FILE_CALLS:
                steps.before(os, name)
        work(root)

    return in_child(act)


def main(base: str) -> None:
    local = Path(sys.argv[2])
    report, undisturbed = local / "step", local / "undisturbed"

    def undisturbed_run() -> None:
        work(str(undisturbed))

    in_child(undisturbed_run)
    expected = contents(open_store(str(undisturbed)))

    def examine(root: str, step: str | None) -> None:
        store = open_store(root)
        left = contents(store)
        partial = [path for path in left if left[path] != expected.get(path)]
        store.sweep()
        litter = [path.name for path in Path(root, ".scratch").glob("*")]
        try:
            work(root)
            same = contents(store) == expected
        except (RequestError, IncompleteError):
            same = False
        print(json.dumps({"step": step, "partial": partial, "litter": litter, "same": same}), flush=True)

    steps: list[str | None] = []
    while not steps or steps[-1] is not None:
        ended = die_at(f"{base}/{len(steps)}", len(steps) + 1, report)
        steps.append(None if ended else report.read_text())

    def examine_all() -> None:
        for number, step in enumerate(steps):
            examine(f"{base}/{number}", step)

    in_child(examine_all)


if __name__ == "__main__":
    main(sys.argv[1])

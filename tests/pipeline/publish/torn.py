"""`python -m tests.pipeline.publish.torn URL LOCAL packed|columns SEED PLACES`: crashes in the middle of writing.

An undisturbed run counts the bytes that it writes: to files, or on S3 to its connections. Then, at each of so
many fresh places, a forked child dies while it writes a random byte, the next one continues and dies in turn (or
ends, as there is less to write), and the third finishes the work. One JSON line after each child:
{"at": byte or null, "torn": [names], "half": bool, "same": bool}. torn: files under a final name with other bytes
than after the undisturbed run. half: it was signed although a file was missing.
"""

from __future__ import annotations

import asyncio.selector_events
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

# What would be imported in each child anew.
import pandas  # noqa: F401
import pyarrow.dataset  # noqa: F401
import s3fs  # noqa: F401

import t2i_shards.pipeline.publish.finish
import t2i_shards.pipeline.publish.read_columns
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.publish.plan import SUMS
from t2i_shards.pipeline.shards.store import open_store
from tests.faults.commit_steps import in_child
from tests.pipeline.publish.steps import read
from tests.pipeline.publish.toys import contents, publish_here, toy_dataset

Write = Callable[[bytes], None]


class Ink:
    """Counts the bytes that are written; the process dies before byte `last`, with those before it written."""

    def __init__(self, last: int | None) -> None:
        self.last, self.count = last, 0

    def spend(self, data: bytes, write: Write) -> None:
        if self.last is not None and self.count + len(data) > self.last:
            write(data[: self.last - self.count])
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += len(data)
        write(data)

    def for_files(self) -> None:
        """Counts what is written to files."""
        write_all = t2i_shards.pipeline.publish.read_columns.write_all

        def write_parts(file: int, parts: Sequence[bytes | memoryview]) -> None:
            self.spend(b"".join(parts), lambda data: write_all(file, [data]))

        def write_bytes(path: Path, data: bytes) -> None:
            with open(path, "wb", buffering=0) as file:
                self.spend(bytes(data), lambda part: write_all(file.fileno(), [part]))

        t2i_shards.pipeline.publish.read_columns.write_all = write_parts
        Path.write_bytes = write_bytes  # type: ignore[method-assign, assignment]

    def for_connections(self) -> None:
        """Counts what event loops write to sockets."""
        transport: Any = asyncio.selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
        write = transport.write

        def write_data(to: Any, data: bytes) -> None:
            self.spend(bytes(data), lambda part: write(to, part))

        transport.write = write_data
        transport.writelines = asyncio.WriteTransport.writelines  # joins them for `write`


def work(root: str, to: str, layout: str, last: int | None = None, count: Path | None = None) -> None:
    """Publish in this process, which dies at byte `last`; `count` gets the number of bytes written."""
    ink = Ink(last)
    ink.for_connections() if "://" in to else ink.for_files()
    t2i_shards.pipeline.publish.read_columns.CHUNK = 4096
    t2i_shards.pipeline.publish.finish.SAMPLES = 1  # type: ignore[attr-defined]
    publish_here(Dataset.open(root), to, layout=layout, shard_size=3)
    if count is not None:
        count.write_text(str(ink.count))


def examine(to: str, expected: dict[str, bytes | None], at: int | None) -> None:
    """Prints the state of `to`."""
    found = read(open_store(to), list(expected))
    torn = [name for name, data in found.items() if data is not None and data != expected[name]]
    half = found[SUMS] is not None and None in found.values()
    print(json.dumps({"at": at, "torn": torn, "half": half, "same": found == expected}), flush=True)


def main(base: str, local: Path, layout: str, seed: int, places: int) -> None:
    root, count, rng = str(local / "root"), local / "count", random.Random(seed)

    def prepare() -> None:
        toy_dataset(Path(root), 7, 4)
        work(root, f"{base}/undisturbed", layout, count=count)

    in_child(prepare)
    in_child(lambda: work(root, str(local / "undisturbed"), layout))
    expected: dict[str, bytes | None] = {**contents(local / "undisturbed")}
    total = int(count.read_text())
    for number in range(places):
        for last in (rng.randrange(total), rng.randrange(total), None):
            to = f"{base}/{number}"
            in_child(partial(work, root, to, layout, last))
            in_child(partial(examine, to, expected, last))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))

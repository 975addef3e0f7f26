"""Progress of a job over shards: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from pipeline.engine.run import Progress
from pipeline.stage import Made

LINE_EVERY = 15.0
"""Seconds between two lines where there is no terminal."""


@contextmanager
def show_progress(verb: str, shards: int, total: int) -> Iterator[Progress]:
    """A progress callback for `shards` shards that are left of `total`."""
    if not sys.stderr.isatty():
        yield _lines(verb, shards, total)
        return
    with tqdm(total=total, initial=total - shards, desc=verb, unit="shard", leave=False) as bar:

        def advance(shard: int, made: Made | None) -> None:
            bar.update()
            if made is None:
                bar.write(f"{verb}: shard {shard:06d} set aside", file=sys.stderr)

        yield advance


def _lines(verb: str, shards: int, total: int) -> Progress:
    done, samples, started = total - shards, 0, time.monotonic()
    said = started

    def advance(shard: int, made: Made | None) -> None:
        nonlocal done, samples, said
        done += 1
        if made is not None:
            samples += max((receipt.samples for receipt in made.receipts.values()), default=0)
        if time.monotonic() - said > LINE_EVERY:
            said = time.monotonic()
            rate = samples / (said - started)
            print(f"{verb}: {done} of {total} shards, {rate:.1f} samples/s", file=sys.stderr, flush=True)

    return advance

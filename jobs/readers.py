"""Ray Data as a reader of what was published; only jobs and the engine may import Ray."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.publish.readers import LOCAL, Reader, ReadSample, decode_members


def read_ray(paths: Mapping[str, Sequence[Path]], folder: Path | None) -> Iterator[tuple[str, ReadSample]]:
    """Ray Data's read_webdataset; the bytes of the members, which the caller decodes."""
    import ray.data

    from t2i_shards.pipeline.engine.connect import connect

    connect()
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it logs executions, and warns of bars that are off
    context = ray.data.DataContext.get_current()
    shown, context.enable_progress_bars = context.enable_progress_bars, False
    try:
        for split, shards in paths.items():
            data = ray.data.read_webdataset([os.fspath(path) for path in shards], decoder=None)
            for sample in data.iter_rows():
                members = {n: v for n, v in sample.items() if not n.startswith("__") and v is not None}
                yield split, ReadSample(sample["__key__"], frozenset(members), partial(decode_members, members))
    finally:
        context.enable_progress_bars = shown


READERS: Mapping[str, Reader] = {**LOCAL, "ray": read_ray}
NAMES = tuple(READERS)


def choose_readers(names: Sequence[str]) -> dict[str, Reader]:
    """The readers of these names. RequestError for an unknown one."""
    for name in names:
        if name not in READERS:
            raise RequestError(f"--readers must be of {', '.join(READERS)}, not {name!r}")
    return {name: READERS[name] for name in names}

"""Downloads: the pictures of one shard, by img2dataset's Downloader, every request through our own guard.

Of img2dataset only what it hands to its writer is used: the untouched bytes, or why there are none, of one URL.
Its exit code, folder, order, opt-out check and retries are not relied on: the guard (`client.py`) decides what
may be reached, and a row of which nothing is heard is a drop that may be tried again.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.budget import WORKER_MEMORY
from t2i_shards.pipeline.download.client import GuardedClient
from t2i_shards.pipeline.download.limits import Limits
from t2i_shards.pipeline.download.reasons import LOST, http_of, reason_of
from t2i_shards.pipeline.errors import Drop, IncompleteError, RequestError
from t2i_shards.pipeline.under_way import count_samples

MIN_YIELD = 0.3


def check_yield(least: float) -> None:
    """Raises RequestError unless it is a share."""
    if not 0 <= least <= 1:
        raise RequestError(f"--min-yield must be 0 to 1, not {least}")


@dataclass(frozen=True)
class Downloads:
    """How pictures are fetched."""

    threads: int = 64
    """Pictures that one worker fetches at once."""
    min_yield: float = MIN_YIELD
    """End with exit code 3 when a smaller share of the planned rows than this became samples."""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise RequestError(f"--threads must be at least 1, not {self.threads}")
        check_yield(self.min_yield)

    @property
    def resources(self) -> Resources:
        """A worker waits for the network half of its time, so two share a core."""
        return Resources(cpus=0.5, memory=WORKER_MEMORY)

    def setup(self) -> None:
        """Put the guard in the way of every request of this process; import img2dataset, which takes seconds."""
        install_client(self.limits)
        import_downloader()

    @contextmanager
    def fetch(self, urls: Sequence[str], scratch: Path) -> Iterator[Fetched]:
        """The pictures of these URLs, downloaded into `scratch`, for as long as the context lasts."""
        client = install_client(self.limits)
        client.begin_shard()
        with open(scratch / "pictures", "w+b") as file:
            fetched = Fetched(urls, file, client.forget)
            run_downloader(fetched, self.threads, self.limits.url_seconds, scratch)
            file.flush()
            yield fetched


@functools.cache
def install_client(limits: Limits) -> GuardedClient:
    """The guard of this process, in place for all that opens a URL through urllib."""
    client = GuardedClient(limits)
    client.install()
    return client


def import_downloader() -> Any:
    """img2dataset's Downloader class, and no more of the package than it needs.

    The package's own __init__ imports all that its command line needs (torch, albumentations, pandas): 7 s and
    600 MB for every worker.
    """
    if (loaded := sys.modules.get("img2dataset.downloader")) is not None:
        return loaded.Downloader
    with _unopened("img2dataset"):
        return importlib.import_module("img2dataset.downloader").Downloader


@contextmanager
def _unopened(package: str) -> Iterator[None]:
    """Its modules can be imported without its __init__, which a later import of the package runs as usual."""
    if package in sys.modules:
        yield
        return
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ImportError(f"{package} is not installed; downloads need it (pip install {package})")
    sys.modules[package] = importlib.util.module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules[package]


class Fetched:
    """img2dataset's sample writer, and the result of each URL. The bytes are concatenated in `file`.

    written: called with the number of bytes that went to the file and are no longer in memory.
    """

    def __init__(self, urls: Sequence[str], file: Any, written: Callable[[int], None]) -> None:
        self._places: dict[str, tuple[int, int]] = {}
        self._reasons: dict[str, str] = {}
        # A URL that occurs in several rows is asked once.
        self.urls = list(dict.fromkeys(urls))
        self._file, self._end, self._written = file, 0, written

    def write(self, picture: bytes | None, key: str, caption: str | None, meta: dict[str, Any]) -> None:
        """Called by img2dataset, in one thread, for each URL in the order of the answers."""
        url = self.urls[int(key)]
        if picture is None:
            self._reasons[url] = reason_of(str(meta["error_message"]))
        else:
            self._file.write(picture)
            self._places[url] = (self._end, len(picture))
            self._end += len(picture)
            self._written(len(picture))
            count_samples()

    def close(self) -> None:
        """Called by img2dataset when all URLs are through."""

    def __getitem__(self, url: str) -> bytes:
        """The bytes of a URL. Raises Drop with the reason when there are none."""
        if url in self._places:
            start, size = self._places[url]
            return os.pread(self._file.fileno(), size, start)
        reason = self._reasons.get(url, LOST)
        raise Drop(reason, http_of(reason))


def run_downloader(writer: Fetched, threads: int, seconds: float, scratch: Path) -> None:
    """img2dataset over the URLs of `writer` in this process."""
    table = scratch / "urls.arrow"
    urls = pa.table({"url": pa.array(writer.urls, pa.string())})
    with pa.OSFile(os.fspath(table), "wb") as file, pa.ipc.new_file(file, urls.schema) as out:
        out.write_table(urls)
    downloader = import_downloader()(
        sample_writer_class=lambda *_: writer,
        resizer=lambda stream, boxes: (stream.read(), None, None, None, None, None),
        thread_count=threads,
        save_caption=False,
        extract_exif=False,
        output_folder=os.fspath(scratch),
        column_list=["url"],
        timeout=seconds,
        # Nine digits for a key and one for the shard: int(key) is then the place of the URL in the table.
        number_sample_per_shard=10**9,
        oom_shard_count=1,
        compute_hash=None,
        verify_hash_type=None,
        encode_format="jpg",
        retries=0,
        user_agent_token=None,
        disallowed_header_directives=None,
    )
    whole, _ = downloader((0, os.fspath(table)))
    if not whole:
        raise IncompleteError("img2dataset gave up on the shard")

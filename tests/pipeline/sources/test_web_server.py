"""Inputs on a web server: lists by name or by a glob of its page, and one line for what it cannot give."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_shards.pipeline.errors import RequestError, Unreachable
from t2i_shards.pipeline.sources.base import Source
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.sources.laion.source import LaionSource
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.table.source import TableSource
from t2i_shards.pipeline.sources.tars.source import TarsSource
from tests.pipeline.sources.tars.toys import JPEG, write_tar


class WithoutSizes(SimpleHTTPRequestHandler):
    """It gives a file as it is made, and cannot say how long it will be."""

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Content-Length":
            super().send_header(keyword, value)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class WithoutRanges(SimpleHTTPRequestHandler):
    """Python's own server knows no parts of files; this one says so."""

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "none")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(params=[WithoutRanges])
def address(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    folder = tmp_path / "web"
    folder.mkdir()
    pq.write_table(pa.table({"url": ["http://x/0"], "caption": ["a"]}), folder / "a.parquet")
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text("url,caption\nhttp://x/0,a\n")
    (folder / "a.csv.gz").write_bytes(gzip.compress((folder / "a.csv").read_bytes()))
    (folder / "bomb.csv.gz").write_bytes(gzip.compress(bytes(65 << 20)))
    write_tar(folder / "a.tar", {"a.jpg": JPEG, "a.txt": "a"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(request.param, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


without_sizes = pytest.mark.parametrize("address", [WithoutSizes], indirect=True)


@without_sizes
def test_a_packed_list_of_unknown_size_is_read_within_the_limit(address: str) -> None:
    assert len(list(LaionSource(f"{address}/a.csv.gz").rows(LeftOut()))) == 1
    with pytest.raises(RequestError, match=r"bomb\.csv\.gz: must unpack to at most 67108864 bytes"):
        list(LaionSource(f"{address}/bomb.csv.gz").rows(LeftOut()))


@without_sizes
@pytest.mark.parametrize(
    ("make", "name"), [(LaionSource, "a.parquet"), (TableSource, "a.parquet"), (TarsSource, "a.tar")]
)
def test_a_file_of_unknown_size_that_needs_ranges_is_said_in_one_line(
    make: Callable[[str], Source], name: str, address: str
) -> None:
    with pytest.raises(RequestError, match=rf"^{address}/{name}: its server must answer requests for parts"):
        list(make(f"{address}/{name}").rows(LeftOut()))


def test_lists_of_text_are_read(address: str) -> None:
    for pattern, rows in (("a.csv", 1), ("*.csv", 2)):
        assert len(list(LaionSource(f"{address}/{pattern}").rows(LeftOut()))) == rows


@pytest.mark.parametrize(
    ("make", "name"), [(LaionSource, "a.parquet"), (TableSource, "a.parquet"), (TarsSource, "a.tar")]
)
def test_a_server_without_ranges_is_said_in_one_line(
    make: Callable[[str], Source], name: str, address: str
) -> None:
    line = rf"^{address}/{name}: its server must answer requests for parts of a file \(Range\), and does not"
    with pytest.raises(RequestError, match=line):
        list(make(f"{address}/{name}").rows(LeftOut()))


class Forbids(WithoutRanges):
    """It gives nothing away."""

    def do_GET(self) -> None:
        self.send_error(403)

    do_HEAD = do_GET


@pytest.mark.parametrize("address", [Forbids], indirect=True)
@pytest.mark.parametrize("name", ["a.csv", "*.csv", "a.parquet"])
def test_a_list_that_is_forbidden_is_no_outage(name: str, address: str) -> None:
    with pytest.raises(RequestError, match=rf"access to {address}/.* is denied: 403"):
        list(LaionSource(f"{address}/{name}").rows(LeftOut()))


@pytest.mark.parametrize("name", ["a.csv", "*.csv", "lists", ""])
@pytest.mark.parametrize("make", [LaionSource, FolderSource])
def test_a_server_that_is_down_is_not_one_without_the_file(
    make: Callable[[str], Source], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t2i_shards.pipeline.shards.remote_read.WAITS", ())
    with pytest.raises(Unreachable, match=r"Cannot connect to host 127\.0\.0\.1:9"):
        list(make(f"http://127.0.0.1:9/{name}").rows(LeftOut()))


def test_a_server_without_the_file_is_not_down(address: str) -> None:
    for name in ("gone.csv", "gone"):
        with pytest.raises(RequestError, match="none match"):
            list(LaionSource(f"{address}/{name}").rows(LeftOut()))
    assert list(FolderSource(f"{address}/gone").rows(LeftOut())) == []

"""COCO's pictures by their coco_url, through the guarded download, from a server on loopback."""

from __future__ import annotations

import functools
import threading
import urllib.request
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.outcomes import ROWS, rows_path
from t2i_shards.pipeline.download import shard as download
from t2i_shards.pipeline.download.limits import Limits
from t2i_shards.pipeline.download.shard import Downloads
from t2i_shards.pipeline.shards.table import read_table
from t2i_shards.pipeline.sources.coco.source import CocoSource
from tests.pipeline.coco_toy import SPLIT, rendered_pictures, write_coco
from tests.pipeline.sources.coco.test_ingest import digests, drops, ingest, samples


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Of a server that has the files below tmp_path/web."""
    (tmp_path / "web").mkdir()
    handler = functools.partial(Quiet, directory=str(tmp_path / "web"))
    before = urllib.request._opener  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
    download.install_client.cache_clear()
    urllib.request.install_opener(before)


def write_downloadable(folder: Path, port: int) -> Path:
    """A COCO whose pictures are below folder/web alone, all but the second."""
    coco = write_coco(folder / "coco", rendered_pictures())
    captions = coco / "annotations" / f"captions_{SPLIT}.json"
    captions.write_text(captions.read_text().replace("http://images.cocodataset.org", f"http://127.0.0.1:{port}"))
    (coco / SPLIT).rename(folder / "web" / SPLIT)
    (folder / "web" / SPLIT / "000000000008.jpg").unlink()
    return coco


def test_what_is_downloaded_is_as_from_the_folder(port: int, tmp_path: Path) -> None:
    coco = write_downloadable(tmp_path, port)
    limits = Limits(allow_private=("127.0.0.0/8",), ports=(port,), url_seconds=20)
    there = ingest(tmp_path / "there", CocoSource(str(coco), SPLIT, downloads=Downloads(threads=4, limits=limits)))
    assert drops(there) == {"http 404": 1}
    outcomes = read_table(there.store, rows_path(0), ROWS).to_pylist()
    assert [row["http"] for row in outcomes] == [200, 404, 200, 200]
    (tmp_path / "web" / SPLIT).rename(coco / SPLIT)
    here = ingest(tmp_path / "here", CocoSource(str(coco), SPLIT))
    assert digests(there, "seg", "keypose") == digests(here, "seg", "keypose")
    pictures = ({key: members["jpg"] for key, members in samples(dataset).items()} for dataset in (there, here))
    assert next(pictures) == next(pictures)


def test_downloads_go_through_the_guard(port: int, tmp_path: Path) -> None:
    coco = write_downloadable(tmp_path, port)
    limits = Limits(ports=(port,), url_seconds=20)
    dataset = ingest(
        tmp_path / "root", CocoSource(str(coco), SPLIT, downloads=Downloads(threads=4, limits=limits))
    )
    assert drops(dataset) == {"refused: address": 6}

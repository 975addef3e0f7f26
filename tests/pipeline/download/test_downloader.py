"""The real Downloader of img2dataset through the guard: its error messages are the guard's phrases."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from t2i_shards.pipeline.download.client import GuardedClient
from t2i_shards.pipeline.download.limits import Limits
from t2i_shards.pipeline.download.shard import import_downloader
from tests.faults.hostile import NASTY, PICTURE, SLOW, Server, answer

OK = {f"/{number}": answer(PICTURE + bytes([number])) for number in range(20)}
SLOWER = SLOW | {"busy-for-long"}
"""They take their whole time, and are tried elsewhere; the last of them would keep all others from the host."""


class Kept:
    """img2dataset's writer: what came of each key."""

    def __init__(self) -> None:
        self.found: dict[int, bytes | str] = {}

    def write(self, picture: bytes | None, key: str, caption: str | None, meta: dict[str, Any]) -> None:
        self.found[int(key)] = meta["error_message"] if picture is None else picture

    def close(self) -> None:
        """Nothing is open."""


def test_error_messages_are_the_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
    monkeypatch.setattr(urllib.request, "_opener", None)
    Downloader = import_downloader()

    expected: dict[str, bytes | str] = {
        **{f"/{name}": nasty.reason for name, nasty in NASTY.items() if name not in SLOWER},
        **{path: PICTURE + bytes([number]) for number, path in enumerate(OK)},
    }
    kept = Kept()
    with Server(OK) as server:
        client = GuardedClient(
            Limits(ports=(80, server.port), allow_private=("127.0.0.1",), picture_bytes=1 << 20)
        )
        client.install()
        client.begin_shard()
        urls = [server.url + path for path in expected] + ["http://169.254.169.254/latest", "file:///etc/passwd"]
        table = tmp_path / "urls.arrow"
        with (
            pa.OSFile(os.fspath(table), "wb") as file,
            pa.ipc.new_file(file, pa.schema([("url", pa.string())])) as out,
        ):
            out.write_table(pa.table({"url": urls}))
        downloader = Downloader(
            sample_writer_class=lambda *_: kept,
            resizer=lambda stream, _: (stream.read(), None, None, None, None, None),
            thread_count=16,
            save_caption=False,
            extract_exif=False,
            output_folder=os.fspath(tmp_path),
            column_list=["url"],
            timeout=20,
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
    assert whole
    assert [kept.found[number] for number in range(len(urls))] == [
        *expected.values(),
        "refused: address",
        "refused: scheme",
    ]

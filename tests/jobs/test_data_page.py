"""Each command of docs/data.md makes a dataset of the input that the page names for it."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.jobs.__main__ import run
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.engine.run import RunResult
from tests.docs.inputs import JPEG, write_inputs
from tests.docs.pages import HOME, read_snippets
from tests.pipeline.coco_toy import rendered_pictures, write_coco

COMMANDS = [
    shlex.split(of.text)[1:]
    for of in read_snippets(HOME / "docs/data.md")
    if of.text.startswith("t2i-shards ingest")
]
NAMES = [" ".join(command) for command in COMMANDS]


@pytest.fixture
def port() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = JPEG if self.path.endswith(".jpg") else b""
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def run_here(stage: Any, shards: Iterable[int], *_: object, **__: object) -> RunResult:
    """Without a process of its own."""
    stage.setup()
    return RunResult(made={shard: stage(shard) for shard in shards})


def test_the_page_has_a_command_for_all_sources() -> None:
    assert {name.split()[1] for name in NAMES} == {"folder", "tars", "table", "coco", "laion", "scenes"}
    assert len(NAMES) >= 18


@pytest.mark.parametrize("name", [name for name in NAMES if "hf://" not in name])
def test_each_command_runs(
    name: str, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("t2i_shards.jobs.fill.run", run_here)
    write_inputs(tmp_path, port)
    command = COMMANDS[NAMES.index(name)]
    if "coco" in command:
        write_coco(tmp_path / "coco", rendered_pictures(1), "train2017")
        command = [part.replace("/data/coco", "coco") for part in command]
    if "s3://" in name:
        bucket = request.getfixturevalue("bucket")
        command = [part.replace("s3://bucket", bucket) for part in command]
        send(tmp_path / "my/photographs", bucket, "prefix")
        send(tmp_path / "shards", bucket, "set")
    if "urls" in name:
        command += ["--allow-private", "127.0.0.0/8", "--ports", str(port)]
    if "scenes" in command:
        command += ["--samples", "1"]
    assert run([*command, *(() if "--size" in command else ("--size", "128"))]) == 0
    dataset = Dataset.open(command[command.index("--out") + 1])
    assert sum(receipt.samples for receipt in dataset.receipts(IMAGES).values()) >= 1
    for column in (part.partition(":")[0] for part in command if ":as-is" in part):
        assert dataset.receipts(column)[0].samples == 1


def send(folder: Path, bucket: str, prefix: str) -> None:
    import boto3

    for path in folder.iterdir():
        boto3.client("s3").upload_file(str(path), bucket.removeprefix("s3://"), f"{prefix}/{path.name}")

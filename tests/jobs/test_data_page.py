"""Each command of docs/data.md makes a dataset of the input that the page names for it."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2i_shards.jobs.__main__ import run
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.engine.run import RunResult
from tests.pipeline.coco_toy import rendered_pictures, write_coco
from tests.pipeline.image.pictures import gradient, save
from tests.pipeline.sources.tars.toys import write_tar

PAGE = Path(__file__).parents[2] / "docs/data.md"
JPEG, PNG = (save(gradient(256, 320), kind) for kind in ("JPEG", "PNG"))


def commands() -> list[list[str]]:
    """Those of the table, in which a row may add options to the command before it, and of the blocks."""
    found: list[list[str]] = []
    whole: list[str] = []
    for line in PAGE.read_text().splitlines():
        code = re.findall(r"`([^`]+)`", line.split("|")[2]) if line.startswith("| ") else []
        if line.startswith("    t2i-shards"):
            code = [line.partition("  #")[0].strip()]
        if "the same with" in line:
            found += [[*whole, *shlex.split(options)] for options in code if options.startswith("--")]
        for command in code:
            if command.startswith("t2i-shards ingest"):
                found.append(whole := shlex.split(command)[1:])
    return found


NAMES = [" ".join(command) for command in commands()]


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


def write_inputs(folder: Path, port: int) -> None:
    """The inputs that the page names."""
    (folder / "my/photographs").mkdir(parents=True)
    (folder / "my/photographs/photo.jpg").write_bytes(JPEG)
    for ending, text in ((".txt", "a"), (".caption", "b"), (".json", '{"text": "c"}')):
        (folder / f"my/photographs/photo{ending}").write_text(text)
    tar: dict[str, Any] = {"0.jpg": JPEG, "0.png": PNG, "0.txt": "a", "0.json": {"blip_caption": "b"}}
    tar["0.sketch.png"] = save(gradient(256, 320)[..., 0] // 4, "PNG")
    for name in ("shards", "laion-art"):
        write_tar(folder / name / "0.tar", tar)
    (folder / "set").mkdir()
    pq.write_table(pa.table({"image": [JPEG], "caption": ["a"]}), folder / "set/0.parquet")
    (folder / "set/0.jpg").write_bytes(JPEG)
    (folder / "set/0.csv").write_text("file,legend\n0.jpg,a\n")
    (folder / "pictures").mkdir()
    (folder / "pictures/0.jpg").write_bytes(JPEG)
    (folder / "pictures/metadata.jsonl").write_text('{"file_name": "0.jpg", "text": "a"}')
    (folder / "urls").mkdir()
    url = f"http://127.0.0.1:{port}/0.jpg"
    pq.write_table(pa.table({"url": [url], "caption": ["a"]}), folder / "urls/0.parquet")
    (folder / "urls.jsonl").write_text(json.dumps({"link": url, "caption": "a"}))


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
    monkeypatch.setattr("t2i_shards.jobs.ingest_flow.run", run_here)
    write_inputs(tmp_path, port)
    command = commands()[NAMES.index(name)]
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

"""Deciding what is left of 10,000 shards in an object store."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from unittest import mock

from t2i_shards.pipeline.dataset.dataset import Dataset, Description
from t2i_shards.pipeline.shards.receipt import shard_name, to_json
from tests.bench.measure import Row

SHARDS, LEFT = 10_000, 37


def bench(folder: Path) -> list[Row]:
    del folder
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    lists = 0
    app = DomainDispatcherApplication(create_backend_app)

    def counting(environ: dict[str, Any], start: Any) -> Any:
        nonlocal lists
        lists += "list-type=2" in environ.get("QUERY_STRING", "")
        return app(environ, start)

    import logging
    from threading import Thread

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, counting, threaded=True)
    Thread(target=server.serve_forever, daemon=True).start()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with mock.patch.dict(os.environ, settings):
        _fill()
        dataset = Dataset.open("s3://bench/dataset")
        lists = 0
        started = time.perf_counter()
        left = dataset.left(["sketch"])
        seconds = time.perf_counter() - started
    server.shutdown()
    assert left == list(range(SHARDS - LEFT, SHARDS))
    return [
        Row("what is left of 10,000 shards on S3", "s", seconds, None, None, "<= 10"),
        Row("the same", "LIST calls", float(lists), None, None, "<= 10"),
    ]


def _fill() -> None:
    """Put the objects straight into the server's memory: 20,000 requests would take minutes."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.create_bucket("bench", "us-east-1")
    description = Description({"kind": "none"}, {"size": 64}, 1, SHARDS, SHARDS, "")
    backend.put_object("bench", "dataset/dataset.json", to_json(description.__dict__))
    backend.put_object("bench", "dataset/sketch/column.json", b"{}")
    for shard in range(SHARDS - LEFT):
        for suffix in ("json", "tar"):
            backend.put_object("bench", f"dataset/sketch/{shard_name(shard)}.{suffix}", b"")

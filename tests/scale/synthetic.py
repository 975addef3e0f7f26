"""Datasets of many shards that are receipts alone, and an S3 server that counts what it is asked."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Literal
from unittest import mock

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset, Description
from t2i_shards.pipeline.dataset.roll_up import THOUSAND, write_roll_up
from t2i_shards.pipeline.shards.receipt import Receipt, digest_json, shard_name, to_json
from t2i_shards.pipeline.shards.receipt_table import tabulate
from t2i_shards.pipeline.shards.sample import digest_keys

Put = Callable[[str, bytes], object]
"""(path, bytes)"""
COLUMNS = (IMAGES, "sketch", "depth", "keypose", "seg", "color")
SAMPLES = 4000


def describe(shards: int) -> Description:
    return Description({"kind": "none"}, {"size": 512}, SAMPLES, shards, shards * SAMPLES, "")


def make_receipt(description: Description, column: str, shard: int) -> Receipt:
    """That of a shard whose bytes were hashed and whose keys were counted, if not of a real one."""
    images, own = (hashlib.sha256(f"{name} {shard}".encode()).hexdigest() for name in (IMAGES, column))
    recipe = description.recipe if column == IMAGES else digest_json({"column": column})
    return Receipt(
        column=column,
        shard=shard,
        planned=SAMPLES,
        samples=SAMPLES,
        bytes=4 * 10**8,
        sha256=own,
        keys=digest_keys([str(shard)]),
        recipe=recipe,
        input=None if column == IMAGES else images,
        rows=own if column == IMAGES else None,
        seconds=shard / 7,
    )


def fill(
    put: Put,
    shards: int,
    columns: Sequence[str],
    tars: bool = False,
    receipts: Literal["real", "names", "no"] = "real",
) -> Description:
    """A finished dataset, without pictures.

    tars: empty ones are there, for listings of the real length. receipts: where they are in roll-ups anyway, empty
    files are as good; an object store is not even asked for their names.
    """
    description = describe(shards)
    for column in columns:
        if column != IMAGES:
            put(f"{column}/column.json", to_json({"column": column}))
        for shard in range(shards) if receipts != "no" else ():
            data = make_receipt(description, column, shard).encode() if receipts == "real" else b""
            put(f"{column}/{shard_name(shard)}.json", data)
            if tars:
                put(f"{column}/{shard_name(shard)}.tar", b"")
    put("dataset.json", description.encode())
    return description


def roll_up(root: str, columns: Sequence[str]) -> None:
    """Make the roll-ups of a filled dataset, without reading it."""
    dataset = Dataset.open(root)
    for column in columns:
        for first in range(0, len(dataset.shards), THOUSAND):
            shards = dataset.shards[first : first + THOUSAND]
            receipts = [make_receipt(dataset.description, column, shard) for shard in shards]
            write_roll_up(dataset.store, tabulate(column, receipts))


def put_in_folder(root: Path) -> Put:
    def put(path: str, data: bytes) -> None:
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    return put


def put_in_moto(bucket: str) -> Put:
    """Into the memory of moto's server in this process: as many requests would take minutes."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.create_bucket(bucket, "us-east-1")
    return lambda path, data: backend.put_object(bucket, f"root/{path}", data)


@contextmanager
def counted_s3() -> Iterator[Counter[str]]:
    """moto's S3 server in this process, for clients of this process; counts requests: LIST, GET, HEAD, PUT …"""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    counts, lock = Counter[str](), Lock()
    app = DomainDispatcherApplication(create_backend_app)

    def counting(environ: dict[str, Any], start: Any) -> Any:
        with lock:
            lists = "list-type=2" in environ.get("QUERY_STRING", "")
            counts["LIST" if lists else environ["REQUEST_METHOD"]] += 1
        return app(environ, start)

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, counting, threaded=True)
    Thread(target=server.serve_forever, daemon=True).start()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }
    with mock.patch.dict(os.environ, settings):
        yield counts
    server.shutdown()
    server.server_close()


def count(counts: Counter[str], work: Callable[[], object]) -> dict[str, int]:
    """The requests of `work`."""
    before = counts.copy()
    work()
    return dict(counts - before)

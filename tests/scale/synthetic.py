"""Datasets of many shards that are receipts alone, and an S3 server that counts what it is asked."""

from __future__ import annotations

import logging
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Literal
from unittest import mock

import numpy as np
import pyarrow as pa

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.description import Description
from t2i_shards.pipeline.dataset.roll_up import THOUSAND, write_roll_up
from t2i_shards.pipeline.shards.receipt import Receipt, digest_json, shard_name, to_json
from t2i_shards.pipeline.shards.receipt_table import SCHEMA, ReceiptTable, from_table

Put = Callable[[str, bytes], object]
"""(path, bytes)"""
COLUMNS = (IMAGES, "sketch", "depth", "keypose", "seg", "color")
SAMPLES = 4000


def describe(shards: int) -> Description:
    return Description({"kind": "none"}, {"size": 512}, SAMPLES, shards, shards * SAMPLES, "")


@lru_cache(maxsize=64)
def draw_digests(name: str, thousand: int) -> bytes:
    """The digests of a thousand shards, 32 bytes each, that look like those of anything."""
    return np.random.default_rng([zlib.crc32(name.encode()), thousand]).bytes(32 * THOUSAND)


def digest(name: str, shard: int) -> str:
    return draw_digests(name, shard // THOUSAND)[32 * (shard % THOUSAND) :][:32].hex()


@cache
def recipe(column: str, shards: int) -> str:
    return describe(shards).recipe if column == IMAGES else digest_json({"column": column})


def make_receipt(shards: int, column: str, shard: int) -> Receipt:
    """That of a shard of a dataset with so many."""
    return Receipt(
        column=column,
        shard=shard,
        planned=SAMPLES,
        samples=SAMPLES,
        bytes=4 * 10**8,
        sha256=digest(column, shard),
        keys=digest("keys", shard),
        recipe=recipe(column, shards),
        input=None if column == IMAGES else digest(IMAGES, shard),
        rows=digest("rows", shard) if column == IMAGES else None,
        seconds=shard / 7,
    )


def tabulate_receipts(shards: int, column: str, of: range) -> ReceiptTable:
    """Those of shards within one thousand, without making each."""
    count, first = len(of), of.start % THOUSAND

    def draw(name: str) -> pa.Array:
        data = draw_digests(name, of.start // THOUSAND)[32 * first : 32 * (first + count)]
        return pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), count, [None, pa.py_buffer(data)])

    nothing = pa.nulls(count)
    columns = {
        "shard": pa.array(of),
        "planned": pa.array([SAMPLES] * count),
        "samples": pa.array([SAMPLES] * count),
        "bytes": pa.array([4 * 10**8] * count),
        "sha256": draw(column),
        "keys": draw("keys"),
        "recipe": pa.array([recipe(column, shards)] * count),
        "input": nothing if column == IMAGES else draw(IMAGES),
        "drops": nothing,
        "dropped": nothing,
        "rows": draw("rows") if column == IMAGES else nothing,
        "seconds": pa.array([shard / 7 for shard in of]),
        "first": nothing,
        "erased": nothing,
    }
    return from_table(column, pa.table(columns).cast(SCHEMA))


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
            data = make_receipt(shards, column, shard).encode() if receipts == "real" else b""
            put(f"{column}/{shard_name(shard)}.json", data)
            if tars:
                put(f"{column}/{shard_name(shard)}.tar", b"")
    put("dataset.json", description.encode())
    return description


def roll_up(root: str, columns: Sequence[str]) -> None:
    """Make the roll-ups of a filled dataset, without reading it."""
    dataset = Dataset.open(root)
    count = len(dataset.shards)
    for column in columns:
        for first in range(0, count, THOUSAND):
            shards = dataset.shards[first : first + THOUSAND]
            write_roll_up(dataset.store, tabulate_receipts(count, column, shards))


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

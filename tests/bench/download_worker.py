"""One worker that downloads shard after shard and reports the cost of each.

`python -m tests.bench.download_worker WAY FOLDER PORT ROWS SHARDS PICTURES`, where WAY is ours, ours-420,
unguarded or img2dataset. Each line on its input is a shard's number, each "rate" of its output the pictures per
CPU second of that shard: user and system time of all its threads.
"""

from __future__ import annotations

import os
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from t2i_shards.pipeline.download.limits import Limits
from t2i_shards.pipeline.download.shard import Downloads, import_downloader
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.laion.source import LaionSource
from t2i_shards.pipeline.stages.ingest import Ingest
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset

SIZE, THREADS = 512, 64


def ours(
    folder: Path, urls: list[str], port: int, rows: int, size: int = SIZE, chroma: Literal["444", "420"] = "444"
) -> Ingest:
    """The stage of `ingest laion --fit square`, planned over these URLs and set up."""
    folder.mkdir()
    metadata = str(folder / "metadata.parquet")
    pq.write_table(pa.table({"URL": urls, "TEXT": ["a picture"] * len(urls)}), metadata)
    limits = Limits(ports=(port,), allow_private=("127.0.0.1",), host_connections=THREADS)
    source = LaionSource(metadata, downloads=Downloads(threads=THREADS, limits=limits))
    geometry = Geometry(size, fit="square", chroma=chroma)
    stage = Ingest(plan_dataset(str(folder / "root"), source, geometry, rows), source, {})
    stage.setup()
    return stage


def img2dataset(folder: Path, urls: list[str], rows: int) -> Callable[[int], None]:
    """img2dataset's own way: centre crop, cubic, quality 95, tar files; EXIF, which we don't keep, left out."""
    downloader = import_downloader()
    from img2dataset.resizer import Resizer
    from img2dataset.writer import WebDatasetSampleWriter

    folder.mkdir()
    download = downloader(
        sample_writer_class=WebDatasetSampleWriter,
        resizer=Resizer(SIZE, "center_crop", False, "cubic", "cubic", encode_quality=95),
        thread_count=THREADS,
        save_caption=True,
        extract_exif=False,
        output_folder=os.fspath(folder),
        column_list=["url", "caption"],
        timeout=10,
        number_sample_per_shard=rows,
        oom_shard_count=5,
        compute_hash="sha256",
        verify_hash_type=None,
        encode_format="jpg",
        retries=0,
        user_agent_token=None,
        disallowed_header_directives=["noai", "noimageai", "noindex", "noimageindex"],
    )

    def run(shard: int) -> None:
        path = os.fspath(folder / f"{shard}.feather")
        part = urls[shard * rows : (shard + 1) * rows]
        table = pa.table({"url": part, "caption": ["a picture"] * len(part)})
        with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, table.schema) as out:
            out.write_table(table)
        whole, _ = download((shard, path))
        assert whole

    return run


def main(way: str, folder: str, port: int, rows: int, shards: int, pictures: int) -> None:
    """Serve shards until the input ends."""
    urls = [f"http://127.0.0.1:{port}/{i}/{i % pictures}.jpg" for i in range(rows * shards)]
    run: Callable[[int], object]
    if way == "img2dataset":
        run = img2dataset(Path(folder), urls, rows)
    else:
        run = ours(Path(folder), urls, port, rows, chroma="420" if way == "ours-420" else "444")
    if way == "unguarded":
        urllib.request.install_opener(urllib.request.build_opener())
    for line in sys.stdin:
        started = time.process_time()
        run(int(line))
        print(f"rate {rows / (time.process_time() - started)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))

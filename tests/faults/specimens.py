"""One of each kind of file that a dataset or a publication has, and ways to alter it."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2i_shards.jobs.__main__ import run
from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.dataset.duplicates import mark_duplicates
from t2i_shards.pipeline.dataset.left_out import LEFT_OUT
from t2i_shards.pipeline.dataset.supplement import plan_retry
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.engine.pool import Event, Worker
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.shards.receipt import to_json
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.tar import TarWriter, read_samples
from t2i_shards.pipeline.sources.scenes import ScenesSource
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from t2i_shards.pipeline.stages.stage import Stage
from tests.faults.toys import fill
from tests.pipeline.web import Web, put_failure, put_picture

SECONDS, MEGABYTES = 300, 600
"""What a command may take at most on files of a few kilobytes; it takes less than one, and ten."""

GEOMETRY = Geometry(64)
NAMES = ("a-0", "a-1", "b-0", "b-1", "b-2", "b-3")


class HerePool:
    """A pool whose only worker is this process."""

    free = True
    idle = False  # nothing is late here
    begun = ()
    under_way = 0

    def __init__(self, stage: Stage, *_: Any) -> None:
        self._worker, self._events = Worker(stage), list[Event]()

    def submit(self, shard: int, careful: bool = False) -> None:
        self._events.append(Event(shard, self._worker.run(shard, careful)))

    def wait(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Nothing to end."""


def make_downloaded(root: Path, folder: Path) -> None:
    """Downloaded pictures with colours: a supplement, a duplicate, a removed sample, rows left out."""
    for number, name in enumerate(NAMES):
        put_picture(folder, name, min(number, 4))
    put_failure(folder, "b-1", "timed out")
    source = Web(os.fspath(folder), NAMES)
    dataset = plan_dataset(os.fspath(root), source, GEOMETRY, 3)
    dataset.store.create_bytes(LEFT_OUT, to_json({"no caption": 2}))
    fill(dataset, source)
    put_picture(folder, "b-1", 3)
    assert plan_retry(dataset)
    fill(dataset, source)
    stage = plan_extract(dataset, ["color"])
    stage.setup()
    for shard in dataset.shards:
        stage(shard)
    assert mark_duplicates(dataset).num_rows
    assert remove(dataset, "keys", ["000000000"]).removed


def make_scenes(root: Path) -> None:
    """Eight scenes in two shards with keypose and sketch."""
    source = ScenesSource(samples=8)
    dataset = plan_dataset(os.fspath(root), source, GEOMETRY, 4)
    fill(dataset, source, ("sketch", "keypose"))


@dataclass(frozen=True)
class World:
    """base: holds everything; out: what commands may write in."""

    base: Path
    out: Path

    def file(self, pattern: str) -> Path:
        [found] = self.base.glob(pattern)
        return found

    def tell(self, words: str, copies: Sequence[str] = ()) -> int:
        """The exit code of a command, which wrote nothing outside `out`, and ended in lines.

        copies: the folders of `base` that the command finds in `out`, to write in.
        """
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        for name in copies:
            shutil.copytree(self.base / name, self.out / name)
        before, memory = _listing(self.base), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        said = io.StringIO()
        signal.alarm(SECONDS)
        try:
            with redirect_stderr(said), redirect_stdout(said):
                code = run(words.split())
        finally:
            signal.alarm(0)
        assert code in (0, 2, 3), said.getvalue()
        assert "Traceback" not in said.getvalue()
        after = {path for path in _listing(self.base) if self.out not in path.parents}
        assert after <= before, "a command wrote elsewhere"
        # Memory that was given back to the system cannot be measured afterwards.
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < MEGABYTES * 1000
        return code


def _listing(base: Path) -> set[Path]:
    return {path for path in base.rglob("*") if ".scratch" not in path.parts}


@contextmanager
def altered(files: Mapping[Path, bytes]) -> Iterator[None]:
    """The files with these bytes, and as they were afterwards."""
    whole = {path: path.read_bytes() for path in files}
    try:
        _write(files)
        yield
    finally:
        _write(whole)


def _write(files: Mapping[Path, bytes]) -> None:
    for path, data in files.items():
        path.unlink(missing_ok=True)  # stores make files read-only
        path.write_bytes(data)


def alter_member(root: Path, column: str, member: str, data: bytes) -> dict[Path, bytes]:
    """The files of shard 0 in which its first sample has `data` as a member, with receipts that vouch for it.

    As an attacker who knows the format would make them.
    """
    tar, receipt = (root / column / f"000000.{end}" for end in ("tar", "json"))
    first, *others = read_samples(memoryview(tar.read_bytes()))
    file = io.BytesIO()
    writer = TarWriter(file)
    for sample in (Sample(first.key, {**first.members, member: data}), *others):
        writer.add(sample)
    sha256 = writer.close()
    changes: dict[Path, dict[str, Any]] = {receipt: {"sha256": sha256, "bytes": writer.bytes}}
    if column == IMAGES:
        changes |= {path.with_name("000000.json"): {"input": sha256} for path in root.glob("*/column.json")}
    records = {path: json.dumps(json.loads(path.read_bytes()) | of).encode() for path, of in changes.items()}
    return {tar: file.getvalue(), **records}

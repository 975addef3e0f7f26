"""Indexes of a published shard, all from one scan of its tar.

- `dali/train-000000.idx`: DALI's, as its wds2idx writes it (v1.2): a line for each sample with, of each member,
  extension, offset of its bytes, their number, and name.
- `data/train-000000.tar.idx`: Megatron-Energon's: where each sample begins, and the last one ends, as uint64.
- `.nv-meta/`: Energon's description of the dataset, with a table of all samples and members (SQLite).
- `webshart/train-000000.json`: webshart's: where each member of the tar lies.
- `wids-train.json`: the shards of a split with their samples, for random access with `wids`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.shards.receipt import digest_json, to_compact_json, to_json
from t2i_shards.pipeline.shards.tar import BLOCK, END, group_members, read_members

DALI_VERSION = "v1.2"
ENERGON_VERSION = "7.4.1"
"""The release whose format is written."""
VAL = "val"
"""What Energon calls the split that others call validation."""

_TABLES = """
CREATE TABLE samples (tar_file_id INTEGER NOT NULL, sample_key TEXT NOT NULL UNIQUE,
    sample_index INTEGER NOT NULL, byte_offset INTEGER, byte_size INTEGER);
CREATE TABLE sample_parts (tar_file_id INTEGER, sample_index INTEGER, part_name TEXT,
    content_byte_offset INTEGER, content_byte_size INTEGER);
"""
_INDEXES = """
CREATE INDEX idx_samples_by_tar_and_idx ON samples(tar_file_id, sample_index);
CREATE INDEX idx_sample_parts_seq ON sample_parts(tar_file_id, sample_index, content_byte_offset);
CREATE INDEX idx_sample_parts_full ON sample_parts(tar_file_id, sample_index, part_name,
    content_byte_offset, content_byte_size);
"""


@dataclass(frozen=True)
class Member:
    """name: without the key. start, size: of its bytes in the tar."""

    name: str
    start: int
    size: int


@dataclass(frozen=True)
class Entry:
    """A sample in a tar. start: of its first header."""

    key: str
    members: tuple[Member, ...]

    @property
    def start(self) -> int:
        return self.members[0].start - BLOCK


def scan(data: memoryview) -> list[Entry]:
    """The samples of a tar as TarWriter writes it. Raises TarError."""
    found = ((name, (start, len(content))) for name, start, content in read_members(data))
    return [
        Entry(key, tuple(Member(name, *of) for name, of in members.items()))
        for key, members in group_members(found)
    ]


def dali_index(entries: Sequence[Entry]) -> bytes:
    """The text of the .idx file."""
    lines = [f"{DALI_VERSION} {len(entries)}"]
    lines += [" ".join(f"{m.name} {m.start} {m.size} {e.key}.{m.name}" for m in e.members) for e in entries]
    return ("\n".join(lines) + "\n").encode()


def read_dali_index(data: bytes | memoryview, path: str) -> list[Entry]:
    """What `dali_index` was given. Raises DamagedShard, which names `path`."""
    entries = []
    try:
        for line in bytes(data).decode().splitlines()[1:]:
            words = line.split(" ")
            members = [Member(words[i], int(words[i + 1]), int(words[i + 2])) for i in range(0, len(words), 4)]
            entries.append(Entry(words[3].partition(".")[0], tuple(members)))
    except (ValueError, IndexError) as error:
        raise DamagedShard(f"{path}: must be DALI's index of a shard ({error})") from None
    return entries


def webshart_index(name: str, entries: Sequence[Entry], size: int) -> bytes:
    """The JSON by which webshart reads the tar `name` of `size` bytes."""
    files = {f"{e.key}.{m.name}": {"offset": m.start, "length": m.size} for e in entries for m in e.members}
    return to_compact_json({"path": name, "filesize": size, "files": files})


def energon_index(entries: Sequence[Entry], size: int) -> bytes:
    """The .tar.idx file. size: bytes of the tar."""
    return np.array([*(entry.start for entry in entries), size - len(END)], "<u8").tobytes()


def wids_index(name: str, shards: Iterable[tuple[str, int, int]]) -> bytes:
    """wids-train.json. shards: (path next to it, samples, bytes)."""
    listed = [{"url": path, "nsamples": samples, "filesize": size} for path, samples, size in shards]
    return to_json({"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": name, "shardlist": listed})


def energon_meta(splits: Mapping[str, Sequence[tuple[str, int]]]) -> dict[str, bytes]:
    """File -> bytes of .nv-meta, its table aside. splits: split -> (path of a shard, samples)."""
    counts = {path: samples for shards in splits.values() for path, samples in shards}
    names = {} if VAL in splits else {"validation": VAL}
    parts = {names.get(split, split): [path for path, _ in shards] for split, shards in splits.items()}
    # JSON is YAML, and needs no library to be written.
    return {
        ".nv-meta/dataset.yaml": to_json({"__module__": "megatron.energon", "__class__": "CrudeWebdataset"}),
        ".nv-meta/split.yaml": to_json({"split_parts": parts}),
        ".nv-meta/.info.json": to_json({"energon_version": ENERGON_VERSION, "shard_counts": counts}),
        # Energon writes a random one; readers that cache by it must see another where the data are others.
        ".nv-meta/index.uuid": _uuid(digest_json(counts)).encode(),
    }


def _uuid(digest: str) -> str:
    return "-".join((digest[:8], digest[8:12], f"4{digest[13:16]}", f"8{digest[17:20]}", digest[20:32]))


def write_energon_table(path: Path, shards: Iterator[tuple[Sequence[Entry], int]]) -> None:
    """.nv-meta/index.sqlite at the local `path`, as Energon's SqliteIndexWriter makes it.

    shards: of each tar, in the order of .info.json, its samples and its size in bytes.
    """
    with closing(sqlite3.connect(path)) as table:
        table.execute("PRAGMA journal_mode = OFF")
        table.executescript(_TABLES)
        for number, (entries, size) in enumerate(shards):
            ends = [*(entry.start for entry in entries[1:]), size - len(END)]
            table.executemany(
                "INSERT INTO samples VALUES (?, ?, ?, ?, ?)",
                ((number, e.key, i, e.start, ends[i] - e.start) for i, e in enumerate(entries)),
            )
            table.executemany(
                "INSERT INTO sample_parts VALUES (?, ?, ?, ?, ?)",
                ((number, i, m.name, m.start, m.size) for i, e in enumerate(entries) for m in e.members),
            )
        table.executescript(_INDEXES)
        table.commit()

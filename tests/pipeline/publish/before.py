"""before.zip: a dataset that has grown by a shard, and two publications that an earlier version made of it.

packed: of its first two shards, --splits train=0.7 test=0.3 --shard-size 2. columns: of all three; its SHA256SUMS
lacks the folder supplements.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

ASKED = {"splits": ("train=0.7", "test=0.3"), "shard_size": 2}


def unpack_before(folder: Path) -> None:
    """Put root, packed and columns into the folder."""
    with zipfile.ZipFile(Path(__file__).with_name("before.zip")) as archive:
        for name in archive.namelist():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))

"""What a plan has is known, whatever its name and whether it was erased, and nothing else is."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

from t2i_shards.pipeline.dataset.create import create_dataset
from t2i_shards.pipeline.dataset.erased_plan import erased_location
from t2i_shards.pipeline.dataset.known_locations import BYTES, KnownLocations, read_known
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.sources.row import Row


def read_known_of(folder: Path, locations: Sequence[str]) -> KnownLocations:
    rows = [Row(f"{key:09d}", location) for key, location in enumerate(locations, 7)]
    return read_known(
        create_dataset(open_store(str(folder / "root")), lambda _: rows, 50, {"kind": "toy"}, {}), folder
    )


def test_what_is_known(tmp_path: Path) -> None:
    """Some hashes begin or end with bytes that are 0."""
    rng = random.Random(0)
    names = [f"{rng.random()}/é{number}.png" for number in range(4000)]
    ends = {hashlib.sha256(name.encode()).digest()[BYTES - 1] for name in names}
    assert 0 in ends
    there, not_there, erased = names[:2000], names[2000:3000], names[3000:]
    odd = "erased:" + "0" * 64  # a file may be called so
    known = read_known_of(tmp_path, [*there, *map(erased_location, erased), odd])
    assert all(name in known for name in (*there, *erased, odd))
    assert not any(name in known for name in (*not_there, "", "erased:", erased_location(not_there[0])))
    assert known.erased == {*map(erased_location, erased), odd}
    assert known.last == 7 + 3000


def test_another_hash_that_is_greater_than_all(tmp_path: Path) -> None:
    names = sorted(map(str, range(100)), key=lambda name: hashlib.sha256(name.encode()).digest())
    known = read_known_of(tmp_path, names[1:-1])
    assert names[-1] not in known
    assert names[0] not in known

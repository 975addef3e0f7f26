"""The Croissant file: valid, it gives all records, and no member is taken for another."""

from __future__ import annotations

import json
import os
import sys
import tarfile
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.publish.croissant import match_member
from t2i_shards.pipeline.sources.scenes import ScenesSource
from tests.faults.toys import make_images
from tests.pipeline.publish.toys import publish_here, toy_dataset


def import_mlcroissant() -> Any:
    """With jsonpath-ng in the place of its predecessor, which comes as source only."""
    import jsonpath_ng
    import jsonpath_ng.lexer

    sys.modules.setdefault("jsonpath_rw", jsonpath_ng)
    sys.modules.setdefault("jsonpath_rw.lexer", jsonpath_ng.lexer)
    import mlcroissant

    return mlcroissant


@pytest.fixture
def croissant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """mlcroissant with a cache of its own, which keeps what it unpacked as the user's does."""
    mlcroissant = import_mlcroissant()
    from mlcroissant._src.operation_graph.operations import extract

    monkeypatch.setattr(extract, "EXTRACT_PATH", type(extract.EXTRACT_PATH)(tmp_path / "unpacked"))
    return mlcroissant


def files_of(croissant: Any, to: Path) -> dict[str, list[str]]:
    """member -> the files of its records, of all records."""
    dataset: Any = croissant.Dataset(str(to / "croissant.json"))
    assert not dataset.metadata.issues.errors
    found = {}
    for records in dataset.metadata.record_sets:
        member = records.id.removeprefix("records-")
        read = list(dataset.records(records.id))
        assert all(isinstance(r[f"{records.id}/content"], Image.Image) for r in read if member.endswith("g"))
        found[member] = sorted(Path(os.fsdecode(r[f"{records.id}/file"])).name for r in read)
    return found


def files_in(to: Path, members: Iterable[str]) -> dict[str, list[str]]:
    """The same, as tarfile tells."""
    names = []
    for path in (to / "data").glob("*.tar"):
        with tarfile.open(path) as tar:
            names += tar.getnames()
    return {member: sorted(n for n in names if n.partition(".")[2] == member) for member in members}


def test_croissant_is_valid_and_gives_all_records(to: Path, croissant: Any) -> None:
    assert files_of(croissant, to) == files_in(to, ("jpg", "txt", "json", "sketch.png", "color.png"))
    record = json.loads((to / "croissant.json").read_text())
    assert record["url"] == "README.md"  # the contact is an address for mail
    shards = [d for d in record["distribution"] if "sha256" in d]
    manifest = [json.loads(line) for line in (to / "manifest.jsonl").read_text().splitlines()]
    assert [(os.path.normpath(s["contentUrl"]), s["sha256"]) for s in shards] == [
        (line["name"], line["sha256"]) for line in manifest
    ]
    assert all((to / s["contentUrl"]).is_file() for s in shards)


def test_the_cache_of_mlcroissant_gives_no_records_of_another_set(croissant: Any, tmp_path: Path) -> None:
    """Nor those of a sample that was removed."""
    members = ("jpg", "txt", "json", "sketch.png")
    for name, count in (("one", 8), ("two", 6)):
        dataset, to = toy_dataset(tmp_path / name / "root", count, 8, color=False), tmp_path / name / "to"
        publish_here(dataset, to, shard_size=4)
        assert files_of(croissant, to) == files_in(to, members)
    remove(dataset, "keys", ["k00001"])
    publish_here(dataset, to, purge=True, shard_size=4)
    found = files_of(croissant, to)
    assert found == files_in(to, members)
    assert "k00001.jpg" not in found["jpg"]
    assert len(list((to / "croissant").rglob("mark.txt"))) == 1


def test_croissant_tells_members_apart_that_end_alike(croissant: Any, tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", ScenesSource(samples=2), 2, ("keypose",))
    publish_here(dataset, tmp_path / "to")
    members = ("jpg", "txt", "json", "keypose.json", "keypose.png")
    assert files_of(croissant, tmp_path / "to") == files_in(tmp_path / "to", members)


def test_patterns_of_members_that_end_alike() -> None:
    members = ("json", "keypose.json", "b.keypose.json", "pose.json", "a-b.json", "png", "sketch.png")
    keys = ("k", "e", "se", "pose", "keypose", "xkeypose", "b", "a-b", "0-b", "_", "eb", "000000000042")
    files = [(f"{key}.{member}", member) for key in keys for member in members]
    for member in members:
        patterns = match_member(member, members)
        found = [name for name, _ in files if any(fnmatch(name, pattern) for pattern in patterns)]
        assert found == [name for name, of in files if of == member], member

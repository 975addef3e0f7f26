"""Side files: all samples of a dataset that is too large for one page, and nothing of them in memory."""

from __future__ import annotations

import gc
import json
import re
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline.engine import RunResult
from t2i_shards.pipeline.engine.run import Progress
from t2i_shards.pipeline.report import DatasetFacts, collect, collect_dataset, render_page
from t2i_shards.pipeline.report.contents import LISTED, Contents
from t2i_shards.pipeline.report.index_data import list_choices
from t2i_shards.pipeline.report.sample_index import Entry
from t2i_shards.pipeline.report.side_files import encode_side_files, list_entries, to_json
from t2i_shards.pipeline.report.strips import Beside
from t2i_shards.pipeline.stages.stage import Stage, StageResult
from tests.pipeline.report.crawl import kept, key, look_here, make_crawl

BAD = '</script><script>alert(1)</script><!-- & ]]> \u2028 \\u003c\\ "); alert(2); (" \ud800'


@pytest.fixture
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five samples to a side file, however few there are."""
    monkeypatch.setattr(collect, "MOST_BESIDE_STRIPS", 0)
    monkeypatch.setattr(collect, "SIDE_FILE", 5)


def read_side_file(data: bytes) -> dict[str, Any]:
    """What a page makes of it."""
    match = re.fullmatch(r"take_samples\((\".*\")\);\n", data.decode())
    assert match
    read: dict[str, Any] = json.loads(json.loads(match[1]))
    return read


def test_a_side_file_is_one_call_with_one_string_whatever_captions_hold() -> None:
    entries = [Entry(f"a{i}", BAD, 0, name=BAD, drops={"sketch": BAD}, notes={"sketch": BAD}) for i in range(5)]
    files, chunks = encode_side_files(entries, ["images", "sketch"], 12, 2)
    assert chunks == (("000012/samples-0", 2), ("000012/samples-1", 2), ("000012/samples-2", 1))
    for (path, size), data in zip(chunks, files.values(), strict=True):
        assert list(files)[chunks.index((path, size))] == f"{path}.js"
        assert not set(b"<>&") & set(data)
        text = json.loads(re.fullmatch(rb"take_samples\((.*)\);\n", data)[1])  # type: ignore[index]
        assert isinstance(text, str)
    rows = [row for data in files.values() for row in read_side_file(data)["rows"]]
    assert rows == json.loads(to_json(list_entries(entries, ["images", "sketch"])["rows"]))


def look_all(root: Path, beside: Path | None = None) -> DatasetFacts:
    return collect_dataset(str(root), 3, look_here, Beside(beside, "files/d1") if beside else None)


@pytest.mark.usefixtures("low")
def test_side_files_hold_what_the_page_would_and_its_choices_count_all(tmp_path: Path) -> None:
    make_crawl(tmp_path / "root")
    page, large = look_all(tmp_path / "root"), look_all(tmp_path / "root", tmp_path / "d1")
    read = [
        (read_side_file((tmp_path / "d1" / f"{path}.js").read_bytes()), size) for path, size in large.index.chunks
    ]
    assert [row[0] for data, _ in read for row in data["rows"]] == list(map(key, kept(40)))
    assert [len(data["rows"]) for data, _ in read] == [size for _, size in read]
    assert max(size for _, size in read) <= 5
    assert {path.stem for path in tmp_path.glob("d1/*/*.webp")} == set(map(key, kept(40)))
    assert large.index.entries == ()
    assert replace(large.index.contents, lacking=[]) == replace(page.index.contents, lacking=[])
    assert list_choices(large.index) == list_choices(page.index)
    assert "script-src 'sha256-" in (html := render_page([large], None))
    assert " 'self' file:; base-uri" in html
    assert " 'self' file:; base-uri" not in render_page([page], None)


def count_entries() -> int:
    """How many there are in this process."""
    return sum(isinstance(one, Entry) for one in gc.get_objects())


@pytest.mark.usefixtures("low")
def test_nothing_of_a_shard_is_kept_but_its_numbers(tmp_path: Path) -> None:
    """However many shards there are, the driver has what came of one of them, and not a single sample."""
    make_crawl(tmp_path / "root", shard_size=8)
    alive, most, before = list[weakref.ref[StageResult]](), [], count_entries()

    def watch(stage: Stage, shards: Sequence[int], take: Progress | None = None) -> RunResult:
        def counting(shard: int, made: StageResult | None) -> None:
            assert take
            take(shard, made)
            if made:
                alive.append(weakref.ref(made))
            most.append((sum(one() is not None for one in alive), count_entries() - before))

        return look_here(stage, shards, counting if take else None)

    collect_dataset(str(tmp_path / "root"), 3, watch, Beside(tmp_path / "d1", "files/d1"))
    assert len(most) == 5
    assert set(most) == {(1, 0)}


def test_the_first_dropped_files_are_named_whichever_shard_came_first() -> None:
    shards = [
        Contents.of([Entry(f"{shard}-{i}", "", 0, drops={"sketch": "failed"}) for i in range(300)], shard)
        for shard in range(4)
    ]
    sums = []
    for order in (shards, shards[::-1]):
        found = Contents()
        for contents in order:
            found.add(contents)
        sums.append(found.sort(["images", "sketch"]))
    assert sums[0] == sums[1]
    assert (sums[0].samples, sums[0].drops) == (1200, {("sketch", "failed"): 1200})
    assert [lacking[-1] for lacking in sums[0].lacking] == [f"{i // 300}-{i % 300}" for i in range(LISTED)]

"""The index: all samples or a uniform choice of them, the same each time, and only ever text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from t2i_shards.pipeline.dataset.losses import Loss
from t2i_shards.pipeline.image.geometry import Placement
from t2i_shards.pipeline.report import collect_dataset, render_page
from t2i_shards.pipeline.report import search_index as module
from t2i_shards.pipeline.report.contents import Contents
from t2i_shards.pipeline.report.index_data import encode_index
from t2i_shards.pipeline.report.sample_index import Entry, rank, read_entry, shorten_location
from t2i_shards.pipeline.report.search_index import SearchIndex, choose_entries, choose_limit
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.sample_info import SampleInfo
from tests.pipeline.report import crawl
from tests.pipeline.report.crawl import kept, key, look_here, make_crawl

COUNT = 40


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("captions") / "root"
    make_crawl(root, COUNT)
    return root


def entries(count: int, length: int = 10) -> list[Entry]:
    return [Entry(key(i), "x" * length, rank(key(i))) for i in range(count)]


def read_index(html: str) -> dict[str, Any]:
    """What the page's script will find."""
    found = re.findall(r'<script type="application/json" class="index">(.*?)</script>', html, re.DOTALL)
    assert len(found) == 1
    read: dict[str, Any] = json.loads(found[0])
    return read


def test_every_caption_of_every_sample_can_be_searched_whatever_it_holds(made: Path) -> None:
    html = render_page([collect_dataset(str(made), 3, look_here)], None)
    index = read_index(html)
    assert [sample[:3] for sample in index["samples"]["rows"]] == [
        [key(i), f"{crawl.caption(i)}\nsecond caption {i}", url(i)] for i in kept(COUNT)
    ]
    assert "The search covers" not in html


def url(index: int) -> str:
    return f"https://{crawl.host(index)}/{index}.png"


def test_every_sample_has_its_numbers_its_labels_and_its_size(made: Path) -> None:
    index = read_index(render_page([collect_dataset(str(made), 3, look_here)], None))
    assert [number["title"] for number in index["numbers"]] == [
        "Aesthetic score",
        "Edge density",
        "Persons in a picture",
    ]
    assert index["numbers"][0]["labels"] is None
    assert index["numbers"][2]["labels"][:3] == ["0", "1", "2"]
    [classes] = index["classes"]
    assert classes == {
        "id": "labels/seg",
        "column": "seg",
        "names": {"0": ["person", "#800000"], "17": ["dog", ANY], "255": ANY},
    }
    for i, (*_, size, numbers, shown, drops, strip, notes) in zip(
        kept(COUNT), index["samples"]["rows"], strict=True
    ):
        assert size == ([128, 64] if crawl.size(i) == (128, 64) else [64, 64])
        assert numbers == [crawl.score(i), min(99, crawl.SHARES[i % 4]), i % 3]
        assert sorted(shown[0]) == [0, 255 if i % 3 == 0 else 17]
        assert (drops, strip, notes) == ([], None, {})


def test_every_dropped_file_is_named_with_its_reason(made: Path) -> None:
    html = render_page([collect_dataset(str(made), 3, look_here)], None)
    index = read_index(html)
    lost = {row: index["reasons"][reason] for row, _, reason in index["lost"]}
    assert lost == {key(i): f"images: {crawl.reason(i)}" for i in range(COUNT) if crawl.reason(i)}
    for i in range(COUNT):
        line = f"<tr><td>{url(i)}</td><td>images</td><td>{crawl.reason(i)}</td><td><code>{key(i)}</code></td></tr>"
        assert (line in html) == (crawl.reason(i) is not None)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("cats/IMG_1.jpg", "cats/IMG_1.jpg"),
        ("/home/alice/photographs", "…/photographs"),
        ("/home/alice/photographs/", "…/photographs"),
        ("~/photographs", "…/photographs"),
        ("/home/alice/sets/00012.tar/3.jpg", "00012.tar/3.jpg"),
        ("data/00012.tar/a/3.jpg", "00012.tar/a/3.jpg"),
        ("https://user:pass@example.org/a.jpg?token=1#x", "https://…@example.org/a.jpg"),
        ("s3://bucket/a b/c.jpg", "s3://bucket/a b/c.jpg"),
        ("scene:0/5", "scene:0/5"),
        ("", ""),
    ],
)
def test_a_location_is_shown_without_what_is_private(location: str, shown: str) -> None:
    assert shorten_location(location) == shown


def test_nothing_in_a_caption_ends_the_script(made: Path) -> None:
    bad = "</script><script>alert(1)</script><!-- & ]]> \u2028 \\u003c\\"
    entry = Entry("a", bad, 0, name=bad, drops={"sketch": bad})
    index = SearchIndex(1, (entry,), Contents.of([entry]), lost=(Loss("b", bad, bad),))
    text = str(encode_index(index, ["images"]))
    read = json.loads(text)
    assert (read["samples"]["rows"][0][1:3], read["reasons"]) == ([bad, bad], [f"sketch: {bad}", f"images: {bad}"])
    assert not set("<>&") & set(text)


def test_a_page_that_is_full_holds_a_uniform_sample_and_says_so(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SAMPLES", 12)
    facts = collect_dataset(str(made), 3, look_here)
    found = [entry.key for entry in facts.index.entries]
    assert {row.key for row in facts.rows} <= set(found)
    assert len(found) <= 12
    assert found == sorted(found)
    lowest = sorted((k for k in map(key, kept(COUNT)) if k not in {r.key for r in facts.rows}), key=rank)
    others = [k for k in found if k not in {row.key for row in facts.rows}]
    assert sorted(others, key=rank) == lowest[: len(others)]
    assert f"covers {len(found)} of 33 samples, a uniform choice" in " ".join(render_page([facts], None).split())


def test_the_choice_depends_on_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SAMPLES", 100)
    of = entries(400)
    one = choose_entries({0: of}, [key(399)])
    many = choose_entries({3: of[300:], 1: of[100:300], 0: of[:100]}, [key(399)])
    assert one == many
    assert len(one) == 100
    assert key(399) in {entry.key for entry in one}


def test_long_texts_take_no_more_than_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CHARACTERS", 1000)
    assert len(choose_entries({0: entries(50, length=94)}, [])) == 10
    placement = Placement((64, 64), (64, 64), (0, 0, 64, 64))
    sample = Sample("a", {"json": SampleInfo("a", ("x" * 700, "y" * 700), 64, 64, placement).encode()})
    cut = read_entry(sample)
    assert (cut.text, cut.cut) == ("x" * 700 + "\n" + "y" * 299, True)


@pytest.mark.parametrize("samples", [1, 99_999, 100_000, 100_001, 3_000_000])
def test_a_worker_hands_on_about_as_many_as_a_page_holds(samples: int) -> None:
    limit = choose_limit(samples)
    share = sum(rank(str(i)) < limit for i in range(2000)) / 2000
    assert share == pytest.approx(min(1, 100_000 / samples), abs=0.02)
    assert limit <= 2**64

"""The captions that can be searched: all, or a uniform sample that is the same each time, and only ever text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from t2i_shards.pipeline.image.geometry import Placement
from t2i_shards.pipeline.report import captions as module
from t2i_shards.pipeline.report import collect_dataset, render_page
from t2i_shards.pipeline.report.captions import Captioned, choose_captions, choose_limit, rank, read_caption
from t2i_shards.pipeline.report.page import to_script
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


def entries(count: int, length: int = 10) -> list[Captioned]:
    return [Captioned(key(i), "x" * length, rank(key(i))) for i in range(count)]


def searched(html: str) -> list[list[str]]:
    """What the page's script will find."""
    found = re.findall(r'<script type="application/json" class="captions">(.*?)</script>', html, re.DOTALL)
    assert len(found) == 1
    read: list[list[str]] = json.loads(found[0])
    return read


def test_every_caption_of_every_sample_can_be_searched_whatever_it_holds(made: Path) -> None:
    html = render_page([collect_dataset(str(made), 3, look_here)], None)
    assert searched(html) == [[key(i), f"{crawl.caption(i)}\nsecond caption {i}"] for i in kept(COUNT)]
    assert "The search covers" not in html


def test_nothing_in_a_caption_ends_the_script(made: Path) -> None:
    bad = "</script><script>alert(1)</script><!-- & ]]> \u2028 \\u003c\\"
    text = str(to_script(choose_captions({0: [Captioned("a", bad, 0)]}, [], 1)))
    assert json.loads(text) == [["a", bad]]
    assert not set("<>&") & set(text)


def test_a_page_that_is_full_holds_a_uniform_sample_and_says_so(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SAMPLES", 12)
    facts = collect_dataset(str(made), 3, look_here)
    found = [entry.key for entry in facts.captions.entries]
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
    one = choose_captions({0: of}, [key(399)], 400)
    many = choose_captions({3: of[300:], 1: of[100:300], 0: of[:100]}, [key(399)], 400)
    assert one == many
    assert len(one.entries) == 100
    assert key(399) in {entry.key for entry in one.entries}


def test_long_texts_take_no_more_than_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CHARACTERS", 1000)
    found = choose_captions({0: entries(50, length=94)}, [], 50)
    assert len(found.entries) == 10
    placement = Placement((64, 64), (64, 64), (0, 0, 64, 64))
    sample = Sample("a", {"json": SampleInfo("a", ("x" * 700, "y" * 700), 64, 64, placement).encode()})
    cut = read_caption(sample)
    assert (cut.text, cut.cut) == ("x" * 700 + "\n" + "y" * 299, True)


@pytest.mark.parametrize("samples", [1, 99_999, 100_000, 100_001, 3_000_000])
def test_a_worker_hands_on_about_as_many_as_a_page_holds(samples: int) -> None:
    limit = choose_limit(samples)
    share = sum(rank(str(i)) < limit for i in range(2000)) / 2000
    assert share == pytest.approx(min(1, 100_000 / samples), abs=0.02)
    assert limit <= 2**64

"""The numbers of a report equal those counted by hand, for any number of workers and any order."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.exclusion import Exclusion
from t2i_shards.pipeline.dataset.provenance import Provenance
from t2i_shards.pipeline.dataset.status import ColumnStatus
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.engine import RunResult
from t2i_shards.pipeline.engine.run import Progress
from t2i_shards.pipeline.report import DatasetFacts, collect_dataset, render_page
from t2i_shards.pipeline.report.facts import ColumnFacts, find_bottleneck
from t2i_shards.pipeline.report.plots import draw_numbers
from t2i_shards.pipeline.report.sample_index import read_entry
from t2i_shards.pipeline.report.sample_stats import SIDES, Counted, CountSamples, Tally, add_tallies, count
from t2i_shards.pipeline.shards.commit import commit_samples
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stages.stage import Stage
from t2i_shards.pipeline.under_way import Parts
from tests.pipeline.report import crawl
from tests.pipeline.report.crawl import kept, key, look_here, make_crawl

COUNT = 40


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("numbers") / "root"
    make_crawl(root, COUNT)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "root"))


def collect(root: Path, rows: int = 4) -> DatasetFacts:
    return collect_dataset(str(root), rows, look_here)


def counted(facts: DatasetFacts) -> dict[tuple[str, str], dict[tuple[int, ...], int]]:
    assert facts.tally
    return {place: dict(counts) for place, counts in facts.tally.counts.items()}


def by_hand(indices: list[int]) -> dict[tuple[str, str], dict[tuple[int, ...], int]]:
    """What the rules of the crawl say of these rows."""
    stored = {i: (128, 64) if crawl.size(i) == (128, 64) else (64, 64) for i in indices}
    sides = {i: min(crawl.size(i)) for i in indices}
    lower = {i: 255 if i % 3 == 0 else 17 for i in indices}
    halves = {i: stored[i][0] * stored[i][1] // 2 for i in indices}
    pixels = Counter[tuple[int, ...]]({(0,): sum(halves.values())})
    for i in indices:
        pixels[lower[i],] += halves[i]
    return {
        ("stored", "images"): Counter(stored.values()),
        ("original", "images"): Counter((sum(edge <= side for edge in SIDES),) for side in sides.values()),
        ("aesthetic", "images"): Counter((int(4 * s),) for i in indices if (s := crawl.score(i)) is not None),
        ("edges", "sketch"): Counter((min(99, crawl.SHARES[i % 4]),) for i in indices),
        ("persons", "keypose"): Counter((i % 3,) for i in indices),
        ("labels", "seg"): Counter((0,) for i in indices) + Counter((lower[i],) for i in indices),
        ("pixels of labels", "seg"): pixels,
    }


def test_every_number_is_the_one_counted_by_hand(made: Path) -> None:
    facts = collect(made)
    assert facts.tally
    assert facts.tally.samples == len(kept(COUNT))
    assert counted(facts) == by_hand(kept(COUNT))
    lost = Counter((crawl.host(i), crawl.reason(i)) for i in range(COUNT) if crawl.reason(i))
    assert {(host, reason): n for host, reasons in facts.hosts for reason, n in reasons.items()} == lost
    assert facts.unplanned == (("no caption", 9), ("aesthetic below minimum", 7))
    assert not facts.problems


def test_the_page_shows_these_numbers(made: Path) -> None:
    html = render_page([collect(made)], None)
    rows = set(re.findall(r"<tr><td>([^<]*)</td><td class=\"number\">([^<]*)</td></tr>", html))
    persons = Counter(i % 3 for i in kept(COUNT))
    assert {(str(n), str(count)) for n, count in persons.items()} <= rows
    assert {
        (f"{n} to {n + 1} %", str(sum(crawl.SHARES[i % 4] == n for i in kept(COUNT)))) for n in (0, 10)
    } <= rows
    assert re.search(r"not planned: no caption</span>\n.*\n<span>9 <span class=\"soft\">of 56, 16.1 %", html)
    unlabelled = sum(i % 3 == 0 for i in kept(COUNT))
    assert re.search(rf'title="unlabelled".*\n.*\n<span class="soft">{unlabelled} pictures, ', html)


def test_neither_order_nor_number_of_shards_matters(made: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_crawl(other, COUNT, shard_size=7)
    assert counted(collect(other)) == counted(collect(made))
    dataset = Dataset.open(str(made))
    stage = CountSamples(dataset, dataset.columns(), Exclusion([IMAGES]), (), (), 2**64)
    tallies = [stage(shard).tally for shard in dataset.shards]
    assert add_tallies(tallies[::-1], stage.columns) == add_tallies(tallies, stage.columns)


def test_the_page_is_the_same_whichever_shard_was_looked_at_first(root: Path) -> None:
    for shard in (0, 3):
        (root / "images" / f"{shard:06d}.tar").unlink()

    def backwards(stage: Stage, shards: Sequence[int], take: Progress | None = None) -> RunResult:
        return look_here(stage, shards[::-1], take)

    forwards, back = collect(root, 1), collect_dataset(str(root), 1, backwards)
    assert [row.key for row in back.rows]
    assert forwards.problems == back.problems
    assert len(back.problems) == 2
    assert render_page([forwards], None) == render_page([back], None)


def test_columns_have_one_order_whichever_shard_came_first() -> None:
    one, other = Tally(), Tally()
    for tally, column in ((one, "b"), (other, "a")):
        tally.add(column, {"edges": {(1,): 1}})
    assert [column for column, _ in add_tallies([one, other], ["a", "b"]).of("edges")] == ["a", "b"]


def test_only_receipts_are_read_without_a_look(made: Path) -> None:
    facts = collect_dataset(str(made), 4)
    assert (facts.tally, facts.hosts) == (None, ())
    assert {entry.key for entry in facts.index.entries} == {row.key for row in facts.rows}
    assert "the 4 samples shown, of 33" in " ".join(render_page([facts], None).split())


def test_removed_samples_are_neither_counted_nor_shown_nor_searched(root: Path) -> None:
    gone = [0, 3, 4, 7, 20]
    assert {key(i) for i in gone} & {row.key for row in collect(root, 33).rows}
    remove(Dataset.open(str(root)), "keys", [key(i) for i in gone])
    facts = collect(root, 33)
    left = [i for i in kept(COUNT) if i not in gone]
    assert counted(facts) == by_hand(left)
    assert [row.key for row in facts.rows] == [entry.key for entry in facts.index.entries] == list(map(key, left))
    assert facts.left_out == (("removed", len(gone)), ("duplicate", len(crawl.NEAR)))
    assert facts.duplicates
    assert [(pair.of, pair.key) for pair in facts.duplicates.pairs] == [(key(6), key(30))]
    assert not facts.duplicates.thumbnails.keys() & {key(i) for i in gone}
    for page in (render_page([facts], None), render_page([collect_dataset(str(root), 33)], None)):
        assert not any(f'"{key(i)}"' in page or f">{key(i)}<" in page for i in gone)


@pytest.mark.parametrize("damage", ["flip", "gone", "receipt"])
@pytest.mark.parametrize("column", [IMAGES, "seg"])
def test_a_damaged_shard_is_named_and_left_out_of_the_numbers(root: Path, column: str, damage: str) -> None:
    dataset = Dataset.open(str(root))
    inside = {sample.key for sample in dataset.load(IMAGES, 1)}
    outside = [i for i in kept(COUNT) if key(i) not in inside]
    path = root / column / "000001.tar"
    if damage == "flip":
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
    elif damage == "gone":
        path.unlink()
    else:
        path.with_suffix(".json").write_text("{")
    facts = collect(root, 2)
    assert [problem for problem in facts.problems if f"{column}/000001" not in problem] == []
    assert len(facts.problems) == 1
    found, whole, less = counted(facts), by_hand(kept(COUNT)), by_hand(outside)
    if column == IMAGES:
        assert found == less
        assert not inside & {entry.key for entry in facts.index.entries}
    else:
        assert found == {place: (less if place[1] == "seg" else whole)[place] for place in whole}


def test_what_cannot_be_read_is_named_and_the_rest_counted(root: Path) -> None:
    dataset = Dataset.open(str(root))
    images, receipt = dataset.receipts(IMAGES)[0], dataset.receipts("sketch")[0]
    first, *rest = dataset.load("sketch", 0)
    for suffix in (".tar", ".json"):
        (root / "sketch" / f"000000{suffix}").unlink()
    commit_samples(
        dataset.store, [Sample(first.key, {"sketch.png": b"no picture"}), *rest], column="sketch", shard=0,
        planned=images.samples, recipe=receipt.recipe, input_digest=images.sha256,
    )  # fmt: skip
    facts = collect(root)
    [problem] = facts.problems
    assert f"sketch: {first.key}: sketch.png cannot be read" in problem
    assert sum(counted(facts)["edges", "sketch"].values()) == len(kept(COUNT)) - 1
    assert problem.replace('"', "&#34;").replace("'", "&#39;") in render_page([facts], None)


@pytest.mark.parametrize("known", [b"{", b"[]", b"{}", b'{"captions": 3}', b"\xff"])
def test_an_unreadable_json_costs_its_sample_and_no_other(made: Path, known: bytes) -> None:
    _, *whole = Dataset.open(str(made)).load(IMAGES, 0)
    broken = Sample("broken", {"json": known, "txt": b"its caption"})
    tally, errors, _ = count({IMAGES: [broken, *whole]}, Parts(1))
    assert len(errors) == 1
    assert "images: broken: json cannot be read" in errors[0]
    assert tally.counts == count({IMAGES: whole}, Parts(1))[0].counts
    assert read_entry(broken).text == "its caption"


def test_duplicates_are_shown_in_pairs_the_least_alike_first(made: Path) -> None:
    duplicates = collect(made).duplicates
    assert duplicates
    assert duplicates.kinds == {"exact": len(crawl.EXACT), "near": len(crawl.NEAR)}
    assert {(p.key, p.of) for p in duplicates.pairs} == {
        (key(i), key(of)) for i, of in (crawl.EXACT | crawl.NEAR).items()
    }
    assert [p.kind for p in duplicates.pairs] == ["near", "near", "exact"]
    assert [p.bits for p in duplicates.pairs] == sorted((p.bits for p in duplicates.pairs), reverse=True)
    for pair, earlier, later in duplicates.shown:
        assert (earlier.key, later.key) == (pair.of, pair.key)
        assert earlier.caption == crawl.caption(int(pair.of))
        assert (earlier.image == later.image).all() == (pair.kind == "exact")


def test_samples_that_lack_a_condition_are_left_out_once(root: Path) -> None:
    for column in ("seg", "sketch"):
        path = root / column / "000000.json"
        receipt = json.loads(path.read_text())
        dropped = {key(1): "failed"} | ({key(2): "failed"} if column == "seg" else {})
        path.write_text(json.dumps({**receipt, "dropped": dropped}))
    assert collect_dataset(str(root), 1).left_out == (("no sketch", 1), ("no seg", 1), ("duplicate", 3))


def stage(name: str, samples: int, seconds: float) -> ColumnFacts:
    return ColumnFacts(ColumnStatus(name, 1, 1, 0, samples, 0, seconds, ""), Provenance(name, {}))


def test_the_bottleneck_is_the_stage_that_takes_longest_for_a_sample(made: Path) -> None:
    quick, slow, long = stage("a", 100, 10.0), stage("b", 10, 5.0), stage("c", 1000, 50.0)
    assert find_bottleneck([quick, slow, long]) is slow
    assert find_bottleneck([slow]) is None
    facts = dataclasses.replace(collect_dataset(str(made), 1), columns=(quick, slow, long, stage("d", 9, 0.0)))
    assert "The bottleneck is <strong>b</strong>: 500 ms of a worker" in render_page([facts], None)


def test_bins_name_every_pixel_and_percent_once(made: Path) -> None:
    histograms, bars = draw_numbers(collect(made).tally or pytest.fail("nothing was counted"))
    assert [h.title for h in histograms] == [
        "Originals' short side",
        "Aesthetic score",
        "Edge density",
        "Persons in a picture",
    ]
    assert [b.title for b in bars] == ["Stored sizes", "Labels"]
    assert [bar.label for bar in bars[1].bars] == ["person", "dog", "unlabelled"]
    assert {bar.label: bar.count for bar in histograms[0].bars if bar.count} == {"64 to 127 px": len(kept(COUNT))}
    assert histograms[2].bars[-1].label == "99 to 100 %"


def test_a_shard_that_is_not_made_is_no_problem(root: Path) -> None:
    dataset = Dataset.open(str(root))
    (root / "keypose" / "000001.json").unlink()
    stage = CountSamples(dataset, dataset.columns(), Exclusion([IMAGES]), (), (), 0)
    looked = stage(1)
    assert isinstance(looked, Counted)
    assert (looked.problems, looked.errors, looked.entries) == ((), (), ())
    assert ("persons", "keypose") not in looked.tally.counts
    assert ("edges", "sketch") in looked.tally.counts

"""The report: what it shows is what the receipts say, verified, escaped and always the same."""

import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.exclusion import Exclusion
from t2i_shards.pipeline.report import DatasetFacts, TrainingFacts, collect_dataset, draw_sheet, render_page
from t2i_shards.pipeline.report.sample_stats import CountSamples
from t2i_shards.pipeline.report.samples import choose_samples
from t2i_shards.pipeline.shards.receipt import Receipt
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.stages import plan_extract
from tests.bombs import flat_png
from tests.faults.toys import make_images, run_here
from tests.pipeline.publish.toys import rewrite_images
from tests.pipeline.report.crawl import look_here

CAPTIONS = ['<script>alert("1")</script> & <b>tags</b>', *(f"picture number {i}" for i in range(1, 7))]


def build(root: Path, pictures: Path, columns: tuple[str, ...] = ("color",)) -> Dataset:
    dataset = make_images(root, FolderSource(str(pictures)), 3)
    for name in columns:
        run_here(plan_extract(dataset, ["color"], column=name), dataset.shards)
    return dataset


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROOT with 7 pictures and 1 dropped one in 3 shards, and two columns."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "pictures").mkdir()
    pixels = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (7, 64, 96, 3), np.uint8)
    for i, caption in enumerate(CAPTIONS):
        Image.fromarray(pixels[i]).save(folder / "pictures" / f"{i}.png")
        (folder / "pictures" / f"{i}.txt").write_text(caption)
    Image.fromarray(pixels[0, :8, :8]).save(folder / "pictures" / "8.png")
    (folder / "pictures" / "8.txt").write_text("too small")
    build(folder / "root", folder / "pictures", ("color", "tint"))
    return folder / "root"


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "root"))


TRAINING = TrainingFacts("runs/<i>x</i>", 20, ((1, 2.0), (20, 1.0)), ((0, 2.0), (20, 1.5)), 12.5, None)


class Page(HTMLParser):
    """The tags that are open at the end, all attributes, and the text that is shown."""

    VOID = frozenset({"meta", "img", "line", "polyline", "circle", "rect", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open[-1] not in ("style", "script"):
            self.texts.append(" ".join(data.split()))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def shown(facts: DatasetFacts) -> list[str]:
    return [row.key for row in facts.rows]


def test_the_page_is_whole_and_needs_nothing_but_itself(made: Path) -> None:
    html = render_page([collect_dataset(str(made), 12)], TRAINING)
    page = Page(html)
    assert page.open == []
    sources = [value for name, value in page.attributes if name in ("src", "href", "srcset", "data", "action")]
    assert sources
    assert all(source.startswith(("data:image/", "#")) for source in sources)
    assert not {"link", "iframe", "object", "form"} & set(page.seen)
    assert not re.search(r"url\(|@import|https?://", html)
    assert {value[1:] for value in sources if value[0] == "#"} <= {v for n, v in page.attributes if n == "id"}


def test_captions_keys_and_paths_are_shown_and_escaped(made: Path) -> None:
    facts = collect_dataset(str(made), 12)
    html = render_page([facts], TRAINING)
    page = Page(html)
    assert sorted(row.caption for row in facts.rows) == sorted(CAPTIONS)
    assert set(CAPTIONS) | set(shown(facts)) | {"runs/<i>x</i>", "0.png"} <= set(page.texts)
    assert "<b>" not in html
    assert sorted(re.findall("<script[^>]*>", html)) == [
        '<script type="application/json" class="index">',
        "<script>",
    ]


def test_numbers_are_those_of_the_receipts(made: Path) -> None:
    facts = collect_dataset(str(made), 1)
    assert [c.status.column for c in facts.columns] == [IMAGES, "color", "tint"]
    for column in facts.columns:
        name = column.status.column
        receipts = [Receipt.decode(p.read_bytes(), p.name) for p in made.glob(f"{name}/00000?.json")]
        samples, seconds = sum(r.samples for r in receipts), sum(r.seconds for r in receipts)
        assert (column.status.samples, column.status.bytes) == (samples, sum(r.bytes for r in receipts))
        assert column.rate == (pytest.approx(samples / seconds) if seconds else None)
    assert (facts.samples, facts.planned, facts.shards) == (7, 8, 3)
    assert facts.drops == [(IMAGES, "too small", 1, 8)]
    texts = Page(render_page([facts], None)).texts
    assert {"images: too small", "of 8, 12.5 %"} <= set(texts)


def test_rows_are_the_same_each_time_and_spread_over_the_shards(made: Path) -> None:
    first, second = (collect_dataset(str(made), 3) for _ in range(2))
    assert render_page([first], TRAINING) == render_page([second], TRAINING)
    assert draw_sheet([first], TRAINING) == draw_sheet([second], TRAINING)
    assert len(set(shown(first))) == 3
    order = [sample.key for shard in range(3) for sample in Dataset.open(str(made)).load(IMAGES, shard)]
    assert shown(collect_dataset(str(made), 99)) == order
    assert [order.index(key) // 3 for key in shown(first)] == [0, 1, 1]


def test_only_the_shards_of_the_rows_are_opened(root: Path) -> None:
    for tar in root.glob("*/000000.tar"):
        tar.unlink()
    facts = collect_dataset(str(root), 1)
    assert len(facts.rows) == 1
    assert not facts.problems


@pytest.mark.parametrize("count", [1, 5, 100, 5000])
def test_chosen_samples_are_distinct_and_there(count: int) -> None:
    samples = {0: 7, 3: 0, 4: 1, 9: 300}
    receipts = {s: Receipt(IMAGES, s, n, n, 0, "", "", "") for s, n in samples.items()}
    chosen = choose_samples({IMAGES: receipts}, count)
    assert sum(len(set(indices)) for indices in chosen.values()) == min(count, 308)
    assert all(0 <= i < samples[shard] for shard, indices in chosen.items() for i in indices)


def test_shards_that_are_done_in_more_columns_come_first() -> None:
    receipts = {s: Receipt(IMAGES, s, 5, 5, 0, "", "", "") for s in range(3)}
    assert choose_samples({IMAGES: receipts, "color": {1: receipts[1]}}, 4).keys() == {1}


@pytest.mark.parametrize("damage", ["flip", "gone", "receipt"])
@pytest.mark.parametrize("column", [IMAGES, "color"])
def test_a_damaged_shard_is_named_and_not_shown(root: Path, column: str, damage: str) -> None:
    whole = collect_dataset(str(root), 12)
    inside = {s.key for s in Dataset.open(str(root)).load(IMAGES, 1)}
    if damage == "flip":
        flip(root / column / "000001.tar")
    elif damage == "gone":
        (root / column / "000001.tar").unlink()
    else:
        (root / column / "000001.json").write_text("{")
    facts = collect_dataset(str(root), 12)
    [problem] = facts.problems
    assert f"{column}/000001" in problem
    assert problem in Page(render_page([facts], None)).texts
    if column == IMAGES:
        assert not inside & set(shown(facts))
        assert facts.rows
    elif damage != "receipt":
        assert shown(facts) == shown(whole)
        blank = {row.key for row in facts.rows for c in row.cells if c.column == column and c.image is None}
        assert blank == inside
    draw_sheet([facts], None)


def test_maps_of_other_pictures_are_not_shown(root: Path) -> None:
    path = root / "color" / "000002.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "input": "0" * 64}))
    facts = collect_dataset(str(root), 12)
    assert "color/000002 was made from" in facts.problems[0]
    assert any(cell.note == "damaged" for row in facts.rows for cell in row.cells)


def test_a_renamed_column_is_drawn_and_one_that_is_not_done_is_said_to_be_so(root: Path) -> None:
    for file in root.glob("color/0*"):
        file.unlink()
    facts = collect_dataset(str(root), 12)
    assert not facts.problems
    for row in facts.rows:
        picture, color, tint = row.cells
        assert picture.image is not None
        assert (color.image, color.note) == (None, "not made yet")
        assert tint.image is not None
        assert tint.image.shape == (64, 64, 3)


def test_a_sample_that_a_column_dropped_says_why(root: Path) -> None:
    from t2i_shards.pipeline.shards.commit import commit_samples
    from t2i_shards.pipeline.shards.store import open_store

    dataset = Dataset.open(str(root))
    images = dataset.receipts(IMAGES)[0]
    first, *rest = dataset.load("color", 0)
    receipt = dataset.receipts("color")[0]
    (root / "color" / "000000.tar").unlink()
    (root / "color" / "000000.json").unlink()
    commit_samples(
        open_store(str(root)), rest, column="color", shard=0, planned=images.samples, recipe=receipt.recipe,
        input_digest=images.sha256, drops={"<failed>": 1}, dropped={first.key: "<failed>"},
    )  # fmt: skip
    facts = collect_dataset(str(root), 12)
    assert facts.rows[0].cells[1].note == "dropped: <failed>"
    assert "dropped: <failed>" in Page(render_page([facts], None)).texts


def test_no_sample_and_no_column_still_give_a_page(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / "a.png")
    (tmp_path / "pictures" / "a.txt").write_text("too small")
    build(tmp_path / "root", tmp_path / "pictures", ())
    for look in (None, look_here):
        facts = collect_dataset(str(tmp_path / "root"), 12, look)
        assert (facts.samples, facts.rows) == (0, ())
        texts = Page(render_page([facts], None)).texts
        assert "There is no sample to show." in texts
        assert not any("Numbers" in text for text in texts)
    assert Image.open(io.BytesIO(draw_sheet([facts], None))).width == 1600


def test_the_picture_opens_with_its_width(made: Path) -> None:
    facts = collect_dataset(str(made), 12)
    for training in (None, TRAINING):
        image = Image.open(io.BytesIO(draw_sheet([facts, facts], training)))
        image.load()
        assert (image.format, image.width) == ("PNG", 1600)


def test_a_jpg_that_would_fill_the_memory_is_named_and_not_opened(root: Path) -> None:
    def change(samples: list[Sample]) -> list[Sample]:
        return [replace(s, members={**s.members, "jpg": flat_png(6000, 6000)}) for s in samples]

    dataset = rewrite_images(Dataset.open(str(root)), change, shard=1)
    facts = collect_dataset(str(root), 7)
    bombs = [sample.key for sample in dataset.load(IMAGES, 1)]
    notes = {row.key: row.cells[0].note for row in facts.rows if row.cells[0].image is None}
    assert notes == dict.fromkeys(bombs, "cannot be drawn: not a JPEG")
    assert Image.open(io.BytesIO(draw_sheet([facts], None))).width == 1600
    stage = CountSamples(dataset, [IMAGES], Exclusion([IMAGES]), pictures=bombs, shown=(), limit=0)
    stage.setup()
    counted = stage(1)
    assert counted.errors == tuple(f"images: {key}: jpg cannot be read: ValueError: not a JPEG" for key in bombs)

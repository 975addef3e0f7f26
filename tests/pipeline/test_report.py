"""The report: what it shows is what the receipts say, verified, escaped and always the same."""

import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.dataset import IMAGES, Dataset
from pipeline.errors import RequestError
from pipeline.extract import plan_extract
from pipeline.image import Geometry
from pipeline.ingest import Ingest, plan_dataset
from pipeline.receipt import Receipt
from pipeline.report import DatasetFacts, Training, collect_dataset, draw_sheet, read_training, render_page
from pipeline.report.chart import MOST_POINTS, average, lay_out, nice_ticks
from pipeline.report.rows import choose_samples
from pipeline.report.sheet import wrap
from pipeline.sources.folder import FolderSource

CAPTIONS = ['<script>alert("1")</script> & <b>tags</b>', *(f"picture number {i}" for i in range(1, 7))]


def build(root: Path, pictures: Path, columns: tuple[str, ...] = ("color",)) -> Dataset:
    source, geometry = FolderSource(str(pictures)), Geometry(64)
    dataset = plan_dataset(str(root), source, geometry, 3)
    ingest = Ingest(dataset, source, geometry, {})
    stages = [ingest, *(plan_extract(dataset, ["color"], column=name) for name in columns)]
    for stage in stages:
        stage.setup()
        for shard in dataset.shards:
            stage(shard)
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


TRAINING = Training("runs/<i>x</i>", 20, ((1, 2.0), (20, 1.0)), ((0, 2.0), (20, 1.5)), 12.5, None)


class Page(HTMLParser):
    """The tags that are open at the end, all attributes, and the text outside style."""

    VOID = frozenset({"meta", "img", "line", "polyline", "circle", "i"})

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
        if data.strip() and self.open[-1:] != ["style"]:
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
    assert all(source.startswith("data:image/") for source in sources)
    assert not {"script", "link", "iframe", "object", "form"} & set(page.seen)
    assert not re.search(r"url\(|@import|https?://", html)


def test_captions_keys_and_paths_are_shown_and_escaped(made: Path) -> None:
    facts = collect_dataset(str(made), 12)
    html = render_page([facts], TRAINING)
    page = Page(html)
    assert sorted(row.caption for row in facts.rows) == sorted(CAPTIONS)
    assert set(CAPTIONS) | set(shown(facts)) | {"runs/<i>x</i>"} <= set(page.texts)
    assert "<script" not in html
    assert "<b>" not in html


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
    from pipeline.commit import publish
    from pipeline.store import open_store

    dataset = Dataset.open(str(root))
    images = dataset.receipts(IMAGES)[0]
    first, *rest = dataset.load("color", 0)
    receipt = dataset.receipts("color")[0]
    (root / "color" / "000000.tar").unlink()
    (root / "color" / "000000.json").unlink()
    publish(
        open_store(str(root)), rest, column="color", shard=0, planned=images.samples, recipe=receipt.recipe,
        input=images.sha256, drops={"<failed>": 1}, dropped={first.key: "<failed>"},
    )  # fmt: skip
    facts = collect_dataset(str(root), 12)
    assert facts.rows[0].cells[1].note == "dropped: <failed>"
    assert "dropped: <failed>" in Page(render_page([facts], None)).texts


def test_no_sample_and_no_column_still_give_a_page(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / "a.png")
    build(tmp_path / "root", tmp_path / "pictures", ())
    facts = collect_dataset(str(tmp_path / "root"), 12)
    assert (facts.samples, facts.rows) == (0, ())
    assert "There is no sample to show." in Page(render_page([facts], None)).texts
    assert Image.open(io.BytesIO(draw_sheet([facts], None))).width == 1600


def test_the_picture_opens_with_its_width(made: Path) -> None:
    facts = collect_dataset(str(made), 12)
    for training in (None, TRAINING):
        image = Image.open(io.BytesIO(draw_sheet([facts, facts], training)))
        image.load()
        assert (image.format, image.width) == ("PNG", 1600)


def write_log(folder: Path, text: str) -> Path:
    (folder / "log.jsonl").write_text(text)
    return folder


def test_a_log_is_read_and_what_a_kill_cut_or_repeated_counts_once(tmp_path: Path) -> None:
    log = (
        '{"step": 0, "validation": 2.0, "seconds": 0.5, "samples_per_s": 0.0}\n'
        '{"step": 1, "loss": 3.0, "seconds": 1.0, "samples_per_s": 8.0}\n'
        '{"step": 2, "loss": 2.5, "seconds": 2.0, "samples_per_s": 8.5}\n'
        '{"step": 2, "loss": 2.25, "validation": 1.0, "seconds": 2.0, "samples_per_s": 9.0}\n'
        '{"step": 3, "lo'
    )
    training = read_training(write_log(tmp_path, log))
    assert training.loss == ((1, 3.0), (2, 2.25))
    assert training.validation == ((0, 2.0), (2, 1.0))
    assert (training.steps, training.rate, training.diverged) == (2, 9.0, None)
    assert training.verdict == "Validation loss fell from 2 at step 0 to 1 at step 2, 50.0% less."


def test_a_loss_that_is_not_finite_is_said_and_left_out_of_the_curve(tmp_path: Path) -> None:
    training = read_training(write_log(tmp_path, '{"step": 1, "loss": 1.0}\n{"step": 2, "loss": NaN}\n'))
    assert training.loss == ((1, 1.0),)
    assert "not finite at step 2" in training.verdict


@pytest.mark.parametrize("log", ["{}\n", "[1]\n", "x\n", '{"step": "1"}\n'])
def test_a_log_that_is_none_is_refused_by_line(tmp_path: Path, log: str) -> None:
    with pytest.raises(RequestError, match=r"log\.jsonl, line 2"):
        read_training(write_log(tmp_path, '{"step": 0}\n' + log))


def test_a_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"log\.jsonl: not there"):
        read_training(tmp_path)


def test_an_empty_training_gives_a_page_and_a_picture_without_a_curve() -> None:
    training = Training("run", 0, (), (), None, None)
    assert lay_out(training, 900, 300, (50, 10, 10, 40)) is None
    assert "No loss was logged yet." in Page(render_page([], training)).texts
    draw_sheet([], training)


@pytest.mark.parametrize(("low", "high"), [(0, 200), (0.13, 0.142), (3, 4e6), (-1, 1), (0.5, 0.5001)])
def test_ticks_enclose_the_range_in_even_steps(low: float, high: float) -> None:
    ticks = nice_ticks(low, high, 5)
    assert ticks[0] <= low + 1e-9
    assert ticks[-1] >= high - 1e-9
    assert 2 <= len(ticks) <= 12
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], [0.2, 9.0, 0.1], [0.3] * 500 + [1e6]])
def test_the_curve_stays_in_its_plot(values: list[float]) -> None:
    points = tuple(enumerate(values))
    chart = lay_out(Training("run", len(values), points, points[:1], None, None), 900, 300, (50, 10, 20, 40))
    assert chart is not None
    for x, y in chart.loss + chart.validation:
        assert chart.left <= x <= chart.right == 880
        assert chart.top == 10 <= y <= chart.bottom == 260


def test_long_logs_are_averaged_evenly() -> None:
    points = tuple((i, float(i)) for i in range(10 * MOST_POINTS))
    short = average(points)
    assert len(short) == MOST_POINTS
    assert short[0] == (4.5, 4.5)


@pytest.mark.parametrize("text", ["", "one", "some words in a row " * 20, "x" * 300, "é🙂 " * 50])
def test_wrapped_lines_fit(text: str) -> None:
    lines = wrap(text, 20, 3, len)
    assert len(lines) <= 3
    assert all(0 < len(line) <= 20 for line in lines)
    if not any(line.endswith("…") for line in lines):
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_the_verdict_says_what_a_wrong_condition_costs(tmp_path: Path) -> None:
    lines = [{"step": 0, "validation": 2.0, "mismatched": 2.0}, {"step": 9, "validation": 1.5, "mismatched": 1.7}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_training(tmp_path).verdict.endswith("25.0% less. With another picture's condition it is 1.7.")

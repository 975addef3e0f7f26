"""What the page says that publishing would leave out is what it leaves out; so with makers and licences."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from shutil import copytree, rmtree

import pytest

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.exclusion import licence_name
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.report import DatasetFacts, collect_dataset, render_page
from t2i_shards.pipeline.shards.commit import commit_samples
from t2i_shards.pipeline.shards.receipt import to_json
from t2i_shards.pipeline.shards.sample_info import read_info
from tests.pipeline.publish.toys import publish_here
from tests.pipeline.report.crawl import LICENCES, key, look_here, make_crawl

LACKING = {"other": [1, 2], "seg": [1, 3, 4, 20], "notes": [6, 7, 8]}
REMOVED = [2, 9, 30]


def lack(dataset: Dataset, column: str, dropped: list[int]) -> None:
    """Make the first shards of a column again without these samples."""
    for shard in dataset.shards:
        images, receipt = dataset.receipts(IMAGES)[shard], dataset.receipts(column)[shard]
        samples = dataset.load(column, shard)
        lost = {key(i): "failed" for i in dropped if key(i) in {sample.key for sample in samples}}
        for end in (".tar", ".json"):
            (Path(dataset.store.root) / column / f"{shard:06d}{end}").unlink()
        commit_samples(
            dataset.store,
            [sample for sample in samples if sample.key not in lost],
            column=column,
            shard=shard,
            planned=images.samples,
            recipe=receipt.recipe,
            input_digest=images.sha256,
            drops={"failed": len(lost)} if lost else {},
            dropped=lost,
        )


def rename(root: Path, column: str, to: str) -> None:
    """The column as --as would have named it."""
    (root / column).rename(root / to)
    for path in (root / to).glob("0*.json"):
        path.write_bytes(to_json({**json.loads(path.read_text()), "column": to}))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with every reason, several of them for one sample."""
    root = tmp_path_factory.mktemp("dataset") / "root"
    dataset = make_crawl(root, licensed=True)
    rename(root, "sketch", "other")
    rename(root, "keypose", "notes")
    recipe = root / "notes" / "column.json"
    recipe.write_bytes(to_json({"made_by": "somebody"}))
    for path in (root / "notes").glob("0*.json"):
        path.write_bytes(to_json({**json.loads(path.read_text()), "recipe": dataset.recipe_digest("notes")}))
    for column, dropped in LACKING.items():
        lack(dataset, column, dropped)
    remove(dataset, "keys", [key(i) for i in REMOVED])
    return root


@pytest.fixture(scope="module")
def page(root: Path) -> DatasetFacts:
    return collect_dataset(str(root), 3, look_here)


def test_the_page_leaves_out_what_publishing_does(root: Path, page: DatasetFacts, tmp_path: Path) -> None:
    told = dict(page.left_out)
    assert told == {"removed": 3, "no other": 1, "no seg": 3, "duplicate": 1}
    assert dict(collect_dataset(str(root), 3).left_out) == told, "from receipts alone"
    published = publish_here(Dataset.open(str(root)), tmp_path / "without", duplicates=False)
    assert published.left_out == told
    assert sum(published.counts.values()) == page.samples - sum(told.values())
    published = publish_here(Dataset.open(str(root)), tmp_path / "all")
    assert published.left_out == {reason: n for reason, n in told.items() if reason != "duplicate"}


def test_the_page_counts_the_licences_that_publishing_chooses_from(
    root: Path, page: DatasetFacts, tmp_path: Path
) -> None:
    told = Counter(dict(page.licences))
    names = [", ".join(str(of[part]) for part in ("license_name", "license_url") if of) for of in LICENCES]
    assert set(told) == set(names)
    published = publish_here(Dataset.open(str(root)), tmp_path / "to", licenses=("2",))
    assert sum(published.counts.values()) == told[names[2]]
    left_out = dict(published.left_out)
    assert (left_out.pop("licence unknown"), left_out.pop("licence not asked for")) == (told[""], told[names[1]])
    assert left_out == {reason: n for reason, n in page.left_out if reason != "duplicate"}
    card = (tmp_path / "to" / "README.md").read_text()
    assert f"- {names[2]}: {told[names[2]]} samples" in card


def test_a_copy_of_the_columns_names_the_licences_too(root: Path, tmp_path: Path) -> None:
    copytree(root, tmp_path / "root")
    rmtree(tmp_path / "root" / "tombstones")
    dataset = Dataset.open(str(tmp_path / "root"))
    publish_here(dataset, tmp_path / "to", layout="columns", with_images=True)
    card = (tmp_path / "to" / "README.md").read_bytes()
    found = Counter(licence_name(read_info(s)) for shard in dataset.shards for s in dataset.load(IMAGES, shard))
    assert len(found) == len(LICENCES)
    for name, count in found.items():
        assert not name or f"- {name}: {count} samples".encode() in card
    for path in ("SHA256SUMS", "README.md", "seg/000001.json"):
        (tmp_path / "to" / path).unlink()
    assert publish_here(dataset, tmp_path / "to", layout="columns", with_images=True).made == 1
    assert (tmp_path / "to" / "README.md").read_bytes() == card, "also those of shards that were there"


def test_page_and_card_name_the_same_makers_and_terms(root: Path, page: DatasetFacts, tmp_path: Path) -> None:
    publish_here(Dataset.open(str(root)), tmp_path / "to")
    card, html = (tmp_path / "to" / "README.md").read_text(), render_page([page], None)
    names = [column.provenance.column for column in page.columns]
    assert names == [IMAGES, "other", "seg", "color", "notes"]
    for column in page.columns[1:-1]:
        of = column.provenance
        assert f"| {of.by} |" in card
        assert f">{of.by}</td>" in html
        assert f"| {of.column} | no network | | {of.terms} |" in card
        assert f">{of.terms}</td>" in html
    assert "notes" not in card

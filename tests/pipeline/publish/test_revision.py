"""Removal: streams and later publications leave the samples out, and a purge takes them from what is published."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest
import webdataset

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.dataset.undo import undo
from t2i_shards.pipeline.errors import IncompleteError, RequestError
from t2i_shards.pipeline.publish import open_published
from t2i_shards.pipeline.publish.readers import LOCAL
from t2i_shards.pipeline.shards.folder_store import FolderStore
from tests.pipeline.publish.toys import contents, keys_of, publish_here, toy_dataset

SPLITS = ("train=0.7", "test=0.3")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return toy_dataset(tmp_path / "root", color=False)


def everything(*gone: int) -> list[str]:
    return [f"k{i:05d}" for i in range(30) if i not in gone]


def test_the_next_publication_leaves_removed_samples_out(dataset: Dataset, tmp_path: Path) -> None:
    remove(dataset, "keys", ["k00004", "k00020"])
    publish_here(dataset, tmp_path / "to")
    assert keys_of(tmp_path / "to") == everything(4, 20)
    assert "removed 2" in (tmp_path / "to/README.md").read_text()


def test_a_publication_that_holds_removed_samples_asks_for_a_purge(dataset: Dataset, tmp_path: Path) -> None:
    publish_here(dataset, tmp_path / "to")
    before = contents(tmp_path / "to")
    remove(dataset, "keys", ["k00004"])
    with pytest.raises(RequestError, match=r": 1 sample removed since .*the first k00004.* --purge"):
        publish_here(dataset, tmp_path / "to")
    assert contents(tmp_path / "to") == before


def test_a_purge_makes_only_the_shards_concerned_again(dataset: Dataset, tmp_path: Path) -> None:
    to = tmp_path / "to"
    publish_here(dataset, to, splits=SPLITS)
    before = contents(to)
    first = keys_of(to)[0], keys_of(to)[12], keys_of(to, "test")[1]
    remove(dataset, "keys", first)
    published = publish_here(dataset, to, purge=True, splits=SPLITS)
    assert (published.made, published.made_anew) == (3, 3) if len(keys_of(to, "test")) else (2, 2)
    assert published.counts == {split: len(keys_of(to, split)) for split in ("train", "test")}
    assert published.left_out == {"removed": 3}
    after = contents(to)
    changed = {name for name in before if name.endswith(".tar") and before[name] != after[name]}
    assert changed == {"data/train-000000.tar", "data/train-000001.tar", "data/test-000000.tar"}
    assert {name for name in before if not name.startswith("croissant/")} <= after.keys()
    found = sorted(s.key for split in ("train", "test") for s in open_published(str(to), split).samples(0))
    assert found == sorted(set(everything()) - set(first))
    [revision] = [json.loads(data) for name, data in after.items() if name.startswith("revisions/")]
    assert revision["revision"] == 1
    assert sorted(key for keys in revision["removed"].values() for key in keys) == sorted(first)
    manifest = [json.loads(line) for line in after["manifest.jsonl"].splitlines()]
    assert {line["name"]: line["removed"] for line in manifest if line["removed"]} == dict.fromkeys(changed, 1)
    assert "Revision 1: 3 samples went, from 3 shards" in after["README.md"].decode()
    assert not any(key.encode() in after[name] for key in first for name in after if name.startswith("data/"))


def test_a_shard_of_which_nothing_is_left(tmp_path: Path) -> None:
    """No file is left of it, at which readers would stop. To leave nothing at all is refused."""
    dataset, to = toy_dataset(tmp_path / "root", 8, 8, color=False), tmp_path / "to"
    publish_here(dataset, to, shard_size=4)
    remove(dataset, "keys", everything()[:4])
    publish_here(dataset, to, purge=True, readers=LOCAL, shard_size=4)
    assert keys_of(to) == everything()[4:8]
    assert sorted(path.name for path in (to / "data").iterdir()) == [
        f"train-000001.{suffix}" for suffix in ("tar", "tar.idx")
    ]
    assert [path.name for path in (to / "dali").iterdir()] == ["train-000001.idx"]
    files = contents(to)
    sums = {line.split("  ")[1] for line in files["SHA256SUMS"].decode().splitlines()}
    assert sums == files.keys() - {"SHA256SUMS"}
    pattern = re.search(r'glob\("([^"]*)"\)', files["README.md"].decode())
    assert pattern is not None
    found = sorted(map(str, to.glob(pattern[1])))
    assert [s["__key__"] for s in webdataset.WebDataset(found, shardshuffle=False)] == everything()[4:8]
    assert publish_here(dataset, to, purge=True, readers=LOCAL, shard_size=4).finished is None, "whole already"
    assert [json.loads(line)["name"] for line in (to / "manifest.jsonl").read_text().splitlines()] == [
        "data/train-000001.tar"
    ]
    before = contents(to)
    remove(dataset, "keys", everything()[4:8])
    with pytest.raises(RequestError, match="every sample of it was removed; delete the publication itself"):
        publish_here(dataset, to, purge=True, shard_size=4)
    assert contents(to) == before


def test_purges_add_up_and_end_the_same(dataset: Dataset, tmp_path: Path) -> None:
    to = tmp_path / "to"
    publish_here(dataset, to)
    remove(dataset, "keys", ["k00003"])
    publish_here(dataset, to, purge=True)
    after = contents(to)
    assert publish_here(dataset, to, purge=True).made == 0
    assert publish_here(dataset, to).made == 0
    assert contents(to) == after
    remove(dataset, "keys", ["k00003", "k00004"])
    publish_here(dataset, to, purge=True)
    assert keys_of(to) == everything(3, 4)
    assert [json.loads(contents(to)[f"revisions/00000{n}.json"])["removed"] for n in (1, 2)] == [
        {"data/train-000000.tar": ["k00003"]},
        {"data/train-000000.tar": ["k00004"]},
    ]


@pytest.mark.parametrize("fatal", ["receipts/train-000000.json", "data/train-000000.tar"])
def test_an_interrupted_purge_is_completed(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fatal: str
) -> None:
    """Without --purge too: the revision was begun, and what vouched for the old one is gone."""
    for name in ("to", "whole"):
        publish_here(dataset, tmp_path / name)
    remove(dataset, "keys", ["k00003"])
    publish_here(dataset, tmp_path / "whole", purge=True)

    real = FolderStore.discard

    def die(store: FolderStore, path: str) -> None:
        if path == fatal:
            raise KeyboardInterrupt
        real(store, path)

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "discard", die)
        with pytest.raises(KeyboardInterrupt):
            publish_here(dataset, tmp_path / "to", purge=True)
    with pytest.raises(RequestError, match="is not a complete publication"):
        open_published(str(tmp_path / "to"))
    publish_here(dataset, tmp_path / "to")
    assert contents(tmp_path / "to") == contents(tmp_path / "whole")


def test_the_second_publisher_of_a_revision_must_run_again(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, create = tmp_path / "to", FolderStore.create
    publish_here(dataset, to)
    remove(dataset, "keys", everything()[:1])

    def create_later(store: FolderStore, path: str, source: Path) -> bool:
        if path.startswith("revisions/"):
            monkeypatch.setattr(FolderStore, "create", create)
            publish_here(dataset, to, purge=True)
        return create(store, path, source)

    monkeypatch.setattr(FolderStore, "create", create_later)
    with pytest.raises(IncompleteError, match="another publisher has begun revision 1; run again"):
        publish_here(dataset, to, purge=True)
    assert publish_here(dataset, to, purge=True).finished is None, "whole already"


def test_an_empty_tar_of_an_earlier_version_goes_with_the_next_purge(tmp_path: Path) -> None:
    dataset, to = toy_dataset(tmp_path / "root", 8, 8, color=False), tmp_path / "to"
    publish_here(dataset, to, shard_size=4)
    remove(dataset, "keys", everything()[:4])
    publish_here(dataset, to, purge=True, shard_size=4)
    left = {"data/train-000000.tar": bytes(1024), "dali/train-000000.idx": b"v1.2 0\n"}
    left["data/train-000000.tar.idx"] = bytes(8)
    for name, data in left.items():
        (to / name).write_bytes(data)
    remove(dataset, "keys", everything()[4:5])
    publish_here(dataset, to, purge=True, readers=LOCAL, shard_size=4)
    assert not left.keys() & contents(to).keys()
    assert keys_of(to) == everything()[5:8]


@pytest.mark.parametrize("sealed", [True, False], ids=["", "from before cards were sealed"])
def test_an_edited_card_is_kept_through_a_purge(dataset: Dataset, tmp_path: Path, sealed: bool) -> None:
    """What loaders read of it is renewed, and the sums no longer cover it. An unedited card is rewritten."""
    for name in ("to", "edited"):
        to = tmp_path / name
        publish_here(dataset, to)
        card = (to / "README.md").read_bytes()
        if not sealed:
            old = card.rpartition(b"<!-- t2i-shards")[0]
            sums = (to / "SHA256SUMS").read_bytes()
            digests = [sha256(data).hexdigest().encode() for data in (card, old)]
            replace_file(to / "SHA256SUMS", sums.replace(*digests))
            card = old
        if name == "edited":
            card = card.replace(b"license: other", b"license: cc-by-4.0  # mine", 1) + b"\n## Citation\n"
            card = card.replace(b"data/train-*.tar", b"data/*.tar", 1)
        replace_file(to / "README.md", card)
    remove(dataset, "keys", ["k00003"])
    assert not publish_here(dataset, tmp_path / "to", purge=True).finished.kept  # type: ignore[union-attr]
    assert b"Revision 1: 1 sample went" in (tmp_path / "to/README.md").read_bytes()
    assert publish_here(dataset, tmp_path / "edited", purge=True).finished.kept  # type: ignore[union-attr]
    kept = (tmp_path / "edited/README.md").read_text()
    assert kept.endswith("\n## Citation\n")
    assert "license: cc-by-4.0\n" in kept
    assert "path: data/train-*.tar" in kept
    sums = (tmp_path / "edited/SHA256SUMS").read_text()
    assert "README.md" not in sums
    remove(dataset, "keys", ["k00004"])
    publish_here(dataset, tmp_path / "edited", purge=True)
    assert (tmp_path / "edited/README.md").read_text() == kept


def test_an_edited_card_that_cannot_be_read_is_named(dataset: Dataset, tmp_path: Path) -> None:
    publish_here(dataset, tmp_path / "to")
    broken = b"---\nlicense: [\n---\n# Mine\n"
    replace_file(tmp_path / "to/README.md", broken)
    remove(dataset, "keys", ["k00003"])
    with pytest.raises(RequestError, match=r"README.md was edited, .* must be YAML .*fix or delete it"):
        publish_here(dataset, tmp_path / "to", purge=True)
    assert (tmp_path / "to/README.md").read_bytes() == broken


def replace_file(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def test_a_removal_that_a_publication_has_left_out_is_not_taken_back(dataset: Dataset, tmp_path: Path) -> None:
    """Whether it was left out from the start or by a purge; a removal that no publication has is taken back."""
    remove(dataset, "keys", ["k00003"])
    publish_here(dataset, tmp_path / "to")
    with pytest.raises(RequestError, match=r": 1 of these samples .the first k00003"):
        undo(dataset, "keys", ["k00003"])
    remove(dataset, "keys", ["k00004"])
    undo(dataset, "keys", ["k00004"])
    remove(dataset, "keys", ["k00005"])
    publish_here(dataset, tmp_path / "to", purge=True)
    assert keys_of(tmp_path / "to") == everything(3, 5)
    with pytest.raises(RequestError, match=r": 1 of these samples .the first k00005"):
        undo(dataset, "keys", ["k00005"])


def test_a_publication_keeps_to_what_it_left_out(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a dataset that could only be read when it was published, where a removal was then taken back."""
    to = tmp_path / "to"
    publish_here(dataset, to)
    remove(dataset, "keys", ["k00003"])
    with monkeypatch.context() as only_read:
        only_read.setattr("t2i_shards.pipeline.publish.plan.settle", _refuse)
        publish_here(dataset, to, purge=True)
    assert "remove --undo will not know of this publication: cannot write" in caplog.text
    undo(dataset, "keys", ["k00003"])
    before = contents(to)
    assert publish_here(dataset, to).made == 0
    assert contents(to) == before
    remove(dataset, "keys", ["k00004"])
    assert publish_here(dataset, to, purge=True).counts == {"train": 28}
    assert keys_of(to) == everything(3, 4)


def _refuse(store: FolderStore, tables: int) -> None:
    raise RequestError(f"cannot write to {store.root}")

"""A COCO in the official layout through ingest: every row a sample or a named drop, truth on the pictures."""

from __future__ import annotations

import dataclasses
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.image.geometry import Geometry, Placement
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.sources.coco.labels import place_labels, place_people
from t2i_shards.pipeline.sources.coco.source import CocoSource
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.conftest import ASSETS
from tests.faults.toys import fill, problems
from tests.pipeline.coco_toy import SPLIT, ToyPicture, person_record, real_pictures, rendered_pictures, write_coco

GEOMETRY = Geometry(128)
TRUTHS = ("seg", "keypose")


def ingest(root: Path, source: CocoSource, truths: tuple[str, ...] = TRUTHS) -> Dataset:
    dataset = plan_dataset(str(root), source, GEOMETRY, 4)
    assert not any(made.errors for made in fill(dataset, source, truths))
    return dataset


def drops(dataset: Dataset) -> Counter[str]:
    return sum((Counter(receipt.drops) for receipt in dataset.receipts(IMAGES).values()), Counter[str]())


def samples(dataset: Dataset, column: str = IMAGES) -> dict[str, dict[str, bytes]]:
    found = (sample for shard in dataset.shards for sample in dataset.load(column, shard))
    return {sample.key: {name: bytes(data) for name, data in sample.members.items()} for sample in found}


def digests(dataset: Dataset, *columns: str) -> list[str]:
    return [receipt.sha256 for column in columns for receipt in dataset.receipts(column).values()]


@pytest.fixture(scope="module", params=["rendered", "real"])
def pictures(request: pytest.FixtureRequest) -> list[ToyPicture]:
    if request.param == "rendered":
        return rendered_pictures()
    if not ASSETS.is_dir():
        pytest.skip("needs ../shared/assets (real photographs), which is not beside this checkout")
    return real_pictures(ASSETS)


@pytest.fixture
def coco(pictures: list[ToyPicture], tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco", pictures)


def test_the_whole_split_becomes_samples_with_truth(
    coco: Path, pictures: list[ToyPicture], tmp_path: Path
) -> None:
    dataset = ingest(tmp_path / "root", CocoSource(str(coco), SPLIT))
    images, seg, keypose = (samples(dataset, column) for column in (IMAGES, *TRUTHS))
    assert list(images) == list(seg) == list(keypose) == [f"{picture.id:012d}" for picture in pictures]
    assert problems(tmp_path / "root") == []
    for picture, key in zip(pictures, images, strict=True):
        told = json.loads(images[key]["json"])
        assert told["captions"] == [
            f"The first words on picture {picture.id}.", f"More about {picture.id}.", f"Last of {picture.id}"
        ]  # fmt: skip
        assert images[key]["txt"].decode() == told["captions"][0]
        assert told["source"]["license"] == picture.license
        assert told["source"]["image_id"] == picture.id
        assert told["source"]["flickr_url"].endswith(f"{picture.id}.jpg")
        assert told["source"]["coco_url"].endswith(picture.name)
        placement = Placement(**{name: tuple(value) for name, value in told["placement"].items()})
        assert picture.labels is not None
        labels = format_of("seg").decode(seg[key])
        np.testing.assert_array_equal(labels, place_labels(picture.labels, placement))
        assert labels.shape == decode_rgb(images[key]["jpg"]).shape[:2]
        known = [a for a in picture.people if a["num_keypoints"]]
        known.sort(key=lambda a: -a["area"])
        people = format_of("keypose").decode(keypose[key])
        assert people == place_people([a["keypoints"] for a in known], placement)


def test_a_zip_gives_the_same_dataset_as_a_folder(pictures: list[ToyPicture], tmp_path: Path) -> None:
    roots = []
    for zipped in (False, True):
        folder = write_coco(tmp_path / f"coco-{zipped}", pictures, zipped=zipped)
        roots.append(ingest(tmp_path / f"root-{zipped}", CocoSource(str(folder), SPLIT)))
    assert digests(roots[0], IMAGES, *TRUTHS) == digests(roots[1], IMAGES, *TRUTHS)
    assert roots[0].description == roots[1].description
    assert roots[0].recipe("seg") == roots[1].recipe("seg")


def test_truth_may_come_later(coco: Path, tmp_path: Path) -> None:
    source = CocoSource(str(coco), SPLIT)
    at_once = ingest(tmp_path / "at-once", source)
    ingest(tmp_path / "later", source, ())
    (coco / SPLIT).rename(coco / "gone")
    later = ingest(tmp_path / "later", source)
    assert digests(later, IMAGES, *TRUTHS) == digests(at_once, IMAGES, *TRUTHS)


def test_panoptic_maps_where_stuff_maps_are_not(coco: Path, tmp_path: Path, pictures: list[ToyPicture]) -> None:
    (coco / "stuffthingmaps").rename(coco / "hidden")
    dataset = ingest(tmp_path / "root", CocoSource(str(coco), SPLIT))
    recipe = dataset.recipe("seg")
    assert recipe
    assert (recipe["made_by"], recipe["annotations"]) == ("COCO annotations", "panoptic")
    assert recipe["sha256"] == dataset.description.source["panoptic_sha256"]
    found = samples(dataset, "seg")
    assert list(found) == [f"{picture.id:012d}" for picture in pictures if picture.panoptic]
    without = sum(picture.panoptic is None for picture in pictures)
    assert drops(dataset) == Counter({"no label map": without} if without else {})


def test_both_kinds_of_label_maps_are_never_mixed_in_a_column(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco", rendered_pictures())
    ingest(tmp_path / "root", CocoSource(str(coco), SPLIT))
    (coco / "stuffthingmaps").rename(coco / "hidden")
    with pytest.raises(RequestError, match="seg was made with recipe"):
        ingest(tmp_path / "root", CocoSource(str(coco), SPLIT))


def other(picture: ToyPicture, change: Callable[[Any], bytes]) -> bytes:
    with Image.open(io.BytesIO(picture.data)) as image:
        return change(image)


def turned(image: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 3
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    return file.getvalue()


def halved(image: Any) -> bytes:
    file = io.BytesIO()
    image.reduce(2).save(file, "JPEG")
    return file.getvalue()


def test_unavailable_pictures_are_named_drops(tmp_path: Path) -> None:
    pictures = rendered_pictures(6)
    coco = write_coco(tmp_path / "coco", pictures)
    files = [coco / SPLIT / picture.name for picture in pictures]
    files[0].unlink()
    files[1].write_bytes(pictures[1].data[:2000])
    files[2].write_bytes(other(pictures[2], turned))
    files[3].write_bytes(other(pictures[3], halved))
    (coco / "stuffthingmaps" / SPLIT / f"{pictures[4].id:012d}.png").unlink()
    dataset = ingest(tmp_path / "root", CocoSource(str(coco), SPLIT))
    assert drops(dataset) == {
        "no such file": 1,
        "truncated": 1,
        "turned by its EXIF": 1,
        "annotated at another size": 1,
        "no label map": 1,
    }
    assert list(samples(dataset)) == [f"{pictures[5].id:012d}"]
    assert problems(tmp_path / "root") == []


def test_nothing_left_is_refused(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco", rendered_pictures(3))
    with pytest.raises(RequestError, match=r"no pictures left \(licence not asked for 3\)"):
        ingest(tmp_path / "root", CocoSource(str(coco), SPLIT, licenses=(4,)))


def test_other_licences_are_another_dataset(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco", rendered_pictures(3))
    ingest(tmp_path / "root", CocoSource(str(coco), SPLIT))
    with pytest.raises(RequestError, match=r"was made with licenses \[\], this asks for \[1\]"):
        ingest(tmp_path / "root", CocoSource(str(coco), SPLIT, licenses=(1,)))


def test_a_truth_that_is_not_there_is_refused(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco", rendered_pictures(3))
    (coco / "annotations" / f"person_keypoints_{SPLIT}.json").unlink()
    with pytest.raises(RequestError, match=r"--truth must name conditions this source knows exactly \(seg\)"):
        ingest(tmp_path / "root", CocoSource(str(coco), SPLIT))


def test_people_cut_away_by_the_crop_are_gone(tmp_path: Path) -> None:
    picture = rendered_pictures(1)[0]
    assert picture.size == (192, 192)
    wide = other(picture, lambda image: _pasted(image, 600))
    at = [np.array([[x + n / 9, 40 + n, 1] for n in range(17)]) for x in (300, 2, 580)]
    people = [person_record(n, 1, points, area=3 - n) for n, points in enumerate(at)]
    labels = np.zeros((192, 600), np.uint8)
    coco = write_coco(tmp_path / "coco", [dataclasses.replace(picture, data=wide, people=people, labels=labels)])
    dataset = ingest(tmp_path / "root", CocoSource(str(coco), SPLIT))
    (members,) = samples(dataset, "keypose").values()
    found = json.loads(members["keypose.json"])
    assert (found["width"], found["height"], found["persons"]) == (256, 128, 1)
    assert found["keypoints"][0][0] == [128.0, pytest.approx(80 / 3), 1.0]


def _pasted(image: Any, width: int) -> bytes:
    file = io.BytesIO()
    canvas = Image.new("RGB", (width, image.height))
    canvas.paste(image)
    canvas.save(file, "JPEG")
    return file.getvalue()


@dataclass(frozen=True)
class Canned:
    """Answers in place of downloads. pictures: URL -> bytes."""

    pictures: Any

    @property
    def resources(self) -> Resources:
        return Resources(cpus=0.5)

    def setup(self) -> None:
        """Nothing to get ready."""

    @contextmanager
    def fetch(self, urls: Sequence[str], scratch: Path) -> Iterator[Any]:
        assert scratch.is_dir()
        pictures = self.pictures

        class Fetched:
            def __getitem__(self, url: str) -> bytes:
                if url not in pictures:
                    raise Drop("http 404", 404)
                return bytes(pictures[url])

        yield Fetched()


def test_downloads_take_the_place_of_the_folder(tmp_path: Path) -> None:
    pictures = rendered_pictures()
    coco = write_coco(tmp_path / "coco", pictures)
    here = ingest(tmp_path / "here", CocoSource(str(coco), SPLIT))
    (coco / SPLIT).rename(coco / "gone")
    url = f"http://images.cocodataset.org/{SPLIT}/{{}}".format
    answers = {url(picture.name): picture.data for picture in pictures[1:]}
    source = CocoSource(str(coco), SPLIT, downloads=Canned(answers))  # type: ignore[arg-type]
    assert source.describe()["download"] is True
    assert source.resources.cpus == 0.5
    assert not source.repeatable
    there = ingest(tmp_path / "there", source)
    assert drops(there) == {"http 404": 1}
    keys = list(samples(there))
    assert keys == [f"{picture.id:012d}" for picture in pictures[1:]]
    for column in TRUTHS:
        assert samples(there, column) == {key: samples(here, column)[key] for key in keys}
    assert all(samples(there)[key]["jpg"] == samples(here)[key]["jpg"] for key in keys)
    row = there.plan(0)[1]
    assert row.location == row.extra["coco_url"] == url(pictures[1].name)


def test_truth_for_downloaded_pictures_downloads_nothing_again(tmp_path: Path) -> None:
    pictures = rendered_pictures(3)
    coco = write_coco(tmp_path / "coco", pictures)
    answers = {f"http://images.cocodataset.org/{SPLIT}/{p.name}": p.data for p in pictures}
    ingest(tmp_path / "root", CocoSource(str(coco), SPLIT, downloads=Canned(answers)), ())  # type: ignore[arg-type]
    later = ingest(tmp_path / "root", CocoSource(str(coco), SPLIT, downloads=Canned(None)))  # type: ignore[arg-type]
    assert len(samples(later, "seg")) == 3

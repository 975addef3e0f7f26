"""COCO 2017 as a source: every picture of a split with all its captions, and its annotations as exact columns."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.errors import Drop, RequestError
from t2i_shards.pipeline.image.decode import WEB_FORMATS
from t2i_shards.pipeline.image.geometry import Placement
from t2i_shards.pipeline.sources.base import Opener, Original, Seen, Source, passing, unseen
from t2i_shards.pipeline.sources.coco.annotations import (
    Annotations,
    annotation_file,
    digest_annotations,
    read_annotations,
)
from t2i_shards.pipeline.sources.coco.files import ImageFolders, Read, find_pictures
from t2i_shards.pipeline.sources.coco.labels import find_label_maps, place_people
from t2i_shards.pipeline.sources.coco.records import Image
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.row import Row
from t2i_shards.pipeline.sources.tree import MENDABLE, read_or_drop

if TYPE_CHECKING:
    from t2i_shards.pipeline.download.shard import Downloads

SPLIT = re.compile(r"[0-9A-Za-z_-]+")
IN_JSON = ("image_id", "license", "license_name", "license_url", "flickr_url", "coco_url", "categories")
"""What of a row travels in the sample's json."""
FIRST = 16
"""Pictures that are looked for before any is planned."""
VERSION = 1
"""Of the rules by which annotations become maps."""


@dataclass(frozen=True)
class CocoSource(Source):
    """A split of COCO in the official layout; a picture without caption is left out."""

    crawl: ClassVar = False

    coco: str
    """The folder that holds COCO: annotations/, and the pictures as train2017/ or train2017.zip."""
    split: str = "train2017"
    """Which pictures: train2017 or val2017."""
    licenses: tuple[int, ...] = ()
    """Take only pictures under these of COCO's licence ids; all of them when not given."""
    downloads: Downloads | None = None
    """Fetch the pictures by their coco_url in this way; read them from the folder when not given."""
    asked: tuple[str, ...] = ()
    """The conditions of --truth; nothing but keypose needs the people."""

    def __post_init__(self) -> None:
        if not Path(self.coco).is_dir():
            raise RequestError(f"--coco must be a folder, not {self.coco!r}")
        if not SPLIT.fullmatch(self.split):
            raise RequestError(f"--split must be {SPLIT.pattern}, such as train2017, not {self.split!r}")
        # A worker of a cluster runs in another folder than the command.
        object.__setattr__(self, "coco", os.path.abspath(self.coco))
        object.__setattr__(self, "licenses", tuple(sorted(set(self.licenses))))
        captions = annotation_file(self._folder, "captions", self.split)
        if not captions.is_file():
            raise RequestError(f"{captions}: not there; --coco must hold the captions of --split {self.split}")
        if not self.downloads:
            self._pictures()

    @property
    def _folder(self) -> Path:
        return Path(self.coco)

    @property
    def repeatable(self) -> bool:
        return self.downloads is None

    @property
    def resources(self) -> Resources:
        return self.downloads.resources if self.downloads else super().resources

    def describe(self) -> Mapping[str, Any]:
        digests = digest_annotations(self._folder, self.split)
        return {
            "kind": "coco",
            "split": self.split,
            "licenses": list(self.licenses),
            "download": self.downloads is not None,
            **{f"{kind}_sha256": digest for kind, digest in digests.items()},
        }

    def rows(self, left_out: LeftOut, seen: Seen = unseen) -> Iterator[Row]:
        """Key: the image id with 12 digits, as COCO's own files are named."""
        known = read_annotations(self._folder, self.split, left_out, "keypose" in self.asked)
        for licence in self.licenses:
            if licence not in known.licences:
                had = ", ".join(map(str, sorted(known.licences)))
                raise RequestError(f"--licenses must be licence ids of the captions file ({had}), not {licence}")
        if not self.downloads:
            self._check_first([image.file_name for image in known.images[:FIRST]])
        for image in known.images:
            seen(1)
            if reason := self._refuse(image, known):
                left_out.name(reason, image.file_name)
            else:
                yield self._row(image, known)

    def _check_first(self, names: Sequence[str]) -> None:
        """Raises RequestError when none of the first pictures is where they were looked for."""
        folder = self._pictures()
        if not any(map(folder.has, names)):
            raise RequestError(
                f"{self.coco}: none of the first {len(names)} pictures of the captions ({names[0]} …) is in "
                f"{folder}; --coco must hold the pictures of --split {self.split}, or --download them"
            )

    def _refuse(self, image: Image, known: Annotations) -> str | None:
        if self.licenses and image.license not in self.licenses:
            return "licence not asked for"
        if image.id not in known.captions:
            return "no caption"
        if self.downloads and not image.coco_url:
            return "no coco_url"
        return None

    def _row(self, image: Image, known: Annotations) -> Row:
        licence = known.licences.get(image.license or 0)
        location = image.coco_url or "" if self.downloads else image.file_name
        extra = {
            "image_id": image.id,
            "license": image.license or None,
            "license_name": licence.name if licence else "unknown",
            "license_url": licence.url or "" if licence else "",
            "flickr_url": image.flickr_url or "",
            "coco_url": image.coco_url or "",
            "width": image.width,
            "height": image.height,
            "label_map": f"{PurePath(image.file_name).stem}.png",
            "categories": known.categories.get(image.id, []),
            "people": None if known.people is None else known.people.get(image.id, []),
            "segments": known.segments.get(image.id, []),
        }
        return Row(f"{image.id:012d}", location, tuple(known.captions[image.id]), extra=extra)

    def again(self, failed: Iterable[tuple[Row, str]]) -> Iterator[Row]:
        if self.downloads:
            return passing(failed)
        there = self._pictures().open()
        return (row for row, reason in failed if reason in MENDABLE and _reads(there, row))

    def setup(self) -> None:
        if self.downloads:
            self.downloads.setup()

    @contextmanager
    def gather(self, rows: Sequence[Row], size: int, scratch: Path, pictures: bool = True) -> Iterator[Opener]:
        if "keypose" in self.asked and any(row.extra["people"] is None for row in rows):
            raise RequestError(
                "this dataset was planned without people, whose file was malformed; use another --out"
            )
        maps = find_label_maps(self._folder, self.split)
        read_map = maps.folder.open() if maps else None
        with self._open_pictures(rows, scratch) if pictures else nullcontext() as read_picture:

            def open_row(row: Row) -> Original:
                people = partial(place_people, row.extra["people"] or [])
                truth: dict[str, Callable[[Placement], Any]] = {"keypose": people}
                if maps and read_map:
                    truth["seg"] = partial(maps.place_map, row, read_map)
                return Original(
                    content=read_original(row, read_picture) if read_picture else b"",
                    captions=row.captions,
                    info={name: row.extra[name] for name in IN_JSON},
                    truth=truth,
                    formats=WEB_FORMATS,
                    http=200 if self.downloads and read_picture else None,
                    annotated=(row.extra["width"], row.extra["height"]),
                )

            yield open_row

    @contextmanager
    def _open_pictures(self, rows: Sequence[Row], scratch: Path) -> Iterator[Read]:
        """Reads a picture by its row's location."""
        if self.downloads:
            with self.downloads.fetch([row.location for row in rows], scratch) as fetched:
                yield fetched.__getitem__
        else:
            yield self._pictures().open()

    def _pictures(self) -> ImageFolders:
        folder = find_pictures(self._folder, self.split)
        if folder is None:
            raise RequestError(
                f"{self.coco}: must hold the pictures as {self.split}/ or {self.split}.zip, or --download them; "
                "neither is there"
            )
        return folder

    def truths(self) -> Mapping[str, Mapping[str, Any]]:
        digests = digest_annotations(self._folder, self.split)
        made: dict[str, dict[str, Any]] = {}
        if maps := find_label_maps(self._folder, self.split):
            made["seg"] = {"made_by": maps.made_by, "annotations": maps.kind, "sha256": digests.get(maps.kind)}
        if digests["person_keypoints"]:
            made["keypose"] = {
                "made_by": "COCO annotations",
                "annotations": "person_keypoints",
                "sha256": digests["person_keypoints"],
            }
        common = {"split": self.split, "version": VERSION, "licence": "CC BY 4.0"}
        return {name: {"condition": name, **recipe, **common} for name, recipe in made.items()}


def read_original(row: Row, read: Read) -> bytes:
    """The file of a row's picture. Raises Drop."""
    return read_or_drop(row.location, lambda: read(row.location), far=False)


def _reads(read: Read, row: Row) -> bool:
    try:
        read_original(row, read)
    except Drop:
        return False
    return True

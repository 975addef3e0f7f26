"""What of a tar's members makes a sample: one picture, its captions, and the JSON that is known of it."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from t2i_shards.extractors.records import BadRecord, decode_record
from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.sources.captions import MAX_BYTES, clean_caption, decode_file
from t2i_shards.pipeline.sources.left_out import LeftOut
from t2i_shards.pipeline.sources.licence import LICENCE, find_licence
from t2i_shards.pipeline.sources.tars.archive import DamagedTar, Member, read_members

PICTURES = ("jpg", "jpeg", "png", "webp", "jfif", "jpe")
"""Endings of pictures that are taken, the one before the other."""
OTHERS = frozenset({"bmp", "tif", "tiff", "gif", "avif", "heic", "heif", "jxl", "jp2"})
"""Endings of pictures that are not read from others' tars."""
TEXTS = ("txt", "text", "caption")
CAPTION_KEYS = ("captions", "caption", "text")
DAMAGED = "tar damaged or cut, the rest of it not read"
NO_KEY, TWICE, NO_JSON = "member without key", "member twice", "json not readable"
MEMBER_NOTES = frozenset({NO_KEY, TWICE, NO_JSON})
"""What is counted of members, of which the rest of the sample may be whole."""
DEPTH = 32
"""Of JSON that is kept; readers of deeper JSON may run out of stack."""


@dataclass(frozen=True)
class TarSample:
    """key: as in the tar. picture: the member. captions: clean, at least one. known: the rest of its JSON.

    members: all of them, by their endings.
    """

    key: str
    picture: Member
    captions: tuple[str, ...]
    known: Mapping[str, Any]
    members: Mapping[str, Member]


@dataclass
class _Found:
    members: dict[str, Member] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class MemberChoice:
    """image: the ending of the picture's member; the first of PICTURES when None.

    caption_key: the key of the JSON that holds the caption; when None, the first that there is of the list
    `captions`, a text member, and the keys `caption` and `text`.
    license_key: the key of the JSON that holds the picture's licence; when None, one that is known.
    """

    image: str | None = None
    caption_key: str | None = None
    license_key: str | None = None

    def read_samples(self, tar: str, file: BinaryIO, size: int, left_out: LeftOut) -> Iterator[TarSample]:
        """The samples of a tar, in the order of their first members. Raises NotATar.

        left_out: gets by reason what makes none, as a name in `tar`, and the notes on captions.
        """
        for key, found in _group(tar, file, size, left_out).items():
            picture = self._picture(found)
            if picture is None:
                others = [member.name for ending, member in found.members.items() if ending in OTHERS]
                left_out.name("format not taken" if others else "no picture", f"{tar}/{(*others, key)[0]}")
                continue
            known = _read_json(found, left_out)
            captions = self._captions(found, known, left_out)
            if not captions:
                left_out.name("no caption", f"{tar}/{picture.name}")
                continue
            yield TarSample(key, picture, captions, self._with_licence(known), found.members)

    def _picture(self, found: _Found) -> Member | None:
        if self.image is not None:
            return found.members.get(self.image.lower().lstrip("."))
        return next((found.members[ending] for ending in PICTURES if ending in found.members), None)

    def _with_licence(self, known: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is known, with the licence in one form; a record with a name beside an id, as of COCO, is whole."""
        if self.license_key is None and "license_name" in known:
            return known
        licence = find_licence(known, self.license_key)
        return known if licence is None else {**known, LICENCE: licence}

    def _captions(self, found: _Found, known: Mapping[str, Any], notes: Counter[str]) -> tuple[str, ...]:
        if self.caption_key is not None:
            return as_captions(known.get(self.caption_key), notes)
        of_list = known.get("captions")
        if isinstance(of_list, list) and (captions := as_captions(of_list, notes)):
            return captions
        for ending in TEXTS:
            if ending in found.texts and (caption := clean_caption(_decode(found.texts[ending]), notes)):
                return (caption,)
        return next((texts for key in CAPTION_KEYS[1:] if (texts := as_captions(known.get(key), notes))), ())


def as_captions(value: Any, notes: Counter[str]) -> tuple[str, ...]:
    """The captions in a text or a list of texts; none in anything else."""
    texts = value if isinstance(value, list) else [value]
    return tuple(caption for text in texts if isinstance(text, str) and (caption := clean_caption(text, notes)))


def split_member(name: str) -> tuple[str, str]:
    """(key, ending) as webdataset has them: a name is cut at the first dot behind its folders."""
    folder, slash, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return f"{folder}{slash}{stem}".removeprefix("./"), ending.lower()


def _group(tar: str, file: BinaryIO, size: int, left_out: LeftOut) -> dict[str, _Found]:
    """The members of each key, wherever in the tar they are, and the bytes of those that are texts."""
    samples: dict[str, _Found] = {}
    try:
        for member in read_members(file, size):
            key, ending = split_member(member.name)
            if not ending or not key.rpartition("/")[2] or not _is_plain(member.name):
                left_out[NO_KEY] += 1
                continue
            found = samples.setdefault(key, _Found())
            if ending in found.members:
                left_out[TWICE] += 1
                continue
            found.members[ending] = member
            if (ending == "json" or ending in TEXTS) and member.size <= MAX_BYTES:
                file.seek(member.at)
                found.texts[ending] = file.read(member.size)
    except DamagedTar:
        left_out.name(DAMAGED, tar)
    return samples


def _is_plain(name: str) -> bool:
    """Whether a member may be named in a plan: text without control characters, that leads nowhere else."""
    return ".." not in name.split("/") and not any(unicodedata.category(sign) in ("Cc", "Cs") for sign in name)


def _read_json(found: _Found, notes: Counter[str]) -> dict[str, Any]:
    if "json" not in found.texts:
        return {}
    try:
        known: dict[str, Any] = decode_record(found.texts["json"], dict[str, Any])
        if _depth(known) <= DEPTH:
            return known
    except (BadRecord, RecursionError):
        pass
    notes[NO_JSON] += 1
    return {}


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def _decode(text: bytes) -> str:
    try:
        return decode_file(text)
    except Drop:
        return ""

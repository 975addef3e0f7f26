"""What the columns of a table are called in the sets that there are, and which of them hold what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.sources.licence import LICENCE
from t2i_shards.pipeline.sources.licence import SPELLINGS as LICENCES

SPELLINGS: dict[str, tuple[str, ...]] = {
    "url": ("url", "image_url", "image_link", "img_url"),
    "caption": ("caption", "text", "alt_text", "alt", "captions"),
    "digest": ("sha256",),
    "width": ("original_width", "width"),
    "height": ("original_height", "height"),
    "aesthetic": ("aesthetic_score", "aesthetic", "aesthetic_score_laion_v2"),
    "pwatermark": ("pwatermark", "watermark_score"),
    "punsafe": ("punsafe",),
    "similarity": (
        "similarity",
        "clip_l14_similarity_score",
        "clip_similarity_vitl14",
        "clip_b32_similarity_score",
    ),
    "language": ("language", "lang"),
    "hash": ("hash",),
    LICENCE: LICENCES,
}
"""Our name of a column -> what it is called, the best first, in any mixture of capitals.

LAION-400M, LAION-5B and its Aesthetics and COCO subsets: URL TEXT WIDTH HEIGHT similarity punsafe pwatermark
AESTHETIC_SCORE (V2) or aesthetic (V1) LANGUAGE hash; the first of them also LICENSE. Re-LAION and whatever
img2dataset has written: url caption original_width original_height sha256, where width and height are of the
picture as it was stored, not as it lies at the URL. DataComp: url text original_width original_height
clip_l14_similarity_score sha256. COYO: url text width height aesthetic_score_laion_v2 watermark_score. LAION's
`hash` is of URL and caption, not of the picture.
"""


def find_columns(
    names: Iterable[str], file: str, given: Mapping[str, str | None], needed: Sequence[str] = ("url", "caption")
) -> dict[str, str]:
    """Our name -> the name in `file`, for all that it has. RequestError for one that it lacks of `needed`.

    given: our name -> the file's, as an option says; None where it says nothing.
    """
    names = list(names)
    by_lower = {name.lower(): name for name in reversed(names)}
    found = {
        ours: next((by_lower[spelling] for spelling in spellings if spelling in by_lower), None)
        for ours, spellings in SPELLINGS.items()
    }
    columns = {ours: theirs for ours, theirs in found.items() if theirs is not None}
    for ours, theirs in given.items():
        if theirs is not None:
            if theirs not in names:
                had = ", ".join(names) or "none"
                raise RequestError(f"{file}: has no column {theirs!r} for --{ours}-column; it has {had}")
            columns[ours] = theirs
    if twice := [theirs for theirs in columns.values() if names.count(theirs) > 1]:
        raise RequestError(f"{file}: must have each column once, and has {twice[0]} several times")
    for ours in needed:
        require(columns, ours, names, file, "")
    return columns


def require(columns: Iterable[str], needed: str, names: Iterable[str], file: str, asker: str) -> None:
    """Raise RequestError unless `needed`, one of our names, is among the columns that were found in `file`."""
    if needed not in columns:
        spelt = " or ".join(SPELLINGS[needed])
        why = f" for {asker}" if asker else f", or the one that --{needed}-column names"
        raise RequestError(f"{file}: must have a column {spelt}{why}; it has {', '.join(names) or 'none'}")

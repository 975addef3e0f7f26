"""What the owner of a publication wrote into its card or terms is kept; only what loaders read is renewed.

A card ends with a seal, the digest of the lines above it. One whose seal does not fit was edited.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from t2i_shards.pipeline.errors import RequestError

CARD, LICENCE = "README.md", "LICENSE.md"
EDITABLE = (CARD, LICENCE)
RENEWED = ("size_categories", "configs", "dataset_info")
"""Of the front matter: what loaders read to find the files, and what is in them."""
_SEAL = re.compile(rb"<!-- t2i-shards, sha256 of the lines above: ([0-9a-f]{64}) -->\n\Z")


def seal(text: bytes) -> bytes:
    """The text with its seal, a comment that Markdown does not show."""
    return (
        text + b"<!-- t2i-shards, sha256 of the lines above: %s -->\n" % hashlib.sha256(text).hexdigest().encode()
    )


def is_sealed(text: bytes) -> bool:
    """Whether the text is as `seal` left it."""
    found = _SEAL.search(text)
    return found is not None and hashlib.sha256(text[: found.start()]).hexdigest() == found[1].decode()


def keep_edits(path: str, theirs: bytes, ours: bytes) -> bytes:
    """An edited card with what loaders read in it renewed: the parts of the front matter named in RENEWED.

    path: what the card is called in an error. Raises RequestError when its front matter cannot be read.
    """
    wanted = _read_card(path, ours).data
    renewed = {name: wanted[name] for name in RENEWED if name in wanted}
    if not renewed:
        return theirs
    card = _read_card(path, theirs)
    if all(card.data.get(name) == value for name, value in renewed.items()):
        return theirs
    for name, value in renewed.items():
        card.data[name] = value
    return str(card).encode()


def _read_card(path: str, data: bytes) -> Any:
    from huggingface_hub import RepoCard
    from yaml import YAMLError

    try:
        return RepoCard(data.decode())
    except (ValueError, TypeError, YAMLError) as error:
        said = " ".join(str(error).split())
        raise RequestError(
            f"{path} was edited, and its front matter must be YAML names with values ({said}); "
            "fix or delete it and run again"
        ) from None

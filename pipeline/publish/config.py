"""The options of a publication."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.marks import Common

Layout = Literal["packed", "columns"]
SPLIT = re.compile(r"[a-z][a-z0-9_]*")
LICENSE = re.compile(r"0bsd|(?!(?:no|n|off|on|yes|y|true|false|null)$)[a-z][a-z0-9.-]*")
"""The Hub's names; none that YAML reads as a number or a truth value."""
LANGUAGE = re.compile(r"[a-z]{2,3}(-[0-9A-Za-z]{2,8})*")
MOST_SPLITS = 32
FIRST_SPLITS = ("train", "validation", "val", "test")
OPTIONAL = ("license", "language", "description", "citation")
"""Options that publish.json names only where they were given, as earlier versions had none of them."""
TAKEN = frozenset({"all", "false", "n", "no", "null", "off", "on", "true", "y", "yes"})
"""Names that others take for something else: `datasets` for all splits, YAML 1.1 for a boolean or nothing."""


@dataclass(frozen=True)
class Publication:
    """Which samples are published, and in what form."""

    layout: Common[Layout] = "packed"
    """All members of a sample side by side in new shards, or the columns as they are."""
    columns: Common[tuple[str, ...]] = ()
    """Columns in addition to images; all that hold conditions when not given."""
    shard_size: int = 1000
    """Samples per shard."""
    splits: Common[tuple[str, ...]] = ("train=1",)
    """Shares that add up to 1, such as train=0.98 validation=0.01 test=0.01, in any order. A picture and its
    near-duplicates fall into one split, and never into another one later."""
    duplicates: Common[Annotated[bool, tyro.conf.arg(help_behavior_hint="(default: they are published)")]] = True
    """Leave out pictures that are duplicates of earlier ones."""
    licenses: tuple[str, ...] = ()
    """Publish only pictures under these licences, by their names or COCO's ids; all of them when not given."""
    with_images: Common[bool] = False
    """Publish the pictures of a web crawl too. Without this, conditions, captions, URLs and digests are: the
    pictures belong to their authors, who may take them back, and few of them have licensed them to you."""
    title: Common[str] = ""
    """The dataset's name on its card."""
    contact: str = ""
    """Where people write who want a picture removed: an address or a URL, for the card."""
    license: Common[str] = ""
    """The licence of pictures and captions by the Hub's name, such as cc-by-4.0 or cc0-1.0, for the card."""
    language: tuple[str, ...] = ()
    """The languages of the captions, such as en or de, for the card."""
    description: str = ""
    """What the dataset is, in a sentence or two, for the card."""
    citation: str = ""
    """How to cite it, such as a BibTeX entry of several lines, for the card."""

    def __post_init__(self) -> None:
        if self.shard_size < 1:
            raise RequestError(f"--shard-size must be at least 1, not {self.shard_size}")
        self.shares()
        for name in ("title", "contact", "description"):
            if not getattr(self, name).isprintable():
                raise RequestError(f"--{name} must be one line of printable text, not {getattr(self, name)!r}")
        if not all(line.isprintable() for line in self.citation.replace("\t", " ").splitlines()):
            raise RequestError(f"--citation must be lines of printable text, not {self.citation!r}")
        object.__setattr__(self, "license", self.license.lower())  # the Hub's names are, SPDX's are not
        if self.license and not LICENSE.fullmatch(self.license):
            raise RequestError(
                "--license must be one of the Hub's names, such as cc-by-4.0 "
                f"(https://huggingface.co/docs/hub/repositories-licenses), not {self.license!r}"
            )
        for code in self.language:
            if not LANGUAGE.fullmatch(code):
                raise RequestError(f"--language must be codes such as en, de or pt-BR, not {code!r}")

    def shares(self) -> dict[str, float]:
        """split -> its share, as given. Raises RequestError."""
        shares: dict[str, float] = {}
        for text in self.splits:
            name, _, share = text.partition("=")
            try:
                value = float(share)
            except ValueError:
                value = math.nan
            if not SPLIT.fullmatch(name) or name in shares or not 0 < value <= 1:
                raise RequestError(
                    f"--splits must be distinct NAME=SHARE with a name of {SPLIT.pattern} and a share above 0 and "
                    f"at most 1, not {text!r}"
                )
            shares[name] = value
        if not shares or len(shares) > MOST_SPLITS or abs(sum(shares.values()) - 1) > 1e-6:
            raise RequestError(
                f"--splits must be 1 to {MOST_SPLITS} shares that add up to 1, not "
                f"{' '.join(self.splits) or 'none'}"
            )
        return shares

    def check_split_names(self) -> None:
        """Raises RequestError for a split that others would take for something else.

        Asked of new publications only: those of earlier versions may have one.
        """
        if taken := TAKEN.intersection(self.shares()):
            raise RequestError(
                f"--splits must be names other than {', '.join(sorted(TAKEN))}, not {min(taken)!r}; "
                "nothing was written"
            )


def order_shares(shares: Mapping[str, float]) -> dict[str, float]:
    """The shares in the one order in which samples are dealt out: train, validation, val, test, others by name."""

    def place(name: str) -> tuple[int, str]:
        return (FIRST_SPLITS.index(name) if name in FIRST_SPLITS else len(FIRST_SPLITS), name)

    return {name: shares[name] for name in sorted(shares, key=place)}

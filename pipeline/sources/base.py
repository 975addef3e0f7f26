"""What a source of pictures has to be able to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.image import Geometry, Picture, Placement

Row = Mapping[str, Any]
"""One line of the plan: "key", "location", "captions" (a list), "digest" (sha256 or None), and source columns."""


@dataclass(frozen=True)
class Original:
    """A picture as its source has it.

    picture: uint8 (H, W, 3) RGB. captions: at least one. sha256, bytes: of the file, None and 0 where there is
    none. info: what else is known, for the sample's json.
    truth: condition -> a function from the picture's placement to that condition's exact map, as
    `extractors.formats` defines it.
    """

    picture: Picture
    captions: tuple[str, ...]
    sha256: str | None = None
    bytes: int = 0
    info: Mapping[str, Any] = field(default_factory=dict)
    truth: Mapping[str, Callable[[Placement], Any]] = field(default_factory=dict)


class Source(Protocol):
    """Frozen and picklable: it travels to the workers."""

    def describe(self) -> Mapping[str, Any]:
        """What stands in dataset.json: all that decides which rows there are, and their pictures."""

    def rows(self) -> Iterator[Row]:
        """The rows of the plan, in order, always the same."""

    def open(self, row: Row, geometry: Geometry) -> Original:
        """The picture of a row. Raises Drop with the reason when there is none to be had."""

    def truths(self) -> Mapping[str, Mapping[str, Any]]:
        """condition -> recipe, for the conditions whose exact maps this source knows."""

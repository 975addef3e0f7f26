"""What is special about a condition: how its maps are stored, mirrored, rendered, given as files and measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np

from t2i_shards.extractors.maps.crop import Window

if TYPE_CHECKING:
    from t2i_shards.extractors.maps.statistics import Statistic
    from t2i_shards.extractors.metrics.fidelity import Fidelity

Map: TypeAlias = Any
"""One picture's map in memory: np.ndarray (see each format for shape and dtype), or `People` for keypose."""

Values = Literal["continuous", "labels", "edges"]


class Format(Protocol):
    """All that the project knows of a condition's maps, made by a network, from annotations or by a renderer.

    `t2i_shards.extractors.maps.formats` has the usual kinds, which take most of this as arguments. A new kind
    subclasses this class: members, meanings, encode, decode and render are its own to write, the rest has
    defaults.

    Attributes:
        members: names of the sample's members, e.g. ("sketch.png",) or ("keypose.json", "keypose.png"). The first
            is what `decode` reads, and no other condition has it.
        meanings: what each member holds, in a few words, for dataset cards.
        channels: of the control image, 1 or 3.
        is_condition: whether an adapter can be trained to follow it; False for what only saves training work.
        values: what a control image's pixels are. It decides how a file of another size is resized: continuous as
            a photograph is, labels by the nearest pixel, edges so that lines stay lines. Edges become 0 or 1 for
            the adapter, over a threshold.
        invertible: whether people also save it dark for bright, as black lines on white; `--invert` inverts it.
        cell: pixels of the picture per side of one value of the map.
        fidelity: how far a picture follows it; None where that is not measured.
        statistic: what a report counts of its maps.
    """

    is_condition: bool = True
    channels: int = 3
    values: Values = "continuous"
    invertible: bool = False
    cell: int = 1
    fidelity: Fidelity | None = None
    statistic: Statistic | None = None

    @property
    def members(self) -> tuple[str, ...]: ...

    @property
    def meanings(self) -> tuple[str, ...]: ...

    def encode(self, condition_map: Map) -> dict[str, bytes]:
        """Member name -> bytes, the same bytes for the same map on every run."""
        ...

    def decode(self, members: Mapping[str, bytes]) -> Map:
        """The map that `encode` was given, exactly; other members may be present. Raises ValueError."""
        ...

    def render(self, condition_map: Map, height: int, width: int) -> np.ndarray:
        """The control image, uint8 (height, width, channels): what the adapter sees before /255 and any threshold.

        `height` and `width` are the picture's. Only a map with cells is brought to that size, others have it
        already (`check_size` raises ValueError otherwise).
        """
        ...

    @property
    def from_crop(self) -> bool:
        """Whether a map belongs to one crop, whose cells are its own, and so is computed from each crop."""
        return self.cell > 1

    @property
    def is_numeric(self) -> bool:
        """Whether a map is numbers, stored as JSON, which can be given at any size; see `place`."""
        return self.members[0].endswith(".json")

    def mirror(self, condition_map: Map) -> Map:
        """The map of the picture mirrored left to right."""
        return condition_map[:, ::-1]

    def size(self, condition_map: Map) -> tuple[int, int]:
        """Height and width of the map."""
        height, width = condition_map.shape[:2]
        return height, width

    def crop(self, condition_map: Map, window: Window) -> Map:
        """The map of what these rows and columns of the picture show."""
        return np.ascontiguousarray(condition_map[window])

    def render_window(self, condition_map: Map, height: int, width: int, window: Window) -> np.ndarray:
        """uint8 (h, w, channels): the control image of a window of the picture (height, width)."""
        return self.render(condition_map, height, width)[window]

    def is_blank(self, condition_map: Map) -> bool:
        """Whether the map asks for nothing, as a keypose without people does."""
        return False

    def blank(self, condition_map: Map) -> Map:
        """A map of the same size that shows nothing: what is left of an erased one."""
        return np.zeros_like(condition_map)

    def empty(self, height: int, width: int) -> Map:
        """The map of a picture of this size that shows nothing, of a condition that sources know themselves."""
        return np.zeros((height, width), np.uint8)

    def place(self, condition_map: Map, size: tuple[int, int], window: Window) -> Map:
        """A numeric map scaled to `size` (width, height), then cut to the window."""
        raise ValueError(f"{self.members[0]} holds no numbers")

    def find_oddity(self, pixels: np.ndarray) -> str | None:
        """What looks wrong in a file given as control image, uint8 (H, W) or (H, W, 3), and what is expected."""
        return None


def check_size(map_size: tuple[int, ...], height: int, width: int) -> None:
    """Raises ValueError unless the map has the picture's size; maps are never resized to fit."""
    if map_size != (height, width):
        raise ValueError(
            f"a map is rendered at its picture's size: the map is {map_size}, asked for {(height, width)}"
        )

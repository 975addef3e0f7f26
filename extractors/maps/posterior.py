"""How latents are stored: mean and log variance, so that every visit can draw its own."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from t2i_shards.extractors.format import Format
from t2i_shards.extractors.maps.crop import STRIDE, fixed_crop, fixed_side
from t2i_shards.extractors.maps.formats import scale_to_grey


@dataclass(frozen=True)
class Posterior(Format):
    """Map: float16 (2, C, h, w), mean and log variance of the fixed crop's latent, stored as .npy."""

    members: tuple[str, ...] = ("latents.npy",)
    meanings: tuple[str, ...] = ("the middle square's latents, float16: mean and log variance, unscaled",)
    is_condition: bool = False
    cell: int = STRIDE

    def encode(self, condition_map: np.ndarray) -> dict[str, bytes]:
        if not np.isfinite(condition_map).all():
            raise ValueError(
                f"a latent must be finite in float16, and {(~np.isfinite(condition_map)).sum()} values are not"
            )
        file = io.BytesIO()
        np.lib.format.write_array(file, np.ascontiguousarray(condition_map), version=(1, 0), allow_pickle=False)
        return {self.members[0]: file.getvalue()}

    def decode(self, members: Mapping[str, bytes]) -> np.ndarray:
        file = io.BytesIO(members[self.members[0]])
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{self.members[0]} must be a .npy file of version 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype != np.float16 or len(shape) != 4 or shape[0] != 2 or fortran:
            raise ValueError(f"{self.members[0]} must hold float16 (2, C, h, w), not {dtype} {shape}")
        # Not read_array: it takes the memory that the header asks for before it looks how much is there.
        return np.frombuffer(file.getbuffer()[file.tell() :], np.float16).reshape(shape)

    def size(self, condition_map: np.ndarray) -> tuple[int, int]:
        height, width = condition_map.shape[2:]
        return height, width

    def mirror(self, condition_map: np.ndarray) -> np.ndarray:
        raise ValueError("the mirrored picture's latent is not the mirrored latent: it must be computed again")

    def render(self, condition_map: np.ndarray, height: int, width: int) -> np.ndarray:
        """The mean's first three channels as RGB, each min-max, where the crop lies; the rest is black."""
        side = fixed_side(height, width)
        if condition_map.shape[2:] != (side // STRIDE, side // STRIDE):
            raise ValueError(
                f"a latent of {condition_map.shape[2:]} does not belong to the fixed crop of {side} pixels"
            )
        mean = condition_map[0].astype(np.float32)
        shown = np.stack([scale_to_grey(mean[channel % len(mean)]) for channel in range(3)], axis=2)
        control_image = np.zeros((height, width, 3), np.uint8)
        rows, columns = fixed_crop(height, width)
        crop = cv2.resize(shown, (side, side), interpolation=cv2.INTER_NEAREST)
        control_image[rows, columns] = crop[: rows.stop - rows.start, : columns.stop - columns.start]
        return control_image

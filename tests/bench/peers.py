"""The five conditions as people make them without this project: a picture at a time, by the published packages.

controlnet_aux for sketch and depth, mmpose's inference_bottomup for keypose, transformers with its image processor
for seg, Pillow for color. Each gets a decoded RGB picture and gives what is saved as PNG.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

Peer: TypeAlias = Callable[[np.ndarray], np.ndarray]


def sketch(weights: Path, device: str, size: int) -> Peer:
    """It turns its input to BGR: it is given BGR, so that the network sees RGB as ours does."""
    from controlnet_aux import PidiNetDetector

    detector = PidiNetDetector.from_pretrained(str(weights / "pidinet")).to(device)
    return lambda picture: np.asarray(
        detector(picture[..., ::-1], detect_resolution=size, image_resolution=size, output_type="np")
    )


def depth(weights: Path, device: str, size: int) -> Peer:
    from controlnet_aux import MidasDetector

    detector = MidasDetector.from_pretrained(str(weights / "midas")).to(device)
    return lambda picture: np.asarray(detector(picture, detect_resolution=size, image_resolution=size))


def keypose(weights: Path, device: str, size: int) -> Peer:
    """Drawn as the adapter saw it."""
    from t2i_shards.extractors.keypose import RTMO
    from t2i_shards.extractors.maps.people import People, draw_people
    from t2i_shards.extractors.networks.openmmlab import import_mmpose

    folder = Path(str(import_mmpose().__file__)).parent / ".mim" / "configs" / "body_2d_keypoint"
    from mmpose.apis import inference_bottomup, init_model

    config, file = folder / "rtmo" / "coco" / "rtmo-m_16xb16-600e_coco-640x640.py", RTMO.weights.filename
    with contextlib.redirect_stdout(sys.stderr):  # where it says what it loads
        model = init_model(str(config), str(weights / "mmpose" / file), device=device)
    model.test_cfg["score_thr"] = RTMO.threshold

    def draw(picture: np.ndarray) -> np.ndarray:
        (found,) = inference_bottomup(model, picture[..., ::-1])
        people = found.pred_instances
        points = np.concatenate([people.keypoints, people.keypoint_scores[..., None]], axis=2)
        return draw_people(People(picture.shape[0], picture.shape[1], points))

    return draw


def seg(weights: Path, device: str, size: int) -> Peer:
    """The image processor resizes to 384x384, as the hub's card has it; the map is of the picture's size again."""
    import torch
    from transformers import Mask2FormerImageProcessor

    from t2i_shards.extractors.maps.coco_classes import PALETTE, PANOPTIC_TO_VALUE
    from t2i_shards.extractors.networks.mask2former import load_mask2former
    from t2i_shards.extractors.segmentation import SWIN_TINY

    model: Any = load_mask2former(weights / SWIN_TINY.name / SWIN_TINY.filename).model.to(device)
    processor = Mask2FormerImageProcessor(size={"height": 384, "width": 384}, ignore_index=255)
    colours = PALETTE[list(PANOPTIC_TO_VALUE.values())]

    def draw(picture: np.ndarray) -> np.ndarray:
        inputs = processor(images=Image.fromarray(picture), return_tensors="pt").to(device)
        with torch.no_grad():
            outputs = model(**inputs)
        (found,) = processor.post_process_semantic_segmentation(outputs, target_sizes=[picture.shape[:2]])
        return np.asarray(colours[found.cpu().numpy()])

    return draw


def color(weights: Path, device: str, size: int) -> Peer:
    """T2I-Adapter's own: Pillow's bicubic down, nearest up."""

    def draw(picture: np.ndarray) -> np.ndarray:
        image = Image.fromarray(picture)
        width, height = image.size
        small = image.resize((max(1, width // 64), max(1, height // 64)), Image.Resampling.BICUBIC)
        return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))

    return draw


PEERS: dict[str, Callable[[Path, str, int], Peer]] = {
    "sketch": sketch,
    "depth": depth,
    "keypose": keypose,
    "seg": seg,
    "color": color,
}


def load_peer(condition: str, weights: Path, device: str, size: int) -> Callable[[bytes], bytes]:
    """JPEG -> PNG, with Pillow's default level."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = PEERS[condition](weights, device, size)

    def convert(jpeg: bytes) -> bytes:
        picture = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
        out = io.BytesIO()
        Image.fromarray(peer(picture)).save(out, "PNG")
        return out.getvalue()

    return convert

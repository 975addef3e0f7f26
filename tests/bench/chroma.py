"""What storing costs a sketch: PiDiNet's edges of the stored picture, and of the crop before it is stored.

`before` is how datasets were stored before `--chroma` was an option: decoded with simple upsampling, stored as
4:2:0. The sources are the JPEGs of ../shared/assets with full chroma, 12 photographs, as they come and written as
4:2:0.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, JpegImagePlugin

from t2i_shards.extractors.sketch import Sketch
from t2i_shards.pipeline.image.decode import decode_picture
from t2i_shards.pipeline.image.geometry import Geometry, LegacyGeometry, apply_placement
from t2i_shards.pipeline.image.stored import decode_rgb, encode_jpeg, use_threads
from tests.bench.measure import Row
from tests.bench.sketch import iou
from tests.bench.weights import provide
from tests.conftest import ASSETS

WAYS = {"444": Geometry(chroma="444"), "420": Geometry(chroma="420"), "before": LegacyGeometry()}
ROUNDS = 20


def bench(folder: Path) -> list[Row]:
    photographs = [path.read_bytes() for path in sorted(ASSETS.glob("images/**/*.jpg")) if has_full_chroma(path)]
    if not photographs:
        print(f"chroma needs the photographs of {ASSETS}, which is not there", file=sys.stderr)
        return []
    sketch = Sketch("default", provide(["sketch"], folder / "weights"))
    sketch.load("cpu")
    use_threads(1)
    rows = []
    for name, files in (("4:4:4", photographs), ("4:2:0", [as_420(data) for data in photographs])):
        unstored = [crop(data, WAYS["444"]) for data in files]
        wanted = [sketch(picture[None])[0] for picture in unstored]
        stored = {way: [store(crop(data, of), of) for data in files] for way, of in WAYS.items()}
        found = {way: [sketch(decode_rgb(data)[None])[0] for data in of] for way, of in stored.items()}
        agreed = {way: 100 * iou(maps, wanted) for way, maps in found.items()}
        size = {way: sum(map(len, of)) / len(of) / 1000 for way, of in stored.items()}
        what = f"{len(files)} photographs in {name}, stored as 444 against "
        rows += compare(what, agreed, "IoU, %") + compare(what, size, "kB a picture")
        rows += compare(what, encode_times(unstored), "ms of CPU to encode")
    return rows


def compare(what: str, found: Mapping[str, float], unit: str) -> list[Row]:
    """The present default against both others."""
    return [
        Row(what + way, unit, found["444"], found[way], found["444"] / found[way], "")
        for way in ("420", "before")
        if way in found
    ]


def has_full_chroma(path: Path) -> bool:
    with Image.open(path) as image:
        return JpegImagePlugin.get_sampling(image) == 0


def as_420(data: bytes) -> bytes:
    """The picture as most cameras write it."""
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).save(file, "JPEG", quality=95, subsampling="4:2:0")
    return file.getvalue()


def crop(data: bytes, geometry: Geometry) -> np.ndarray:
    """uint8 (H, W, 3): as ingest has it before it is stored."""
    decoded = decode_picture(data, geometry)
    return apply_placement(decoded.picture, geometry.place(*decoded.size))


def store(picture: np.ndarray, geometry: Geometry) -> bytes:
    return encode_jpeg(picture, geometry.quality, geometry.stored_chroma)


def encode_times(pictures: Sequence[np.ndarray]) -> dict[str, float]:
    """way -> the median of the rounds, in turns, a picture."""
    times: dict[str, list[float]] = {"444": [], "420": []}
    for _ in range(ROUNDS):
        for way, taken in times.items():
            started = time.process_time()
            list(map(partial(store, geometry=WAYS[way]), pictures))
            taken.append(1000 * (time.process_time() - started) / len(pictures))
    return {way: statistics.median(taken) for way, taken in times.items()}

"""Real photographs through each source: what is stored is what another decoder makes of the file."""

from __future__ import annotations

import functools
import io
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skimage.data
from PIL import Image, ImageCms, ImageOps

from t2i_shards.jobs.__main__ import run
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.shards.sample_info import read_info
from tests.conftest import ASSETS
from tests.pipeline.coco_toy import ToyPicture, write_coco
from tests.pipeline.sources.tars.toys import write_tar

pytestmark = pytest.mark.usefixtures("in_this_process")

SHIPPED = [Path(skimage.data.__file__).parent / name for name in ("rocket.jpg", "astronaut.png", "chelsea.png")]
FOUND = [ASSETS / "images/openimages" / name for name in ("cat_720p.jpg", "kite_and_cold.jpg", "parrot.jpg")]
PHOTOGRAPHS = {path.stem: path for path in (*SHIPPED, *FOUND) if path.exists()}
"""In 4:4:4 (the first has a profile), in 4:2:0 and as PNG, 300 to 900 pixels high. The caption is the name."""
RELATIVE = ImageCms.Intent.RELATIVE_COLORIMETRIC
DECIBELS = 34
"""PSNR against Pillow, whose filters are others: 35 and more."""


def folder(place: Path) -> list[str]:
    for name, path in PHOTOGRAPHS.items():
        shutil.copy(path, place)
        (place / f"{name}.txt").write_text(name)
    return ["folder", str(place)]


def tars(place: Path) -> list[str]:
    members = {f"{name}{path.suffix}": path.read_bytes() for name, path in PHOTOGRAPHS.items()}
    write_tar(place / "0.tar", members | {f"{name}.txt": name for name in PHOTOGRAPHS})
    return ["tars", str(place)]


def table(place: Path) -> list[str]:
    images = [{"bytes": path.read_bytes(), "path": path.name} for path in PHOTOGRAPHS.values()]
    pq.write_table(pa.table({"image": images, "text": list(PHOTOGRAPHS)}), place / "0.parquet")
    return ["table", str(place)]


def paths(place: Path) -> list[str]:
    lines = [json.dumps({"file_name": path.name, "text": name}) for name, path in PHOTOGRAPHS.items()]
    (place / "metadata.jsonl").write_text("\n".join(lines))
    for path in PHOTOGRAPHS.values():
        shutil.copy(path, place)
    return ["table", str(place / "metadata.jsonl")]


def coco(place: Path) -> list[str]:
    pictures = enumerate(PHOTOGRAPHS.items(), 1)
    write_coco(place, [ToyPicture(i, path.read_bytes(), captions=[name]) for i, (name, path) in pictures])
    return ["coco", "--coco", str(place), "--split", "val2017"]


def laion(place: Path, port: int = 0) -> list[str]:
    for path in PHOTOGRAPHS.values():
        shutil.copy(path, place)
    urls = [f"http://127.0.0.1:{port}/{path.name}" for path in PHOTOGRAPHS.values()]
    pq.write_table(pa.table({"URL": urls, "TEXT": list(PHOTOGRAPHS)}), place / "0.parquet")
    return ["laion", "--metadata", str(place), "--allow-private", "127.0.0.0/8", "--ports", str(port)]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *of: object) -> None:
        """Nothing."""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Of a server of the folder `in`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "in"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("write", [folder, tars, table, paths, coco, laion])
def test_the_pixels_are_those_of_the_photograph(
    write: Callable[..., list[str]], port: int, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    words = write(tmp_path / "in", **({"port": port} if write is laion else {}))
    root = str(tmp_path / "root")
    assert run(["ingest", *words, "--out", root, "--size", "256", "--engine", "local", "--workers", "1"]) == 0
    samples = Dataset.open(root).load(IMAGES, 0)
    assert sorted(bytes(sample.members["txt"]).decode() for sample in samples) == sorted(PHOTOGRAPHS)
    for sample in samples:
        place = read_info(sample).placement
        upright = read_independently(PHOTOGRAPHS[bytes(sample.members["txt"]).decode()])
        assert upright.size == place.original
        x, y, width, height = place.crop
        wanted = upright.resize(place.resized, Image.Resampling.BOX).crop((x, y, x + width, y + height))
        stored = decode_rgb(sample.members["jpg"])
        assert psnr(stored, np.asarray(wanted)) > DECIBELS, sample.key


def read_independently(path: Path) -> Image.Image:
    """Upright and in sRGB, by Pillow and its own colour management."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    if icc := image.info.get("icc_profile"):
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        ImageCms.profileToProfile(upright, profile, ImageCms.createProfile("sRGB"), RELATIVE, inPlace=True)
    return upright


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))

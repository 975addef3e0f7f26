"""Download and crop against img2dataset's own, with guard and without, and how good the pictures are."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from tests.bench.measure import Row, in_turns
from tests.bench.web import make_pictures, serve

PICTURES, ROWS, ROUNDS = 160, 320, 5
SHARDS = 3 * (ROUNDS + 1)
SIZE = 512


def bench(folder: Path) -> list[Row]:
    """One worker each, warm; the server's time is not counted."""
    make_pictures(folder / "pictures", PICTURES)
    with ExitStack() as stack:
        port = stack.enter_context(serve(folder / "pictures"))
        guarded, alike, unguarded, peer = (
            stack.enter_context(worker(way, folder / way, port))
            for way in ("ours", "ours-420", "unguarded", "img2dataset")
        )
        against = in_turns(
            "download and crop against img2dataset, cubic", "pictures/cpu-s", ">= 1.6", guarded, peer, ROUNDS
        )
        like = in_turns("the same, both with 4:2:0", "pictures/cpu-s", ">= 1.24", alike, peer, ROUNDS)
        client = in_turns(
            "the same with the guard and without", "pictures/cpu-s", ">= 0.95", guarded, unguarded, ROUNDS
        )
    return [against, like, client, *quality(folder)]


@contextmanager
def worker(way: str, folder: Path, port: int) -> Iterator[Callable[[], float]]:
    """A process of its own that downloads its next shard at each call; pictures per CPU second."""
    numbers = map(str, (folder, port, ROWS, SHARDS, PICTURES))
    command = [sys.executable, "-m", "tests.bench.download_worker", way, *numbers]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    shards = itertools.count()

    def run() -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{next(shards)}\n")
        process.stdin.flush()
        rates = (line.split() for line in process.stdout)
        return next(float(words[1]) for words in rates if words[:1] == ["rate"])

    try:
        yield run
    finally:
        process.kill()
        process.wait()


def quality(folder: Path) -> list[Row]:
    """Mean PSNR over the pictures of shard 0, of what was stored against references in float64."""
    stored = [read_ours(folder / "ours" / "root"), read_img2dataset(folder / "img2dataset" / "00000.tar")]
    found: dict[str, list[list[float]]] = {"area": [], "cubic": []}
    for number in range(PICTURES):
        original = decode((folder / "pictures" / f"{number}.jpg").read_bytes()).astype(np.float64)
        for kind, values in found.items():
            wanted = reference(original, kind)
            values.append([psnr(pictures[number], wanted) for pictures in stored])
    rows = []
    for kind, values in found.items():
        ours, peer = np.mean(values, axis=0)
        rows.append(Row(f"PSNR against {NAMES[kind]} in float64", "dB", ours, peer, ours / peer, ">= 1"))
    return rows


NAMES = {"area": "the mean over each pixel's area", "cubic": "antialiased bicubic"}


def read_ours(root: Path) -> Mapping[int, np.ndarray]:
    """number -> BGR, of the first shard."""
    samples = Dataset.open(str(root)).load(IMAGES, 0)
    return {
        number_of(json.loads(bytes(sample.members["json"]))["source"]["location"]): decode(sample.members["jpg"])
        for sample in samples
    }


def read_img2dataset(tar: Path) -> Mapping[int, np.ndarray]:
    """The same of a tar file of img2dataset."""
    content: dict[str, bytes] = {}
    with tarfile.open(tar) as file:
        for member in file:
            stream = file.extractfile(member)
            assert stream is not None
            content[member.name] = stream.read()
    return {
        number_of(json.loads(content[name])["url"]): decode(content[name.replace(".json", ".jpg")])
        for name in content
        if name.endswith(".json")
    }


def number_of(url: str) -> int:
    return int(url.rpartition("/")[2].removesuffix(".jpg"))


def decode(data: bytes | memoryview) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def psnr(picture: np.ndarray, wanted: np.ndarray) -> float:
    """dB, peak 255."""
    return float(10 * np.log10(255**2 / np.mean((picture - wanted) ** 2)))


def reference(picture: np.ndarray, kind: str) -> np.ndarray:
    """float64: the shorter side resized to 512, the middle 512x512 of it.

    "area": each pixel is the mean of what it covers, where the picture shrinks. "cubic": Keys' kernel with
    a = -0.5, as wide as the picture shrinks. Where it grows, the latter is the reference of both.
    """
    height, width = picture.shape[:2]
    scale = SIZE / min(height, width)
    sides = [max(SIZE, round(side * scale)) for side in (height, width)]
    kernel = box if kind == "area" and scale < 1 else keys
    rows, columns = (weights(old, new, kernel) for old, new in zip((height, width), sides, strict=True))
    resized = np.einsum(
        "ij,jkc->ikc", rows, np.einsum("kl,jlc->jkc", columns, picture, optimize=True), optimize=True
    )
    top, left = ((side - SIZE) // 2 for side in sides)
    cut: np.ndarray = np.clip(resized, 0, 255)[top : top + SIZE, left : left + SIZE]
    return cut


def weights(old: int, new: int, kernel: Callable[[np.ndarray, float], np.ndarray]) -> np.ndarray:
    """(new, old): what each old pixel gives to each new one, pixel centres at halves; rows add up to 1."""
    shrink = max(old / new, 1.0)
    centres = (np.arange(new) + 0.5) * old / new
    found = kernel((np.arange(old)[None] + 0.5 - centres[:, None]), shrink)
    total: np.ndarray = found / found.sum(axis=1, keepdims=True)
    return total


def box(distance: np.ndarray, shrink: float) -> np.ndarray:
    """How much of an old pixel lies under a new one that is `shrink` old pixels wide."""
    covered: np.ndarray = np.clip(shrink / 2 + 0.5 - np.abs(distance), 0, 1)
    return covered


def keys(distance: np.ndarray, shrink: float) -> np.ndarray:
    """Keys 1981, with a = -0.5."""
    x = np.abs(distance) / shrink
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))

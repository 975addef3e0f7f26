"""The Python function that makes one map: what it takes, what it gives, what it refuses."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import t2i_shards
from t2i_shards.extractors.registry import UnknownCondition, conditions, make_extractor
from t2i_shards.pipeline import extract as module

extract = t2i_shards.extract


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Sides that are multiples of nothing."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((131, 97), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("condition", conditions())
def test_it_gives_the_map_of_the_extractor_and_its_image(condition: str, picture: np.ndarray) -> None:
    found = extract(condition, picture, variant="mini", device="cpu")
    extractor = make_extractor(condition, "mini")
    extractor.load("cpu")
    (expected,) = extractor(picture[None])
    assert np.array_equal(found.data, expected) if isinstance(expected, np.ndarray) else found.data == expected
    assert found.image.size == (131, 97)
    assert np.array_equal(np.asarray(found.image).reshape(97, 131, -1), extractor.format.render(expected, 97, 131))
    assert Image.open(io.BytesIO(found._repr_png_())).size == (131, 97)


def test_array_image_and_file_give_the_same(picture: np.ndarray, tmp_path: Path) -> None:
    image = Image.fromarray(picture)
    image.save(tmp_path / "a.png")
    given = [picture, image, tmp_path / "a.png", str(tmp_path / "a.png")]
    maps = extract("canny", given)
    assert len(maps) == 4
    assert all(np.array_equal(found.data, maps[0].data) for found in maps)
    assert extract("canny", []) == []


def test_a_list_may_have_any_sizes(picture: np.ndarray) -> None:
    maps = extract("sketch", [picture, picture[:50, :70]], variant="mini", device="cpu")
    assert [found.size for found in maps] == [(131, 97), (70, 50)]
    alone = extract("sketch", picture[:50, :70], variant="mini", device="cpu")
    assert np.array_equal(maps[1].data, alone.data)


def test_a_network_is_loaded_once(picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    module._load.cache_clear()
    made: list[str] = []

    def make(condition: str, variant: str, weights: Path | None) -> Any:
        made.append(condition)
        return make_extractor(condition, variant, weights)

    monkeypatch.setattr(module, "make_extractor", make)
    for _ in range(3):
        extract("sketch", picture, variant="mini", device="cpu")
    assert made == ["sketch"]


def test_files_are_read_as_ingest_reads_them(picture: np.ndarray, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(picture).copy()).save(tmp_path / "turned.png", exif=exif)
    assert extract("canny", tmp_path / "turned.png").size == (131, 97)
    grey = Image.fromarray(picture).convert("L")
    assert np.array_equal(extract("canny", grey).data, extract("canny", np.asarray(grey)).data)
    clear = Image.new("RGBA", (80, 64), (0, 0, 0, 0))
    assert extract("color", clear).data.min() == 255


@pytest.mark.parametrize(
    ("image", "error", "line"),
    [
        (3, TypeError, "a picture is a PIL image, an array, a path, or a list of these, not int"),
        (np.zeros((8, 8, 3)), ValueError, r"must be uint8 \(H, W, 3\).*not float64 \(8, 8, 3\)"),
        (np.zeros((3, 8, 8), np.uint8), ValueError, r"not uint8 \(3, 8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), ValueError, r"not uint8 \(0, 8, 3\)"),
    ],
)
def test_what_is_no_picture_is_refused(image: Any, error: type[Exception], line: str) -> None:
    with pytest.raises(error, match=line):
        extract("canny", image)


def test_files_that_are_no_picture_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    with pytest.raises(ValueError, match=r"cannot read the picture .*a\.jpg: not a picture"):
        extract("canny", tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError):
        extract("canny", tmp_path / "b.jpg")


def test_unknown_conditions_are_refused(picture: np.ndarray) -> None:
    with pytest.raises(UnknownCondition, match="no condition is called 'pose'"):
        extract("pose", picture)
    with pytest.raises(UnknownCondition, match="sketch has no variant 'huge'"):
        extract("sketch", picture, variant="huge")
    with pytest.raises(ValueError, match="'latents' is not a condition"):
        extract("latents", picture)

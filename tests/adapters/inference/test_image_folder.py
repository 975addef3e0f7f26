from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from t2i_shards.adapters.inference.image_folder import ImageFolder, digest_array

PICTURE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)


def test_a_picture_is_kept_as_it_is(tmp_path: Path) -> None:
    image_folder = ImageFolder(tmp_path / "new", {"prompt": "a disc"})
    assert not image_folder.has("one")
    path = image_folder.write("one", PICTURE)
    assert image_folder.has("one")
    assert path.name == f"one-{image_folder.digest}.png"
    assert np.array_equal(image_folder.read("one"), PICTURE)
    assert np.array_equal(ImageFolder(tmp_path / "new", {"prompt": "a disc"}).read("one"), PICTURE)


def test_another_request_writes_another_file(tmp_path: Path) -> None:
    first, second = (ImageFolder(tmp_path, {"prompt": "a disc", "steps": steps}) for steps in (1, 2))
    first.write("one", PICTURE)
    assert not second.has("one")
    second.write("one", 255 - PICTURE)
    assert np.array_equal(first.read("one"), PICTURE)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    image_folder = ImageFolder(tmp_path, {})
    image_folder.write("one", PICTURE)
    image_folder.write("one", 255 - PICTURE)
    assert np.array_equal(image_folder.read("one"), PICTURE)


def test_what_was_begun_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image_folder = ImageFolder(tmp_path, {})

    def stopped(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            image_folder.write("one", PICTURE)
    assert not image_folder.has("one")
    image_folder.write("one", PICTURE)
    assert np.array_equal(image_folder.read("one"), PICTURE)


def test_the_record_is_next_to_the_picture(tmp_path: Path) -> None:
    image_folder = ImageFolder(tmp_path, {"prompt": "a disc"})
    path = image_folder.describe("one", seed=3)
    assert path == image_folder.path("one").with_suffix(".json")
    assert json.loads(path.read_text()) == {"prompt": "a disc", "seed": 3}


def test_digests_differ_by_values_shapes_and_types() -> None:
    arrays = [
        PICTURE,
        255 - PICTURE,
        PICTURE.reshape(4, 16, 3),
        PICTURE.view(np.int8),
        PICTURE.transpose(1, 0, 2),
    ]
    assert len({digest_array(array) for array in arrays}) == len(arrays)
    assert digest_array(PICTURE[:, ::-1]) == digest_array(PICTURE[:, ::-1].copy())

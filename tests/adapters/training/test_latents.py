"""Training on a column of latents: as on pictures of the same crop, of the base's own autoencoder, undecoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from t2i_shards.adapters.base import Base, StableDiffusion
from t2i_shards.adapters.inference.config import parse_adapter
from t2i_shards.adapters.options import check_condition
from t2i_shards.adapters.training import example
from t2i_shards.adapters.training.example import CropConfig, make_example, read_latent
from t2i_shards.adapters.training.trainer import Training, train
from t2i_shards.extractors.latents import Latents
from t2i_shards.extractors.maps.crop import fixed_crop
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.runlog import read_log
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stages import plan_extract
from tests.adapters.toys import MemoryStream, make_sample, toy_config
from tests.faults.toys import Pictures, make_images


@pytest.fixture(scope="module")
def mini() -> Latents:
    extractor = Latents("mini", None)
    extractor.load("cpu")
    return extractor


def wide_sample(index: int, mini: Latents) -> Sample:
    """A picture of 64x64, 64x128 or 128x64 with its own edges as sketch, and its latent."""
    height, width = ((64, 64), (64, 128), (128, 64))[index % 3]
    noise = np.random.default_rng(index).integers(0, 256, (height // 8, width // 8, 3))
    picture = np.kron(noise, np.ones((8, 8, 1))).astype(np.uint8)
    sample = make_sample(f"{index:06d}", picture, picture[:, :, 0], ["a caption"])
    (condition_map,) = mini(decode_rgb(sample.members["jpg"])[None])
    return Sample(sample.key, {**sample.members, **format_of("latents").encode(condition_map)})


@pytest.fixture(scope="module")
def samples(mini: Latents) -> list[Sample]:
    return [wide_sample(index, mini) for index in range(8)]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each picture that training decodes."""
    counted: list[int] = []

    def decode(data: bytes | memoryview) -> np.ndarray:
        counted.append(len(data))
        return decode_rgb(data)

    monkeypatch.setattr(example, "decode_rgb", decode)
    return counted


@pytest.fixture
def middle(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes pictures' crops the fixed one."""
    return lambda: monkeypatch.setattr(example, "choose_window", lambda h, w, size, draws, key: fixed_crop(h, w))


def losses(run: Path) -> list[float]:
    return [
        loss for line in read_log(run / "log.jsonl") for loss in (line.loss, line.validation) if loss is not None
    ]


def trained(out: Path, base: Base, samples: Sequence[Sample], **changes: Any) -> list[float]:
    config = toy_config(out, steps=4, **changes)
    Training(config, MemoryStream(samples), base).run()
    return losses(out)


@pytest.mark.parametrize("condition", ["sketch", "color"])
def test_training_on_latents_equals_training_on_the_same_crops(
    condition: str,
    tiny: Base,
    samples: list[Sample],
    tmp_path: Path,
    decoded: list[int],
    middle: Callable[[], None],
) -> None:
    with_latents = trained(tmp_path / "latents", tiny, samples, condition=condition, latents="latents")
    # 2 samples held out and 4 steps of 2; the colours are made from the picture.
    assert len(decoded) == (10 if condition == "color" else 0)
    middle()
    with_pictures = trained(tmp_path / "pictures", tiny, samples, condition=condition, size=64)
    assert len(with_latents) == len(with_pictures) > 4
    np.testing.assert_allclose(with_latents, with_pictures, atol=1e-3)
    assert with_latents != with_pictures  # float16 has rounded


def test_all_but_the_picture_is_the_same_of_a_visit(
    samples: list[Sample], middle: Callable[[], None], tiny: Base
) -> None:
    middle()
    for sample in samples[:3]:
        ours = make_example(sample, CropConfig("sketch", 64, latents=True), 5, "1")
        theirs = make_example(sample, CropConfig("sketch", 64), 5, "1")
        for name in ("control_image", "noise", "vae_noise"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name))
        assert (ours.caption, ours.u, ours.edge) == (theirs.caption, theirs.u, theirs.edge)
        assert theirs.picture is not None
        mean, std = tiny.encode(theirs.picture[None].float() / 255 * 2 - 1)
        torch.testing.assert_close(ours.latent, torch.stack([mean[0], std[0]]), rtol=1e-3, atol=1e-3)


def test_the_standard_deviation_is_read_from_the_logarithm_of_the_variance() -> None:
    logvar = np.array([-30, -2, 0, 3], np.float16)
    condition_map = np.stack(
        [np.full((4, 8, 8), 7, np.float16), np.broadcast_to(logvar[:, None, None], (4, 8, 8))]
    )
    latent = read_latent(Sample("a", format_of("latents").encode(condition_map)))
    assert (latent[0] == 7).all()
    np.testing.assert_allclose(latent[1, :, 0, 0], np.exp(logvar.astype(float)) ** 0.5, rtol=1e-6)


def test_a_latent_of_another_size_is_refused_by_key(samples: list[Sample]) -> None:
    latents = format_of("latents")
    short = Sample("odd", {**samples[0].members, **latents.encode(np.zeros((2, 4, 7, 7), np.float16))})
    crop_config = CropConfig("sketch", 64, latents=True)
    with pytest.raises(RequestError, match=r"4 channels of crops of 64 pixels.* odd has \(4, 7, 7\) of one of 64"):
        make_example(short, crop_config, 0, "0")
    with pytest.raises(RequestError, match=r"crops of 128 pixels.* 000000 has \(4, 8, 8\) of one of 64"):
        make_example(samples[0], CropConfig("sketch", 128, latents=True), 0, "0")


@pytest.mark.parametrize("refuse", [check_condition, lambda name: parse_adapter(f"{name}=some/folder")])
def test_latents_are_no_condition(refuse: Callable[[str], object]) -> None:
    with pytest.raises(RequestError, match="sketch, depth, keypose, seg, color, canny") as caught:
        refuse("latents")
    assert "\n" not in str(caught.value)
    refuse("sketch")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset with canny, latents of the tiny base, and the same in a column of another name."""
    dataset = make_images(tmp_path_factory.mktemp("latents") / "root", Pictures(8), 4)
    for name, column in (("canny", None), ("latents", None), ("latents", "again")):
        stage = plan_extract(dataset, [name], variant="mini", column=column)
        stage.setup()
        for shard in dataset.shards:
            assert stage(shard).errors == ()
    return dataset.store.root


@pytest.mark.parametrize("column", ["latents", "again"])
def test_a_training_reads_the_column(root: str, column: str, tmp_path: Path, decoded: list[int]) -> None:
    config = toy_config(tmp_path, roots=(root,), condition="canny", latents=column, steps=1)
    assert train(config).steps == 1
    assert not decoded


def test_latents_of_two_sizes_in_a_mix_are_refused_before_a_run_is_begun(root: str, tmp_path: Path) -> None:
    larger = make_images(tmp_path / "larger", Pictures(4, size=128), 4, size=128)
    for name in ("canny", "latents"):
        stage = plan_extract(larger, [name], variant="mini")
        stage.setup()
        assert stage(0).errors == ()
    asked = {"condition": "canny", "latents": "latents", "steps": 1}
    told = f"those of {root} of 64, those of {larger.store.root} of 128; without"
    with pytest.raises(RequestError, match=f"must be of crops of one size .*{told}"):
        train(toy_config(tmp_path / "run", roots=(root, larger.store.root), **asked))
    assert not (tmp_path / "run").exists()
    assert train(toy_config(tmp_path / "run", roots=(root, root), **asked)).steps == 1


def save_base(base: StableDiffusion, folder: Path) -> None:
    for name, network in base.networks.items():
        network.save_pretrained(folder / name)  # type: ignore[operator]
    base.tokenizers[0].save_pretrained(folder / "tokenizer")
    base.scheduler.save_pretrained(folder / "scheduler")


def test_latents_of_another_autoencoder_are_refused_by_name(root: str, tmp_path: Path, tiny: Base) -> None:
    folder = tmp_path / "base"
    bias = tiny.networks["vae"].encoder.conv_out.bias
    with torch.no_grad():
        bias[0] += 1
    try:
        save_base(tiny, folder)
    finally:
        with torch.no_grad():
            bias[0] -= 1
    asked = {"roots": (root,), "condition": "canny", "base": str(folder), "steps": 1}
    with pytest.raises(RequestError, match=f"--latents again of .*root was made by another .*--base {folder}"):
        train(toy_config(tmp_path / "run", latents="again", **asked))
    assert not (tmp_path / "run").exists()
    save_base(tiny, folder)  # the tiny base's own, by another name and in another precision
    train(toy_config(tmp_path / "run", latents="again", precision="bf16", **asked))


def test_a_column_that_holds_no_latents_is_refused_by_name(root: str, tmp_path: Path) -> None:
    asked = {"roots": (root,), "condition": "color", "steps": 1}
    with pytest.raises(RequestError, match=r"--latents must name a column of latents, and canny of .* is none"):
        train(toy_config(tmp_path / "run", latents="canny", **asked))

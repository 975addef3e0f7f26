"""Latents: diffusers' own numbers, of the crop and nothing else, stored so that anybody can read them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from skimage import data

from t2i_shards.extractors.atomic import sha256_of
from t2i_shards.extractors.latents import OWN, SD15, SDXL, Latents
from t2i_shards.extractors.maps.crop import fixed_crop, fixed_side
from t2i_shards.extractors.networks.mini_vae import build_vae
from t2i_shards.extractors.networks.vae import digest_encoder, read_encoder
from t2i_shards.extractors.registry import conditions, format_of
from t2i_shards.extractors.weights.file import WeightsDamaged, WeightsUnavailable
from tests.extractors.published_networks import published_vae, write_vae

FORM = format_of("latents")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def mini() -> Latents:
    extractor = Latents("mini", None)
    extractor.load("cpu")
    return extractor


def scaled(crop: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None].float() / 127.5 - 1


def test_equal_to_diffusers_with_the_published_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights in the shape and layout of SD 1.5's file, whose attention diffusers renames as it reads."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    vae = published_vae()
    assert sum(p.numel() for p in vae.parameters()) == 83_653_863  # four bytes each: both published files' sizes
    with torch.no_grad():
        vae.quant_conv.weight.mul_(30)
        vae.quant_conv.bias[4:6] += torch.tensor([-50, 40])  # beyond the bounds of the log variance
        vae.encoder.mid_block.attentions[0].to_out[0].weight.mul_(10)
    path = tmp_path / SD15.filename
    path.parent.mkdir()
    vae.save_config(path.parent)
    write_vae(vae, path)
    for file in (SD15, SDXL):
        monkeypatch.setitem(vars(file), "sha256", sha256_of(path))
    theirs = AutoencoderKL.from_pretrained(tmp_path, subfolder="vae", use_safetensors=True).eval()
    extractor = Latents("default", tmp_path)
    extractor.load("cpu")
    for photograph in (data.astronaut()[40:140, 180:300], data.coffee()[100:210, 250:330]):
        rows, columns = fixed_crop(*photograph.shape[:2])
        with torch.no_grad():
            posterior = theirs.encode(scaled(photograph[rows, columns])).latent_dist
            ours = extractor.network(scaled(photograph[rows, columns]))[0]
        assert posterior.mean.std() > 0.3
        torch.testing.assert_close(ours, torch.cat([posterior.mean, posterior.logvar]), rtol=0, atol=1e-4)
        (condition_map,) = extractor(photograph[None])
        torch.testing.assert_close(torch.from_numpy(condition_map).float(), ours, rtol=1e-3, atol=1e-3)
    recipe = extractor.recipe()
    assert recipe["parameters"]["vae"] == digest_encoder(theirs.state_dict())
    for key, expected in (("sha256", SD15.sha256), ("licence", SD15.licence), ("file", SD15.filename)):
        assert recipe["weights"][key] == expected
    assert Latents("sdxl", tmp_path).recipe()["weights"]["licence"] == SDXL.licence


@pytest.mark.parametrize(
    ("size", "side", "top", "left"),
    [
        ((512, 512), 512, 0, 0),
        ((512, 832), 512, 0, 160),
        ((640, 427), 384, 128, 21),
        ((64, 2000), 64, 0, 968),
        ((63, 100), 56, 3, 22),
        ((7, 513), 8, 0, 252),
        ((1, 1), 8, 0, 0),
    ],
)
def test_the_fixed_crop(size: tuple[int, int], side: int, top: int, left: int) -> None:
    rows, columns = fixed_crop(*size)
    assert fixed_side(*size) == side
    assert (rows.start, columns.start) == (top, left)
    assert rows.stop - rows.start == min(side, size[0])
    assert columns.stop - columns.start == min(side, size[1])


def test_a_latent_is_that_of_the_crop_and_of_nothing_else(mini: Latents) -> None:
    picture = data.astronaut()[:150, :100].copy()
    rows, columns = fixed_crop(150, 100)
    (whole,), (crop,) = mini(picture[None]), mini(picture[rows, columns][None])
    assert np.array_equal(whole, crop)
    outside = np.ones(picture.shape[:2], bool)
    outside[rows, columns] = False
    other = np.where(outside[..., None], 0, picture).astype(np.uint8)
    assert np.array_equal(mini(other[None])[0], whole)
    other[rows.start, columns.start] ^= 255
    assert not np.array_equal(mini(other[None])[0], whole)


def test_a_picture_below_eight_pixels_has_its_edges_repeated(mini: Latents) -> None:
    small = data.astronaut()[100:105, 200:203]
    assert np.array_equal(mini(small[None])[0], mini(np.pad(small, ((0, 3), (0, 5), (0, 0)), "edge")[None])[0])


def test_stored_as_plain_npy_in_float16() -> None:
    condition_map = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float16)
    (stored,) = FORM.encode(condition_map).values()
    assert stored[:8] == b"\x93NUMPY\x01\x00"
    loaded = np.load(io.BytesIO(stored), allow_pickle=False)
    assert loaded.dtype == np.float16
    assert np.array_equal(loaded, condition_map)
    assert FORM.encode(condition_map[:, :, ::-1][:, :, ::-1]) == {"latents.npy": stored}
    assert np.array_equal(FORM.decode({"latents.npy": stored}), condition_map)


def npy(array: np.ndarray, version: tuple[int, int] = (1, 0), claimed: tuple[int, ...] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version, allow_pickle=True)
    stored = file.getvalue()
    if claimed:
        told, lie = f"{array.shape}".encode(), f"{claimed}".encode()
        stored = stored.replace(told + b", }" + b" " * (len(lie) - len(told)), lie + b", }")
        assert lie in stored
    return stored


ZEROS = np.zeros((2, 4, 2, 2), np.float16)


@pytest.mark.parametrize(
    "stored",
    [
        npy(ZEROS.astype(np.float32)),
        npy(ZEROS[0]),
        npy(ZEROS, version=(2, 0)),
        npy(np.array([[[[None]]]] * 2)),
        npy(ZEROS, claimed=(2, 4, 9000000, 9000000)),
        npy(ZEROS)[:-2],
        npy(ZEROS) + b"\0\0",
        b"PK\x03\x04 an archive",
        b"",
    ],
    ids=["float32", "no variance", "version", "objects", "a lie", "cut", "longer", "npz", "empty"],
)
def test_anything_else_is_refused(stored: bytes) -> None:
    with pytest.raises(ValueError, match=r"latents\.npy|reshape|magic"):
        FORM.decode({"latents.npy": stored})


def test_what_float16_cannot_hold_is_no_latent() -> None:
    with pytest.raises(ValueError, match="must be finite in float16, and 1 values are not"):
        FORM.encode(np.where(np.arange(32).reshape(2, 4, 2, 2) == 7, np.inf, 0).astype(np.float16))


def test_the_drawing_lies_where_the_crop_does(mini: Latents) -> None:
    picture = np.zeros((64, 192, 3), np.uint8)
    picture[:, :96], picture[:, 96:] = (250, 90, 30), (30, 90, 250)
    control_image = FORM.render(mini(picture[None])[0], 64, 192)
    assert not control_image[:, :64].any()
    assert not control_image[:, 128:].any()
    left, right = control_image[:, 64:88].astype(int), control_image[:, 104:128].astype(int)
    assert (left[..., 0] > left[..., 2] + 99).all()
    assert (right[..., 2] > right[..., 0] + 99).all()
    with pytest.raises(ValueError, match=r"\(8, 8\) does not belong to the fixed crop of 128 pixels"):
        FORM.render(np.zeros((2, 4, 8, 8), np.float16), 140, 135)


def test_no_condition_and_no_mirror() -> None:
    assert "latents" not in conditions()
    assert {"sketch", "depth", "keypose", "seg", "color", "canny"} <= set(conditions())
    with pytest.raises(ValueError, match="must be computed again"):
        FORM.mirror(ZEROS)


def save_folder(folder: Path, change: float = 0.0) -> Any:
    vae = build_vae()
    with torch.no_grad():
        vae.encoder.conv_out.bias[0] += change
    vae.save_pretrained(folder)
    return vae


@pytest.mark.parametrize("place", ["", "vae"], ids=["the folder itself", "that of a base"])
def test_the_autoencoder_of_any_folder(
    mini: Latents, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for each base: none of them is locked to be the only one."""
    monkeypatch.setenv("T2I_SHARDS_CACHE", str(tmp_path / "cache"))
    picture = data.astronaut()[None, 100:164, 100:164]
    digests = []
    for change in (0.0, 0.5):
        folder = tmp_path / f"base {change}"
        vae = save_folder(folder / place, change)
        extractor = Latents("folder", folder)
        recipe = extractor.recipe()
        extractor.load("cpu")
        (condition_map,) = extractor(picture)
        expected = mini(picture)[0].astype(np.float32)
        expected[0, 0] += change
        np.testing.assert_allclose(condition_map.astype(np.float32), expected, atol=2e-3)
        assert recipe["weights"]["sha256"] == sha256_of(folder / place / OWN.filename)
        assert recipe["parameters"]["vae"] == digest_encoder(vae.state_dict())
        digests.append(recipe["parameters"]["vae"])
    assert digests[0] == mini.recipe()["parameters"]["vae"] != digests[1]


def test_only_what_decides_a_latent_decides_the_digest(tmp_path: Path) -> None:
    vae = save_folder(tmp_path)
    path = tmp_path / OWN.filename
    state = load_file(path)
    digest = digest_encoder(read_encoder(path))
    assert digest_encoder(vae.to(torch.bfloat16).state_dict()) == digest
    for name, same in (
        ("decoder.conv_in.weight", True),
        ("quant_conv.bias", False),
        ("encoder.conv_in.bias", False),
    ):
        assert (digest_encoder({**state, name: state[name] + 1}) == digest) is same
    conv = state["encoder.conv_in.weight"]
    assert digest_encoder({**state, "encoder.conv_in.weight": conv.flatten()}) != digest


def damage(folder: Path, what: str) -> None:
    path, config = folder / OWN.filename, folder / "config.json"
    shape = json.loads(config.read_text())
    if what == "no config":
        config.unlink()
    elif what == "other config":
        config.write_text(json.dumps({**shape, "layers_per_block": 2}))
    elif what == "other kind":
        config.write_text(json.dumps({**shape, "block_out_channels": [16, 16, 16]}))
    elif what == "a tensor is missing":
        state = load_file(path)
        del state["encoder.conv_in.bias"]
        save_file(state, path)
    elif what == "a UNet":
        save_file({"conv_in.weight": torch.zeros(1)}, path)
    else:
        path.write_bytes(b"x" * 100)


@pytest.mark.parametrize(
    "what", ["no config", "other config", "other kind", "a tensor is missing", "a UNet", "no safetensors"]
)
def test_what_is_no_autoencoder_is_refused_in_one_line(what: str, tmp_path: Path) -> None:
    save_folder(tmp_path)
    damage(tmp_path, what)
    with pytest.raises(WeightsDamaged) as caught:
        Latents("folder", tmp_path).load("cpu")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(WeightsUnavailable, match=r"no --weights given; pass --weights DIR"):
        Latents("folder", None).recipe()

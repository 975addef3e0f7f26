from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from adapters.base import Base, digest_base, load_base
from pipeline.errors import RequestError


@pytest.fixture(scope="module")
def folder(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base as diffusers keeps one on disk."""
    root = tmp_path_factory.mktemp("base")
    for name, part in tiny.networks.items():
        part.save_pretrained(root / name)  # type: ignore[operator]
    tiny.tokenizer.save_pretrained(root / "tokenizer")
    tiny.scheduler.save_pretrained(root / "scheduler")
    return root


def test_tiny_base_is_the_same_on_every_call(tiny: Base) -> None:
    state = torch.random.get_rng_state()
    assert digest_base(load_base("tiny")) == digest_base(tiny)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_base_from_a_folder_is_the_base_that_was_saved(tiny: Base, folder: Path) -> None:
    read = load_base(str(folder))
    assert digest_base(read) == digest_base(tiny)
    captions = ["a person waving beside a red cube", "ein Würfel", ""]
    assert torch.equal(read.embed(captions), tiny.embed(captions))


def test_nothing_of_the_base_learns(tiny: Base, folder: Path) -> None:
    for base in (tiny, load_base(str(folder))):
        for network in base.networks.values():
            assert not network.training
            assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    "tensor",
    [
        lambda base: base.unet.conv_out.bias,
        lambda base: base.vae.encoder.conv_norm_out.weight,
        lambda base: base.text_encoder.get_input_embeddings().weight,
        lambda base: dict(base.text_encoder.named_buffers()).popitem()[1],
    ],
)
def test_digest_notices_one_changed_value(tiny: Base, tensor: Callable[[Base], torch.Tensor]) -> None:
    before, values = digest_base(tiny), tensor(tiny).view(-1)
    kept = values[0].item()
    try:
        values[0] = kept + 1
        changed = digest_base(tiny)
    finally:
        values[0] = kept
    assert changed != before
    assert digest_base(tiny) == before


def test_captions_tell_apart(tiny: Base) -> None:
    context = tiny.embed(["a red cube", "a blue cube", "x" * 500])
    assert context.shape == (3, 77, 32)
    assert not torch.equal(context[0], context[1])


def test_tiny_autoencoder_keeps_the_colour_of_each_cell(tiny: Base) -> None:
    cells = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pictures = cells.repeat_interleave(8, 2).repeat_interleave(8, 3)
    latents = tiny.vae.encode(pictures).latent_dist.mean
    scale = cells.pow(2).mean((2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(latents[:, :3], cells / scale / 2, atol=1e-3, rtol=1e-3)
    decoded = tiny.vae.decode(latents).sample
    torch.testing.assert_close(decoded, pictures / pictures.pow(2).mean((2, 3), keepdim=True).sqrt() / 2)


def test_tiny_autoencoder_sees_an_outline_as_detail(tiny: Base) -> None:
    picture = torch.full((1, 3, 64, 64), -0.5)
    picture[:, :, 20:44, 20:44] = 0.5
    detail = tiny.vae.encode(picture).latent_dist.mean[0, 3]
    outline = torch.zeros(8, 8, dtype=torch.bool)
    outline[2:6, 2:6], outline[3:5, 3:5] = True, False
    assert detail[outline].min() > 3 * detail[~outline].abs().max()


def test_tiny_unet_takes_the_latent_for_the_noise(tiny: Base) -> None:
    noise = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        predicted = tiny.unet(noise, torch.full((4,), 999), tiny.embed(["a cube"] * 4)).sample
    assert torch.nn.functional.mse_loss(predicted, noise) < 0.15


def test_folder_that_holds_no_base_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be had") as refusal:
        load_base(str(tmp_path))
    assert "\n" not in str(refusal.value)


def test_base_that_predicts_something_else_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for part in ("unet", "vae", "text_encoder", "tokenizer"):
        (other / part).symlink_to(folder / part)
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    (other / "scheduler").mkdir()
    (other / "scheduler" / "scheduler_config.json").write_text(
        json.dumps({**config, "prediction_type": "v_prediction"})
    )
    with pytest.raises(RequestError, match="v_prediction"):
        load_base(str(other))

"""mini-base: a seed gives one base, interrupted or not; it can continue the shipped one; its measures hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from t2i_shards.adapters.base.mini import FOLDER, read_recipe, read_sums
from t2i_shards.adapters.evaluation.kernel_distance import kernel_distance, see_features
from t2i_shards.adapters.training.distributed import World
from t2i_shards.extractors.segmentation import Segmentation
from t2i_shards.jobs.mini_weights import loop
from t2i_shards.jobs.mini_weights.base import MiniBaseCommand, decoder, denoiser
from t2i_shards.jobs.mini_weights.base.caption_content import fit_skies, label_pictures, read_caption
from t2i_shards.jobs.mini_weights.base.denoiser import EMPTY, draw_batch, prepare
from t2i_shards.jobs.mini_weights.base.latents import mirror_captions
from t2i_shards.jobs.mini_weights.base.measure import judge_pictures
from t2i_shards.jobs.mini_weights.base.plan import HELD_OUT, Plan
from t2i_shards.jobs.mini_weights.base.tokenizer import build_tokenizer
from t2i_shards.jobs.mini_weights.base.training import TrainRequest, train_base
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.scenes import labels, render
from tests.adapters.ranks import run_ranks

MICRO = Plan(
    seed=7,
    scenes=4,
    vae_steps=2,
    vae_batch=2,
    decoder_steps=2,
    decoder_batch=1,
    steps=2,
    batch=2,
    fall=0.5,
    kept_every=1,
)
BOTH = ("autoencoder", "unet")


class Killed(Exception):
    pass


def train(out: Path, parts: Sequence[str] = BOTH, further: bool = False) -> Path:
    folder = train_base(TrainRequest(out, MICRO, parts, further), lambda line: None, World(torch.device("cpu")))
    assert folder is not None
    return folder


def weights_of(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in read_sums(folder).items() if name != "recipe.json"}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("once"))


def test_an_interruption_changes_no_bit(once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = loop._keep

    def keep(checkpoint: Path, state: dict[str, Any]) -> None:
        kept(checkpoint, state)
        if state["step"] == 1:
            raise Killed

    monkeypatch.setattr(loop, "_keep", keep)
    for _ in BOTH:
        with pytest.raises(Killed):
            train(tmp_path)
    assert weights_of(train(tmp_path)) == weights_of(once)


def test_a_part_that_is_not_asked_for_stays_as_it_is(once: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="yet: train it first"):
        train(tmp_path, ("unet",))
    command = MiniBaseCommand(only=("autoencoder",), out=tmp_path, seed=7, scenes=4, steps=2)
    assert "no UNet yet" in command.run().line
    before = (tmp_path / "autoencoder.pt").read_bytes()
    train(tmp_path, ("unet",))
    assert (tmp_path / "autoencoder.pt").read_bytes() == before


def test_all_its_networks_are_loaded_in_one_dtype(once: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(once, safety_checker=None)
    networks = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    assert {network.dtype for network in networks} == {torch.float32}


def test_training_can_continue_from_the_shipped_weights(tmp_path: Path) -> None:
    folder = train(tmp_path, ("unet",), further=True)
    shipped, ours = read_recipe()["parts"], read_recipe(folder)["parts"]
    assert ours[:-1] == shipped
    assert (ours[-1]["part"], ours[-1]["seed"], ours[-1]["steps"]) == ("unet", 7, 2)
    assert ours[-1]["noise_offset"] == MICRO.noise_offset
    after, before = weights_of(folder), read_sums(FOLDER)
    changed = {name for name, digest in after.items() if digest != before[name]}
    assert changed == {"unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"}
    name = "unet/diffusion_pytorch_model.safetensors"
    old, new = (load_file(place / name) for place in (FOLDER, folder))
    assert all((old[key].float() - new[key].float()).abs().max() < 0.02 for key in old)


def test_a_decoder_that_is_trained_further_leaves_all_else_to_the_bit(tmp_path: Path) -> None:
    folder = train(tmp_path, ("decoder",), further=True)
    last = read_recipe(folder)["parts"][-1]
    assert (last["part"], last["noise"]) == ("decoder", MICRO.decoder_noise)
    after, before = weights_of(folder), read_sums(FOLDER)
    name = "vae/diffusion_pytorch_model.safetensors"
    assert {changed for changed, digest in after.items() if digest != before[changed]} == {name}
    old, new = (load_file(place / name) for place in (FOLDER, folder))
    moved = {key for key in old if not torch.equal(old[key], new[key])}
    assert moved
    assert all(key.startswith(("decoder.", "post_quant_conv.")) for key in moved)
    assert all((old[key].float() - new[key].float()).abs().max() < 0.02 for key in old)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"seed": HELD_OUT}, "kept to measure with"),
        ({"steps": 0}, "--steps must be at least 1"),
        ({"measure": -1}, "--measure must not be below 0"),
        ({"further": True, "only": ("autoencoder",)}, "add unet"),
    ],
)
def test_what_cannot_be_is_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        MiniBaseCommand(**asked)


def test_every_word_of_the_captions_is_one_token_and_others_come_back_as_they_were() -> None:
    captions = [render(7, index, 64, "simple").caption for index in range(200)]
    tokenizer = build_tokenizer(captions)
    words = sorted({word.strip(",") for caption in captions for word in caption.split()})
    assert all(len(tokenizer.tokenize(word)) == 1 for word in words)
    assert len(words) < len(tokenizer) - 514
    strange = "a zeppelin über the grass 北"
    assert tokenizer.decode(tokenizer(strange).input_ids, skip_special_tokens=True).strip() == strange
    assert max(len(ids) for ids in tokenizer(captions).input_ids) <= tokenizer.model_max_length


def test_batches_pair_a_mirrored_picture_with_its_mirrored_caption() -> None:
    captions = ["a red cube to the left of a ball", "a ball to the right of a chair", "a tent on the grass"]
    assert mirror_captions(captions)[:2] == ["a red cube to the right of a ball", "a ball to the left of a chair"]
    tokenizer = build_tokenizer(captions)
    latents = np.zeros((3, 2, 2, 4, 2, 2), np.float16)
    for index, side in np.ndindex(3, 2):
        latents[index, side, 0] = 2 * index + side
    dataset = prepare([latents], captions, tokenizer)
    said = [[tokenizer(text).input_ids for text in side] for side in (captions, mirror_captions(captions))]
    empty = 0
    for step in range(40):
        drawn, tokens, times = draw_batch(dataset, (1, step), 4, 1000)
        assert np.array_equal(np.sort(times // 250), [0, 1, 2, 3])
        for latent, row in zip(drawn, tokens.tolist(), strict=True):
            index, side = divmod(int(latent.flat[0]), 2)
            if row == dataset.empty.tolist():
                empty += 1
            else:
                assert row[: len(said[side][index])] == said[side][index]
    assert 0.3 * EMPTY < empty / 160 < 2 * EMPTY


def test_an_offset_hides_the_mean_of_a_channel_and_nothing_else() -> None:
    plain = denoiser.draw_noise((3, 1), (500, 4, 16, 16), 0.0)
    offset = denoiser.draw_noise((3, 1), (500, 4, 16, 16), 0.3)
    assert offset.dtype == np.float32
    common = offset - plain
    assert np.ptp(common, axis=(2, 3)).max() < 1e-5
    assert common[:, :, 0, 0].std() == pytest.approx(0.3, rel=0.1)
    assert plain.mean(axis=(2, 3)).std() == pytest.approx(1 / 16, rel=0.1)


def test_the_decoder_learns_from_clean_and_from_noisy_latents() -> None:
    noise = decoder.draw_noise((3, 1), (500, 4, 16, 16), 0.4)
    deviations = np.sort(noise.std(axis=(1, 2, 3)))
    assert np.allclose(deviations, np.linspace(0, 0.4, 500), atol=0.05)


def test_measures_find_what_true_scenes_show_and_not_what_others_show() -> None:
    segmentation = Segmentation("mini", None)
    segmentation.load("cpu")
    scenes = [render(HELD_OUT, index, 128, "simple") for index in range(60)]
    captions = [scene.caption for scene in scenes]
    skies = [(scene.picture, read_caption(scene.caption).sky) for scene in scenes]
    named = [(picture, sky) for picture, sky in skies if sky is not None]
    classes = fit_skies([picture for picture, _ in named], [sky for _, sky in named])
    pictures = np.stack([scene.picture for scene in scenes])
    labelled = label_pictures(pictures, segmentation)
    true = judge_pictures(pictures, labelled, captions, classes)
    others = judge_pictures(pictures, labelled, [*captions[7:], *captions[:7]], classes)
    assert min(true.values()) > 0.75
    assert max(others[name] for name in ("ground", "sky", "colour")) < 0.5
    features = see_features(pictures, segmentation)
    grey = see_features(np.full((20, 128, 128, 3), 128, np.uint8), segmentation)
    assert abs(kernel_distance(features[:30], features[30:])) < 0.1 < kernel_distance(grey, features)


def test_captions_are_read() -> None:
    said = read_caption(
        "a person next to a big striped red ball, with a small blue tent on a green meadow at sunset"
    )
    assert (said.ground, said.sky, said.things, said.person) == (labels.GRASS, 3, (("blue", labels.TENT),), True)
    assert read_caption("a view of a bush") == type(said)(None, None, (), False)


def _average(world: World, given: Any) -> list[float]:
    layer = torch.nn.Linear(2, 1, bias=False)
    layer(torch.tensor([[1.0 + world.rank, 4.0 * world.rank]])).sum().backward()
    loop.average_gradients(layer, world.world_size)
    assert layer.weight.grad is not None
    return layer.weight.grad[0].tolist()


def test_processes_share_their_gradients() -> None:
    assert run_ranks(2, _average, None) == [[1.5, 2.0], [1.5, 2.0]]

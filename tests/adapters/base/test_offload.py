"""A base whose networks are on the GPU only while they work, on a GPU whose tensors have no values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from t2i_shards.adapters.base import Base, concat_embeds, digest_base, encode_picture, load_base
from t2i_shards.adapters.base.load import choose_device, freeze_to
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.adapters.inference.inpaint import prepare_inpainting
from t2i_shards.adapters.inference.sampler import generate
from t2i_shards.pipeline.errors import RequestError

GPU = torch.device("cuda:0")
SIDE = 64
FEW = Sampling(steps=2)


@pytest.fixture(params=["tiny", "tiny-xl"])
def base(request: pytest.FixtureRequest) -> Base:
    """One of the test's own."""
    return load_base(request.param)


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors get shapes, types and devices, and operations on tensors of two devices are refused."""

    def apply(self: torch.nn.Module, fn: Callable[[Any], Any], recurse: bool = True) -> torch.nn.Module:
        """torch's own cannot bring a parameter without values to another device a second time."""
        for child in self.children():
            child._apply(fn)
        for tensors in (self._parameters, self._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    made = fn(tensor)
                    tensors[name] = torch.nn.Parameter(made, False) if tensors is self._parameters else made
        return self

    monkeypatch.setattr(torch.nn.Module, "_apply", apply)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        yield


def _find(base: Base, device: torch.device) -> list[str]:
    """The networks whose parameters are all there; none is torn."""
    places = {name: {one.device for one in network.parameters()} for name, network in base.networks.items()}
    assert all(len(found) == 1 for found in places.values())
    return [name for name, found in places.items() if device in found]


def test_one_network_is_on_the_gpu_at_a_time(base: Base, fake_gpu: None) -> None:
    """From a picture that is repainted, over two batches, to the last that is decoded; SDXL's text encoders count
    as one."""
    freeze_to(base, "cuda", torch.float16, offloaded=True)
    assert _find(base, GPU) == []
    assert base.device == GPU
    worked: list[str] = []

    for name, network in base.networks.items():

        def look(module: Any, given: Any, made: Any, name: str = name) -> None:
            others = {*_find(base, GPU)} - {name}
            assert name.startswith("text") or not others
            assert all(other.startswith("text") for other in others)
            worked.append(name)

        next(network.children()).register_forward_hook(look)
    encode_picture(base, np.zeros((SIDE, SIDE, 3), np.uint8))
    for _ in range(2):
        latents = torch.zeros(2, *base.latent_shape(SIDE)).to(base.device)
        embeds = concat_embeds([base.negative(2), base.embed(["a disc", "a cube"])])
        for timestep in (500, 20):
            time = torch.tensor(timestep).to(base.device)
            predicted = base.denoise(torch.cat([latents, latents]), time, embeds, None, (SIDE, SIDE))
            latents = latents + predicted.chunk(2)[1]
        pictures = base.decode(latents)
        assert (pictures.device, pictures.dtype) == (GPU, torch.float32)
    texts = [name for name in base.networks if name.startswith("text")]
    assert list(dict.fromkeys(worked)) == ["vae", *texts, "unet"]


def test_offloaded_pictures_are_the_same(base: Base) -> None:
    """Bit for bit, where the device is the CPU; inpainting encodes before the captions are read."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    picture = np.stack([rows, columns, 255 - rows], axis=2).astype(np.uint8)

    def make() -> np.ndarray:
        inpainting = prepare_inpainting(base, picture, rows > SIDE // 2)
        return generate(base, [], ["a disc", "a cube", ""], [0, 1, 2], (SIDE, SIDE), FEW, inpainting=inpainting)

    digest, whole = digest_base(base), make()
    freeze_to(base, "cpu", torch.float32, offloaded=True)
    assert np.array_equal(make(), whole)
    assert digest_base(base) == digest


@pytest.mark.parametrize(("asked", "reason"), [("cpu", "--device is cpu"), ("auto", "there is none")])
def test_without_a_gpu_it_is_refused(asked: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As diffusers refuses it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: asked == "cpu")
    with pytest.raises(RequestError, match=f"--offload saves memory of a GPU, and {reason}; leave --offload out"):
        choose_device(asked, offloaded=True)

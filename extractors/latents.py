"""Latents: a picture encoded by Stable Diffusion's autoencoder, so that training need not do it at each visit.

Mean and variance are stored, not a drawn latent: every visit draws its own. This is no condition: an adapter that
is given the picture itself has nothing to learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from t2i_shards.extractors.atomic import sha256_of
from t2i_shards.extractors.base import Resources
from t2i_shards.extractors.batch import Batch, as_batch, find_device, run_fixed
from t2i_shards.extractors.maps.crop import fixed_crop, fixed_side
from t2i_shards.extractors.maps.posterior import Posterior
from t2i_shards.extractors.weights.checkpoints import NotTensors
from t2i_shards.extractors.weights.file import WeightFile, WeightsDamaged, WeightsUnavailable
from t2i_shards.extractors.weights.resolve import places, resolve

if TYPE_CHECKING:
    from torch import Tensor

SD15 = WeightFile(
    name="stable-diffusion-v1-5",
    hub="stable-diffusion-v1-5/stable-diffusion-v1-5",
    revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
    filename="vae/diffusion_pytorch_model.safetensors",
    bytes=334_643_276,
    sha256="a2b5134f4dbc140d9c11f11cba3233099e00af40f262f136c691fb7d38d2194c",
    licence="CreativeML Open RAIL-M",
)
SDXL = WeightFile(
    name="stable-diffusion-xl-base-1.0",
    hub="stabilityai/stable-diffusion-xl-base-1.0",
    revision="462165984030d82259a11f4367a4eed129e94a7b",
    filename="vae/diffusion_pytorch_model.safetensors",
    bytes=334_643_268,
    sha256="1598f3d24932bcfe6634e8b618ea1e30ab1d57f5aad13a6d2de446d2199f2341",
    licence="CreativeML Open RAIL++-M",
)
OWN = WeightFile(
    name="vae",
    filename="diffusion_pytorch_model.safetensors",
    licence="that of the base it was taken from",
)
FILES = {"default": SD15, "sdxl": SDXL, "folder": OWN}
TINY = {"file": "none, written by extractors/networks/mini_vae.py", "licence": "Apache-2.0, this project's"}
GPU_BATCH = 4


class Latents:
    """Extractor of the latent's distribution: float16 (2, C, side / 8, side / 8), mean and log variance, unscaled.

    Variants: `default` is SD 1.5's autoencoder, `sdxl` SDXL's, `folder` the one in the folder of --weights (of a
    base in diffusers' layout, or its vae folder), `mini` that of the bases tiny and tiny-xl.
    """

    condition = "latents"
    format = Posterior()
    resources = Resources(cpus=1.0, gpus=0.25, memory=3 << 30)

    def __init__(self, variant: str, weights: Path | None) -> None:
        self.variant = variant
        self.weights = weights
        self.weight_files: tuple[WeightFile, ...] = (FILES[variant],) if variant in FILES else ()

    def recipe(self) -> dict[str, Any]:
        from t2i_shards.extractors.networks.vae import digest_encoder

        digest = digest_encoder(self._state())
        return {
            "extractor": "latents",
            "version": 1,
            "variant": self.variant,
            "weights": self._weights(digest),
            "parameters": {
                "vae": digest,
                "crop": "the middle square of the short side, cut to a multiple of 64, below 64 to one of 8",
                "input": "RGB / 127.5 - 1",
                "dtype": "float32, stored as float16",
                "output": "mean and logarithm of the variance, unscaled",
            },
        }

    def load(self, device: str) -> None:
        """Build the network on `device` ("cpu", "cuda"). In float32: SDXL's overflows in float16."""
        from t2i_shards.extractors.networks.vae import SHAPE, VaeEncoder, load_encoder, read_shape

        self.device = find_device(device)
        if self.variant == "mini":
            from t2i_shards.extractors.networks.mini_vae import build_vae

            network = VaeEncoder(build_vae())
        else:
            path = self._path()
            try:
                network = load_encoder(path, read_shape(path) if self.variant == "folder" else SHAPE)
            except NotTensors as error:
                raise WeightsDamaged(str(error)) from None
        self.network = network.eval().requires_grad_(False).to(self.device)

    def __call__(self, pictures: np.ndarray | Batch) -> list[np.ndarray]:
        batch = as_batch(pictures)
        return list(run_fixed(self._encode, batch, self.device, GPU_BATCH, int(self.resources.cpus)))

    def _encode(self, pictures: Tensor) -> Tensor:
        from torch.nn import functional as F

        height, width = pictures.shape[2:]
        rows, columns = fixed_crop(height, width)
        side = fixed_side(height, width)
        # As adapters.training.batch.scale_pictures has it.
        x = pictures[:, :, rows, columns].contiguous().float() / 255 * 2 - 1
        x = F.pad(x, (0, side - x.shape[3], 0, side - x.shape[2]), mode="replicate")
        posterior: Tensor = self.network(x)
        return posterior.half()

    def _path(self) -> Path:
        """The verified file; the user's own is as it is."""
        (file,) = self.weight_files
        if file is not OWN:
            return resolve(file, self.weights)
        # Not locked as other files without a known digest are: there may be a VAE for each base.
        given = places(file, self.weights)[:-1]
        found = next((path for path in given if path.is_file()), None)
        if found is None:
            where = f"not in --weights {self.weights}" if self.weights else "no --weights given"
            raise WeightsUnavailable(f"vae/{file.filename}: {where}; pass --weights DIR that holds it")
        return found

    def _state(self) -> Mapping[str, Tensor]:
        """The tensors that decide a latent."""
        if self.variant == "mini":
            from t2i_shards.extractors.networks.mini_vae import build_vae

            tensors: Mapping[str, Tensor] = build_vae().state_dict()
            return tensors
        from t2i_shards.extractors.networks.vae import read_encoder

        try:
            return read_encoder(self._path())
        except NotTensors as error:
            raise WeightsDamaged(str(error)) from None

    def _weights(self, digest: str) -> dict[str, Any]:
        if self.variant == "mini":
            return {**TINY, "sha256": digest}
        (file,) = self.weight_files
        if file is OWN:
            return {"file": file.filename, "sha256": sha256_of(self._path()), "licence": file.licence}
        return file.recipe()

"""One request for pictures: its files are read, the pictures are made, and stored with all that decided them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from t2i_shards.adapters.base import Base, digest_base, digest_networks, load_base
from t2i_shards.adapters.base.load import DTYPES, choose_device
from t2i_shards.adapters.inference.config import AdapterSpec, GenerateConfig
from t2i_shards.adapters.inference.control_images import (
    extract_control_image,
    load_mask,
    load_picture,
    make_geometry,
    read_control_image,
    to_control_image,
)
from t2i_shards.adapters.inference.image_folder import ImageFolder, digest_array
from t2i_shards.adapters.inference.inpaint import Inpainting, prepare_inpainting
from t2i_shards.adapters.inference.sampler import generate
from t2i_shards.adapters.model.compose import AdapterInput
from t2i_shards.adapters.model.convert import read_adapter
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.extract import load_extractor
from t2i_shards.pipeline.image.geometry import Geometry, apply_placement
from t2i_shards.pipeline.writable import check_writable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GeneratedImages:
    """pictures: the files, one per prompt and seed. new: how many of them were made by this call."""

    pictures: list[Path]
    new: int


def generate_images(
    config: GenerateConfig, progress: Callable[[float, int], Any] | None = None
) -> GeneratedImages:
    """Make the pictures of a request that are not there yet. Raises RequestError.

    progress: called with how many of them are made, those under way in part, and how many there are.
    """
    prompts = config.read_prompts()
    device = choose_device(config.device, config.offload)
    inputs = read_inputs(config, device)
    adapter_inputs = [_read_adapter_input(spec, inputs).to(device) for spec in config.adapters]
    base = load_base(config.base, device, DTYPES[config.precision], config.offload)
    inpainting: Inpainting | None = None
    if inputs.picture is not None and inputs.mask is not None:
        inpainting = prepare_inpainting(base, inputs.picture, inputs.mask, config.blending)
    described = _describe(config, base, adapter_inputs, inputs)
    wanted = [(prompt, seed) for prompt in prompts for seed in range(config.seed, config.seed + config.n)]
    folders = {prompt: ImageFolder(config.out, {"prompt": prompt, **described}) for prompt in prompts}
    missing = [(prompt, seed) for prompt, seed in wanted if not folders[prompt].has(_name(seed))]
    if missing:  # what is there can be asked for again where nothing may be written
        check_writable(config.out)
    unread = _find_unread(base, config.negative, prompts)
    made, say = 0, progress or (lambda done, of: None)
    for prompt in prompts:
        seeds = [seed for of, seed in missing if of == prompt]
        for first in range(0, len(seeds), config.batch):
            some = seeds[first : first + config.batch]

            def tell(done: float, before: int = made) -> None:
                say(before + done, len(missing))

            pictures = generate(
                base,
                adapter_inputs,
                [prompt] * len(some),
                some,
                inputs.pixels,
                config.sampling,
                negative=config.negative,
                inpainting=inpainting,
                batch=config.batch,
                progress=tell,
            )
            for seed, picture in zip(some, pictures, strict=True):
                left_out = {"prompt": unread[prompt], "negative": unread[config.negative]}
                more = {"device": str(base.device), "asked": _asked(config), "not_read": left_out}
                folders[prompt].describe(_name(seed), seed=seed, sampler=config.sampling.sampler, **more)
                folders[prompt].write(_name(seed), picture)
            made += len(some)
            say(made, len(missing))
    for condition, control_image in inputs.control_images.items():
        folders[prompts[0]].write(condition, control_image.repeat(3 // control_image.shape[2], axis=2))
    return GeneratedImages([folders[prompt].path(_name(seed)) for prompt, seed in wanted], len(missing))


def _find_unread(base: Base, negative: str, prompts: Sequence[str]) -> dict[str, str]:
    """text -> its end, which the text encoder does not read; a warning names it."""
    unread = {text: base.find_unread(text) for text in (negative, *prompts)}
    for text, end in unread.items():
        if end:
            name = "prompt" if text in prompts else "negative"
            log.warning("--%s is longer than what the text encoder reads, and its end is left out: %s", name, end)
    return unread


@dataclass(frozen=True)
class GenerateInputs:
    """What the request's files hold, all of one size, `pixels` (H, W).

    control_images: uint8 (H, W, C) by condition. picture: uint8 (H, W, 3) and mask: bool (H, W), of inpainting.
    """

    pixels: tuple[int, int]
    control_images: Mapping[str, np.ndarray]
    picture: np.ndarray | None = None
    mask: np.ndarray | None = None


def read_inputs(config: GenerateConfig, device: str) -> GenerateInputs:
    """Read all files and extract what is to be extracted. Raises RequestError, also where sizes differ."""
    geometry = make_geometry(config.size, config.fit)
    control_images = {
        name: read_control_image(name, path, geometry, name in config.invert) for name, path in config.maps.items()
    }
    missing = [spec.condition for spec in config.adapters if spec.condition not in control_images]
    if missing and config.from_picture:
        photograph = _place(load_picture(config.from_picture), geometry)
        for name in dict.fromkeys(missing):
            extractor = load_extractor(name, config.variant, config.weights, device)
            control_images[name] = extract_control_image(extractor, photograph)
    picture = _place(load_picture(config.inpaint), geometry) if config.inpaint else None
    mask = load_mask(config.mask, geometry) if config.mask else None
    named = {**control_images, "--inpaint": picture, "--mask": mask}
    sizes = {name: pixels.shape[:2] for name, pixels in named.items() if pixels is not None}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{name} {width}x{height}" for name, (height, width) in sizes.items())
        raise RequestError(
            f"all that is given must have one size at --size {config.size}: {found} (try --fit square)"
        )
    height, width = next(iter(sizes.values()), (config.size, config.size))
    return GenerateInputs((height, width), control_images, picture, mask)


def _read_adapter_input(spec: AdapterSpec, inputs: GenerateInputs) -> AdapterInput:
    adapter = read_adapter(spec.path)
    control_image = to_control_image(
        inputs.control_images[spec.condition], adapter.config.in_channels, spec.condition
    )
    name = f"--adapter {spec.condition}={spec.path}"
    return AdapterInput(adapter, control_image, spec.weight, name, spec.active_steps)


def _describe(
    config: GenerateConfig, base: Base, adapter_inputs: list[AdapterInput], inputs: GenerateInputs
) -> dict[str, Any]:
    """All that decides a picture but its prompt and seed, and the kind of machine: digests, no paths."""
    return {
        "negative": config.negative,
        "base": digest_base(base),
        "adapters": [
            {
                "condition": spec.condition,
                "weight": spec.weight,
                "sha256": digest_networks({"adapter": adapter_input.adapter}),
                **({"acts": spec.active_steps} if spec.active_steps else {}),
            }
            for spec, adapter_input in zip(config.adapters, adapter_inputs, strict=True)
        ],
        "drawings": {name: digest_array(control_image) for name, control_image in inputs.control_images.items()},
        "inpaint": None if inputs.picture is None else digest_array(inputs.picture),
        "mask": None if inputs.mask is None else digest_array(inputs.mask),
        # Pictures from before there was a choice were blended steadily.
        **({"blending": config.blending} if config.inpaint and config.blending != "steady" else {}),
        "height": inputs.pixels[0],
        "width": inputs.pixels[1],
        **config.sampling.record(),
        "precision": config.precision,
        "batch": config.batch,
        **base.describe_sampler(),
    }


def _asked(config: GenerateConfig) -> dict[str, Any]:
    """The command's own words for what the digests identify."""
    paths = {"from_picture": config.from_picture, "inpaint": config.inpaint, "mask": config.mask}
    return {
        "base": config.base,
        "adapter": list(config.adapter),
        "condition": list(config.condition),
        "invert": list(config.invert),
        "variant": config.variant,
        **({"prompts": str(config.prompts)} if config.prompts else {}),
        **{name: None if path is None else str(path) for name, path in paths.items()},
    }


def _place(picture: np.ndarray, geometry: Geometry) -> np.ndarray:
    return apply_placement(picture, geometry.place(picture.shape[1], picture.shape[0]))


def _name(seed: int) -> str:
    return f"{seed:06d}"

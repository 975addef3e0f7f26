"""One request for pictures: what it names is read, the pictures are made, and kept with all that decided them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adapters.base import Base, digest_base, digest_networks, load_base
from adapters.base.load import DTYPES, choose_device
from adapters.inference.config import AdapterSpec, GenerateConfig
from adapters.inference.control_images import extract_drawing, load_mask, make_geometry, read_drawing, to_drawing
from adapters.inference.image_folder import Album, digest_array
from adapters.inference.inpaint import Inpainting, prepare_inpainting
from adapters.inference.map_file import load_picture
from adapters.inference.sampler import Progress, describe_sampler, generate
from adapters.model.compose import Part
from adapters.model.convert import read_adapter
from pipeline.errors import RequestError
from pipeline.extractor import load_extractor
from pipeline.image.geometry import Geometry, apply_placement

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Painted:
    """pictures: the files, one per seed. new: how many of them were made by this call."""

    pictures: list[Path]
    new: int


def paint(config: GenerateConfig, progress: Progress | None = None) -> Painted:
    """Make the pictures of a request that are not there yet. Raises RequestError."""
    device = choose_device(config.device)
    given = gather(config, device)
    parts = [_read_part(spec, given).to(device) for spec in config.adapters]
    base = load_base(config.base, device, DTYPES[config.precision])
    inpainting: Inpainting | None = None
    if given.picture is not None and given.mask is not None:
        inpainting = prepare_inpainting(base, given.picture, given.mask)
    unread = {name: base.find_unread(text) for name, text in _texts(config).items()}
    for name, text in unread.items():
        if text:
            log.warning("--%s is longer than what the text encoder reads, and its end is left out: %s", name, text)
    album = Album(config.out, _describe(config, base, parts, given))
    wanted = range(config.seed, config.seed + config.n)
    missing = [seed for seed in wanted if not album.has(_name(seed))]
    for first in range(0, len(missing), config.batch):
        seeds = missing[first : first + config.batch]
        pictures = generate(
            base,
            parts,
            [config.prompt] * len(seeds),
            seeds,
            given.pixels,
            config.sampling,
            negative=config.negative,
            inpainting=inpainting,
            batch=config.batch,
        )
        for seed, picture in zip(seeds, pictures, strict=True):
            more = {"device": str(base.device), "asked": _asked(config), "not_read": unread}
            album.describe(_name(seed), seed=seed, **more)
            album.write(_name(seed), picture)
        if progress:
            progress(first + len(seeds))
    for condition, drawing in given.drawings.items():
        album.write(condition, drawing.repeat(3 // drawing.shape[2], axis=2))
    return Painted([album.path(_name(seed)) for seed in wanted], len(missing))


@dataclass(frozen=True)
class Given:
    """What the request's files hold, all of one size, `pixels` (H, W).

    drawings: uint8 (H, W, C) by condition. picture: uint8 (H, W, 3) and mask: bool (H, W), of inpainting.
    """

    pixels: tuple[int, int]
    drawings: Mapping[str, np.ndarray]
    picture: np.ndarray | None = None
    mask: np.ndarray | None = None


def gather(config: GenerateConfig, device: str) -> Given:
    """Read all files and extract what is to be extracted. Raises RequestError, also where sizes differ."""
    geometry = make_geometry(config.size, config.fit)
    drawings = {
        name: read_drawing(name, path, geometry, name in config.invert) for name, path in config.maps.items()
    }
    missing = [spec.condition for spec in config.adapters if spec.condition not in drawings]
    if missing and config.from_picture:
        photograph = _place(load_picture(config.from_picture), geometry)
        for name in dict.fromkeys(missing):
            extractor = load_extractor(name, config.variant, config.weights, device)
            drawings[name] = extract_drawing(extractor, photograph)
    picture = _place(load_picture(config.inpaint), geometry) if config.inpaint else None
    mask = load_mask(config.mask, geometry) if config.mask else None
    named = {**drawings, "--inpaint": picture, "--mask": mask}
    sizes = {name: pixels.shape[:2] for name, pixels in named.items() if pixels is not None}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{name} {width}x{height}" for name, (height, width) in sizes.items())
        raise RequestError(
            f"all that is given must have one size at --size {config.size}: {found} (try --fit square)"
        )
    height, width = next(iter(sizes.values()), (config.size, config.size))
    return Given((height, width), drawings, picture, mask)


def _read_part(spec: AdapterSpec, given: Given) -> Part:
    adapter = read_adapter(spec.path)
    drawing = to_drawing(given.drawings[spec.condition], adapter.layout.in_channels, spec.condition)
    return Part(adapter, drawing, spec.weight, f"--adapter {spec.condition}={spec.path}")


def _describe(config: GenerateConfig, base: Base, parts: list[Part], given: Given) -> dict[str, Any]:
    """All that decides a picture but its seed, and on which kind of machine it is made: digests, no paths."""
    return {
        **_texts(config),
        "base": digest_base(base),
        "adapters": [
            {
                "condition": spec.condition,
                "weight": spec.weight,
                "sha256": digest_networks({"adapter": part.adapter}),
            }
            for spec, part in zip(config.adapters, parts, strict=True)
        ],
        "drawings": {name: digest_array(drawing) for name, drawing in given.drawings.items()},
        "inpaint": None if given.picture is None else digest_array(given.picture),
        "mask": None if given.mask is None else digest_array(given.mask),
        "height": given.pixels[0],
        "width": given.pixels[1],
        **asdict(config.sampling),
        "precision": config.precision,
        "batch": config.batch,
        **describe_sampler(base),
    }


def _texts(config: GenerateConfig) -> dict[str, str]:
    return {"prompt": config.prompt, "negative": config.negative}


def _asked(config: GenerateConfig) -> dict[str, Any]:
    """The command's own words for what the digests stand for."""
    paths = {"from_picture": config.from_picture, "inpaint": config.inpaint, "mask": config.mask}
    return {
        "base": config.base,
        "adapter": list(config.adapter),
        "condition": list(config.condition),
        "invert": list(config.invert),
        "variant": config.variant,
        **{name: None if path is None else str(path) for name, path in paths.items()},
    }


def _place(picture: np.ndarray, geometry: Geometry) -> np.ndarray:
    return apply_placement(picture, geometry.place(picture.shape[1], picture.shape[0]))


def _name(seed: int) -> str:
    return f"{seed:06d}"

"""How far an adapter's pictures obey and how good they are, beside the same without it and with a wrong condition.

All pictures of a sample begin with the same noise and the same caption. The wrong condition is the next sample's
that shows something: a keypose without people asks for nothing. What is measured is always obedience to the
sample's own, so that the row shows what comes from the caption alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapters.adapter import Adapter
from adapters.album import Album, digest_array
from adapters.base import Base, digest_base, digest_networks, load_base
from adapters.choose import Chosen, choose_samples, find_run
from adapters.compose import Part
from adapters.drawings import to_drawing
from adapters.generate import describe_sampler, generate, to_pixels
from adapters.given import Given, choose_wrong, frame_middle, seed_of
from adapters.interchange import read_adapter
from adapters.obedience import measure_obedience
from adapters.objective import DTYPES
from adapters.paint import choose_device, load_extractor
from adapters.quality import (
    Clip,
    Features,
    Inception,
    Match,
    Unavailable,
    collect_features,
    frechet_distance,
    measure_match,
)
from adapters.requests import EvaluateConfig
from adapters.sheet import lay_out
from adapters.table import Evaluation, Row, table_lines
from extractors import png
from extractors.atomic import write_file, write_json
from extractors.registry import EXTRACTORS
from pipeline.dataset import Dataset
from pipeline.errors import RequestError
from pipeline.image import CELL, decode_rgb

Progress = Callable[[int, int], Any]
"""Is told how many pictures are made, and of how many."""
SHOWN = 8
"""Samples on sheet.png."""


@dataclass(frozen=True)
class Networks:
    """Makes the networks that judge; each may raise WeightsUnavailable or WeightsDamaged."""

    features: Callable[[Path | None, str], Features] = Inception
    match: Callable[[Path | None, str], Match] = Clip


@dataclass(frozen=True)
class Way:
    """One way to make the samples' pictures. name: of its folder. drawn: place in the samples of the drawing."""

    name: str
    title: str
    drawn: Callable[[int], int] | None


def evaluate(
    config: EvaluateConfig, progress: Progress | None = None, networks: Networks | None = None
) -> Evaluation:
    """Make the pictures that are not there yet, measure them, and write the table. Raises RequestError."""
    run = find_run(config.adapter)
    out = config.out or (run and run / "evaluation")
    if out is None:
        raise RequestError(f"--out must be given, as {config.adapter} does not lie in a RUN")
    device = choose_device(config.device)
    adapter = read_adapter(config.adapter).to(device)
    chosen = choose_samples(config)
    variant = config.variant or _variant_of_column(config)
    extractor = load_extractor(config.condition, variant, config.weights, device)
    base = load_base(config.base, device, DTYPES[config.precision])
    size = config.size or chosen.size or _shortest_side(chosen)
    givens = Givens(chosen, config.condition, size)
    maker = Maker(config, base, adapter, givens, out / "pictures", progress or (lambda done, of: None))
    wrong = choose_wrong(givens)
    ways = (
        Way("with", "with its condition", lambda place: place),
        Way("without", "without the adapter", None),
        Way("wrong", "with another sample's condition", lambda place: wrong[place]),
    )
    made = {way.title: maker.make(way) for way in ways}
    made["its own picture, through the autoencoder"] = lambda: _through(base, givens)
    judge = Judge(config, networks or Networks(), device, givens)
    maps = [given.map for given in givens]
    rows = [
        Row(title, measure_obedience(config.condition, maps, pictures(), extractor), *judge(pictures))
        for title, pictures in made.items()
    ]
    about = {
        "root": config.root,
        "condition": config.condition,
        "column": config.columns[0] if config.columns else "made from the crop",
        "data": chosen.digest,
        "samples": len(givens),
        "held_out": chosen.held_out,
        "keys": [sample.key for sample in chosen.samples],
        "size": size,
        "seed": config.seed,
        **asdict(config.sampling),
        "extractor": f"{config.condition}, variant {variant}",
        "adapter": str(config.adapter),
        "adapter_sha256": maker.adapter_digest,
        "base": config.base,
        "base_sha256": maker.base_digest,
        "precision": config.precision,
        "batch": config.batch,
        "device": str(base.device),
    }
    longer = sum(bool(base.find_unread(caption)) for caption in judge.captions)
    if longer:
        judge.notes.append(
            f"{longer} captions are longer than what the text encoder reads; their ends are left out."
        )
    evaluation = Evaluation(about, rows, judge.notes)
    _write_sheet(out / "sheet.png", givens, list(made.values()))
    write_json(out / "evaluation.json", evaluation.record())
    write_file(out / "evaluation.md", "\n".join(table_lines(evaluation)) + "\n")
    return evaluation


Pictures = Callable[[], Iterator[np.ndarray]]
"""Gives the pictures of all samples anew, one at a time: thousands need not be in memory at once."""


class Givens(Sequence[Given]):
    """The samples as they are used, decoded anew each time."""

    def __init__(self, chosen: Chosen, condition: str, size: int) -> None:
        self._samples, self._condition, self.size = chosen.samples, condition, size

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, place: Any) -> Any:
        return frame_middle(self._samples[place], self._condition, self.size)


class Maker:
    """Makes the pictures of all ways, and keeps them."""

    def __init__(
        self, config: EvaluateConfig, base: Base, adapter: Adapter, givens: Givens, folder: Path, said: Progress
    ) -> None:
        self._config, self._base, self._adapter, self._givens = config, base, adapter, givens
        self._folder, self._said, self._done = folder, said, 0
        self.base_digest, self.adapter_digest = digest_base(base), digest_networks({"adapter": adapter})

    def make(self, way: Way) -> Pictures:
        """The pictures of one way; those that are there already are not made again."""
        config = self._config
        album = Album(
            self._folder / way.name,
            {
                "base": self.base_digest,
                "adapter": self.adapter_digest if way.drawn else None,
                "size": self._givens.size,
                "precision": config.precision,
                "batch": config.batch,
                **asdict(config.sampling),
                **describe_sampler(self._base),
            },
        )
        names: list[str] = []
        for first in range(0, len(self._givens), config.batch):
            places = range(first, min(first + config.batch, len(self._givens)))
            givens = [self._givens[place] for place in places]
            drawings = [self._givens[way.drawn(place)].drawing for place in places] if way.drawn else []
            seeds = [seed_of(config.seed, given.key) for given in givens]
            some = [self._name(*of) for of in zip(givens, seeds, drawings or [None] * len(givens), strict=True)]
            if not all(map(album.has, some)):
                pictures = self._paint(givens, seeds, drawings)
                for name, picture in zip(some, pictures, strict=True):
                    album.write(name, picture)
            names += some
            self._done += len(some)
            self._said(self._done, 3 * len(self._givens))
        return lambda: map(album.read, names)

    def _name(self, given: Given, seed: int, drawing: np.ndarray | None) -> str:
        """With a digest of what is this picture's own; the album's covers what all have in common."""
        own = f"{given.caption}\n{seed}\n{'' if drawing is None else digest_array(drawing)}"
        return f"{given.key}-{digest_array(np.frombuffer(own.encode(), np.uint8))[:8]}"

    def _paint(self, givens: list[Given], seeds: list[int], drawings: list[np.ndarray]) -> np.ndarray:
        channels, condition = self._adapter.layout.in_channels, self._config.condition
        parts = []
        if drawings:
            stacked = torch.cat([to_drawing(drawing, channels, condition) for drawing in drawings])
            parts.append(Part(self._adapter, stacked, name=f"--adapter {self._config.adapter}"))
        return generate(
            self._base,
            parts,
            [given.caption for given in givens],
            seeds,
            (self._givens.size, self._givens.size),
            self._config.sampling,
            batch=self._config.batch,
        )


class Judge:
    """FID and CLIP score of pictures, each None, with a note that says why, where its network cannot be had."""

    def __init__(self, config: EvaluateConfig, networks: Networks, device: str, givens: Givens) -> None:
        self.notes: list[str] = []
        self.captions = [given.caption for given in givens]
        self._features, self._match = (
            self._have(title, make, config.weights, device)
            for title, make in (("FID", networks.features), ("CLIP score", networks.match))
        )
        if self._features:
            self._real = collect_features(self._features, (given.picture for given in givens))
            self.notes.append(
                f"FID by {self._features.name}, of {len(givens)} pictures against the samples' own, cut alike: it "
                "falls with their number, and only values of equally many compare."
            )
        if self._match:
            self.notes.append(f"CLIP score: mean cosine of picture and caption by {self._match.name}.")

    def __call__(self, pictures: Pictures) -> tuple[float | None, float | None]:
        fid = clip = None
        if self._features:
            fid = frechet_distance(collect_features(self._features, pictures()), self._real)
        if self._match:
            clip = measure_match(self._match, pictures(), self.captions)
        return _finite(fid), _finite(clip)

    def _have(self, title: str, make: Callable[[Path | None, str], Any], weights: Path | None, device: str) -> Any:
        try:
            return make(weights, device)
        except Unavailable as error:
            self.notes.append(f"{title} was not measured: {error}.")
            return None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _variant_of_column(config: EvaluateConfig) -> str:
    """The variant that the column's recipe names; default for a column that somebody else made."""
    recipe = Dataset.open(config.root).recipe(config.columns[0]) if config.columns else None
    variant = str((recipe or {}).get("variant"))
    return variant if variant in EXTRACTORS[config.condition] else "default"


def _shortest_side(chosen: Chosen) -> int:
    sides: list[int] = [min(decode_rgb(sample.members["jpg"]).shape[:2]) for sample in chosen.samples]
    if min(sides) < CELL:
        raise RequestError(f"pictures must have at least {CELL} pixels a side, and one has {min(sides)}")
    return min(sides) // CELL * CELL


@torch.no_grad()
def _through(base: Base, givens: Givens) -> Iterator[np.ndarray]:
    """The samples' own pictures as the autoencoder gives them back: no generated picture can be sharper."""
    for given in givens:
        pixels = torch.tensor(given.picture).permute(2, 0, 1)[None].to(base.device)
        mean, _ = base.encode(pixels.float() / 127.5 - 1)
        yield to_pixels(base.decode(base.scale(mean)))[0]


def _write_sheet(path: Path, givens: Givens, made: list[Pictures]) -> None:
    """Drawing, pictures in the order of the table, and the own picture, of the first samples."""
    columns = [pictures() for pictures in made]
    rows = [
        [givens[place].drawing, *(next(column) for column in columns), givens[place].picture]
        for place in range(min(SHOWN, len(givens)))
    ]
    write_file(path, png.encode_rgb(lay_out(rows)))

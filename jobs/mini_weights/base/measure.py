"""Whether the base shows what captions say: on unseen captions, compared with true scenes and the tiny base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from t2i_shards.adapters.evaluation.kernel_distance import kernel_distance, see_features
from t2i_shards.jobs.mini_weights.base.caption_content import (
    SkyClasses,
    find_ground,
    find_person,
    find_thing,
    fit_skies,
    label_pictures,
    read_caption,
)
from t2i_shards.jobs.mini_weights.base.plan import HELD_OUT, Plan
from t2i_shards.jobs.mini_weights.base.scenes import SIZE, CaptionedScenes, load_scenes
from t2i_shards.jobs.mini_weights.loop import Say

STEPS, GUIDANCE, BATCH = 25, 4.0, 10
"""Of the pictures that are measured."""
FITTED_ON = 500
"""Training scenes that the classes of skies are fitted on."""
SHEET = 64


@dataclass(frozen=True)
class Shares:
    """Shares (0..1) of the pictures in which what the caption names was found. nobody: of those whose caption
    names no person, the share without one. distance: of the pictures' features from those of other true scenes.
    """

    ground: float
    sky: float
    colour: float
    person: float
    nobody: float
    distance: float


@dataclass(frozen=True)
class Measured:
    """true: of the scenes themselves. by_chance: of the scenes with each other's captions. psnr: dB of the
    autoencoder on the scenes."""

    captions: int
    base: Shares
    true: Shares
    by_chance: Shares
    tiny_distance: float
    psnr: float

    def record(self) -> dict[str, Any]:
        sampling = {"steps": STEPS, "guidance": GUIDANCE}
        return {"seed": HELD_OUT, **sampling, **asdict(self)}

    def lines(self) -> list[str]:
        rows = [("the base", self.base), ("true scenes", self.true), ("by chance", self.by_chance)]
        head = "".join(f"{name:>10}" for name in Shares.__dataclass_fields__)
        table = [
            f"{name:<12}" + "".join(f"{value:>10.3f}" for value in asdict(row).values()) for name, row in rows
        ]
        return [
            " " * 12 + head,
            *table,
            f"distance of the tiny base {self.tiny_distance:.3f}; autoencoder {self.psnr:.1f} dB",
            f"mini-base: measured on {self.captions} held-out captions",
        ]


def measure_base(base: str, count: int, out: Path, say: Say) -> Measured:
    """Writes OUT/sheet.png, too: the first pictures."""
    import torch

    from t2i_shards.adapters.base import load_base
    from t2i_shards.adapters.training.distributed import World
    from t2i_shards.extractors.segmentation import Segmentation
    from t2i_shards.jobs.mini_weights.base.autoencoder import measure_psnr

    features = Segmentation("mini", None)
    # Knows simple scenes, and what an autoencoder makes of them.
    segmentation = Segmentation("mini-simple", None)
    for network in (features, segmentation):
        network.load("cpu")
    alone = World(torch.device("cpu"))
    held_out = load_scenes(out, HELD_OUT, 2 * count, say, alone)
    fitted = load_scenes(out, Plan().seed, FITTED_ON, say, alone)
    skies = fit_skies_of(list(_pictures(fitted, range(FITTED_ON))), fitted.captions)
    true, others = _pictures(held_out, range(count)), _pictures(held_out, range(count, 2 * count))
    captions = held_out.captions[:count]
    generated = generate_pictures(base, captions, say)
    write_sheet(generated[:SHEET], out / "sheet.png")
    real = see_features(others, features)

    def judge(pictures: np.ndarray, *captioned: Sequence[str]) -> list[Shares]:
        distance = kernel_distance(see_features(pictures, features), real)
        labelled = label_pictures(pictures, segmentation)
        return [Shares(**judge_pictures(pictures, labelled, said, skies), distance=distance) for said in captioned]

    psnr = measure_psnr(load_base(base).networks["vae"], true[:SHEET])
    tiny = see_features(generate_pictures("tiny", captions[: max(2, count // 4)], say), features)
    (found,), (best, by_chance) = judge(generated, captions), judge(true, captions, [*captions[1:], captions[0]])
    return Measured(count, found, best, by_chance, kernel_distance(tiny, real), psnr)


def judge_pictures(
    pictures: np.ndarray, labelled: Sequence[np.ndarray], captions: Sequence[str], skies: SkyClasses
) -> dict[str, float]:
    """The shares that are about captions, by their names in `Shares`. labelled: see `label_pictures`."""
    found: dict[str, list[bool]] = {name: [] for name in ("ground", "sky", "colour", "person", "nobody")}
    for picture, seen, caption in zip(pictures, labelled, captions, strict=True):
        said = read_caption(caption)
        if said.ground is not None:
            found["ground"].append(find_ground(seen) == said.ground)
        if said.sky is not None:
            found["sky"].append(skies(picture) == said.sky)
        found["colour"].extend(find_thing(picture, seen, colour, label) for colour, label in said.things)
        somebody = find_person(seen)
        found["person" if said.person else "nobody"].append(somebody == said.person)
    return {name: float(np.mean(hits)) if hits else float("nan") for name, hits in found.items()}


def generate_pictures(
    base: str, captions: Sequence[str], say: Say, steps: int = STEPS, guidance: float = GUIDANCE
) -> np.ndarray:
    """uint8 (N, SIZE, SIZE, 3): a picture for each caption, of the seed of its number."""
    from t2i_shards.adapters.base import load_base
    from t2i_shards.adapters.inference.config import Sampling
    from t2i_shards.adapters.inference.sampler import generate
    from t2i_shards.extractors.batch import fixed_threads

    with fixed_threads(1):
        return generate(
            load_base(base),
            (),
            captions,
            range(len(captions)),
            (SIZE, SIZE),
            Sampling(steps=steps, guidance=guidance),
            batch=BATCH,
            progress=lambda done: say(f"{base}: {done} pictures of {len(captions)}") if done % 50 == 0 else None,
        )


def write_sheet(pictures: np.ndarray, path: Path) -> None:
    """A square of pictures as PNG."""
    import cv2

    side = max(1, int(len(pictures) ** 0.5))
    rows = [np.hstack(list(pictures[row * side : (row + 1) * side])) for row in range(side)]
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])


def fit_skies_of(pictures: Sequence[np.ndarray], captions: Sequence[str]) -> SkyClasses:
    """Of true scenes, by the skies that their captions name."""
    skies = [read_caption(caption).sky for caption in captions]
    named = [(picture, sky) for picture, sky in zip(pictures, skies, strict=True) if sky is not None]
    return fit_skies([picture for picture, _ in named], [sky for _, sky in named])


def _pictures(scenes: CaptionedScenes, places: Sequence[int]) -> np.ndarray:
    return np.stack([scenes.picture(place) for place in places])

"""Whether pictures still show their captions: which of the things that these name are found in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np

from t2i_shards.jobs.miniature.recipe import find_networks

if TYPE_CHECKING:
    from t2i_shards.extractors.base import Extractor
    from t2i_shards.jobs.mini_weights.base.caption_content import SkyClasses
    from t2i_shards.jobs.miniature.experiment import Experiment

NETWORK = "seg", "mini-simple"
"""The condition and variant whose network finds grounds, things and people."""
FITTED_ON = 500
"""Scenes that the classes of skies are fitted on."""
NAMED = ("ground", "sky", "colour", "person", "nobody")


@dataclass(frozen=True)
class CaptionJudge:
    segmentation: Extractor
    skies: SkyClasses

    def __call__(self, pictures: Iterable[np.ndarray], captions: Sequence[str]) -> Mapping[str, float]:
        """Shares, 0..1, by NAMED, of the pictures whose caption names such a thing. colour: of the things whose
        colour is named. nobody: of those whose caption names no person, the share without one.

        captions: repeated from the start where there are more pictures.
        """
        from t2i_shards.jobs.mini_weights.base.caption_content import label_pictures
        from t2i_shards.jobs.mini_weights.base.measure import judge_pictures

        seen = np.stack(list(pictures))
        said = list(islice(cycle(captions), len(seen)))
        return judge_pictures(seen, label_pictures(seen, self.segmentation), said, self.skies)


def load_judge(experiment: Experiment) -> CaptionJudge:
    from t2i_shards.jobs.mini_weights.base.measure import fit_skies_of
    from t2i_shards.pipeline.extract import load_extractor
    from t2i_shards.pipeline.image.stored import decode_rgb
    from t2i_shards.pipeline.shards.sample_info import read_info
    from t2i_shards.pipeline.stream import open_stream

    condition, variant = NETWORK
    scenes = list(islice(open_stream(str(experiment.training_data), ()).samples(0, ranks=1), FITTED_ON))
    pictures = [decode_rgb(scene.members["jpg"]) for scene in scenes]
    skies = fit_skies_of(pictures, [read_info(scene).captions[0] for scene in scenes])
    return CaptionJudge(load_extractor(condition, variant, None, "cpu"), skies)


def describe_judge() -> Mapping[str, str]:
    """What decides its judgements: weight file -> sha256."""
    return find_networks([NETWORK])

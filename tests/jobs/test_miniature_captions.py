"""The judge of captions: true scenes show theirs, and not each other's."""

from __future__ import annotations

from t2i_shards.jobs.mini_weights.base.measure import fit_skies_of
from t2i_shards.jobs.mini_weights.base.plan import HELD_OUT
from t2i_shards.jobs.miniature.captions import NAMED, NETWORK, CaptionJudge
from t2i_shards.pipeline.extract import load_extractor
from t2i_shards.pipeline.scenes import render


def test_true_scenes_show_their_captions_and_not_each_others() -> None:
    scenes = [render(HELD_OUT, index, 128, "simple") for index in range(60)]
    pictures, captions = [scene.picture for scene in scenes], [scene.caption for scene in scenes]
    judge = CaptionJudge(load_extractor(*NETWORK, None, "cpu"), fit_skies_of(pictures, captions))
    own, others = judge(pictures, captions), judge(pictures, [*captions[1:], captions[0]])
    assert list(own) == list(NAMED)
    assert min(own.values()) >= 0.75
    assert all(others[name] < own[name] - 0.2 for name in ("ground", "sky", "colour"))
    assert judge((*pictures, *pictures), captions) == own, "captions are repeated for further seeds"

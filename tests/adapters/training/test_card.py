"""The card of an adapter: front matter in YAML, a snippet that runs, the licences of all that it builds on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from diffusers import StableDiffusionAdapterPipeline, T2IAdapter

from t2i_shards.adapters.base import Base
from t2i_shards.adapters.model.adapter import make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.model.diffusers_io import save_adapter
from t2i_shards.adapters.summary import TrainSummary
from t2i_shards.adapters.training.card import render_card
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.provenance import read_provenance
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.sources.scenes import ScenesSource
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.adapters.toys import toy_config, toy_stream

SUMMARY = TrainSummary(6, 6, 12, 1.0, 0.25, 0.125, "RUN/adapter", "0" * 64)


def front_matter(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.split("---")[1])
    return found


@pytest.fixture
def scenes(tmp_path: Path) -> str:
    root = str(tmp_path / "scenes")
    plan_extract(plan_dataset(root, ScenesSource(2), Geometry(64), 2), ["sketch"], variant="mini")
    return root


def test_what_is_all_our_own_is_apache(scenes: str, tiny: Base, tmp_path: Path) -> None:
    config = toy_config(tmp_path, roots=(scenes,), base="mini")
    card = render_card(config, tiny, SUMMARY)
    front = front_matter(card)
    assert (front["license"], front["library_name"], front["tags"][-1]) == ("apache-2.0", "diffusers", "sketch")
    assert "base_model" not in front
    made = read_provenance(Dataset.open(scenes), "sketch")
    assert made.terms == "Apache-2.0, trained by this project on its own scenes"
    assert f"| column sketch | {made.by} | {made.terms} |" in card
    assert "0.2500 before and 0.1250 after" in card


def test_pictures_weights_and_bases_of_others_are_named(scenes: str, tiny: Base, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    (tmp_path / "photos" / "a.txt").write_text("a")
    root = str(tmp_path / "[root](http://x)")
    plan_dataset(root, FolderSource(str(tmp_path / "photos")), Geometry(64), 2)
    gone = "~~gone~~ &lt;b"
    for roots, base in (((root,), "mini"), ((scenes,), "somebody/their-model"), ((gone,), "mini")):
        front = front_matter(card := render_card(toy_config(tmp_path, roots=roots, base=base), tiny, SUMMARY))
        assert front["license"] == "other"
        assert front.get("base_model") == ("somebody/their-model" if base != "mini" else None)
        assert "](http://x)" not in card
    assert "| pictures of &#126;&#126;gone&#126;&#126; &amp;lt;b | unknown | unknown |" in card


def test_every_run_has_one(tiny: Base, tmp_path: Path) -> None:
    Training(toy_config(tmp_path, steps=2), toy_stream(), tiny).run()
    assert front_matter((tmp_path / "adapter" / "README.md").read_text())["pipeline_tag"] == "text-to-image"


def test_its_snippet_runs(scenes: str, tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = render_card(toy_config(tmp_path, roots=(scenes,), base="mini"), tiny, SUMMARY)
    save_adapter(make_adapter(adapter_config_for("base", 1, (32, 64, 128, 128)), 0), tmp_path)
    (snippet,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    lines = snippet.replace("the folder of this file", str(tmp_path))
    names: dict[str, Any] = {}
    exec("\n".join(lines.splitlines()[:-1]), names)
    assert isinstance(names["adapter"], T2IAdapter)
    assert isinstance(names["pipeline"], StableDiffusionAdapterPipeline)

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from t2i_shards.adapters.training import setup
from t2i_shards.adapters.training.config import ExtractorConfig
from t2i_shards.adapters.training.data import DataConfig
from t2i_shards.extractors.registry import make_extractor
from tests.pipeline.publish.toys import toy_dataset


@pytest.mark.parametrize(
    ("asked", "live", "wanted"), [(None, False, "mini"), ("default", False, "default"), (None, True, "default")]
)
def test_a_training_measures_its_sample_pictures_with_what_made_the_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None, live: bool, wanted: str
) -> None:
    toy_dataset(tmp_path / "root", count=1).claim("small", make_extractor("sketch", "mini").recipe())
    loaded: list[str] = []
    monkeypatch.setattr(setup, "load_extractor", lambda condition, variant, *_: loaded.append(variant))
    data = DataConfig((str(tmp_path / "root"),), "sketch", None if live else "small", live=live)
    setup.open_extractor(data, ExtractorConfig(asked), torch.device("cpu"))
    assert loaded == [wanted]

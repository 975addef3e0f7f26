"""Which extractor sees a condition again in pictures: the one that made the column."""

from __future__ import annotations

from pathlib import Path

from t2i_shards.extractors.registry import make_extractor
from t2i_shards.pipeline.extractor import choose_variant
from tests.pipeline.publish.toys import toy_dataset


def test_the_variant_is_the_one_that_made_the_column(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path / "root", count=1)
    root = str(tmp_path / "root")
    dataset.claim("small", make_extractor("sketch", "mini").recipe())
    dataset.claim("drawn", {"made_by": "another tool"})
    assert choose_variant("sketch", root, "small") == "mini"
    for column in ("drawn", "depth", None):  # of another tool, not there, without a column
        assert choose_variant("sketch", root, column) == "default"

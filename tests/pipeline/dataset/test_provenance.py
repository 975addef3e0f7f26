"""Provenance: what a recipe says about a column, whichever tool wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from t2i_shards.extractors.registry import make_extractor
from t2i_shards.pipeline.dataset.provenance import (
    Provenance,
    choose_published,
    choose_variant,
    describe_geometry,
    sort_columns,
    without_paths,
)
from tests.pipeline.publish.toys import toy_dataset

APACHE = {"file": "ours.safetensors", "sha256": "0" * 64, "licence": "Apache-2.0, trained here"}
RESEARCH = {"file": "table5.pth", "sha256": "1" * 64, "licence": "research only; commercial use by asking"}


@pytest.mark.parametrize(
    ("column", "recipe", "condition", "by", "terms", "is_ours", "research_only"),
    [
        ("sketch", {}, "sketch", "unknown", "not told", False, False),
        ("lines", {"condition": "sketch", "made_by": "me"}, "sketch", "me, ground truth of the source",
         "not told", False, False),
        ("lines", {"extractor": "canny", "version": 2}, "canny", "canny 2", "none of its own", True, False),
        ("lines", {"extractor": "mine"}, None, "mine", "none of its own", True, False),
        ("a", {"extractor": "sketch", "version": 1, "variant": "default", "weights": RESEARCH}, "sketch",
         "sketch 1, default", RESEARCH["licence"], False, True),
        ("a", {"extractor": "keypose", "weights": APACHE, "parameters": {"boxes": [RESEARCH, APACHE]}}, "keypose",
         "keypose", f"{APACHE['licence']}; {RESEARCH['licence']}", False, True),
        ("a", {"extractor": "depth", "weights": APACHE}, "depth", "depth", APACHE["licence"], True, False),
    ],
)  # fmt: skip
def test_what_a_recipe_says(
    column: str,
    recipe: dict[str, Any],
    condition: str | None,
    by: str,
    terms: str,
    is_ours: bool,
    research_only: bool,
) -> None:
    of = Provenance(column, recipe)
    assert (of.condition, of.by, of.terms) == (condition, by, terms)
    assert (of.is_ours, of.research_only, of.is_condition) == (is_ours, research_only, condition is not None)


def test_columns_are_in_the_order_of_their_conditions_and_latents_wait_to_be_asked_for() -> None:
    recipes = {"zoo": {"condition": "sketch"}, "depth": {}, "b": {"extractor": "latents"}, "images": {}, "a": {}}
    found = sort_columns(Provenance(column, recipe) for column, recipe in recipes.items())
    assert [of.column for of in found] == ["images", "zoo", "depth", "b", "a"]
    assert choose_published(found) == ["images", "zoo", "depth"]
    assert choose_published(found, ["b", "depth"]) == ["images", "depth", "b"]


def test_a_square_is_called_so_and_no_folder_is_named() -> None:
    assert describe_geometry({"size": 512, "quality": 95}) == "short side 512 pixels, JPEG 95"
    assert describe_geometry({"size": 512, "quality": 95, "fit": "square"}) == "square of 512 pixels, JPEG 95"
    assert without_paths({"a": ["/home/me/x.pth", "b/c", 3]}) == {"a": ["x.pth", "b/c", 3]}


def test_the_variant_is_the_one_that_made_the_column(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path / "root", count=1)
    root = str(tmp_path / "root")
    dataset.claim("small", make_extractor("sketch", "mini").recipe())
    dataset.claim("drawn", {"made_by": "another tool"})
    assert choose_variant("sketch", root, "small") == "mini"
    for column in ("drawn", "depth", None):  # of another tool, not there, without a column
        assert choose_variant("sketch", root, column) == "default"

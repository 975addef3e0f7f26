"""The tiny base of the family that a test asks for, and tiny bases in folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.adapters.base import StableDiffusion


@pytest.fixture
def base(request: pytest.FixtureRequest) -> StableDiffusion:
    """The tiny base of the family that the test is asked for."""
    found: StableDiffusion = request.getfixturevalue(request.param.replace("-", "_"))
    return found


def save_base(base: StableDiffusion, root: Path) -> Path:
    """As diffusers keeps one on disk."""
    for name, part in base.networks.items():
        part.save_pretrained(root / name)  # type: ignore[operator]
    for tokenizer, name in zip(base.tokenizers, ("tokenizer", "tokenizer_2"), strict=False):
        tokenizer.save_pretrained(root / name)
    base.scheduler.save_pretrained(root / "scheduler")
    return root


@pytest.fixture(scope="module")
def folders(
    tiny: StableDiffusion, tiny_xl: StableDiffusion, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {"sd": save_base(tiny, root / "sd"), "sdxl": save_base(tiny_xl, root / "sdxl")}

"""examples/diffusers_script.sh with diffusers' own training script, where that is at hand.

tests/test_docs.py looks at what the example tells that script.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from t2i_shards.adapters.base import StableDiffusion, load_base
from t2i_shards.jobs.__main__ import run
from t2i_shards.pipeline.sources.scenes import ScenesSource
from tests.faults.toys import make_images

EXAMPLE = Path(__file__).parents[1] / "examples/diffusers_script.sh"
SCRIPT = os.environ.get("T2I_SHARDS_DIFFUSERS_SCRIPT")


@pytest.mark.soak
@pytest.mark.skipif(SCRIPT is None, reason="needs train_t2i_adapter_sdxl.py: T2I_SHARDS_DIFFUSERS_SCRIPT=PATH")
def test_the_unchanged_script_trains_an_adapter_that_loads(tmp_path: Path) -> None:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, T2IAdapter

    make_images(tmp_path / "scenes", ScenesSource(12, 128), 6, ("sketch",), 128)
    base = load_base("tiny-xl")
    assert isinstance(base, StableDiffusion)
    first, second = base.tokenizers
    scheduler = EulerDiscreteScheduler.from_config(base.scheduler.config)
    parts = {**base.networks, "tokenizer": first, "tokenizer_2": second, "scheduler": scheduler}
    StableDiffusionXLPipeline(**parts).save_pretrained(tmp_path / "sdxl")
    untrained = T2IAdapter(3, (*base.widths, base.widths[-1]), 2, 16, "full_adapter_xl")
    untrained.save_pretrained(tmp_path / "untrained")

    assert SCRIPT is not None
    options = f"""--pretrained_model_name_or_path {tmp_path}/sdxl --adapter_model_name_or_path {tmp_path}/untrained
        --output_dir {tmp_path}/trained --cache_dir {tmp_path}/cache --resolution 128 --max_train_steps 4
        --train_batch_size 4 --learning_rate 1e-3 --lr_warmup_steps 0 --seed 0""".split()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["sh", EXAMPLE, tmp_path / "scenes", "sketch", SCRIPT, *options]
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})
    trained, report = T2IAdapter.from_pretrained(tmp_path / "trained", output_loading_info=True)
    assert not any(report.values())
    for name, weights in trained.state_dict().items():
        assert weights.isfinite().all(), name
        assert not torch.equal(weights, untrained.state_dict()[name]), name

    Image.new("L", (128, 128), 255).save(tmp_path / "map.png")
    paths = [f"sketch={tmp_path / name}" for name in ("trained", "map.png")]
    words = ["--adapter", paths[0], "--condition", paths[1], "--base", str(tmp_path / "sdxl"), "--size", "128"]
    assert run(["generate", *words, "--prompt", "a cube", "--steps", "2", "--out", str(tmp_path / "made")]) == 0

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.adapters.base import Base, digest_base
from t2i_shards.adapters.training.config import DECIDE, flatten_options
from t2i_shards.adapters.training.trainer import Training
from t2i_shards.jobs.__main__ import parse
from t2i_shards.jobs.train import TrainCommand
from t2i_shards.pipeline.errors import RequestError
from tests.adapters.toys import toy_config, toy_stream


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"steps": 0}, "--steps must be above 0, not 0"),
        ({"warmup_steps": -1}, "--warmup-steps must not be below 0, not -1"),
        ({"weight_decay": -1.0}, "--weight-decay must not be below 0, not -1"),
        ({"batch": -1}, "--batch must be above 0, not -1"),
        ({"lr": 0.0}, "--lr must be above 0"),
        ({"checkpoint_every": 0}, "--checkpoint-every must be above 0"),
        ({"threads": 0}, "--threads must be at least 1, not 0"),
        ({"condition": "color", "column": "seg"}, "--condition color takes no --column, not seg"),
        ({"roots": ()}, "train needs a dataset"),
        ({"mix": (1.0, 2.0)}, "--mix must give a share for each of 1 dataset, not 2"),
        ({"mix": (-1.0,)}, "--mix must give shares above 0, not -1.0"),
        ({"ema": 1.0}, "--ema must be above 0 and below 1, not 1.0"),
        ({"noise_offset": 0.0}, "--noise-offset must be above 0, not 0.0"),
        ({"noise_offset_levels": 0}, "--noise-offset-levels must be from 1 to 8, not 0"),
        ({"noise_offset": 1.0, "noise_offset_levels": 9}, "--noise-offset-levels must be from 1 to 8, not 9"),
        ({"noise_offset_levels": 2}, "--noise-offset-levels is for --noise-offset, which is not given"),
        ({"empty_captions": 1.5}, "--empty-captions must be a share, 0 to 1, not 1.5"),
        ({"micro_batch": 0}, "--micro-batch must be at least 1, not 0"),
        (
            {"condition": "color", "live": True},
            "--condition color takes no --live: it is always made",
        ),
        (
            {"live": True, "column": "other"},
            "--live makes the condition itself, so .* not other",
        ),
        ({"condition": "latents"}, "--condition must be one of sketch, .* canny, not latents"),
        ({"latents": "latents", "flip": True}, "--latents are of a fixed crop, so --flip cannot be asked for"),
        ({"buckets": True, "size": 64}, "--buckets takes whole pictures, so --size cannot be asked for"),
        ({"size": 100}, "--size must be a positive multiple of 64, not 100"),
    ],
)
def test_senseless_request_is_refused(tmp_path: Path, change: dict[str, Any], line: str) -> None:
    with pytest.raises(RequestError, match=line):
        toy_config(tmp_path, **change)


def test_configuration_needs_no_torch() -> None:
    code = "import sys, t2i_shards.adapters.training.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


FLAGS = """
R --condition sketch --out RUN --column c --mix 1 --base b --adapter small --steps 9 --batch 4 --micro-batch 2
--lr 0.5 --timesteps uniform --weighting snr --empty-captions 0.25 --flip --threshold random --clip 2 --ema 0.5
--noise-offset 0.3
--noise-offset-levels 2
--precision bf16
--gradient-checkpointing --compile --no-duplicates --size 128 --variant mini --weights W --validation 7
--validate-every 8 --sample-every 6 --checkpoint-every 3 --keep 5 --seed 11 --skip-damaged 1 --cache C --cache-gb 2
--text-cache T --text-cache-gb 3 --lanes 2 --loaders 4 --device cpu --threads 1 --lr-schedule cosine
--warmup-steps 3 --weight-decay 0.5 --from A --report-to wandb
"""
"""Every flag that a script may use, but those that exclude one of these: see OTHERS."""
OTHERS = "R --condition sketch --base b --out RUN --buckets --live --epochs 2"
LATENTS = "R --condition sketch --base b --out RUN --latents l"


def _flag(name: str) -> str:
    """Fields that have another name than their flag."""
    return {"name": "base", "start": "from"}.get(name, name)


def test_the_flags_are_what_they_always_were() -> None:
    asked: dict[str, Any] = {}
    for words in (FLAGS, OTHERS, LATENTS):
        command = parse(["train", *words.split()])
        assert isinstance(command, TrainCommand)
        options = list(flatten_options(command.config))
        assert len(dict(options)) == len(options), "one name space"
        given = {word[2:].removeprefix("no-").replace("-", "_") for word in words.split() if word.startswith("--")}
        asked |= {_flag(name): value for name, value in options if _flag(name) in given}
    assert asked == {
        "condition": "sketch", "out": Path("RUN"), "column": "c", "mix": (1.0,), "base": "b", "adapter": "small",
        "steps": 9, "batch": 4, "micro_batch": 2, "lr": 0.5, "timesteps": "uniform", "weighting": "snr",
        "empty_captions": 0.25,
        "noise_offset": 0.3, "noise_offset_levels": 2,
        "flip": True, "threshold": "random", "clip": 2.0, "ema": 0.5, "precision": "bf16",
        "gradient_checkpointing": True, "compile": True, "duplicates": False, "size": 128, "variant": "mini",
        "weights": Path("W"), "validation": 7, "validate_every": 8, "sample_every": 6, "checkpoint_every": 3,
        "keep": 5, "seed": 11, "skip_damaged": 1, "cache": Path("C"), "cache_gb": 2.0, "text_cache": Path("T"),
        "text_cache_gb": 3.0, "lanes": 2, "loaders": 4, "device": "cpu", "threads": 1, "buckets": True,
        "live": True, "latents": "l", "lr_schedule": "cosine", "warmup_steps": 3, "weight_decay": 0.5, "from": "A",
        "epochs": 2.0, "report_to": "wandb",
    }  # fmt: skip
    every = {_flag(name) for name, _ in options}
    assert every - {"roots"} == asked.keys(), "a new option is asked for here as well"
    assert options[0] == ("roots", ("R",))


def test_run_json_is_what_it_always_was(tiny: Base, tmp_path: Path) -> None:
    """Runs that were begun before the options had groups are resumed: each name and value is compared."""
    Training(toy_config(tmp_path / "run", ema=0.5, clip=2.0, flip=True), toy_stream(), tiny)
    begun = json.loads((tmp_path / "run" / "run.json").read_text())
    assert {*DECIDE} <= begun.keys()
    assert begun == {
        "condition": "sketch", "adapter": "tiny", "batch": 2, "lr": 0.001, "timesteps": "cubic", "validation": 2,
        "seed": 0, "flip": True, "empty_captions": 0.0, "threshold": "fixed", "precision": "fp32", "clip": 2.0,
        "ema": 0.5, "buckets": False, "live": None, "size": 64, "data": "0" * 64, "base": digest_base(tiny),
        "threshold_per": None, "weighting": None, "noise_offset": None, "noise_offset_levels": None,
        "lr_schedule": None, "warmup_steps": None,
        "weight_decay": None, "steps": None, "from": None,
    }  # fmt: skip

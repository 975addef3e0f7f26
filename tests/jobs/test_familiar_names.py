"""Options by the names that other trainers and downloaders gave them."""

from __future__ import annotations

import pytest

from t2i_shards.jobs.__main__ import parse


def test_familiar_names_are_the_same_options() -> None:
    ours = (
        "train data --condition sketch --base mini --out run --lr 1e-4 --steps 9 --batch 4 --size 128 --loaders 2"
    )
    familiar = (
        "train data --condition sketch --pretrained-model mini --output-dir run --learning-rate 1e-4 "
        "--max-steps 9 --batch-size 4 --resolution 128 --num-workers 2"
    )
    assert parse(f"{ours} --precision bf16".split()) == parse(f"{familiar} --mixed-precision bf16".split())


@pytest.mark.parametrize(
    ("ours", "familiar"),
    [
        (
            "extract d --conditions color --batch 2 --workers 3",
            "extract d --conditions color --batch-size 2 --num-workers 3",
        ),
        (
            "generate --base mini --out o --prompt p --n 2 --size 64 --steps 9 --guidance 2 --scale 0.5 "
            "--negative n --batch 2 --precision bf16",
            "generate --pretrained-model mini --output-dir o --prompt p --num-images 2 --resolution 64 "
            "--num-inference-steps 9 --guidance-scale 2 --adapter-conditioning-scale 0.5 --negative-prompt n "
            "--batch-size 2 --mixed-precision bf16",
        ),
        (
            "evaluate d --condition sketch --base mini --adapter a --out o --size 64 --batch 2 --steps 9 "
            "--precision fp16",
            "evaluate d --condition sketch --pretrained-model mini --adapter a --output-dir o --resolution 64 "
            "--batch-size 2 --num-inference-steps 9 --mixed-precision fp16",
        ),
        (
            "ingest folder p --out d --size 64 --workers 1",
            "ingest folder p --output-dir d --resolution 64 --num-workers 1",
        ),
        ("rehydrate p --out d", "rehydrate p --output-dir d"),
        ("demo --out d --steps 9", "demo --output-dir d --max-steps 9"),
        ("miniature --out d --steps 9", "miniature --output-dir d --max-steps 9"),
        ("mini-weights --out d --steps 9 --batch 2", "mini-weights --output-dir d --max-steps 9 --batch-size 2"),
        ("mini-base --out d --steps 9 --batch 2", "mini-base --output-dir d --max-steps 9 --batch-size 2"),
        ("status d --workers 2", "status d --num-workers 2"),
    ],
)
def test_familiar_names_are_known_to_all_commands(ours: str, familiar: str) -> None:
    assert parse(ours.split()) == parse(familiar.split())

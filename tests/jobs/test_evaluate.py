from __future__ import annotations

from pathlib import Path

import pytest

from t2i_shards.adapters.evaluation.config import EvaluateConfig
from t2i_shards.adapters.inference.config import Sampling
from t2i_shards.jobs.__main__ import parse, run
from t2i_shards.jobs.evaluate import EvaluateCommand


def test_the_spelling() -> None:
    command = parse(
        "evaluate ROOT --condition sketch --base B --adapter RUN/adapter --samples 32 --seed 2 --steps 20 --out O "
        "--variant mini --weights W --column sketch-pidinet --size 256 --batch 4 --json".split()
    )
    assert isinstance(command, EvaluateCommand)
    assert command.json
    assert command.config == EvaluateConfig(
        "ROOT",
        "sketch",
        "B",
        Path("RUN/adapter"),
        Path("O"),
        column="sketch-pidinet",
        samples=32,
        seed=2,
        sampling=Sampling(steps=20),
        size=256,
        variant="mini",
        weights=Path("W"),
        batch=4,
    )
    assert command.config.columns == ("sketch-pidinet",)
    default = parse("evaluate ROOT --condition color --base B --adapter A".split())
    assert isinstance(default, EvaluateCommand)
    assert default.config == EvaluateConfig("ROOT", "color", "B", Path("A"))
    assert (default.config.samples, default.config.sampling.steps, default.config.columns) == (None, 50, ())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--condition nonsense", "--condition must be one of"),
        ("--samples 1", "--samples must be at least 2"),
        ("--size 100", "--size must be a positive multiple of 64"),
        ("--out O", "there is no adapter A"),
        ("--out O --controlnet C", "--adapter or --controlnet, and not both"),
        ("", "there is no adapter A"),
    ],
)
def test_a_wrong_request_is_one_line_and_2(
    more: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(f"evaluate ROOT --condition sketch --base tiny --adapter A {more}".split()) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []

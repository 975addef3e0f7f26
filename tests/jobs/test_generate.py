"""generate, as it is asked for on the command line, with the tiny base."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t2i_shards.adapters.base import Base, load_base
from t2i_shards.adapters.inference.config import AdapterSpec, GenerateConfig, Sampling
from t2i_shards.adapters.model.adapter import make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.model.diffusers_io import save_adapter
from t2i_shards.extractors.maps import png
from t2i_shards.extractors.registry import make_extractor
from t2i_shards.jobs.__main__ import parse, run
from t2i_shards.jobs.generate import GenerateCommand

FAST = "--base tiny --prompt disc --size 128 --steps 2 --guidance 1 --device cpu --json"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two adapters, maps, a photograph and a mask."""
    folder = tmp_path_factory.mktemp("generate")
    for name, channels in (("sketch", 1), ("depth", 3)):
        (folder / name).mkdir()
        save_adapter(
            make_adapter(adapter_config_for("small", channels, (32, 32, 32, 64)), channels), folder / name
        )
    rows, columns = np.mgrid[:128, :128]
    disc = np.uint8(255) * ((rows - 60) ** 2 + (columns - 60) ** 2 < 900)
    (folder / "map.png").write_bytes(png.encode_grey(disc))
    (folder / "wide.png").write_bytes(png.encode_grey(np.concatenate([disc, disc], axis=1)))
    photograph = np.stack([disc, np.uint8(rows), np.uint8(columns)], axis=2)
    (folder / "photo.png").write_bytes(png.encode_rgb(photograph))
    return folder


@pytest.fixture(autouse=True)
def built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny bases are built once for all tests here."""
    monkeypatch.setattr("t2i_shards.adapters.inference.generate.load_base", _load_base)


@cache
def _load_base(name: str, device: str, dtype: Any, offloaded: bool) -> Base:
    return load_base(name, device, dtype, offloaded)


def generate(here: Path, out: Path, more: str, capsys: pytest.CaptureFixture[str]) -> list[np.ndarray]:
    """The pictures that the command line asks for; F is the folder."""
    assert run(f"generate --out {out} {FAST} {more}".replace("F/", f"{here}/").split()) == 0
    record = json.loads(capsys.readouterr().out)
    return [png.decode_rgb(Path(path).read_bytes()) for path in record["pictures"]]


def test_the_spelling() -> None:
    command = parse(
        "generate --base B --adapter sketch=RUN/adapter depth=D:0.5 color=hf://C:2:beginning "
        "--condition sketch=map.png depth=d.png color=c.png "
        "--prompt disc --negative ugly --n 4 --seed 3 --out O --size 256 --steps 9 --guidance 5 --scale 0.8 "
        "--acts middle --batch 2".split()
    )
    assert isinstance(command, GenerateCommand)
    config = command.config
    assert config.adapters == [
        AdapterSpec("sketch", "RUN/adapter"),
        AdapterSpec("depth", "D", 0.5),
        AdapterSpec("color", "hf://C", 2, "beginning"),
    ]
    assert config.maps == {"sketch": Path("map.png"), "depth": Path("d.png"), "color": Path("c.png")}
    assert config.sampling == Sampling(steps=9, guidance=5, scale=0.8, active_steps="middle")
    assert (config.negative, config.n, config.seed, config.size, config.batch) == ("ugly", 4, 3, 256, 2)
    default = parse("generate --base B --prompt disc --out O".split())
    assert isinstance(default, GenerateCommand)
    assert default.config == GenerateConfig("B", Path("O"), "disc")
    assert default.config.sampling == Sampling(50, 7.5, 1.0, "all", "ddim")


def test_each_picture_has_a_record_of_all_that_decided_it(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "--adapter sketch=F/sketch:0.7 --condition sketch=F/map.png --n 2 --seed 8"
    pictures = generate(here, tmp_path, line, capsys)
    assert [picture.shape for picture in pictures] == [(128, 128, 3)] * 2
    assert not np.array_equal(*pictures)
    records = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))]
    assert [record["seed"] for record in records] == [8, 9]
    assert records[0]["adapters"][0]["weight"] == 0.7
    assert records[0]["asked"]["condition"] == [f"sketch={here}/map.png"]
    assert len(list(tmp_path.glob("sketch-*.png"))) == 1


def test_the_unread_end_of_a_prompt_is_reported_and_recorded(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for out, words in (("long", 200), ("cut", 75)):
        prompt = " ".join("x" for _ in range(words))
        assert run([*f"generate --out {tmp_path}/{out} {FAST}".split(), "--prompt", prompt]) == 0
    (record,), (short,) = (
        [json.loads(path.read_text()) for path in tmp_path.glob(f"{o}/*.json")] for o in ("long", "cut")
    )
    assert record["not_read"] == {"prompt": " ".join("x" for _ in range(125)), "negative": ""}
    assert short["not_read"] == {"prompt": "", "negative": ""}
    (line,) = caplog.messages
    assert line == (
        "--prompt is longer than what the text encoder reads, and its end is left out: "
        + record["not_read"]["prompt"]
    )
    # The part of a prompt that is reported as not read is not read.
    long, cut = (next((tmp_path / of).glob("*.png")).read_bytes() for of in ("long", "cut"))
    assert long == cut


def test_asked_again_it_makes_only_what_is_missing(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    two = generate(here, tmp_path, "--n 2", capsys)
    made: list[list[int]] = []

    def note(*given: object, **options: object) -> np.ndarray:
        made.append(list(given[3]))  # type: ignore[call-overload]
        return np.zeros((len(made[-1]), 128, 128, 3), np.uint8)

    monkeypatch.setattr("t2i_shards.adapters.inference.generate.generate", note)
    three = generate(here, tmp_path, "--n 3", capsys)
    assert made == [[2]]
    assert np.array_equal(two, three[:2])


def test_scale_zero_and_no_adapter_are_the_same_picture(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = "--adapter sketch=F/sketch --condition sketch=F/map.png"
    plain, silent, heard = (
        generate(here, tmp_path, more, capsys)[0] for more in ("", f"{adapter} --scale 0", adapter)
    )
    assert np.array_equal(plain, silent)
    assert not np.array_equal(plain, heard)


def test_of_two_adapters_each_counts_by_its_weight(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = "--condition sketch=F/map.png depth=F/map.png --adapter"
    both = generate(here, tmp_path, f"{maps} sketch=F/sketch depth=F/depth:0.5", capsys)
    less = generate(here, tmp_path, f"{maps} sketch=F/sketch depth=F/depth:0", capsys)
    one = generate(here, tmp_path, "--adapter sketch=F/sketch --condition sketch=F/map.png", capsys)
    assert np.array_equal(less, one)
    assert not np.array_equal(both, one)


def test_of_two_adapters_each_acts_in_its_own_part(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = "--steps 4 --condition sketch=F/map.png depth=F/map.png --adapter"
    late, other, all_ = (
        generate(here, tmp_path, f"{maps} sketch=F/sketch depth=F/depth:0.5{part}", capsys)
        for part in (":0.5-1", ":0-0.5", "")
    )
    assert not np.array_equal(late, other)
    assert not np.array_equal(late, all_)
    named = generate(here, tmp_path, f"{maps} sketch=F/sketch depth=F/depth:0.5:all --acts late", capsys)
    alone = generate(here, tmp_path, f"{maps} sketch=F/sketch:1:late depth=F/depth:0.5", capsys)
    assert np.array_equal(named, alone), "without a part of its own an adapter acts when --acts says"


def test_a_photographs_condition_is_what_the_extractor_sees(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mini = "--adapter sketch=F/sketch --from-picture F/photo.png --variant mini"
    from_picture = generate(here, tmp_path, mini, capsys)
    extractor = make_extractor("sketch", "mini")
    extractor.load("cpu")
    condition_map = extractor(png.decode_rgb((here / "photo.png").read_bytes())[None])[0]
    (tmp_path / "seen.png").write_bytes(png.encode_grey(condition_map))
    seen = f"--adapter sketch=F/sketch --condition sketch={tmp_path}/seen.png"
    assert np.array_equal(generate(here, tmp_path, seen, capsys), from_picture)


def test_outside_the_mask_the_picture_stays(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (generated,) = generate(here, tmp_path, "--inpaint F/photo.png --mask F/map.png", capsys)
    photograph = png.decode_rgb((here / "photo.png").read_bytes())
    mask = png.decode_grey((here / "map.png").read_bytes()) > 127
    assert np.array_equal(generated[~mask], photograph[~mask])
    assert not np.array_equal(generated[mask], photograph[mask])


def test_the_aspect_is_that_of_the_map(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "--adapter sketch=F/sketch --condition sketch=F/wide.png"
    assert generate(here, tmp_path, line, capsys)[0].shape == (128, 256, 3)
    assert generate(here, tmp_path, f"{line} --fit square", capsys)[0].shape == (128, 128, 3)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--size 100", "--size must be a positive multiple of 64"),
        ("--n 0", "--n must be at least 1"),
        ("--steps 0", "--steps must be at least 1"),
        ("--steps 1000", "--steps must be below 1000"),
        ("--acts early", "--acts must be"),
        ("--adapter sketch=F/sketch:1:early", ":1:early must be all, beginning"),
        ("--mask F/map.png", "--inpaint and --mask go together"),
        ("--adapter sketch=F/sketch", "needs --condition sketch=FILE, or --from-picture"),
        ("--adapter F/sketch", "--adapter must be CONDITION=PATH"),
        ("--condition sketch=F/map.png", "needs an --adapter sketch"),
        ("--adapter sketch=F/sketch --condition sketch=F/map.png sketch=F/wide.png", "one file for each"),
        ("--adapter sketch=F/sketch --condition sketch=F/none.png", "there is no file"),
        ("--adapter sketch=F/none --condition sketch=F/map.png", "there is no adapter"),
        ("--adapter seg=F/sketch --condition seg=F/photo.png", "takes 1 channel"),
        ("--adapter sketch=F/sketch --condition sketch=F/map.png --base tiny-xl", "family"),
        ("--inpaint F/photo.png --mask F/wide.png", "--mask 256x128"),
        ("--adapter sketch=F/sketch --from-picture F/photo.png --variant none", "has no variant 'none'"),
    ],
)
def test_a_wrong_request_is_one_line_and_2(
    more: str, said: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"generate --out {tmp_path}/out {FAST} {more}".replace("F/", f"{here}/")
    assert run(line.split()) == 2
    error = capsys.readouterr().err
    # A map that looks odd is warned of before.
    (refusal,) = [line for line in error.splitlines() if line.startswith("t2i-shards: ")]
    assert said in refusal
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_each_line_of_a_file_of_prompts_is_a_request_of_its_own(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, line = tmp_path / "prompts.txt", "--adapter sketch=F/sketch --condition sketch=F/map.png --n 2"
    file.write_text("disc\n\n  a red cube \ndisc\n", encoding="utf-16")
    alone = generate(here, tmp_path / "alone", line, capsys)
    words = FAST.replace("--prompt disc", f"--prompts {file}")
    asked = f"generate --out {tmp_path}/both {words} {line}".replace("F/", f"{here}/").split()
    assert run(asked) == 0
    both = [Path(path) for path in json.loads(capsys.readouterr().out)["pictures"]]
    assert len(set(both)) == 4
    prompts = [json.loads(path.with_suffix(".json").read_text())["prompt"] for path in both]
    assert prompts == ["disc", "disc", "a red cube", "a red cube"]
    # The same pictures, by the same names, as each line alone gives.
    assert {path.name for path in both[:2]} < {path.name for path in (tmp_path / "alone").iterdir()}
    assert all(np.array_equal(png.decode_rgb(p.read_bytes()), one) for p, one in zip(both, alone, strict=False))
    assert run(asked) == 0
    assert json.loads(capsys.readouterr().out)["new"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "generate needs --prompt or --prompts, and not both"),
        ("--prompt x --prompts f", "generate needs --prompt or --prompts, and not both"),
        ("--prompts nowhere.txt", "--prompts must be a text file, nowhere.txt: "),
        ("--prompts empty.txt", "--prompts must have a prompt in each line, and empty.txt has none"),
    ],
)
def test_prompts_that_are_none_are_refused(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text("\n \n")
    assert run(f"generate --base tiny --out o {words}".split()) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"t2i-shards: {said}")
    assert err.count("\n") == 1


def test_the_record_names_the_sampler(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = [
        generate(here, tmp_path / name, f"--sampler {name}", capsys)[0] for name in ("ddim", "dpm++", "euler")
    ]
    assert not np.array_equal(pictures[0], pictures[1])
    names = [json.loads(path.read_text())["sampler"] for path in sorted(tmp_path.glob("*/*.json"))]
    assert names == ["ddim", "dpm++", "euler"]
    default = generate(here, tmp_path / "ddim", "", capsys)
    assert np.array_equal(default[0], pictures[0])
    assert len(list((tmp_path / "ddim").glob("*.json"))) == 1, "found by the name it always had"

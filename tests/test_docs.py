"""The Python of docs/python.md runs as it is written there, and every command of README and docs can be read.

`make docs` runs them all.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from diffusers import DDIMScheduler, StableDiffusionXLPipeline
from PIL import Image

from t2i_shards.adapters.base import StableDiffusion, load_base
from t2i_shards.adapters.model.adapter import make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.model.diffusers_io import save_adapter
from t2i_shards.jobs.__main__ import run
from t2i_shards.jobs.commands import parse_command
from t2i_shards.jobs.words import CommandLineError
from t2i_shards.pipeline.errors import RequestError
from tests.docs.pages import HOME, PAGES, read_snippets
from tests.docs.scratch import make_scratch

PAGE = HOME / "docs" / "python.md"
BLOCKS = [of.text for of in read_snippets(PAGE) if of.kind == "python"]
COMMANDS = [
    of
    for page in PAGES
    for of in read_snippets(page)
    if of.text.startswith("t2i-shards ") and of.unrun != "schematic" and "--tyro" not in of.text
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page assumes: a photograph, a dataset, a publication of it."""
    folder = tmp_path_factory.mktemp("docs")
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for number in range(20):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((128, 96)).save(folder / "photos" / f"{number}.jpg")
        (folder / "photos" / f"{number}.txt").write_text(f"picture {number}")
    Image.open(folder / "photos/0.jpg").save(folder / "photo.jpg")
    local = ["--engine", "local", "--workers", "1"]
    with contextlib.chdir(folder):
        assert run(["ingest", "folder", "photos", "--out", "data/photos", "--size", "64", *local]) == 0
        assert run(["extract", "data/photos", "--conditions", "sketch", "--variant", "mini", *local]) == 0
        assert (
            run(
                [
                    "publish",
                    "data/photos",
                    "--to",
                    "published",
                    "--columns",
                    "sketch",
                    "--readers",
                    "webdataset",
                    *local,
                ]
            )
            == 0
        )
    return folder


@pytest.fixture(scope="module")
def adapters(folder: Path) -> None:
    """Untrained ones, and a small SDXL, where the page has trained ones and the reader's base."""
    mini, tiny_xl = load_base("mini"), load_base("tiny-xl")
    assert isinstance(tiny_xl, StableDiffusion)
    for name, size, base in (("sketch", "base", mini), ("sketch-xl", "xl", tiny_xl)):
        place = folder / "runs" / name / "adapter"
        place.mkdir(parents=True)
        save_adapter(make_adapter(adapter_config_for(size, 1, base.widths), 0), place)
    networks, (first, second) = dict(tiny_xl.networks), tiny_xl.tokenizers
    pipe = StableDiffusionXLPipeline(
        **networks,
        tokenizer=first,
        tokenizer_2=second,
        scheduler=DDIMScheduler.from_config(tiny_xl.scheduler.config),
    )
    pipe.save_pretrained(folder / "my/sdxl")


@pytest.mark.usefixtures("adapters")
def test_every_block_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    assert len(BLOCKS) == 9
    names: dict[str, object] = {"__name__": "page"}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for block in BLOCKS:
            exec(compile(block, PAGE.name, "exec"), names)
    finally:
        os.chdir(before)
    assert Image.open(folder / "sketch.png").size == (128, 96)
    assert {Image.open(folder / name).size for name in ("cube.png", "cube-xl.png")} == {(128, 128)}
    by_accelerate: Any = names["loader"]
    assert sum(len(batch["key"]) for batch in by_accelerate) > 0
    row: Any = names["row"]
    assert (row["jpg"].mode, row["sketch.png"].mode, type(row["txt"])) == ("RGB", "L", str)
    rest = names["rest"]
    assert isinstance(rest, list)
    assert len(rest) == 3


def test_diffusers_own_script_is_told_of_columns_that_a_publication_has(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """examples/diffusers_script.sh; tests/test_diffusers_script.py runs it with that script."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    for name in ("t2i-shards", "accelerate"):
        (tmp_path / name).write_text(f'#!/bin/sh\nprintf "\'%s\' " {name} "$@"\necho\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    words = ["data/photos/", "sketch", "train.py", "--output_dir", "a folder"]
    command = ["sh", str(HOME / "examples/diffusers_script.sh"), *words]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    publish, launch = (shlex.split(line) for line in said)
    parse_command(publish[1:])
    assert publish[1:] == ["publish", "data/photos", "--to", "data/photos-published", "--columns", "sketch"]
    assert (launch[:3], launch[-2:]) == (["accelerate", "launch", "train.py"], words[-2:])
    told = dict(zip(launch[3::2], launch[4::2], strict=True))
    assert told["--train_data_dir"] == "data/photos-published"
    row = datasets.load_dataset(str(folder / "published"))["train"].shuffle()[0]
    picture, control_image, caption = (
        row[told[f"--{name}_column"]] for name in ("image", "conditioning_image", "caption")
    )
    assert (picture.mode, control_image.convert("RGB").size, type(caption)) == ("RGB", (64, 64), str)


def test_every_command_has_words_and_options_that_there_are(tmp_path: Path) -> None:
    """Whether its folders are there, only running it tells."""
    assert len(COMMANDS) > 60
    wrong = []
    with contextlib.chdir(tmp_path):
        for of in COMMANDS:
            try:
                parse_command(shlex.split(of.text)[1:])
            except CommandLineError as error:
                wrong.append((of, error))
            except RequestError:
                pass
    assert wrong == []


def test_marks_and_comments_are_no_part_of_a_command(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        """# Page

    # not run by us
    t2i-shards status A  # that of A

    t2i-shards status B \\
        --json
    t2i-shards status C    # D; not run by us as written
    t2i-shards train … --steps 1
    ROOT/plan/000012.parquet    the rows

```python
1 + 1
```

| what | command |
|---|---|
| a folder | `t2i-shards ingest folder a --out b` |
| more | the same with `--size 64` |
"""
    )
    found = [(of.line, of.text, of.unrun) for of in read_snippets(page)]
    assert found == [
        (4, "t2i-shards status A", "not run by us"),
        (6, "t2i-shards status B --json", None),
        (8, "t2i-shards status C", "D; not run by us as written"),
        (9, "t2i-shards train … --steps 1", "schematic"),
        (13, "1 + 1", None),
        (18, "t2i-shards ingest folder a --out b", None),
        (19, "t2i-shards ingest folder a --out b --size 64", None),
    ]


HELD = """
import os, subprocess
from tests.docs.scratch import end_by_signals, make_scratch, run_whole

def communicate(self, wait=subprocess.Popen.communicate):
    print(folder, flush=True)
    return wait(self)

subprocess.Popen.communicate = communicate
end_by_signals()
with make_scratch() as folder:
    run_whole(["sh", "-c", "sleep 60 & echo $! > pid; wait"], folder, os.environ)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_run_of_the_pages_leaves_nothing_however_it_ends(number: signal.Signals, tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(HOME)}
    with subprocess.Popen([sys.executable, "-c", HELD], env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        folder = Path(process.stdout.readline().strip())
        while not (folder / "pid").exists() or not (text := (folder / "pid").read_text()):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
    sleeping = Path("/proc", text.strip())
    if number == signal.SIGKILL:
        assert folder.exists()
        os.kill(int(text), signal.SIGKILL)
        with pytest.MonkeyPatch.context() as patch, make_scratch_below(tmp_path, patch) as held:
            assert list(tmp_path.iterdir()) == [held]
            with make_scratch():
                assert held.exists(), "another run is at work in it"
    assert not list(tmp_path.iterdir())
    deadline = time.monotonic() + 30  # a killed process takes a moment to go
    while _is_alive(sleeping):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _is_alive(process: Path) -> bool:
    try:
        return "zombie" not in (process / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextlib.contextmanager
def make_scratch_below(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Path]:
    patch.setattr(tempfile, "tempdir", str(folder))
    with make_scratch() as held:
        yield held

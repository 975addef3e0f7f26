"""Whatever the files of a training contain: no traceback, and nothing written outside the command's output."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2i_shards.extractors.maps import png
from t2i_shards.jobs.__main__ import run
from t2i_shards.jobs.weights import registered
from tests.faults.alterations import QUICK, RAW, changed_bytes, changed_header, changed_json, changed_tensors
from tests.faults.specimens import HerePool, World, altered
from tests.faults.trainings import make_scenes, train_words

CHECKPOINT, WEIGHTS = "run/checkpoints/000002", "diffusion_pytorch_model.safetensors"
JSON = {
    "run/run.json": "go on",
    "run/held_out.json": "go on",
    "run/extents.json": "go on",
    "run/log.jsonl": "go on",
    f"{CHECKPOINT}/state.json": "go on",
    f"{CHECKPOINT}/adapter/config.json": "go on",
    "run/summary.json": "finished",
    "run/adapter/config.json": "convert",
    "weights/*/*.lock": "list",
}
TENSORS = {
    f"{CHECKPOINT}/optimizer.safetensors": "go on",
    f"{CHECKPOINT}/adapter/{WEIGHTS}": "go on",
    f"run/adapter/{WEIGHTS}": "convert",
    "texts/*/*.safetensors": "go on",
}
"""Pattern -> the command that reads these files before others."""
READERS = {
    "run/held_out.json": ["report"],
    "run/log.jsonl": ["report", "finished"],
    "run/summary.json": ["report"],
    "run/run.json": ["report", "finished"],
    "run/adapter/config.json": ["generate", "report"],
    f"run/adapter/{WEIGHTS}": ["generate"],
}
"""Pattern -> others that read them."""
COPIES = ("run", "texts")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    base = tmp_path_factory.mktemp("world")
    world = World(base, base / "out")
    make_scenes(base / "scenes")
    (base / "map.png").write_bytes(png.encode_grey(np.tri(128, dtype=np.uint8) * np.uint8(255)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["t2i_shards.pipeline.engine.run"], "open_pool", HerePool)
        patch.setenv("T2I_SHARDS_CACHE", str(base / "weights"))
        patch.chdir(base)
        weight = next(weight for _, _, weight in registered() if not (weight.pinned or weight.shipped))
        weight.lock.parent.mkdir(parents=True)
        weight.lock.write_text(json.dumps({"sha256": "0" * 64, "converted": "1" * 64}))
        world.out.mkdir()
        assert run(words(world, 2).split()) == 0
        for name in ("run", "texts"):
            (world.out / name).rename(base / name)
        yield world


def words(world: World, steps: int) -> str:
    training = train_words(world.base / "scenes", world.out / "run", steps)
    return " ".join([*training, "--text-cache", f"{world.out}/texts", "--cache", f"{world.out}/shards"])


def commands(world: World) -> dict[str, str]:
    generate = "--base tiny --prompt disc --size 128 --steps 1 --guidance 1 --device cpu"
    return {
        "go on": words(world, 3),
        "finished": words(world, 2),
        "convert": f"convert-adapter {world.out}/run/adapter {world.out}/adapter --layout diffusers",
        "list": "weights list",
        "report": f"report {world.base}/scenes --run {world.out}/run --quick --out {world.out}/page.html",
        "generate": f"generate {generate} --adapter sketch={world.out}/run/adapter "
        f"--condition sketch={world.base}/map.png --out {world.out}/pictures",
    }


@st.composite
def changed_line(draw: st.DrawFn, whole: bytes) -> bytes:
    """With an entry of one of its lines changed."""
    lines = whole.split(b"\n")
    place = draw(st.integers(0, len(lines) - 2))
    lines[place] = draw(changed_json(lines[place]))
    return b"\n".join(lines)


@st.composite
def alterations(draw: st.DrawFn, world: World) -> tuple[str, dict[Path, bytes]]:
    """(a command that reads it, path -> bytes of the file that is altered)"""
    kind = draw(st.sampled_from([JSON, TENSORS]))
    pattern = draw(st.sampled_from(sorted(kind)))
    path = world.file(pattern)
    whole = path.read_bytes()
    if kind is TENSORS:
        parsed = changed_tensors(whole) | changed_header(whole)
    else:
        parsed = changed_line(whole) if pattern.endswith("l") else changed_json(whole)
    name = draw(st.sampled_from([kind[pattern]] * 3 + sorted(READERS.get(pattern, ()))))
    return name, {path: draw(RAW | changed_bytes(whole) | parsed | parsed)}


def _try(world: World, data: st.DataObject) -> None:
    name, files = data.draw(alterations(world))
    with altered(files):
        world.tell(commands(world)[name], COPIES)


@settings(QUICK, max_examples=12)
@given(data=st.data())
def test_an_altered_run_ends_in_lines(world: World, data: st.DataObject) -> None:
    _try(world, data)


@pytest.mark.soak
@settings(QUICK, derandomize=False, max_examples=600)
@given(data=st.data())
def test_many_altered_runs_end_in_lines(world: World, data: st.DataObject) -> None:
    _try(world, data)


def test_a_line_that_a_crash_left_is_deleted(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A file system that lost power may leave zeros."""
    shutil.rmtree(world.out, ignore_errors=True)
    for folder in COPIES:
        shutil.copytree(world.base / folder, world.out / folder)
    log = world.out / "run/log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + bytes(40) + b"\n")
    assert run(commands(world)["go on"].split()) == 2
    number = whole.count(b"\n") + 1
    assert f"log.jsonl, line {number}: " in (said := capsys.readouterr().err)
    assert said.endswith("; delete that line\n")
    log.write_bytes(whole)
    assert run(commands(world)["go on"].split()) == 0
    assert log.read_bytes().startswith(whole)


def test_unaltered_files_are_whole(world: World) -> None:
    """The positive control: every command ends with 0 on what the others alter."""
    for name, command in commands(world).items():
        assert world.tell(command, COPIES) == 0, name

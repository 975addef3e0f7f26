"""SIGKILL of commands at random moments, again and again: then the same command gives the undisturbed result."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from t2i_shards.adapters.model.adapter import make_adapter
from t2i_shards.adapters.model.config import adapter_config_for
from t2i_shards.adapters.model.diffusers_io import save_adapter
from t2i_shards.extractors.maps import png
from t2i_shards.jobs.launch.torchrun import IMPORTED
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.tombstones import remove
from tests.faults.bad_web import HEALED, serve
from tests.faults.test_killed_download import outcomes, samples, write_metadata
from tests.faults.toys import problems
from tests.faults.trainings import make_scenes
from tests.pipeline.publish.toys import contents, publish_here

Words = Callable[[Path], list[str]]
"""The command line that writes its result to a path."""

GUARD = "--allow-private 127.0.0.0/8 --url-seconds 2 --attempts 1 --picture-bytes 300000"


def _run(words: list[str], address: str | None) -> None:
    if address:  # the server from which this process is forked was started before it was set
        os.environ["RAY_ADDRESS"] = address
    import t2i_shards.extractors.weights.resolve
    from t2i_shards.jobs.__main__ import run

    def refuse(*_: object) -> Any:
        raise OSError("no network in tests")

    # The networks that measure pictures are not available, and not asked for.
    t2i_shards.extractors.weights.resolve.fetch_from_hub = t2i_shards.extractors.weights.resolve.fetch_from_url = (
        refuse
    )
    sys.exit(run(words))


def start(words: list[str]) -> Any:
    """The command in a process of its own, forked from a server that has the libraries imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*IMPORTED, "t2i_shards.jobs.commands"])
    process = context.Process(target=_run, args=(words, os.environ.get("RAY_ADDRESS")))
    process.start()
    return process


def finish(words: list[str]) -> float:
    """Run to the end. Seconds."""
    started = time.monotonic()
    process = start(words)
    process.join(600)
    assert process.exitcode == 0
    return time.monotonic() - started


def kill(process: Any) -> None:
    """SIGKILL the process and all that it has started."""
    with suppress(psutil.NoSuchProcess):
        everyone = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for other in everyone:
            with suppress(psutil.NoSuchProcess):
                other.kill()
    process.join()


def check_kills(words: Words, undisturbed: Path, killed: Path, kills: int, once: Path | None = None) -> None:
    """Both paths then hold what the command writes. once: a result with which the command refuses to run again."""
    took = finish(words(undisturbed))
    rng = random.Random()
    for _ in range(kills):
        process = start(words(killed))
        process.join(rng.uniform(0, 0.95 * took))
        kill(process)
        if once and once.exists():
            return
    finish(words(killed))


def shown(place: Path) -> Mapping[str, bytes]:
    """Every file but hidden ones, which may be scratch: path -> bytes."""
    if place.is_file():
        return {"": place.read_bytes()}
    return {name: data for name, data in contents(place).items() if "/." not in f"/{name}"}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scenes(tmp_path_factory.mktemp("scenes") / "dataset")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    save_adapter(make_adapter(adapter_config_for("small", 1, (32, 32, 32, 64)), 1), folder)
    return folder


def _report(scenes: Path, adapter: Path, tmp_path: Path) -> Words:
    return lambda out: ["report", str(scenes), "--engine", "local", "--workers", "1", "--out", f"{out}/page.html"]


def _report_quickly(scenes: Path, adapter: Path, tmp_path: Path) -> Words:
    return lambda out: ["report", str(scenes), "--quick", "--out", f"{out}/page.html"]


def _convert(scenes: Path, adapter: Path, tmp_path: Path) -> Words:
    return lambda out: ["convert-adapter", str(adapter), str(out), "--layout", "diffusers"]


def _convert_weights(scenes: Path, adapter: Path, tmp_path: Path) -> Words:
    torch.save({"state_dict": {"a": torch.arange(1_000_000.0)}}, tmp_path / "net.pth")
    return lambda out: ["weights", "convert", f"{tmp_path}/net.pth", "--out", f"{out}.safetensors"]


def _generate(scenes: Path, adapter: Path, tmp_path: Path) -> Words:
    import numpy as np

    (tmp_path / "map.png").write_bytes(png.encode_grey(np.tri(128, dtype=np.uint8) * np.uint8(255)))
    fixed = "--base tiny --prompt disc --size 128 --steps 2 --guidance 1 --device cpu --n 6 --batch 1"
    given = ["--adapter", f"sketch={adapter}", "--condition", f"sketch={tmp_path}/map.png"]
    return lambda out: ["generate", *fixed.split(), *given, "--out", str(out)]


def _evaluate(scenes: Path, adapter: Path, tmp_path: Path) -> Words:
    fixed = "--condition sketch --base tiny --samples 4 --batch 2 --steps 2 --variant mini --device cpu"
    return lambda out: ["evaluate", str(scenes), *fixed.split(), "--adapter", str(adapter), "--out", str(out)]


COMMANDS = {
    "report": _report,
    "report --quick": _report_quickly,
    "convert-adapter": _convert,
    "weights convert": _convert_weights,
    "generate": _generate,
    "evaluate": _evaluate,
}


def check(command: str, kills: int, scenes: Path, adapter: Path, tmp_path: Path) -> None:
    words = COMMANDS[command](scenes, adapter, tmp_path)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    suffix = ".safetensors" if command == "weights convert" else ""
    result = killed.with_suffix(suffix)
    check_kills(words, undisturbed, killed, kills, once=result if "convert" in command else None)
    mine = shown(result)
    assert mine
    assert mine == shown(undisturbed.with_suffix(suffix))


@pytest.mark.parametrize("command", ["report --quick", "convert-adapter", "generate"])
def test_a_few_kills(command: str, scenes: Path, adapter: Path, tmp_path: Path) -> None:
    check(command, 2, scenes, adapter, tmp_path)


@pytest.mark.soak
def test_erase_killed_ten_times(engine: str, scenes: Path, tmp_path: Path) -> None:
    """It replaces what is there, so all that was not removed must be there at the end, and nothing else."""
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    shutil.copytree(scenes, undisturbed)
    dataset = Dataset.open(str(undisturbed))
    assert remove(
        dataset, "keys", [row.key for shard in dataset.shards for row in dataset.plan(shard)[::2]]
    ).removed
    shutil.copytree(undisturbed, killed)
    check_kills(lambda out: ["erase", str(out), "--engine", engine, "--workers", "1"], undisturbed, killed, 10)
    assert problems(killed) == []
    mine, theirs = dict(shown(killed)), dict(shown(undisturbed))
    for of in (mine, theirs):
        of.pop("tombstones/000001.erased.json")  # which has the time
    assert mine == theirs


@pytest.mark.soak
@pytest.mark.parametrize("command", COMMANDS)
def test_ten_kills(command: str, scenes: Path, adapter: Path, tmp_path: Path) -> None:
    check(command, 10, scenes, adapter, tmp_path)


@pytest.mark.soak
def test_ten_kills_of_report_by_workers(engine: str, scenes: Path, tmp_path: Path) -> None:
    """Of every sample, with a strip of each."""
    where = ["report", str(scenes), "--all", "--engine", engine, "--workers", "1", "--out"]
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    check_kills(lambda out: [*where, f"{out}/page.html"], undisturbed, killed, 10)
    assert len(shown(killed)) > 2
    assert shown(killed) == shown(undisturbed)


@pytest.fixture
def crawl(engine: str, tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """(a dataset of which three in ten rows failed, the words that made it less --out); all would answer now."""
    with serve() as port:
        metadata = write_metadata(tmp_path / "metadata", port, 60)
        words = ["ingest", "laion", "--metadata", metadata, "--size", "64", "--shard-size", "20"]
        words += [*GUARD.split(), "--ports", str(port), "--engine", engine, "--workers", "1"]
        finish([*words, "--out", str(tmp_path / "crawl")])
        HEALED.set()
        yield tmp_path / "crawl", words
        HEALED.clear()


@pytest.mark.soak
def test_ten_kills_of_retry(crawl: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, words = crawl
    undisturbed, killed = (Path(shutil.copytree(root, tmp_path / name)) for name in ("undisturbed", "killed"))
    check_kills(lambda out: [*words, "--retry-failed", "--out", str(out)], undisturbed, killed, 10)
    there, here = Dataset.open(str(undisturbed)), Dataset.open(str(killed))
    assert problems(killed) == []
    assert len(samples(there)) > len(samples(Dataset.open(str(root))))
    assert outcomes(here) == outcomes(there)
    bytes_of = [
        {key: {n: bytes(d) for n, d in sample.members.items()} for key, sample in samples(dataset).items()}
        for dataset in (there, here)
    ]
    assert bytes_of[0] == bytes_of[1]


@pytest.mark.soak
def test_ten_kills_of_rehydrate(engine: str, crawl: tuple[Path, list[str]], tmp_path: Path) -> None:
    root, words = crawl
    bare = tmp_path / "bare"
    publish_here(Dataset.open(str(root)), bare, shard_size=10)
    port = words[words.index("--ports") + 1]
    fetch = ["rehydrate", str(bare), *GUARD.split(), "--ports", port, "--readers", "webdataset"]
    fetch += ["--engine", engine, "--workers", "1"]
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    check_kills(lambda out: [*fetch, "--out", str(out)], undisturbed, killed, 10)
    assert len(shown(undisturbed)) > 10
    assert shown(killed) == shown(undisturbed)

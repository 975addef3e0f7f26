"""The Ray pool: fractions of (fake) GPUs, requests that no node could meet."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.engine.nodes import count_node_slots
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.stages import combine, plan_extract
from t2i_shards.pipeline.stages.plan_ingest import plan_dataset
from tests.conftest import ray_folder

REPOSITORY = Path(__file__).parents[3]

TOYS = '''
import contextlib, io, json, logging, os, pathlib, sys, time
from dataclasses import dataclass
import ray
from t2i_shards.extractors.base import Resources
from t2i_shards.pipeline.engine.run import run
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.stages.stage import StageResult
from t2i_shards.pipeline.under_way import count_samples

folder = pathlib.Path(sys.argv[1])

@dataclass
class Toy:
    """Notes where each shard was worked on; a shard of the first `together` waits until all of them are."""
    resources: Resources
    together: int = 0
    seconds: float = 0.0

    def setup(self):
        pass

    def __call__(self, shard):
        node, gpu = ray.get_runtime_context().get_node_id(), os.environ.get("CUDA_VISIBLE_DEVICES")
        with open(folder / f"{shard}.json", "a") as file:
            file.write(json.dumps({"pid": os.getpid(), "gpu": gpu, "node": node}))
            file.write("\\n")
        deadline = time.monotonic() + 300
        while shard < self.together and time.monotonic() < deadline:
            if sum(1 for _ in folder.glob("*.json")) >= self.together:
                break
            time.sleep(0.05)
        time.sleep(self.seconds)
        return StageResult(errors=(f"bulk {shard}",))

class Telling(Toy):
    """Gives what a warning looks like on standard error."""
    def __call__(self, shard):
        shown = io.StringIO()
        with contextlib.redirect_stderr(shown):
            logging.getLogger("some.library").warning("at %s", "https://me:pass@h/?sig=0f \\x1b[2J")
        return StageResult(errors=(shown.getvalue(),))

class Deadly(Toy):
    """Is done with care alone."""
    def __call__(self, shard):
        os._exit(1)

    def run_carefully(self, shard):
        return StageResult(errors=(f"careful {shard}",))
'''


def run_script(script: str, folder: Path) -> dict[str, Any]:
    """The JSON that a Python process of its own prints: Ray's state must not reach other tests."""
    path = folder / "script.py"
    path.write_text(TOYS + script)
    work = folder / "work"
    work.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        "PYTHONPATH": os.fspath(REPOSITORY),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with ray_folder() as session:
        process = subprocess.Popen(
            [sys.executable, os.fspath(path), os.fspath(work)],
            env=environment | {"RAY_TMPDIR": os.fspath(session)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, error = process.communicate(timeout=600)
        finally:
            # Whatever Ray it started is in its group; nothing of it may outlive a test that failed.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, error[-3000:]
    result: dict[str, Any] = json.loads(next(line for line in out.splitlines() if line.startswith("{")))
    return result


FRACTIONS = """
from t2i_shards.jobs.command import Summary, execute
from t2i_shards.pipeline.engine.nodes import count_slots
from t2i_shards.pipeline.engine.leases import LeasePool
from t2i_shards.pipeline.engine.ray import RayCluster
import contextlib, io, pickle

options = dict(include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
ray.init(address="local", num_cpus=8, num_gpus=2, **options)
half = Toy(Resources(cpus=0.5, gpus=0.5), together=4)
said = {"slots": count_slots(half)}
made = run(half, range(4)).made
said["made"] = sorted(made)
said["bytes"] = max(len(pickle.dumps(m)) for m in made.values())
said["notes"] = [json.loads(f.read_text().splitlines()[0]) for f in folder.glob("*.json")]

pool = LeasePool(RayCluster(Toy(Resources(cpus=1))), 1)
while not pool.free:
    pool.wait()
said["in flight"] = 0
while pool.free:
    pool.submit(100 + said["in flight"])
    said["in flight"] += 1
back = []
while len(back) < said["in flight"]:
    back += [event.shard for event in pool.wait()]
pool.close()
said["back"] = back
said["told"] = run(Telling(Resources(cpus=1)), [7]).made[7].errors
said["careful"] = run(Deadly(Resources(cpus=1)), [7]).made[7].errors

class Counting(Toy):
    def __call__(self, shard):
        deadline = time.monotonic() + 300
        while not (folder / "heard").exists() and time.monotonic() < deadline:
            count_samples(1)
            time.sleep(0.1)
        return StageResult()

class Watch:
    def __call__(self, shard, made):
        pass
    def show_under_way(self, samples):
        if samples:
            (folder / "heard").touch()

run(Counting(Resources(cpus=1)), [7], progress=Watch())
said["heard"] = (folder / "heard").exists()

class Greedy:
    json = False
    def __init__(self, needs):
        self.needs = needs
    def run(self):
        run(Toy(self.needs), range(3))
        return Summary("not reached")

said["refused"] = []
for needs in (Resources(gpus=3), Resources(cpus=100), Resources(memory=1 << 50)):
    error = io.StringIO()
    with contextlib.redirect_stderr(error):
        said["refused"].append((execute(Greedy(needs)), error.getvalue()))
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def fractions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_script(FRACTIONS, tmp_path_factory.mktemp("fractions"))


def test_four_halves_fit_on_two_gpus_at_once(fractions: dict[str, Any]) -> None:
    # The four shards waited for each other, so that four workers held a half each at the same time.
    assert fractions["slots"] == 4
    assert fractions["made"] == list(range(4))
    assert len({note["pid"] for note in fractions["notes"]}) == 4
    assert sorted(note["gpu"] for note in fractions["notes"]) == ["0"] * 2 + ["1"] * 2


def test_a_worker_holds_two_shards_and_gives_them_back_in_order(fractions: dict[str, Any]) -> None:
    assert fractions["in flight"] == 2
    assert fractions["back"] == [100, 101]
    assert fractions["careful"] == ["careful 7"]


def test_what_a_worker_logs_is_plain_and_holds_no_secret(fractions: dict[str, Any]) -> None:
    assert fractions["told"] == ["at https://…@h/?sig=… \\x1b[2J\n"]


def test_what_comes_back_is_small(fractions: dict[str, Any]) -> None:
    assert fractions["bytes"] < 1000


def test_samples_of_shards_under_way_are_heard_of(fractions: dict[str, Any]) -> None:
    assert fractions["heard"]


def test_more_than_any_node_has_is_refused_at_once(fractions: dict[str, Any]) -> None:
    for (code, line), asked in zip(fractions["refused"], ("3 GPU", "100 CPU", "GB memory"), strict=True):
        assert code == 2
        assert asked in line
        assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("node", "needs", "slots"),
    [
        ({"CPU": 8.0, "GPU": 2.0}, Resources(cpus=1, gpus=0.25), 8),
        ({"CPU": 8.0, "GPU": 2.0}, Resources(cpus=1, gpus=0.4), 4),
        ({"CPU": 80.0, "GPU": 3.0}, Resources(cpus=1, gpus=0.1), 30),
        ({"CPU": 8.0, "GPU": 4.0}, Resources(cpus=1, gpus=2), 2),
        ({"CPU": 3.0, "GPU": 2.0}, Resources(cpus=1, gpus=0.25), 3),
        ({"CPU": 8.0}, Resources(cpus=1, gpus=0.25), 0),
        ({"CPU": 3.0}, Resources(cpus=2), 1),
        ({"CPU": 8.0, "memory": 3e9}, Resources(cpus=1, memory=10**9), 3),
        ({"memory": 3e9}, Resources(cpus=1), 0),
    ],
)
def test_slots_of_a_node(node: dict[str, float], needs: Resources, slots: int) -> None:
    assert count_node_slots(node, needs) == slots


def test_extract_asks_for_what_its_extractors_declare() -> None:
    declared = [Resources(1, 0.25, 100), Resources(2, 0.5, 200), Resources(1, 0, 50)]
    assert combine(declared, "cuda") == Resources(2, 0.75, 350)
    assert combine(declared, "cpu") == Resources(2, 0, 350)
    assert combine(declared * 2, "cuda").gpus == 1, "they take turns on one GPU"


def test_a_stage_means_the_same_where_a_worker_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").touch()
    (tmp_path / "pictures" / "a.txt").write_text("a picture")
    monkeypatch.chdir(tmp_path)
    source = FolderSource("pictures")
    dataset = plan_dataset("root", source, Geometry(), 1)
    stage = plan_extract(dataset, ["color"], weights=Path("pictures"))
    monkeypatch.chdir("/")
    assert Path(source.folder).is_dir()
    assert stage.weights is not None
    assert stage.weights.is_dir()
    assert stage.dataset.plan(0)[0].location == "a.png"

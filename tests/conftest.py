"""Fixtures that several packages' tests share."""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.publish.hub_server import Hub, serve_hub

HERE = Path(__file__).parents[1]
ASSETS = HERE.parent / "shared" / "assets"
CASES = HERE.parent / "shared" / "cases"

_numbers = itertools.count()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts `make test &` like this, and processes inherit it; tests press Control-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread each: torch's threads spin where several processes share the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@cache
def starts_ray(file: Path) -> bool:
    """Whether the tests of a file may start a Ray: they are run one by one, and first, for they take longest."""
    return re.search(r"\bray\b", file.read_text()) is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not starts_ray(item.path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What the processes of `make test` get: whole files, and one of them all that start a Ray."""
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):  # type: ignore[misc, unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return "ray" if starts_ray(HERE / file) else file

    return Files(config, log)


@pytest.fixture(scope="module", autouse=True)
def plain_opener() -> Iterator[None]:
    """Remove the guard that a download installs in this process's urllib, after each test file."""
    yield
    urllib.request.install_opener(None)  # type: ignore[arg-type]  # what it was at the start


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder with real photographs, annotations and weights that some checkouts have next to them."""
    if not ASSETS.is_dir():
        pytest.skip("needs ../shared/assets (real photographs and weights), which is not beside this checkout")
    return ASSETS


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server on loopback, in this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """s3://NAME of an empty bucket; the environment, and so any subprocess, knows where it is."""
    import boto3

    environment = {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
        "T2I_SHARDS_CACHE": str(tmp_path / "cache of the user"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{next(_numbers)}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


@contextmanager
def ray_folder() -> Iterator[Path]:
    """A folder for a Ray of its own; in the common one every Ray on this machine would find the cluster."""
    # A socket's path may have 107 characters; Ray's own part of it has 70, and the new folder's name 16.
    place = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="t2i", dir=place if len(place) <= 20 else "/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A Ray of this session with four CPUs, which this process has joined; others join it by the address."""
    import ray

    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(HERE)  # what the workers import their stages from
    with ray_folder() as folder:
        started: Any = ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=200_000_000,
            _temp_dir=os.fspath(folder),
        )
        yield str(started.address_info["address"])
        ray.shutdown()
    os.environ.pop("PYTHONPATH") if path is None else os.environ.update(PYTHONPATH=path)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single local worker is this process: starting one takes seconds, and few tests are about that."""
    from tests.faults.specimens import HerePool

    driver: Any = importlib.import_module("t2i_shards.pipeline.engine.run")
    open_real = driver.open_pool

    def open_pool(stage: Any, engine: str, workers: int | None, shards: int) -> Any:
        return HerePool(stage) if (engine, workers) == ("local", 1) else open_real(stage, engine, workers, shards)

    monkeypatch.setattr(driver, "open_pool", open_pool)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a condition that this process's registry knows for the length of a test."""
    from t2i_shards.extractors.registry import EXTRACTORS
    from tests.faults.toys import BROKEN, VARIANTS

    monkeypatch.setitem(EXTRACTORS, "toy", VARIANTS)
    monkeypatch.setitem(EXTRACTORS, "broken", BROKEN)
    return "toy"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True).returncode:
        pytest.skip("may not mount a small file system here (needs root)")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    import huggingface_hub.constants
    import huggingface_hub.hf_api
    from huggingface_hub import HfApi

    with serve_hub() as server:
        # The stand-in knows no Xet; publishing leaves it on.
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        # What is computed of HF_ENDPOINT at the import; other processes read it themselves.
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: HfApi(endpoint=server.address, token="a-token"))
        yield server


@pytest.fixture
def no_room() -> Iterator[None]:
    """Files of at most 1 kB: a file that may not grow fails as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)

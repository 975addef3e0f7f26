import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from t2i_shards.extractors.registry import EXTRACTORS, weight_files
from t2i_shards.extractors.sketch import Sketch
from t2i_shards.extractors.weights import file as weight_file
from t2i_shards.extractors.weights import resolve as weights
from t2i_shards.extractors.weights.file import (
    WeightFile,
    WeightsDamaged,
    WeightsUnavailable,
    lock_converted,
    shipped,
)
from t2i_shards.extractors.weights.resolve import find, resolve

CONTENT = b"the very bytes"
FILE = WeightFile(
    name="family",
    hub="somebody/something",
    revision="0" * 40,
    filename="net.safetensors",
    bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="MIT",
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("T2I_SHARDS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "family" / "net.safetensors"


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[WeightFile]:
    """What the hub was asked for; the hub of these tests cannot be reached."""
    asked: list[WeightFile] = []

    def unreachable(weight: WeightFile) -> Path:
        asked.append(weight)
        raise ConnectionError("Name or service not known\nwith a second line")

    monkeypatch.setattr(weights, "fetch_from_hub", unreachable)
    return asked


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_given_folder_comes_before_the_cache_and_the_cache_before_the_hub(
    tmp_path: Path, cache: Path, asked: list[WeightFile]
) -> None:
    put(cache)
    given = tmp_path / "given"
    assert resolve(FILE, given) == cache
    nested = put(given / "family" / "net.safetensors")
    assert resolve(FILE, given) == nested
    direct = put(given / "net.safetensors")
    assert resolve(FILE, given) == direct
    assert asked == []


def test_from_the_hub_into_the_cache_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads: list[WeightFile] = []

    def download(weight: WeightFile) -> Path:
        downloads.append(weight)
        return put(tmp_path / "hub" / "blob")

    monkeypatch.setattr(weights, "fetch_from_hub", download)
    assert [resolve(FILE, None), resolve(FILE, tmp_path / "empty")] == [cache, cache]
    assert downloads == [FILE]
    assert cache.read_bytes() == CONTENT
    assert os.listdir(cache.parent) == ["net.safetensors"]


@pytest.mark.parametrize("place", ["given", "cache", "hub"])
def test_other_bytes_are_refused_wherever_they_come_from(
    place: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    path = put({"given": tmp_path / "net.safetensors", "cache": cache, "hub": tmp_path / "blob"}[place], wrong)
    monkeypatch.setattr(weights, "fetch_from_hub", lambda weight: path)
    with pytest.raises(WeightsDamaged) as caught:
        resolve(FILE, tmp_path if place == "given" else None)
    line = str(caught.value)
    assert "\n" not in line
    assert all(part in line for part in (str(path), FILE.sha256, hashlib.sha256(wrong).hexdigest()))
    assert place == "cache" or not cache.exists()


def test_the_final_name_is_never_written_to(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "fetch_from_hub", lambda weight: put(tmp_path / "blob"))
    copy, targets = shutil.copyfile, []

    def watched(source: Path, target: str) -> None:
        targets.append(Path(target))
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", watched)
    resolve(FILE, None)
    assert cache.is_file()
    assert cache not in targets


def test_a_failed_publication_leaves_nothing_in_the_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "fetch_from_hub", lambda weight: put(tmp_path / "blob"))

    def full(source: Path, target: str) -> None:
        Path(target).write_bytes(CONTENT[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space"):
        resolve(FILE, None)
    assert os.listdir(cache.parent) == []


@pytest.mark.parametrize("given", [True, False])
def test_one_line_names_every_place_and_what_to_pass(
    given: bool, tmp_path: Path, cache: Path, asked: list[WeightFile]
) -> None:
    with pytest.raises(WeightsUnavailable) as caught:
        resolve(FILE, tmp_path if given else None)
    line = str(caught.value)
    assert "\n" not in line
    assert ("not in --weights " + str(tmp_path) if given else "no --weights given") in line
    assert all(part in line for part in (FILE.filename, str(cache), FILE.hub, "pass --weights DIR"))
    assert asked == [FILE]


def test_a_flipped_byte_is_refused_before_torch_reads_the_file(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    content = bytearray((assets / "weights" / "pidinet" / "table5_pidinet.pth").read_bytes())
    content[len(content) // 2] ^= 1
    put(tmp_path / "table5_pidinet.pth", bytes(content))
    opened: list[object] = []
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: opened.append(args))
    with pytest.raises(WeightsDamaged):
        Sketch("default", tmp_path).load("cpu")
    assert opened == []


@pytest.mark.parametrize("mode", ["offline", "no route"])
def test_the_hub_is_asked_once_and_offline_never(mode: str, tmp_path: Path) -> None:
    """In a process of its own, as the hub's client reads the environment when it is imported."""
    script = """
import socket
from t2i_shards.extractors.sketch import TABLE5
from t2i_shards.extractors.weights.file import WeightsUnavailable
from t2i_shards.extractors.weights.resolve import resolve
asked = []
def unreachable(*args, **kwargs):
    asked.append(args)
    raise socket.gaierror(-2, "Name or service not known")
socket.getaddrinfo = unreachable
try:
    resolve(TABLE5, None)
except WeightsUnavailable as error:
    print(len(asked), error)
"""
    environment = {
        **{k: v for k, v in os.environ.items() if "proxy" not in k.lower()},
        "HF_HUB_DISABLE_TELEMETRY": "1",  # it makes a request of its own
        "HF_HUB_OFFLINE": "1" if mode == "offline" else "0",
        "HF_HOME": str(tmp_path / "hf"),
        "T2I_SHARDS_CACHE": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    count, line = done.stdout.strip().split(" ", 1)
    assert int(count) == (0 if mode == "offline" else 1)
    assert line.startswith("table5_pidinet.pth (2871148 bytes): no --weights given")
    assert done.stderr == ""


def begins_alike(content: bytes, digits: int) -> bytes:
    """Other bytes whose sha256 begins with the same digits."""
    begins = hashlib.sha256(content).hexdigest()[:digits]
    others = (b"other bytes %d" % i for i in range(100_000))
    return next(other for other in others if hashlib.sha256(other).hexdigest().startswith(begins))


@pytest.mark.parametrize("digits", [2, 0])
def test_the_first_full_digest_seen_is_locked_and_another_refused(digits: int, tmp_path: Path) -> None:
    weight = replace(FILE, sha256=FILE.sha256[:digits])
    first = put(tmp_path / "a" / weight.filename)
    assert find(weight, tmp_path / "a") == first
    assert not weight.lock.exists()
    assert resolve(weight, tmp_path / "a") == first
    assert weight.recipe() == FILE.recipe()
    put(tmp_path / "b" / weight.filename, begins_alike(CONTENT, digits))
    with pytest.raises(WeightsDamaged, match=f"was {FILE.sha256} when first used") as caught:
        resolve(weight, tmp_path / "b")
    assert "\n" not in str(caught.value)
    assert resolve(weight, tmp_path / "a") == first


def test_other_first_digits_are_refused_and_not_locked(tmp_path: Path) -> None:
    weight = replace(FILE, sha256="00" + FILE.sha256[:6])
    put(tmp_path / weight.filename)
    with pytest.raises(WeightsDamaged, match=f"must begin with {weight.sha256}, is {FILE.sha256}"):
        resolve(weight, tmp_path)
    assert not weight.lock.exists()


def test_a_download_is_locked_before_it_is_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = replace(FILE, hub="", url="https://somewhere/net.safetensors", sha256=FILE.sha256[:8])

    def fetched(weight: WeightFile, scratch: Path) -> Path:
        return put(scratch)

    monkeypatch.setattr(weights, "fetch_from_url", fetched)
    assert resolve(weight, None) == weight.cached
    assert sorted(os.listdir(weight.cached.parent)) == ["net.safetensors", "net.safetensors.lock"]
    weight.cached.unlink()
    monkeypatch.setattr(weights, "fetch_from_url", lambda weight, scratch: put(scratch, CONTENT[:-1]))
    with pytest.raises(WeightsDamaged):
        resolve(weight, None)
    assert os.listdir(weight.cached.parent) == ["net.safetensors.lock"]


CHECKPOINT = replace(FILE, filename="net.pth")


def test_a_converted_file_is_taken_only_if_the_lock_names_its_digest(tmp_path: Path) -> None:
    original, converted = put(tmp_path / "net.pth"), put(tmp_path / "net.safetensors", b"tensors")
    assert resolve(CHECKPOINT, tmp_path) == original
    original.unlink()
    with pytest.raises(WeightsDamaged, match=r"no record that it was made of net\.pth"):
        resolve(CHECKPOINT, tmp_path)
    lock_converted(CHECKPOINT.lock, CHECKPOINT.sha256, hashlib.sha256(b"tensors").hexdigest())
    assert resolve(CHECKPOINT, tmp_path) == converted
    assert CHECKPOINT.recipe() == {**FILE.recipe(), "file": "net.pth"}
    put(converted, b"Tensors")
    with pytest.raises(WeightsDamaged, match="no record"):
        resolve(CHECKPOINT, tmp_path)


def test_a_file_of_anybodys_name_belongs_to_the_family_in_whose_folder_it_lies(tmp_path: Path) -> None:
    weight = replace(FILE, filename="model.safetensors")
    put(tmp_path / "model.safetensors", b"of another family")
    mine = put(tmp_path / "family" / "model.safetensors")
    assert resolve(weight, tmp_path) == mine


def test_shipped_weights_are_what_their_sums_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (weights, weight_file):
        monkeypatch.setattr(module, "SHIPPED", tmp_path / "mini")
    monkeypatch.setattr(weight_file, "_shipped_digests", weight_file._shipped_digests.__wrapped__)
    put(tmp_path / "mini" / "net.safetensors")
    with pytest.raises(WeightsUnavailable, match="its line in SHA256SUMS is missing"):
        resolve(shipped("net.safetensors"), None)
    put(tmp_path / "mini" / "SHA256SUMS", f"{FILE.sha256}  net.safetensors\n".encode())
    put(tmp_path / "given" / "net.safetensors", b"not asked for")
    assert resolve(shipped("net.safetensors"), tmp_path / "given") == tmp_path / "mini" / "net.safetensors"
    put(tmp_path / "mini" / "net.safetensors", CONTENT[::-1])
    with pytest.raises(WeightsDamaged):
        resolve(shipped("net.safetensors"), None)


def test_the_shipped_sums_name_every_shipped_file() -> None:
    files = {path.name: path for path in weights.SHIPPED.glob("*.safetensors")}
    assert set(weight_file._shipped_digests()) == set(files)
    for name in files:
        assert resolve(shipped(name), None) == files[name]


def test_every_registered_file_is_pinned_to_a_revision_or_begins_as_its_name_says() -> None:
    for condition, variants in EXTRACTORS.items():
        for variant in variants:
            for weight in weight_files(condition, variant):
                assert weight.licence
                if weight.hub:
                    assert len(weight.revision) == 40
                    assert weight.pinned
                elif weight.url:
                    assert weight.url.startswith("https://")
                    assert weight.url.endswith(f"/{weight.filename}")
                    assert len(weight.sha256) >= 8
                    assert weight.pinned or f"-{weight.sha256}" in weight.filename

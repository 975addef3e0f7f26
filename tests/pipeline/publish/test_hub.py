"""Sending to the Hub, against a stand-in of its API: what vouches comes last, and only what is missing is sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.dataset import Dataset
from pipeline.errors import IncompleteError, RequestError
from pipeline.publish import hub as hub_module
from pipeline.publish.hub import parse_repository, send
from pipeline.tombstones import remove
from tests.pipeline.publish.hub_server import Hub, serve_hub
from tests.pipeline.publish.toys import contents, publish_here, toy_dataset

VOUCHING = {"README.md", "manifest.jsonl", "SHA256SUMS"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    import huggingface_hub.constants
    import huggingface_hub.hf_api
    from huggingface_hub import HfApi

    with serve_hub() as server:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: HfApi(endpoint=server.address, token="a-token"))
        yield server


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    dataset = toy_dataset(tmp_path / "root", color=False)
    publish_here(dataset, tmp_path / "to")
    return dataset


def stored(hub: Hub) -> dict[str, bytes]:
    return {path: data for path, (data, _) in hub.files.items()}


def test_all_files_are_sent_and_what_vouches_comes_last(
    dataset: Dataset, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "AT_ONCE", 5)
    assert send(tmp_path / "to", "user/name") == len(contents(tmp_path / "to"))
    assert stored(hub) == contents(tmp_path / "to")
    assert {path for path, (_, large) in hub.files.items() if large} == {
        f"data/train-{n:06d}.tar" for n in range(3)
    }
    assert len(hub.commits) > 3
    assert set(hub.commits[-1]) == VOUCHING
    assert not VOUCHING & {path for commit in hub.commits[:-1] for path in commit}


def test_a_second_run_sends_only_what_is_missing(dataset: Dataset, hub: Hub, tmp_path: Path) -> None:
    send(tmp_path / "to", "user/name")
    commits, uploads = len(hub.commits), hub.uploads
    assert send(tmp_path / "to", "user/name") == 0
    assert (len(hub.commits), hub.uploads) == (commits, uploads)


@pytest.mark.parametrize("what", ["/store/", "/commit/"])
def test_cut_off_it_is_no_publication_and_goes_on(
    dataset: Dataset, hub: Hub, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "AT_ONCE", 5)
    seen = 0

    def fail(method: str, path: str) -> int | None:
        nonlocal seen
        seen += what in path
        return 400 if what in path and seen >= 2 else None

    hub.fail = fail
    with pytest.raises(ConnectionError, match=r"hf://datasets/user/name: .*run again to go on"):
        send(tmp_path / "to", "user/name")
    assert not VOUCHING & hub.files.keys()
    hub.fail = None
    before = hub.uploads
    send(tmp_path / "to", "user/name")
    assert stored(hub) == contents(tmp_path / "to")
    assert hub.uploads <= 3
    assert hub.uploads > before or what == "/commit/"


def test_a_purge_reaches_the_hub(dataset: Dataset, hub: Hub, tmp_path: Path) -> None:
    send(tmp_path / "to", "user/name")
    hub.files["data/old.tar"] = (b"of an earlier time", False)
    hub.files[".gitattributes"] = (b"the Hub's own", False)
    first, uploads = len(hub.commits), hub.uploads
    remove(dataset, "keys", ["k00003"])
    publish_here(dataset, tmp_path / "to", purge=True)
    send(tmp_path / "to", "user/name")
    assert stored(hub) == {**contents(tmp_path / "to"), ".gitattributes": b"the Hub's own"}
    assert hub.uploads == uploads + 1
    assert set(hub.commits[first]) == {"-manifest.jsonl", "-SHA256SUMS"}


def test_other_bytes_on_the_hub_are_seen(dataset: Dataset, hub: Hub, tmp_path: Path) -> None:
    real = hub.commit

    def commit(lines: list[dict[str, object]]) -> None:
        real(lines)
        if "data/train-000001.tar" in hub.files:
            hub.files["data/train-000001.tar"] = (b"bad luck", True)

    hub.commit = commit  # type: ignore[method-assign, assignment]
    with pytest.raises(IncompleteError, match="has other bytes than were sent, first in data/train-000001"):
        send(tmp_path / "to", "user/name")


def test_half_a_publication_is_not_sent(dataset: Dataset, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "to/SHA256SUMS").unlink()
    with pytest.raises(RequestError, match="no whole publication"):
        send(tmp_path / "to", "user/name")
    assert hub.commits == []


def test_names() -> None:
    assert parse_repository("s3://bucket/x") is None
    assert parse_repository("hf://datasets/user/name/") == "user/name"
    for wrong in ("hf://user/name", "hf://datasets/name", "hf://datasets/a/b/c", "hf://datasets/a/b@main"):
        with pytest.raises(RequestError, match="must be hf://datasets/USER/NAME"):
            parse_repository(wrong)

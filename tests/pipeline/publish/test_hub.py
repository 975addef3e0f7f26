"""Sending to the Hub, against a fake of its API: the signature is sent last, and only missing files are sent."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.tombstones import remove
from t2i_shards.pipeline.errors import IncompleteError, RequestError
from t2i_shards.pipeline.publish import hub as hub_module
from t2i_shards.pipeline.publish.hub import Sent, check_repository, refuse_beyond_limits, send
from t2i_shards.pipeline.publish.repository import Repository, parse_repository
from tests.pipeline.publish.hub_server import Hub
from tests.pipeline.publish.toys import contents, publish_here, toy_dataset

PLACE = Repository("user/name")
VOUCHING = {"README.md", "LICENSE.md", "manifest.jsonl", "SHA256SUMS"}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    dataset = toy_dataset(tmp_path / "root", color=False)
    publish_here(dataset, tmp_path / "to")
    return dataset


def stored(hub: Hub, branch: str = "main") -> dict[str, bytes]:
    """What is in the repository apart from the Hub's own file."""
    return {path: data for path, (data, _) in hub.branches[branch].items() if path != ".gitattributes"}


def test_all_files_are_sent_and_the_signature_last(
    dataset: Dataset, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "AT_ONCE", 5)
    assert send(tmp_path / "to", PLACE) == Sent(len(contents(tmp_path / "to")))
    assert stored(hub) == contents(tmp_path / "to")
    assert {path for path, (_, large) in hub.files.items() if large} == {
        f"data/train-{n:06d}.tar" for n in range(3)
    }
    assert len(hub.commits) > 3
    assert hub.commits[0] == ["publish.json"]
    assert set(hub.commits[-1]) == VOUCHING
    assert not VOUCHING & {path for commit in hub.commits[:-1] for path in commit}


def test_a_second_run_sends_only_what_is_missing(dataset: Dataset, hub: Hub, tmp_path: Path) -> None:
    send(tmp_path / "to", PLACE)
    commits, uploads = len(hub.commits), hub.uploads
    assert send(tmp_path / "to", PLACE) == Sent(0)
    assert (len(hub.commits), hub.uploads) == (commits, uploads)


@pytest.mark.parametrize("what", ["/store/", "/commit/"])
def test_an_interrupted_upload_is_no_publication_and_is_completed(
    dataset: Dataset, hub: Hub, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "AT_ONCE", 5)
    seen = 0

    def fail(method: str, path: str) -> int | None:
        nonlocal seen
        seen += what in path
        return 400 if what in path and seen >= 2 else None

    hub.fail = fail
    with pytest.raises(ConnectionError, match=r"hf://datasets/user/name: .*run again to continue"):
        send(tmp_path / "to", PLACE)
    assert not VOUCHING & hub.files.keys()
    hub.fail = None
    before = hub.uploads
    send(tmp_path / "to", PLACE)
    assert stored(hub) == contents(tmp_path / "to")
    assert hub.uploads <= 3
    assert hub.uploads > before or what == "/commit/"


def test_a_purge_reaches_the_hub(dataset: Dataset, hub: Hub, tmp_path: Path) -> None:
    """What the earlier sums name and the new ones do not is deleted; the owner's files stay."""
    send(tmp_path / "to", PLACE)
    gone = "data/old.tar"
    sums = stored(hub)["SHA256SUMS"] + b"0" * 64 + f"  {gone}\n".encode()
    hub.edit({gone: b"of an earlier revision", "SHA256SUMS": sums, "LICENSE": b"mine", "docs/own.md": b"mine too"})
    first, uploads = len(hub.commits), hub.uploads
    remove(dataset, "keys", ["k00003"])
    publish_here(dataset, tmp_path / "to", purge=True)
    send(tmp_path / "to", PLACE)
    own = {"LICENSE": b"mine", "docs/own.md": b"mine too"}
    assert stored(hub) == {**contents(tmp_path / "to"), **own}
    assert hub.uploads == uploads + 1
    deleted = {name for name in hub.commits[first] if not name.startswith("-croissant/")}
    assert deleted == {"-manifest.jsonl", "-SHA256SUMS", f"-{gone}"}


OTHERS: list[dict[str, bytes | None]] = [
    {"LICENSE": b"mine"},
    {"README.md": b"# my own data"},
    {"data/train-000000.tar": b"my own shard"},
    {"publish.json": b'{"of": "another tool"}'},
    {"publish.json": b"[]"},
]


@pytest.mark.parametrize("others", OTHERS, ids=lambda others: next(iter(others)))
def test_a_repository_that_holds_something_else_is_refused(
    dataset: Dataset, hub: Hub, tmp_path: Path, others: dict[str, bytes | None]
) -> None:
    hub.create()
    hub.edit(others)
    before = stored(hub)
    with pytest.raises(RequestError, match=r"datasets/user/name"):
        send(tmp_path / "to", PLACE)
    if "publish.json" not in others:
        with pytest.raises(RequestError, match=f"must be empty .*it holds {next(iter(others))}; .*--revision"):
            check_repository(tmp_path / "nothing yet", PLACE)
    assert stored(hub) == before
    assert hub.commits == []


def test_another_publication_is_refused(dataset: Dataset, hub: Hub, tmp_path: Path) -> None:
    send(tmp_path / "to", PLACE)
    before = stored(hub)
    publish_here(dataset, tmp_path / "other", shard_size=7)
    for act in (send, check_repository):
        with pytest.raises(RequestError, match="was published with shard_size 10, this asks for 7"):
            act(tmp_path / "other", PLACE)
    assert stored(hub) == before


def test_an_upload_that_an_earlier_version_left_half_sent_is_completed(
    dataset: Dataset, hub: Hub, tmp_path: Path
) -> None:
    """It sent the claim among the other files, so the claim may be missing: only our own bytes are there."""
    hub.create()
    whole = contents(tmp_path / "to")
    hub.edit({name: whole[name] for name in ("croissant.json", "contact-sheet.jpg")})
    send(tmp_path / "to", PLACE)
    assert stored(hub) == whole


def test_a_card_edited_on_the_hub_is_kept(dataset: Dataset, hub: Hub, tmp_path: Path) -> None:
    """Its text and the owner's part of the front matter, also through a purge; the sums vouch for it no longer."""
    send(tmp_path / "to", PLACE)
    card = stored(hub)["README.md"].decode().replace("license: other", "license: cc-by-4.0", 1)
    card += "\n## Citation\n\nHow to cite it.\n"
    hub.edit({"README.md": card.encode(), "LICENSE.md": b"CC BY 4.0"})
    for purge in (False, True):
        if purge:
            remove(dataset, "keys", ["k00003"])
            publish_here(dataset, tmp_path / "to", purge=True)
        assert send(tmp_path / "to", PLACE).kept
        assert stored(hub)["README.md"] == card.encode()
        assert stored(hub)["LICENSE.md"] == b"CC BY 4.0"
        assert stored(hub) == contents(tmp_path / "to")
        assert b"README.md" not in stored(hub)["SHA256SUMS"]
        assert send(tmp_path / "to", PLACE) == Sent(0, ("README.md", "LICENSE.md"))


def test_a_card_from_before_cards_were_sealed_is_renewed_unless_edited(
    dataset: Dataset, hub: Hub, tmp_path: Path
) -> None:
    whole = contents(tmp_path / "to")
    old = whole["README.md"].rpartition(b"<!-- t2i-shards")[0]
    digests = {data: sha256(data).hexdigest().encode() for data in (old, whole["README.md"])}
    sums = whole["SHA256SUMS"].replace(digests[whole["README.md"]], digests[old])
    hub.create()
    hub.edit({**whole, "README.md": old, "SHA256SUMS": sums})
    assert not send(tmp_path / "to", PLACE).kept
    assert stored(hub) == whole
    hub.edit({"README.md": old + b"edited", "SHA256SUMS": sums})
    assert send(tmp_path / "to", PLACE).kept
    assert stored(hub)["README.md"] == old + b"edited"


def test_a_commit_of_another_user_is_not_undone(dataset: Dataset, hub: Hub, tmp_path: Path) -> None:
    def meddle(method: str, path: str) -> None:
        if "/preupload/" in path:
            hub.edit({"LICENSE": b"mine"})

    hub.fail = meddle
    with pytest.raises(IncompleteError, match="somebody else changed it meanwhile; run again"):
        send(tmp_path / "to", PLACE)
    assert hub.files["LICENSE"]


def test_private_and_branches(dataset: Dataset, hub: Hub, tmp_path: Path) -> None:
    send(tmp_path / "to", Repository("user/name", private=True))
    assert hub.private
    publish_here(dataset, tmp_path / "other", shard_size=7)
    branch = Repository("user/name", revision="v2", private=True)
    send(tmp_path / "other", branch)
    assert stored(hub, "v2") == contents(tmp_path / "other")
    assert stored(hub) == contents(tmp_path / "to")
    assert send(tmp_path / "other", branch) == Sent(0)
    assert branch.staging != Repository("user/name").staging
    hub.private = False
    with pytest.raises(RequestError, match="is public, and --private asks for a private one"):
        send(tmp_path / "to", Repository("user/name", private=True))


@pytest.mark.parametrize(
    ("status", "headers"), [(429, {"Retry-After": "17"}), (429, {"RateLimit": '"api";r=0;t=17'}), (409, {})]
)
def test_a_hub_that_is_busy_is_waited_for(
    dataset: Dataset,
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    headers: dict[str, str],
) -> None:
    waits, refusals = list[float](), [status] * 3
    monkeypatch.setattr("t2i_shards.pipeline.publish.repository.time.sleep", waits.append)
    hub.fail = lambda method, path: refusals.pop() if refusals and "/commit/" in path else None
    hub.headers = headers
    send(tmp_path / "to", PLACE)
    assert stored(hub) == contents(tmp_path / "to")
    assert waits == ([18, 18, 18] if headers else [1, 2, 4])


def test_the_waiting_ends(dataset: Dataset, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t2i_shards.pipeline.publish.repository.RETRY_SECONDS", -1)
    hub.fail = lambda method, path: 429 if "/commit/" in path else None
    with pytest.raises(ConnectionError, match=r"429.*run again to continue"):
        send(tmp_path / "to", PLACE)


def test_the_hubs_limits() -> None:
    names = [f"data/{n}.tar" for n in range(10_000)]
    refuse_beyond_limits(names)
    with pytest.raises(RequestError, match=r"at most 10000 files, and data would hold 10001; .*--shard-size"):
        refuse_beyond_limits([*names, "data/x/y"])


def test_other_bytes_on_the_hub_are_seen(dataset: Dataset, hub: Hub, tmp_path: Path) -> None:
    real = hub.commit

    def commit(lines: list[dict[str, object]], branch: str) -> None:
        real(lines, branch)
        if "data/train-000001.tar" in hub.files:
            hub.files["data/train-000001.tar"] = (b"bad luck", True)

    hub.commit = commit  # type: ignore[method-assign, assignment]
    with pytest.raises(IncompleteError, match="has other bytes than were sent, first in data/train-000001"):
        send(tmp_path / "to", PLACE)


def test_half_a_publication_is_not_sent(dataset: Dataset, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "to/SHA256SUMS").unlink()
    with pytest.raises(RequestError, match="is not a complete publication"):
        send(tmp_path / "to", PLACE)
    assert hub.commits == []


def test_names() -> None:
    assert parse_repository("s3://bucket/x") is None
    assert parse_repository("hf://datasets/user/name/") == PLACE
    assert parse_repository("hf://datasets/user/name", "v2") == Repository("user/name", "v2")
    for flags in ({"private": True}, {"revision": "v2"}):
        with pytest.raises(RequestError, match=r"is for --to hf://datasets/USER/NAME, not 's3://bucket/x'"):
            parse_repository("s3://bucket/x", **flags)  # type: ignore[arg-type]
    for wrong in ("hf://user/name", "hf://datasets/name", "hf://datasets/a/b/c", "hf://datasets/a/b@main"):
        with pytest.raises(RequestError, match="must be hf://datasets/USER/NAME"):
            parse_repository(wrong)

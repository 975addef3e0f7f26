"""What img2dataset hands over: untouched bytes or a reason for every URL, whatever its own statistics say."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from t2i_shards.pipeline import under_way
from t2i_shards.pipeline.download import deadline
from t2i_shards.pipeline.download import shard as download
from t2i_shards.pipeline.download.deadline import Budget
from t2i_shards.pipeline.download.limits import Limits
from t2i_shards.pipeline.download.reasons import LOST, kind_of
from t2i_shards.pipeline.download.shard import Downloads
from t2i_shards.pipeline.errors import Drop, IncompleteError, RequestError
from t2i_shards.pipeline.under_way import tell_samples
from tests.faults.bad_web import picture, serve, way_of
from tests.faults.drive import CHECKOUT


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serve() as port:
        yield port


@pytest.fixture
def downloads(port: int) -> Iterator[Downloads]:
    before = urllib.request._opener  # type: ignore[attr-defined]
    limits = Limits(allow_private=("127.0.0.0/8",), ports=(port,), url_seconds=2, attempts=1)
    yield Downloads(threads=4, limits=limits)
    download.install_client.cache_clear()
    urllib.request.install_opener(before)


def reason(fetched: Any, url: str) -> tuple[str, int | None]:
    with pytest.raises(Drop) as caught:
        fetched[url]
    return caught.value.reason, caught.value.http


def test_bytes_come_untouched_in_any_order(downloads: Downloads, port: int, tmp_path: Path) -> None:
    numbers = [n for n in range(60) if way_of(n) == "ok"]
    urls = {n: f"http://127.0.0.1:{port}/{n}.jpg" for n in numbers}
    with downloads.fetch(list(urls.values()), tmp_path) as fetched:
        for number in reversed(numbers):
            assert fetched[urls[number]] == picture(number)


def test_pictures_are_counted_as_they_come(
    downloads: Downloads, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "TELL_EVERY", 0.0)
    numbers, told = [n for n in range(20) if way_of(n) == "ok"], list[int]()
    with (
        tell_samples(told.append),
        downloads.fetch([f"http://127.0.0.1:{port}/{n}.jpg" for n in numbers], tmp_path),
    ):
        assert told == list(range(1, len(numbers) + 1))


def test_pictures_that_are_not_on_the_disk_yet_have_a_bound(
    downloads: Downloads, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any number of threads: what does not fit waits for its turn, and all of it is given back."""
    numbers = [n for n in range(60) if way_of(n) == "ok"]
    room = max(len(picture(n)) for n in numbers)
    monkeypatch.setattr(deadline, "ROOM", room)
    held: list[int] = []
    hold = Budget.hold

    def note(self: Budget, size: int, until: Any) -> None:
        hold(self, size, until)
        held.append(self._held)

    monkeypatch.setattr(Budget, "hold", note)
    urls = {n: f"http://127.0.0.1:{port}/{n}.jpg" for n in numbers}
    with downloads.fetch(list(urls.values()), tmp_path) as fetched:
        assert all(fetched[urls[number]] == picture(number) for number in numbers)
    assert 0 < max(held) <= room
    assert download.install_client(downloads.limits)._budget._held == 0


def test_a_url_in_two_rows_is_asked_once(
    downloads: Downloads, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = download.GuardedClient.open

    def note(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(getattr(request, "full_url", request))
        return real(self, request, *args, **kwargs)

    monkeypatch.setattr(download.GuardedClient, "open", note)
    one, other = (f"http://127.0.0.1:{port}/{n}.jpg" for n in (0, 1))
    with downloads.fetch([one, other, one], tmp_path) as fetched:
        assert fetched[one] == picture(0)
        assert fetched[other] == picture(1)
    assert sorted(asked) == sorted([one, other])


def test_every_failure_has_its_reason_and_status(downloads: Downloads, port: int, tmp_path: Path) -> None:
    ways = {way_of(n): n for n in range(100)}
    urls = {way: f"http://127.0.0.1:{port}/{n}.jpg" for way, n in ways.items()}
    wanted = {
        "http 404": ("http 404", 404),
        "http 503": ("http 503", 503),
        "noai": ("opted out: X-Robots-Tag", None),
        "gzip": ("refused: encoded", None),
        "cut": ("cut off", None),
    }
    with downloads.fetch([urls[way] for way in wanted], tmp_path) as fetched:
        assert {way: reason(fetched, urls[way]) for way in wanted} == wanted
    assert download.install_client(downloads.limits)._budget._held == 0


def test_what_urllib_would_open_by_itself_is_refused(downloads: Downloads, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    urls = [f"file://{tmp_path}/secret", "data:image/png;base64,AAAA", "no url at all", ""]
    with downloads.fetch(urls, tmp_path) as fetched:
        assert {kind_of(reason(fetched, url)[0]) for url in urls} == {"refused"}


def test_a_row_without_any_result_may_be_tried_again(
    downloads: Downloads, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [f"http://127.0.0.1:{port}/{n}.jpg" for n in (0, 1)]
    real = download.Fetched.write

    def deaf(self: Any, data: Any, key: str, *rest: Any) -> None:
        if int(key) == 1:
            raise OSError("no room")  # img2dataset prints it, and continues
        real(self, data, key, *rest)

    monkeypatch.setattr(download.Fetched, "write", deaf)
    with downloads.fetch(urls, tmp_path) as fetched:
        assert fetched[urls[0]] == picture(0)
        assert reason(fetched, urls[1]) == (LOST, None)
    assert kind_of(LOST) == "passing"


def test_a_shard_that_img2dataset_gives_up_is_no_shard(
    downloads: Downloads, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any) -> None:
        raise OSError("disk")

    monkeypatch.setattr(download.Fetched, "close", broken)
    with (
        pytest.raises(IncompleteError, match="img2dataset gave up on the shard"),
        downloads.fetch([f"http://127.0.0.1:{port}/0.jpg"], tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threads": 0}, "--threads must be at least 1, not 0"),
        ({"min_yield": 1.5}, "--min-yield must be 0 to 1, not 1.5"),
    ],
)
def test_options_refuse_themselves(options: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError) as caught:
        Downloads(**options)
    assert str(caught.value) == said


def test_only_the_downloader_of_img2dataset_is_imported_and_the_rest_still_can_be() -> None:
    script = """
import sys
from t2i_shards.pipeline.download.shard import import_downloader
one = import_downloader()
assert "torch" not in sys.modules and "img2dataset.main" not in sys.modules, "all of it was imported"
import img2dataset
assert callable(img2dataset.download)
assert import_downloader() is one
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

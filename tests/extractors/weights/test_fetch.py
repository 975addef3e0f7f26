"""Weights from a publisher's own address, which here is a server on loopback."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from t2i_shards.extractors.weights import fetch
from t2i_shards.extractors.weights.fetch import fetch_from_url
from t2i_shards.extractors.weights.file import WeightFile, WeightsUnavailable
from t2i_shards.extractors.weights.resolve import resolve

CONTENT = bytes(range(256)) * 20_000


class Publisher(BaseHTTPRequestHandler):
    """/whole; /cut: less than announced; /long: without a length; /away: a redirect to another scheme."""

    def do_GET(self) -> None:
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/whole")
            self.end_headers()
            return
        self.send_response(200)
        if self.path != "/long":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # when it is more than is wanted
            self.wfile.write(CONTENT[:-1] if self.path == "/cut" else CONTENT)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def publisher() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Publisher)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SCHEMES", ("http",))
    monkeypatch.setenv("T2I_SHARDS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def at(url: str, size: int | None = len(CONTENT)) -> WeightFile:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return WeightFile(name="family", filename="net.pth", licence="MIT", url=url, bytes=size, sha256=digest[:8])


@pytest.mark.parametrize("path", ["/whole", "/long"])
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_every_byte_arrives_in_the_cache(publisher: str, path: str, size: int | None) -> None:
    weight = at(publisher + path, size)
    assert resolve(weight, None).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "size"),
    [("/whole", len(CONTENT) - 1), ("/whole", len(CONTENT) + 1), ("/long", len(CONTENT) - 1), ("/cut", None)],
)
def test_too_many_and_too_few_bytes_are_refused(
    publisher: str, path: str, size: int | None, tmp_path: Path
) -> None:
    with pytest.raises((ValueError, OSError, EOFError), match=r"bytes"):
        fetch_from_url(at(publisher + path, size), tmp_path / "scratch")
    with pytest.raises(WeightsUnavailable, match=r"127\.0\.0\.1"):
        resolve(at(publisher + path, size), None)
    assert list((tmp_path / "cache" / "family").iterdir()) == []


def test_no_more_than_allowed_is_written_however_much_comes(
    publisher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MOST_BYTES", 1 << 20)
    for path in ("/whole", "/long"):
        with pytest.raises(ValueError, match="bytes"):
            fetch_from_url(at(publisher + path, None), tmp_path / "scratch")
        assert (tmp_path / "scratch").stat().st_size <= 2 << 20


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/whole", "{}/away"])
def test_no_other_scheme_even_by_a_redirect(publisher: str, url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="by http only"):
        fetch_from_url(at(url.format(publisher)), tmp_path / "scratch")


def test_without_this_test_only_https_is_let_through(
    publisher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with pytest.raises(ValueError, match="by https only"):
        fetch_from_url(at(f"{publisher}/whole"), tmp_path / "scratch")


def test_offline_nothing_is_asked(publisher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE"):
        fetch_from_url(at(f"{publisher}/whole"), tmp_path / "scratch")

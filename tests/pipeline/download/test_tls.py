"""https: the certificate has to be for the URL's name, whatever address it leads to."""

from __future__ import annotations

import datetime
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from t2i_shards.pipeline.download.client import GuardedClient
from t2i_shards.pipeline.download.limits import Limits
from t2i_shards.pipeline.download.reasons import FetchError
from tests.faults.hostile import NASTY, PICTURE, SLOW, Server, answer, drip, redirect

NAME = "pictures.example"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of NAME and 127.0.0.1 in one PEM file, which signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(NAME)])
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
        now + datetime.timedelta(days=1)
    )
    signed = built.add_extension(names, False).sign(key, hashes.SHA256())
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + signed.public_bytes(serialization.Encoding.PEM))
    return path


class TlsServer(Server):
    """The same ways over TLS; keeps the names that clients ask for."""

    def __init__(self, certificate: Path) -> None:
        super().__init__({"/ok": answer()})
        self.asked: list[str | None] = []
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)
        self._tls.sni_callback = lambda _, name, __: self.asked.append(name)

    def _serve(self, connection: socket.socket) -> None:
        try:
            super()._serve(self._tls.wrap_socket(connection, server_side=True))
        except OSError:
            connection.close()


@pytest.fixture
def server(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsServer]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with TlsServer(certificate) as server:
        yield server  # type: ignore[misc]


def guard_for(server: Server, seconds: float = 20.0) -> GuardedClient:
    limits = Limits(
        ports=(server.port,), allow_private=("127.0.0.1",), url_seconds=seconds, attempts=1, picture_bytes=1 << 20
    )
    return GuardedClient(limits, lambda _: ["127.0.0.1"])


def test_name_and_certificate_belong_together(server: TlsServer) -> None:
    assert guard_for(server).fetch(f"https://{NAME}:{server.port}/ok") == PICTURE
    assert server.asked == [NAME]
    assert f"Host: {NAME}:{server.port}" in server.heads[0]


@pytest.mark.parametrize("host", ["other.example", "127.0.0.1"])
def test_another_name_is_not_trusted(server: TlsServer, host: str) -> None:
    with pytest.raises(FetchError, match=r"^tls failed$"):
        guard_for(server).fetch(f"https://{host}:{server.port}/ok")
    assert not server.heads


def test_a_stranger_is_not_trusted(server: TlsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(FetchError, match=r"^tls failed$"):
        guard_for(server).fetch(f"https://{NAME}:{server.port}/ok")


class Blurting(Server):
    """Answers before it was asked anything."""

    def _read_head(self, connection: socket.socket) -> str:
        return "GET /blurt"


def test_garbage_in_place_of_a_handshake() -> None:
    with Blurting({"/blurt": answer()}) as server, pytest.raises(FetchError, match=r"^tls failed$"):
        guard_for(server).fetch(f"https://{NAME}:{server.port}/ok")


@pytest.mark.parametrize("name", ["drip-header", "drip-body", "endless", "cut", "bomb"])
def test_the_same_ends_as_in_the_open(server: TlsServer, name: str) -> None:
    with pytest.raises(FetchError) as caught:
        guard_for(server, 0.5 if name in SLOW else 20).fetch(f"https://{NAME}:{server.port}/{name}")
    assert str(caught.value) == NASTY[name].reason


def test_a_handshake_that_drips_ends_in_time() -> None:
    """Its first record promises 16 kB and brings a byte at a time."""
    with Blurting({"/blurt": drip(b"\x16\x03\x03\x40\x00", b"\x02")}) as server:
        client = guard_for(server, 0.5)
        with pytest.raises(FetchError, match=r"^timed out$"):
            client.fetch(f"https://{NAME}:{server.port}/ok")


def test_from_https_to_http_and_back(server: TlsServer) -> None:
    with Server({"/back": redirect(f"https://{NAME}:{server.port}/ok")}) as plain:
        server.ways["/down"] = redirect(f"http://{NAME}:{plain.port}/back")
        limits = Limits(ports=(server.port, plain.port), allow_private=("127.0.0.1",))
        client = GuardedClient(limits, lambda _: ["127.0.0.1"])
        assert client.fetch(f"https://{NAME}:{server.port}/down") == PICTURE

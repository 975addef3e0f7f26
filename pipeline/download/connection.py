"""A connection to a checked address whose every wait ends with the URL's deadline."""

from __future__ import annotations

import io
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any

from t2i_shards.pipeline.download.deadline import Deadline
from t2i_shards.pipeline.download.reasons import BAD_ANSWER, UNCONNECTED, UNTRUSTED, FetchError
from t2i_shards.pipeline.download.url import Url

BUFFER = 64 << 10
HEADER_BYTES = 256 << 10
"""What status lines and headers may have together, those of interim answers among them."""
ADDRESSES = 4
"""Addresses of one name that are tried; they share the time that is left."""
GRAIN = 0.25
"""Seconds by which a wait may outlive the deadline; setting a socket's time-out again is a system call."""


class Connection(io.RawIOBase):
    """What comes in over a connection, counted. FetchError past the deadline, the allowance or the shard's budget.

    allowance: bytes that may still come; `too_much` is the reason when more do.
    """

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._socket = connection
        self._deadline = deadline
        self._timeout_set = 0.0
        self.allowance = HEADER_BYTES
        self.too_much = BAD_ANSWER

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._bound()
        try:
            count = self._socket.recv_into(buffer)
        except TimeoutError:
            raise self._deadline.missed() from None
        self.allowance -= count
        if self.allowance < 0:
            raise FetchError(self.too_much)
        self._deadline.budget.charge(count)
        return count

    def _bound(self) -> None:
        left = self._deadline.left()
        now = time.monotonic()
        if now - self._timeout_set > GRAIN:
            self._socket.settimeout(left)
            self._timeout_set = now

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        self._bound()
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise self._deadline.missed() from None

    def makefile(self) -> io.BufferedReader:
        """What comes in, to be read by lines."""
        return io.BufferedReader(self, BUFFER)

    def close(self) -> None:
        if not self.closed:
            self._socket.close()
            super().close()


def open_connection(target: Url, addresses: Sequence[str], deadline: Deadline, tls: ssl.SSLContext) -> Connection:
    """Connect to the first of `addresses` that takes us; the certificate has to be for the target's name.

    Raises FetchError when none does.
    """
    connection = _connect(addresses[:ADDRESSES], target.port, deadline)
    if target.scheme == "https":
        connection = _encrypt(connection, target.host, deadline, tls)
    return Connection(connection, deadline)


def _connect(addresses: Sequence[str], port: int, deadline: Deadline) -> socket.socket:
    slow = False
    for index, address in enumerate(addresses):
        connection = None
        try:
            connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
            connection.settimeout(deadline.left() / (len(addresses) - index))
            connection.connect((address, port))
            return connection
        except OSError as error:
            if connection is not None:
                connection.close()
            if isinstance(error, FetchError):
                raise
            slow = isinstance(error, TimeoutError)
    raise deadline.missed() if slow else FetchError(UNCONNECTED)


def _encrypt(connection: socket.socket, host: str, deadline: Deadline, tls: ssl.SSLContext) -> socket.socket:
    try:
        connection.settimeout(deadline.left())
        return tls.wrap_socket(connection, server_hostname=host)
    except TimeoutError:
        connection.close()
        raise deadline.missed() from None
    except (ssl.SSLError, ValueError):
        connection.close()
        raise FetchError(UNTRUSTED) from None
    except OSError as error:
        connection.close()
        raise error if isinstance(error, FetchError) else FetchError(UNCONNECTED) from None

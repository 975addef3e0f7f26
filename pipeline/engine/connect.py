"""Which Ray a command uses: the cluster RAY_ADDRESS names, this user's own on this machine, or one it starts.

The one it starts is for this command alone: all its ports listen on the loopback address, callers must have the
user's token, and its files are in a folder of this user. Another user's Ray is never joined unless RAY_ADDRESS
names it: it could run any code here.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from t2i_shards.extractors.atomic import create_file
from t2i_shards.extractors.regular import read_regular
from t2i_shards.pipeline.errors import IncompleteError, RequestError
from t2i_shards.pipeline.scratch import sweep_sessions, temporary_folder

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
TIMEOUT = 10.0
"""Seconds that a Ray has to answer the first time."""

LONGEST = 42
"""Characters of the folder of a Ray's files: a socket in it, whose path may have 107, adds 64."""

GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTINGS = 4
"""HTTP/2 (RFC 9113): what a client sends first, and the type of the frame that a server answers with."""


def connect() -> None:
    """Join the cluster that RAY_ADDRESS or the surrounding job names, or start one. Raises RequestError."""
    import ray

    if ray.is_initialized():
        return
    # Joining a cluster, Ray ignores include_dashboard; it says on every start that tokens are in use.
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    named = os.environ.get("RAY_ADDRESS")
    if named in (None, "", "local"):
        own = None if named else find_own_ray()
        if own is None:
            start_ray(**options)
            return
        options["address"] = named = own
    elif named == "auto":
        named = find_own_ray()
        if named is None:
            raise RequestError("RAY_ADDRESS=auto needs a Ray that this user has started, and none runs here")
        options["address"] = named
    assert named
    check_address(named)
    try:
        ray.init(**options)
    except Exception as error:  # Ray raises errors of its own, of gRPC, and plain ones
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RequestError(f"cannot join the Ray at {named} (RAY_ADDRESS): {why}") from error


def start_ray(**options: Any) -> None:
    """Start a Ray that only this process uses, with `options` of `ray.init`; once more where it does not come up.

    Raises IncompleteError when it does not then: a busy machine may let it time out.
    """
    from ray._private import ray_constants

    keep_token_private()
    if "RAY_TMPDIR" not in os.environ:
        folder = _choose_folder()
        sweep_sessions(folder)
        options["_temp_dir"] = os.fspath(folder)
    # Ray's own switch for machines where it must not be reached from outside (those with macOS and Windows).
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        _start_twice(options)
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _start_twice(options: Mapping[str, Any]) -> None:
    import ray

    for last in (False, True):
        try:
            ray.init(address="local", **options)
            return
        except Exception as error:  # Ray raises a plain Exception when a node does not come up in time
            ray.shutdown()
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            if last:
                raise IncompleteError(
                    f"Ray did not start, tried twice: {why}; try again when the machine is less busy, or do "
                    "without Ray (--engine local; for publish also --readers webdataset datasets)"
                ) from error
            log.warning("Ray did not start, trying once more: %s", why)


def _choose_folder() -> Path:
    folder = temporary_folder() / "ray"
    return folder if len(os.fspath(folder)) <= LONGEST else temporary_folder(Path("/tmp")) / "ray"


def keep_token_private() -> None:
    """Make ~/.ray/auth_token, or close it to others: Ray itself writes it for all to read."""
    path = Path.home() / ".ray" / "auth_token"
    with suppress(OSError):  # without a home there is RAY_AUTH_TOKEN, or Ray says what is missing
        if path.exists():
            if path.stat().st_uid == os.getuid() and stat.S_IMODE(path.stat().st_mode) & 0o077:
                path.chmod(0o600)
        elif not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
            with create_file(path) as scratch:
                scratch.chmod(0o600)
                scratch.write_text(secrets.token_hex(32))


def find_own_ray() -> str | None:
    """HOST:PORT of the Ray that this user's `ray start` has left running on this machine."""
    place = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    note = Path(place) / "ray" / "ray_current_cluster"
    try:
        if note.is_symlink() or note.stat().st_uid != os.getuid():
            return None
        address = read_regular(note).decode().strip()
        check_address(address)
    except (OSError, ValueError, RequestError):
        return None
    return address


def check_address(address: str) -> None:
    """Raises RequestError unless a Ray answers at HOST:PORT (or ray://HOST:PORT), within seconds.

    Ray itself would try for minutes, and say so line by line.
    """
    rule = "RAY_ADDRESS must be HOST:PORT of a Ray that runs, as `ray start` prints it"
    scheme, _, place = address.rpartition("://")
    host, _, port = place.rpartition(":")
    if scheme not in ("", "ray") or not host or not port.isdecimal():
        raise RequestError(f"{rule}, not {address!r}")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), TIMEOUT) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "0" and not _speaks_grpc(connection):
                raise RequestError(f"{rule}, and what answers at {address} is none")
    except (OSError, OverflowError) as error:
        raise RequestError(f"{rule}, and none answers at {address} ({error})") from None


def _speaks_grpc(connection: socket.socket) -> bool:
    connection.settimeout(TIMEOUT)
    connection.sendall(GREETING)
    answer = b""
    while len(answer) < 4:
        received = connection.recv(4 - len(answer))
        if not received:
            return False
        answer += received
    return answer[3] == SETTINGS

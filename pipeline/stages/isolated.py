"""Decoding in a child process of bounded memory and time, for the rows of a shard whose worker died.

A decoder that exceeds its budget, or crashes on a file, takes its process down. Here that process is a child, so
the file at fault is known and dropped, and its neighbours become samples.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from t2i_shards.extractors import budget
from t2i_shards.pipeline.errors import Drop, describe_error
from t2i_shards.pipeline.image.decode import Decoded, decode_picture
from t2i_shards.pipeline.image.geometry import Geometry, load_geometry
from t2i_shards.pipeline.image.stored import use_threads
from t2i_shards.pipeline.plain import show_logs_plain

COSTLY = "too costly to decode"
TIMEOUT_FACTOR = 10
"""Times the budget of CPU that a child is waited for; a machine may be busy."""

Decode: TypeAlias = Callable[[bytes, Geometry, tuple[str, ...]], Decoded]
"""As `decode_picture`."""


def decode_in_time(data: bytes, geometry: Geometry, formats: tuple[str, ...]) -> Decoded:
    """`decode_picture`; a picture past its deadline ends this process."""
    with budget.deadline(geometry.allowance):
        return decode_picture(data, geometry, formats)


@contextmanager
def decode_in_child() -> Iterator[Decode]:
    """`decode_picture` in a child process. Raises Drop("too costly to decode") for a picture that kills it."""
    children: list[_Child] = []

    def decode(data: bytes, geometry: Geometry, formats: tuple[str, ...]) -> Decoded:
        if not children:
            children.append(_Child(geometry.allowance))
        try:
            return children[0].decode(data, geometry, formats)
        except (EOFError, OSError, TimeoutError):
            children.pop().end()
            raise Drop(COSTLY) from None

    try:
        yield decode
    finally:
        for child in children:
            child.end()


class _Child:
    def __init__(self, allowance: float) -> None:
        self._pipe, theirs = Pipe()
        # In addition to decoding, the picture itself: once in its memory, once in the pipe.
        limits = [str(budget.SECONDS), str(int(allowance * (budget.MEMORY + budget.PIXELS * 3)))]
        self._timeout = TIMEOUT_FACTOR * budget.SECONDS * allowance
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "t2i_shards.pipeline.stages.isolated", str(theirs.fileno()), *limits],
            pass_fds=[theirs.fileno()],
            # A worker of a cluster imports from where its job was unpacked.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdin=subprocess.DEVNULL,
        )
        theirs.close()

    def decode(self, data: bytes, geometry: Geometry, formats: tuple[str, ...]) -> Decoded:
        self._pipe.send_bytes(json.dumps({"geometry": geometry.record(), "formats": formats}).encode())
        self._pipe.send_bytes(data)
        if not self._pipe.poll(self._timeout):
            raise TimeoutError
        answer = json.loads(self._pipe.recv_bytes())
        if "drop" in answer:
            raise Drop(answer["drop"])
        if "error" in answer:
            raise ValueError(answer["error"])
        pixels = np.frombuffer(self._pipe.recv_bytes(), np.uint8)
        picture, size = pixels.reshape(answer["shape"]), tuple(answer["size"])
        return Decoded(picture, size, answer["profile"], answer["turned"])

    def end(self) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.wait()


def main(fileno: int, seconds: float, memory: int) -> None:
    """The child: a request and a file come in, a picture or the reason why there is none goes out."""
    show_logs_plain()
    use_threads(1)
    budget.SECONDS = seconds
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe = Connection(fileno)
    while True:
        try:
            request, data = json.loads(pipe.recv_bytes()), pipe.recv_bytes()
        except EOFError:
            return
        answer, picture = _answer(request, data)
        pipe.send_bytes(json.dumps(answer).encode())
        if picture is not None:
            pipe.send_bytes(np.ascontiguousarray(picture).data.cast("B"))


def _answer(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], np.ndarray | None]:
    try:
        decoded = decode_in_time(data, load_geometry(request["geometry"]), tuple(request["formats"]))
    except Drop as drop:
        return {"drop": drop.reason}, None
    except MemoryError:
        return {"drop": COSTLY}, None
    except Exception as error:
        return {"error": describe_error(error)}, None
    picture = decoded.picture
    answer = {"size": decoded.size, "profile": decoded.profile, "turned": decoded.turned}
    return {**answer, "shape": picture.shape}, picture


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))

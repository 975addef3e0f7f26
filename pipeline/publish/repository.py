"""A dataset repository on the Hugging Face Hub: what is in it, and commits that wait until they may be made."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from t2i_shards.pipeline.errors import IncompleteError, RequestError, describe_error

log = logging.getLogger(__name__)

T = TypeVar("T")
PREFIX = "hf://datasets/"
MAIN = "main"
RETRY_SECONDS = 3900.0
"""Seconds that a request is repeated while the Hub says 409 or 429: its commits are counted by the hour."""
LONGEST_WAIT = 300.0


@dataclass(frozen=True)
class Repository:
    """name: user/name. revision: a branch. private: a repository that must be made is made private."""

    name: str
    revision: str = MAIN
    private: bool = False

    def __str__(self) -> str:
        return f"{PREFIX}{self.name}" + (f"@{self.revision}" if self.revision != MAIN else "")

    @property
    def staging(self) -> Path:
        """Where a publication is put together by default."""
        folder = str(self).removeprefix(PREFIX).replace("/", "--")
        return Path.home() / ".cache" / "t2i-shards" / "publish" / folder


def parse_repository(to: str, revision: str = MAIN, private: bool = False) -> Repository | None:
    """The repository of hf://datasets/user/name; None for another kind of place. Raises RequestError."""
    if not to.startswith("hf://"):
        if private or revision != MAIN:
            flag = "--private" if private else "--revision"
            raise RequestError(f"{flag} is for --to hf://datasets/USER/NAME, not {to!r}")
        return None
    name = to.removeprefix(PREFIX).strip("/")
    if not to.startswith(PREFIX) or name.count("/") != 1 or "@" in name:
        raise RequestError(f"--to on the Hub must be hf://datasets/USER/NAME, not {to!r}")
    return Repository(name, revision, private)


class HubRepository:
    """The repository as it was when `files` was last called; a commit on top of another user's is refused.

    Raises ConnectionError when the Hub cannot be reached or refuses.
    """

    def __init__(self, place: Repository) -> None:
        from huggingface_hub import HfApi

        self.place, self._api = place, HfApi()
        self._head: str | None = None
        self._of = {"repo_id": place.name, "repo_type": "dataset", "revision": place.revision}

    def exists(self) -> bool:
        """Whether repository and branch are there."""
        return bool(self._ask(lambda: self._api.revision_exists(**self._of)))

    def make(self) -> None:
        """Make repository and branch where they are missing. RequestError for --private and a public one."""
        of = {"repo_id": self.place.name, "repo_type": "dataset"}
        self._ask(lambda: self._api.create_repo(**of, private=self.place.private or None, exist_ok=True))
        if self.place.private and not self._ask(lambda: self._api.repo_info(**of)).private:
            raise RequestError(
                f"{self.place} is public, and --private asks for a private one; change its settings"
            )
        if not self.exists():
            # From the first commit, so that nothing of another branch is in it.
            first = self._ask(lambda: self._api.list_repo_commits(**of))[-1].commit_id
            self._ask(lambda: self._api.create_branch(**of, branch=self.place.revision, revision=first))

    def files(self) -> Mapping[str, Any]:
        """Path -> what the Hub says of the file: `blob_id`, and `lfs` where it is kept apart."""
        self._head = self._ask(lambda: self._api.repo_info(**self._of)).sha
        found = self._ask(
            lambda: list(self._api.list_repo_tree(**{**self._of, "revision": self._head}, recursive=True))
        )
        return {entry.path: entry for entry in found if hasattr(entry, "blob_id")}

    def load(self, path: str) -> bytes:
        """The bytes of a small file."""
        at = {**self._of, "revision": self._head}
        with tempfile.TemporaryDirectory(prefix="t2i-shards-") as folder:
            local = self._ask(lambda: self._api.hf_hub_download(**at, filename=path, local_dir=folder))
            return Path(local).read_bytes()

    def commit(self, message: str, added: Mapping[str, Path], deleted: Sequence[str] = ()) -> None:
        """Add (path -> local file) and delete with one commit. IncompleteError when another user made one."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations = [
            *(CommitOperationDelete(path_in_repo=name) for name in deleted),
            *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in added.items()),
        ]
        made = self._ask(
            lambda: self._api.create_commit(
                **self._of, operations=operations, commit_message=message, parent_commit=self._head
            )
        )
        self._head = made.oid

    def _ask(self, request: Callable[[], T]) -> T:
        """The answer, as soon as the Hub neither is busy (409) nor has had enough (429)."""
        begun, wait = time.monotonic(), 1.0
        while True:
            with self._reaching():
                try:
                    return request()
                except Exception as error:
                    status, asked = _read_refusal(error)
                    if status == 412:
                        raise IncompleteError(
                            f"{self.place}: somebody else changed it meanwhile; run again"
                        ) from error
                    if status not in (409, 429) or time.monotonic() - begun > RETRY_SECONDS:
                        raise
            rest = min(wait if asked is None else asked + 1.0, LONGEST_WAIT)
            log.warning("%s answers %d; waiting %g s", self.place, status, rest)
            time.sleep(rest)
            wait = min(2 * wait, LONGEST_WAIT)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """ConnectionError for what the Hub's client raises."""
        try:
            yield
        except (RequestError, IncompleteError):
            raise
        except Exception as error:
            raise ConnectionError(f"{self.place}: {describe_error(error)}; run again to continue") from error


def _read_refusal(error: Exception) -> tuple[int | None, float | None]:
    """(status, seconds to wait where the answer says so) of what the client raised."""
    from huggingface_hub.utils import parse_ratelimit_headers

    response = getattr(error, "response", None)
    if response is None:
        return None, None
    limit = parse_ratelimit_headers(response.headers)
    if limit is not None and limit.remaining == 0:
        return response.status_code, float(limit.reset_in_seconds)
    wait = response.headers.get("Retry-After", "")
    return response.status_code, float(wait) if wait.isdigit() else None

"""A source whose answers may change: a folder in place of the web, altered between attempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from t2i_shards.pipeline.errors import Drop
from t2i_shards.pipeline.sources.base import Opener, Original, Seen, unseen
from t2i_shards.pipeline.sources.folder import FolderSource
from t2i_shards.pipeline.sources.row import Row


@dataclass(frozen=True)
class Web(FolderSource):
    """`folder`/<name>.png answers; a file `folder`/<name>.status holds the reason why it does not.

    The rows are fixed by `names`, whatever answers now.
    """

    names: tuple[str, ...] = ()

    @property
    def repeatable(self) -> bool:
        return False

    def rows(self, left_out: Counter[str], seen: Seen = unseen) -> Iterator[Row]:
        for index, name in enumerate(self.names):
            location = f"http://{name.split('-')[0]}.example/{name}.png"
            yield Row(f"{index:09d}", location, (name,))

    @contextmanager
    def gather(self, rows: Sequence[Row], size: int, scratch: Path, pictures: bool = True) -> Iterator[Opener]:
        yield self.open

    def open(self, row: Row) -> Original:
        path = Path(self.folder) / Path(row.location).name
        if (refusal := path.with_suffix(".status")).exists():
            reason = refusal.read_text()
            raise Drop(reason, int(reason.split()[1]) if reason.startswith("http ") else None)
        return Original(path.read_bytes(), row.captions, http=200)


def put_picture(folder: Path, name: str, seed: int) -> None:
    """Let `name` answer with a picture of its own."""
    folder.mkdir(exist_ok=True)
    rough = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(rough).resize((80, 72), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    (folder / f"{name}.status").unlink(missing_ok=True)


def put_failure(folder: Path, name: str, reason: str) -> None:
    """Let `name` fail."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.status").write_text(reason)

"""remove: tombstones, which streams and publishing respect from then on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from t2i_shards.adapters.options import Root
from t2i_shards.jobs.command import Summary
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.tombstones import By, remove
from t2i_shards.pipeline.errors import RequestError


@dataclass(frozen=True)
class RemoveCommand:
    """Remove samples: streams skip them at once, and the next publication leaves them out."""

    root: Root
    """The dataset."""
    keys: Path | None = None
    """A file with a key in each line."""
    urls: Path | None = None
    """A file with a picture's address in each line."""
    sha256: Path | None = None
    """A file with the sha256 of a picture's original file in each line."""
    single_writer: bool = False
    """No other command writes at the same time: for object stores that cannot refuse to replace an object."""
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        named: list[tuple[By, Path]] = []
        for by, file in (("keys", self.keys), ("urls", self.urls), ("sha256", self.sha256)):
            if file is not None:
                named.append((by, file))  # type: ignore[arg-type]
        if len(named) != 1:
            raise RequestError(f"remove needs one of --keys, --urls and --sha256, {len(named)} were given")
        [(by, file)] = named
        try:
            asked = file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"--{by} must be a text file with one in each line, {file}: {error}") from None
        found = remove(Dataset.open(self.root), by, asked)
        line = (
            f"remove: {len(found.removed)} samples removed now, {len(found.before)} were before; "
            f"{len(found.unknown)} of what was asked for is not in this dataset"
        )
        record = {"command": "remove", "removed": found.removed, "before": found.before, "unknown": found.unknown}
        return Summary(line, record, tuple(f"not in {self.root}: {what}" for what in found.unknown))

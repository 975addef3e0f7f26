"""remove: tombstones, which streams and publishing respect from then on, and how to take them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2i_shards.adapters.options import Root
from t2i_shards.extractors.regular import read_regular
from t2i_shards.jobs.command import Summary
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.tombstones import By, remove
from t2i_shards.pipeline.dataset.undo import Undo, undo, undo_newest
from t2i_shards.pipeline.errors import RequestError, describe_os_error
from t2i_shards.pipeline.marks import Advanced
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.sources.captions import decode_text


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
    paths: Path | None = None
    """A file with a picture's path in each line: as its source has it, or of a file of this machine."""
    undo: bool = False
    """Take removals back, those of the list or, without one, the newest; not once the samples were
    erased, or left out of a publication."""
    dry_run: bool = False
    """Say what would be removed or taken back, and write nothing."""
    single_writer: Advanced[bool] = False
    """No other command writes at the same time: for object stores that cannot refuse to replace an object."""
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        lists = {"keys": self.keys, "urls": self.urls, "sha256": self.sha256, "paths": self.paths}
        given: list[tuple[By, Path]] = [(by, file) for by, file in lists.items() if file is not None]  # type: ignore[misc]
        if len(given) != 1 and not (self.undo and not given):
            raise RequestError(
                f"remove needs one of --keys, --urls, --sha256 and --paths, {len(given)} were given"
            )
        dataset = Dataset.open(self.root)
        if not given:
            return self._summarise_undo(undo_newest(dataset, self.dry_run))
        [(by, file)] = given
        asked = _read_list(by, file)
        if self.undo:
            return self._summarise_undo(undo(dataset, by, asked, self.dry_run))
        found = remove(dataset, by, asked, self.dry_run)
        done = "would be removed" if self.dry_run else "removed now"
        line = (
            f"remove: {number_of(len(found.removed), 'sample')} {done}, {len(found.before)} before"
            f"{_count_unknown(found.unknown)}"
        )
        record = {"removed": found.removed, "before": found.before, "unknown": found.unknown}
        return self._end(line, record, self._name_unknown(found.unknown))

    def _summarise_undo(self, found: Undo) -> Summary:
        done = "would be taken back" if self.dry_run else "taken back"
        line = f"remove: the removal of {number_of(len(found.undone), 'sample')} {done}"
        if found.others or found.unknown:
            line += f"; {len(found.others)} were not removed{_count_unknown(found.unknown)}"
        record = {"undone": found.undone, "not_removed": found.others, "unknown": found.unknown}
        return self._end(line, record, self._name_unknown(found.unknown))

    def _name_unknown(self, unknown: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"not in {self.root}: {what}" for what in unknown)

    def _end(self, line: str, record: Mapping[str, Any], problems: tuple[str, ...]) -> Summary:
        end = "; nothing was written" if self.dry_run else ""
        return Summary(line + end, {"command": "remove", "dry_run": self.dry_run, **record}, problems)


def _count_unknown(unknown: Sequence[str]) -> str:
    return f"; {len(unknown)} of those asked for are not in this dataset" if unknown else ""


def _read_list(by: By, file: Path) -> list[str]:
    try:
        return decode_text(read_regular(file)).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        said = describe_os_error(error) if isinstance(error, OSError) else f"{file}: {error}"
        raise RequestError(f"--{by} must be a text file with one in each line: {said}") from None

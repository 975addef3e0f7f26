"""report: a page and a picture that show datasets and a training, to be looked at before they are published."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import tyro

from t2i_shards.adapters.options import Roots
from t2i_shards.extractors.atomic import remove_folder, write_file
from t2i_shards.jobs.command import EngineOptions, Summary
from t2i_shards.jobs.progress import part_of
from t2i_shards.jobs.shard_progress import Handing, show_progress
from t2i_shards.pipeline.engine import RunResult, run
from t2i_shards.pipeline.engine.run import Progress
from t2i_shards.pipeline.errors import RequestError
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.report import (
    DatasetFacts,
    TrainingFacts,
    check_fonts,
    collect_dataset,
    draw_sheet,
    read_training,
    render_page,
)
from t2i_shards.pipeline.report.strips import Beside, folder_of, is_ours, replace_strips
from t2i_shards.pipeline.stages.stage import Stage
from t2i_shards.pipeline.writable import check_writable

AWAY = "move it away, or give another --out"
TITLE = b"<title>t2i-shards report</title>"
"""What every page of a report has near its start."""


@dataclass(frozen=True)
class ReportCommand:
    """Samples with their conditions, caption search, histograms, drops, duplicates and throughput, to look at."""

    roots: Roots
    """The datasets."""
    run_: Annotated[Path | None, tyro.conf.arg(name="run")] = None
    """The folder of a training, for the loss curve."""
    out: Path | None = None
    """The page, ending in .html; the picture is next to it. Default: ROOT/report.html, or ./report.html when
    ROOT is not a folder."""
    rows: int = 12
    """Samples shown of each dataset."""
    all_: Annotated[bool, tyro.conf.arg(name="all")] = False
    """Show every sample, page by page: small pictures of them, and of more than 20,000 samples what is searched,
    go into a folder next to the page (report_files)."""
    quick: bool = False
    """Read receipts and the samples shown, and nothing else: no histograms, no search beyond those samples."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        page = self._page()
        picture, folder = page.with_suffix(".png"), folder_of(page)
        check_fonts()
        _refuse_foreign(page, picture)
        check_writable(page.parent)
        if self.all_ and os.path.lexists(folder) and not is_ours(folder):
            what = "was not made by report, or holds something else too,"
            raise RequestError(f"{folder} {what} and is not replaced: {AWAY}")
        training = read_training(self.run_) if self.run_ else None
        if self.all_:
            with replace_strips(folder) as strips:
                datasets = self._collect(strips, folder.name)
        else:
            datasets = self._collect()
        # First, for the page is what tells that the picture is ours.
        write_file(page, render_page(datasets, training, _today()))
        write_file(picture, draw_sheet(datasets, training))
        if not self.all_ and is_ours(folder):  # of the page that was replaced
            remove_folder(folder)
        samples = sum(dataset.there for dataset in datasets)
        line = f"report: {number_of(len(datasets), 'dataset')}, {number_of(samples, 'sample')}; open {page}"
        problems = [f"{dataset.root}: {problem}" for dataset in datasets for problem in dataset.problems]
        return Summary(line, _record(page, picture, datasets, training), tuple(problems))

    def _collect(self, strips: Path | None = None, name: str = "") -> list[DatasetFacts]:
        """The datasets. strips: gets the files of each, in d1, d2 …; name: of it, for the page."""
        found = []
        for number, root in enumerate(self.roots, 1):
            beside = Beside(strips / f"d{number}", f"{name}/d{number}") if strips else None
            look = None if self.quick else self._look
            with part_of("report", number, len(self.roots)) if len(self.roots) > 1 else nullcontext():
                found.append(collect_dataset(root, self.rows, look, beside))
        return found

    def _look(self, stage: Stage, shards: Sequence[int], take: Progress | None = None) -> RunResult:
        engine, workers = self.engine.for_reading(len(shards)), self.engine.workers
        with show_progress("report", len(shards), len(shards)) as progress:
            if take is None:
                return run(stage, shards, engine, workers, progress)
            return run(stage, shards, engine, workers, Handing(take, progress), keep=False)

    def _page(self) -> Path:
        if not self.roots:
            raise RequestError("report needs at least one ROOT, none was given")
        if self.all_ and self.quick:
            raise RequestError("--all looks at every sample and --quick at few: give one of them")
        if self.rows < 1:
            raise RequestError(f"--rows must be at least 1, not {self.rows}")
        if self.out is not None and self.out.suffix != ".html":
            raise RequestError(f"--out must end in .html, not {str(self.out)!r}")
        return self.out or Path("." if "://" in self.roots[0] else self.roots[0]) / "report.html"


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _refuse_foreign(page: Path, picture: Path) -> None:
    """Raises RequestError unless the two are new, or an earlier report's."""
    replaced = os.path.lexists(page)
    for path in (page, picture):
        if os.path.lexists(path) and not (replaced and _is_file(path) and TITLE in _read_start(page)):
            what = f"is a link to {os.readlink(path)}" if path.is_symlink() else "was not made by report"
            raise RequestError(f"{path} {what}, and is not replaced: {AWAY}")


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _read_start(page: Path) -> bytes:
    with page.open("rb") as file:
        return file.read(4096)


def _record(
    page: Path, picture: Path, datasets: Sequence[DatasetFacts], training: TrainingFacts | None
) -> dict[str, Any]:
    return {
        "command": "report",
        "page": str(page),
        "picture": str(picture),
        "datasets": {
            dataset.root: {
                "digest": dataset.digest,
                "counted": dataset.tally.samples if dataset.tally else None,
                "columns": {
                    c.status.column: {
                        "samples": c.status.samples,
                        "bytes": c.status.bytes,
                        "drops": dict(c.status.drops),
                        "samples_per_s": c.rate,
                    }
                    for c in dataset.columns
                },
            }
            for dataset in datasets
        },
        "validation": [list(point) for point in training.validation] if training else [],
    }

"""publish: pack a dataset into shards for others, describe them, and read them back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from t2i_shards.adapters.options import Root
from t2i_shards.jobs.command import EngineOptions, Summary
from t2i_shards.jobs.dry_run import dry_run, estimate_publication
from t2i_shards.jobs.progress import part_of, show_waiting
from t2i_shards.jobs.readers import NAMES, choose_readers
from t2i_shards.jobs.shard_progress import show_progress
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.engine import RunResult, run
from t2i_shards.pipeline.marks import Advanced
from t2i_shards.pipeline.plain import list_counts, number_of
from t2i_shards.pipeline.publish import Publication, Published, publish
from t2i_shards.pipeline.publish.config import Layout
from t2i_shards.pipeline.publish.hub import check_repository, refuse_beyond_limits, send
from t2i_shards.pipeline.publish.repository import MAIN, parse_repository
from t2i_shards.pipeline.shards.store import open_store
from t2i_shards.pipeline.stages.stage import Stage

STAGES = {"packed": ("look", "pack", "read back"), "columns": ("copy", "read back")}
"""What is done in each layout, as progress numbers it."""


@dataclass(frozen=True)
class PublishCommand:
    """Make shards for others, with a card and indexes, and read them back with popular readers.

    The same command continues an earlier run.
    """

    root: Root
    """The dataset."""
    to: str
    """Where to: a folder, or a URL such as s3://bucket/prefix or hf://datasets/user/name."""
    publication: Publication = field(default_factory=Publication)
    staging: Advanced[Path | None] = None
    """For hf://: the folder where the publication is put together before it is sent, and which is kept; by
    default one of the user's cache."""
    revision: Advanced[str] = MAIN
    """For hf://: the branch, which is made where there is none."""
    private: bool = False
    """For hf://: a repository that has to be made is made private."""
    purge: bool = False
    """Take out what was removed since; only the shards concerned are made again. Options that are not given are
    those of publish.json."""
    readers: Advanced[tuple[str, ...]] = NAMES
    """Which readers read it back, besides our own stream."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    dry_run: bool = False
    """Look at every sample, say what would be published and how large it would be, and write nothing."""
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        if not self.dry_run:
            return self._run()
        with dry_run():
            return self._run()

    def _run(self) -> Summary:
        repository = parse_repository(self.to, self.revision, self.private)
        readers = choose_readers(self.readers)
        dataset = Dataset.open(self.root)
        dataset.store.sweep()
        place = self.to if repository is None else str(self.staging or repository.staging)
        if repository is not None:
            check_repository(Path(place), repository)
        limit = refuse_beyond_limits if repository is not None else None
        store = open_store(place)
        with ExitStack() as after:
            work = partial(self._work, dataset.planned, after)
            published = publish(dataset, store, self.publication, readers, work, self.purge, limit)
        if self.dry_run:
            return estimate_publication(published)
        kept = set(published.finished.kept if published.finished else ())
        end = ""
        if repository is not None and not published.problems:
            with self._part(published.plan.asked.layout, "send"), show_waiting("send"):
                sent = send(Path(place), repository)
            end = f"; {number_of(sent.files, 'file')} sent" if sent.files else "; all files were there already"
            kept |= {*sent.kept}
        if kept:
            end += f"; kept as edited: {', '.join(sorted(kept))}"
        return self._summary(published, end)

    def _work(
        self, planned: int, after: ExitStack, verb: str, stage: Stage, shards: Sequence[int], of: int
    ) -> RunResult:
        """Do a stage of the publication. after: shows, until it is closed, that what was packed is read back,
        which counting what rows lost is part of."""
        if self.dry_run and verb in ("pack", "copy"):
            return RunResult(quarantined=dict.fromkeys(shards or [0], "not made"))
        layout: Layout = "columns" if verb == "copy" else "packed"
        with (
            self._part(layout, verb) if verb in STAGES[layout] else nullcontext(),
            show_progress(verb, len(shards), of, planned=planned) as progress,
        ):
            result = run(stage, shards, self.engine.engine, self.engine.workers, progress)
        if verb in ("pack", "copy"):
            after.enter_context(self._part(layout, "read back"))
            after.enter_context(show_waiting("read back"))
        return result

    def _part(self, layout: Layout, name: str) -> AbstractContextManager[None]:
        """Number what is shown in the block: "publish 2 of 3, "."""
        stages = [*STAGES[layout], *(["send"] if parse_repository(self.to, self.revision, self.private) else [])]
        return part_of("publish", stages.index(name) + 1, len(stages))

    def _summary(self, published: Published, end: str) -> Summary:
        left_out, counts = published.left_out, published.counts
        parts = [f"{split} {number_of(count, 'sample')}" for split, count in counts.items()]
        if left_out:
            parts.append(f"left out: {list_counts(left_out)}")
        if not published.plan.pictures:
            parts.append("without the pictures")
        unchecked = published.finished.unchecked if published.finished else ()
        if unchecked:
            parts.append(f"not checked with {', '.join(unchecked)}, not installed")
        if published.problems:
            parts.append("not whole, run again")
        elif not published.finished:
            parts.append("was whole already")
        shards = f"{number_of(published.shards, 'shard')}, {published.made} of them now"
        line = f"publish: {shards}; {'; '.join(parts)}; {self.to}{end}"
        record = {
            "command": "publish",
            "to": self.to,
            "shards": published.shards,
            "made": published.made,
            "made_anew": published.made_anew,
            "samples": dict(counts),
            "left_out": dict(left_out),
            "pictures": published.plan.pictures,
            "unchecked": list(unchecked),
            "options": asdict(published.plan.asked),
        }
        return Summary(line, record, published.problems)

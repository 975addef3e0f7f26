"""verify: every byte of a dataset against its receipts."""

from __future__ import annotations

from dataclasses import dataclass, field

from t2i_shards.adapters.options import Root
from t2i_shards.jobs.command import EngineOptions, Summary
from t2i_shards.jobs.shard_progress import show_progress
from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.engine import run
from t2i_shards.pipeline.errors import IncompleteError
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.publish.check import check_lists, is_publication, plan_check
from t2i_shards.pipeline.shards.store import Store, open_store
from t2i_shards.pipeline.stages.index_names import verify_index
from t2i_shards.pipeline.stages.roll_up import verify_roll_ups
from t2i_shards.pipeline.stages.verify import (
    count_older,
    describe_repairs,
    plan_verify,
    verify_columns,
    verify_plan,
    verify_tables,
)


@dataclass(frozen=True)
class VerifyCommand:
    """Read every byte and compare it with its receipt; exit code 3 when anything is damaged or missing.

    Of a publication, every file is compared with SHA256SUMS, and tars that were added to its shards are named.
    """

    root: Root
    """The dataset or publication: a folder or a URL, such as s3://bucket/prefix or hf://datasets/user/name."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> Summary:
        store = open_store(self.root)
        if not is_publication(store):
            return self._verify_dataset(Dataset(store))
        files = self._verify_files(store)
        if "dataset.json" not in store.names(""):
            return files
        columns = self._verify_dataset(Dataset(store))
        return Summary(
            f"{files.line}\n{columns.line}", {**files.record, **columns.record}, files.problems + columns.problems
        )

    def _verify_files(self, store: Store) -> Summary:
        try:
            stage = plan_check(store)
            problems = check_lists(store)
        except IncompleteError as error:
            return Summary("verify: not a whole publication", {"command": "verify", "files": 0}, (str(error),))
        groups = range(len(stage.groups))
        shards = sum(path.endswith(".tar") for group in stage.groups for path, _ in group)
        with show_progress("verify", len(groups), len(groups)) as progress:
            result = run(stage, groups, self.engine.for_reading(shards), self.engine.workers, progress)
        problems += [line for made in result.made.values() for line in made.errors]
        problems += [
            f"{stage.groups[group][0][0]} could not be read: {why}" for group, why in result.quarantined.items()
        ]
        files = sum(map(len, stage.groups))
        line = f"verify: {number_of(files, 'file')} of the publication, {number_of(len(problems), 'problem')}"
        return Summary(line, {"command": "verify", "files": files}, tuple(sorted(problems)))

    def _verify_dataset(self, dataset: Dataset) -> Summary:
        stage = plan_verify(dataset)
        with show_progress("verify", len(dataset.shards), len(dataset.shards)) as progress:
            engine = self.engine.for_reading(len(dataset.shards))
            result = run(stage, dataset.shards, engine, self.engine.workers, progress)
        problems = [*verify_plan(dataset), *verify_tables(dataset), *verify_columns(dataset)]
        problems += verify_roll_ups(dataset, result.made)
        problems += verify_index(dataset)
        for made in result.made.values():
            problems += made.errors
        problems += [f"shard {shard:06d} could not be read: {why}" for shard, why in result.quarantined.items()]
        samples = dict(result.samples)
        older = count_older(result.made.values())
        counted = {"shard": dataset.shards, "column": stage.columns, "problem": problems}
        line = f"verify: {', '.join(number_of(len(all_), noun) for noun, all_ in counted.items())}"
        if older:
            shards = number_of(older, "images shard")
            line += (
                f"; only keys and drops were compared for {shards} of an earlier version, whose receipts lack the "
                "sha256 of rows.parquet"
            )
        record = {
            "command": "verify",
            "shards": len(dataset.shards),
            "columns": stage.columns,
            "samples": samples,
            "older": older,
        }
        return Summary("\n".join([*describe_repairs(dataset, problems), line]), record, tuple(sorted(problems)))

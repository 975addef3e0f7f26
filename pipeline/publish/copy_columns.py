"""The layout `columns`: the columns as they are, as a dataset that our own stream and `verify` read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.erased_plan import read_record, record_path
from t2i_shards.pipeline.dataset.exclusion import licence_name
from t2i_shards.pipeline.dataset.left_out import list_counts_of_plans
from t2i_shards.pipeline.dataset.left_out_files import read_counts
from t2i_shards.pipeline.dataset.mark_tables import duplicates_path
from t2i_shards.pipeline.dataset.outcomes import rows_path
from t2i_shards.pipeline.dataset.plan import Segment, plan_path, supplement_path
from t2i_shards.pipeline.dataset.tombstones import read_tombstones
from t2i_shards.pipeline.errors import DamagedShard, IncompleteError, RequestError
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.publish.config import Publication
from t2i_shards.pipeline.publish.finish import find_edited
from t2i_shards.pipeline.publish.index import Entry, dali_index, read_dali_index, scan, wids_index
from t2i_shards.pipeline.publish.kept import keep_receipt, keep_samples, published_description
from t2i_shards.pipeline.publish.manifest import Line
from t2i_shards.pipeline.publish.plan import CLAIM, Plan
from t2i_shards.pipeline.publish.signature import (
    ShardFiles,
    check_shards,
    check_signature,
    hash_files,
    list_sizes,
    replace_draft,
    sign,
)
from t2i_shards.pipeline.publish.survey import MEMBER, load_keyed
from t2i_shards.pipeline.shards.commit import Extra, commit, create_same, load_receipt, receipt_path, tar_path
from t2i_shards.pipeline.shards.read import check_bytes, load_tar
from t2i_shards.pipeline.shards.receipt import Receipt, check_keys, shard_name, to_json
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.sample_info import read_info
from t2i_shards.pipeline.shards.store import Store
from t2i_shards.pipeline.shards.tar import TarError, read_samples
from t2i_shards.pipeline.stages.stage import Stage, StageResult
from t2i_shards.pipeline.stages.verify import plan_verify, verify_plan, verify_tables
from t2i_shards.pipeline.stream import open_stream


def index_path(column: str, shard: int) -> str:
    """images/000012.idx"""
    return f"{column}/{shard_name(shard)}.idx"


def wids_path(column: str) -> str:
    """wids-images.json"""
    return f"wids-{column}.json"


@dataclass(frozen=True)
class CopyResult(StageResult):
    """licences: of the shard's pictures, name -> samples."""

    licences: Mapping[str, int] = field(default_factory=dict)


@dataclass
class CopyColumns(Stage):
    """Stage: copies a shard of every column with DALI's index of it, its receipt last.

    recipe: the digest of the images' recipe there. samples_only: whether rows that became no sample stay here.
    """

    dataset: Dataset
    to: Store
    columns: Sequence[str]
    recipe: str
    samples_only: bool

    def __call__(self, shard: int) -> CopyResult:
        copied = {column: self._copy(column, shard) for column in self.columns}
        licences = count_licences(copied[IMAGES][1])
        return CopyResult({column: receipt for column, (receipt, _) in copied.items()}, licences=licences)

    def _copy(self, column: str, shard: int) -> tuple[Receipt, Iterable[Sample]]:
        """The receipt of the copy, and the samples of images."""
        receipt = load_receipt(self.dataset.store, column, shard)
        assert receipt is not None, "every column was whole"
        data = load_tar(self.dataset.store, receipt)
        extra: Extra = {index_path(column, shard): dali_index(scan_verified(data, receipt))}
        if column == IMAGES:
            receipt, tables = self._rows(receipt)
            extra = {**extra, **tables}
        # These very bytes: read again from far away they might be others.
        copied = commit(self.to, bytes(data), receipt, extra)
        if copied != receipt:
            raise DamagedShard(
                f"{receipt_path(column, shard)} is there with other bytes than are made now; delete it"
            )
        return copied, read_samples(data) if column == IMAGES else ()

    def _rows(self, images: Receipt) -> tuple[Receipt, Extra]:
        """The receipt that images have there, and the plan and rows that go with them."""
        paths = [plan_path(images.shard), rows_path(images.shard)]
        images = replace(images, recipe=self.recipe)
        if not self.samples_only:
            if read_record(
                self.dataset.store, paths[0]
            ):  # without it, a plan of which rows were erased is damaged
                paths.append(record_path(paths[0]))
            return images, {path: bytes(self.dataset.store.load(path)) for path in paths}
        tables = keep_samples(self.dataset, images.shard)
        return keep_receipt(images, tables[1]), dict(zip(paths, tables, strict=True))


def scan_verified(data: memoryview, receipt: Receipt) -> list[Entry]:
    """Where the samples of a shard lie, after size, sha256, number and keys were compared. Raises DamagedShard."""
    check_bytes(data, receipt)
    path = tar_path(receipt.column, receipt.shard)
    try:
        entries = scan(data)
    except TarError as error:
        raise DamagedShard(f"{path}: {error}") from None
    check_keys(path, [entry.key for entry in entries], receipt.samples, receipt.keys)
    for entry in entries:
        if wrong := [member.name for member in entry.members if not MEMBER.fullmatch(member.name)]:
            raise DamagedShard(f"{path}: {entry.key} has the member {wrong[0]!r}, no name for one")
    return entries


def count_licences(images: Iterable[Sample]) -> Counter[str]:
    """name -> samples. Raises DamagedShard."""
    return Counter(licence_name(read_info(sample)) for sample in images)


def sum_licences(plan: Plan, made: Mapping[int, StageResult]) -> dict[str, int]:
    """The licences of all pictures. made: what this run copied; the shards of earlier runs are read again."""
    found = Counter[str]()
    for shard in plan.dataset.shards:
        copied = made.get(shard)
        if isinstance(copied, CopyResult):
            found.update(copied.licences)
        elif (receipt := load_receipt(plan.to, IMAGES, shard)) is not None:
            found.update(count_licences(load_keyed(plan.to, receipt)))
    return dict(sorted(found.items()))


def read_members(plan: Plan) -> dict[str, tuple[str, ...]]:
    """column -> the members of its samples, as the first shard's index at the new place has them."""
    members = {}
    for column in plan.columns:
        shard = next((s for s, receipt in sorted(plan.receipts[column].items()) if receipt.samples), None)
        path = "" if shard is None else index_path(column, shard)
        entries = read_dali_index(plan.to.load(path), path) if path else []
        members[column] = tuple(member.name for entry in entries[:1] for member in entry.members)
    return members


def check_columns(dataset: Dataset, asked: Publication) -> None:
    """RequestError for what can only be done where shards are made again."""
    removed = sum(map(len, read_tombstones(dataset).values()))
    if dataset.description.is_crawl and not asked.with_images:
        raise RequestError("--layout columns publishes the pictures of a crawl only when asked --with-images")
    for name, wrong in (
        ("--licenses", bool(asked.licenses)),
        ("--no-duplicates", not asked.duplicates),
        ("--splits", len(asked.shares()) > 1),
        (f"the removal of {number_of(removed, 'sample')}", bool(removed)),
    ):
        if wrong:
            raise RequestError(f"--layout columns publishes shards as they are; {name} needs --layout packed")


def finish_columns(plan: Plan, segments: Sequence[Segment], card: Mapping[str, bytes]) -> tuple[Line, ...]:
    """Make the copy a dataset, verify every byte of it, and sign it.

    segments: as the copy has them. card: what describes it, path -> bytes.
    """
    dataset, to = plan.dataset, plan.to
    for column in plan.columns[1:]:
        create_same(to, f"{column}/column.json", to_json(dataset.recipe(column)))
    for path in list_marks(plan):
        copy_file(dataset.store, to, path)
    for path, counts in list_counts_of_plans(dataset.store).items():
        if (there := read_counts(to, path)) not in counts or not there:  # that of an older plan stays
            create_same(to, path, to_json(counts[0]))
    for number, segment in enumerate(segments[1:], 1):
        # Earlier versions did not count the samples of retries as planned.
        create_same(to, supplement_path(number), segment.encode(), older=replace(segment, new=0).encode())
    lines = _lines(plan)
    described = {wids_path(column): _wids(column, lines) for column in plan.columns}
    edited = find_edited(to, card.keys())
    described |= {path: data for path, data in card.items() if path not in edited}
    for path, data in described.items():
        replace_draft(to, path, data)
    create_same(to, "dataset.json", published_description(plan, segments[0]).encode())
    _read_back(plan)
    small = {path for files in shard_files(plan) for path in (files.receipt, *files.others)}
    small |= {*needed_files(plan), *described}
    digests = {plan.place(path): digest for path, digest in hash_files(to, small).items()}
    sums = {**digests, **{line.name: line.sha256 for line in lines}}
    sign(to, b"".join(line.encode() for line in lines), sums, lambda: True)
    return lines


def shard_files(plan: Plan) -> list[ShardFiles]:
    """Of each shard of each column. The rows and the plan belong to images."""
    planned = set() if plan.samples_only else {f"plan/{name}" for name in plan.to.names("plan")}

    def belonging(shard: int) -> list[str]:
        record = record_path(plan_path(shard))
        return [rows_path(shard), plan_path(shard), *([record] if record in planned else [])]

    return [
        ShardFiles(
            receipt_path(column, shard),
            tar_path(column, shard),
            receipt.bytes,
            (index_path(column, shard), *(belonging(shard) if column == IMAGES else [])),
        )
        for column in plan.columns
        for shard, receipt in plan.receipts[column].items()
    ]


def list_marks(plan: Plan) -> list[str]:
    """The table of duplicates, which goes along as it is, if there is one."""
    marks = duplicates_path(plan.receipts[IMAGES])
    return [marks] if marks in list_sizes(plan.dataset.store, [marks]) else []


def needed_files(plan: Plan) -> list[str]:
    """What opens the copy as a dataset, and says what it is: all of it is signed."""
    recipes = [f"{column}/column.json" for column in plan.columns[1:]]
    later = [supplement_path(number) for number in range(1, len(plan.dataset.segments))]
    counts = list_counts_of_plans(plan.dataset.store)
    return [CLAIM, "dataset.json", *recipes, *counts, *list_marks(plan), *later]


def check_copied(plan: Plan) -> bool:
    """Whether all shards are there and signed. What a listing shows to be damaged is deleted."""
    done = {f"{column}/{name}" for column in plan.columns for name in plan.to.names(column)}
    files = shard_files(plan)
    if not check_shards(plan.to, [of for of in files if of.receipt in done], len(files)):
        return False
    needed = [plan.place(path) for path in needed_files(plan)]
    return check_signature(plan.to, {line.name: line.sha256 for line in _lines(plan)}, needed)


def _lines(plan: Plan) -> tuple[Line, ...]:
    """A line for each shard of each column."""
    return tuple(
        Line(plan.place(tar_path(column, shard)), column, receipt.samples, receipt.bytes, receipt.sha256, ())
        for column in plan.columns
        for shard, receipt in sorted(plan.receipts[column].items())
    )


def _wids(column: str, lines: Sequence[Line]) -> bytes:
    shards = [(line.name, line.samples, line.bytes) for line in lines if line.split == column and line.samples]
    return wids_index(column, shards)


def _read_back(plan: Plan) -> None:
    there = Dataset(plan.to)
    stage = plan_verify(there)
    problems = [
        *verify_plan(there),
        *verify_tables(there),
        *(line for shard in there.shards for line in stage(shard).errors),
    ]
    if problems:
        raise IncompleteError(f"{plan.to.root} is not what was published: {problems[0]}")
    stream = open_stream(plan.to.root, plan.columns[1:], cache_bytes=0)
    if not len(stream):
        raise IncompleteError(f"{plan.to.root} has no samples")


def copy_file(source: Store, to: Store, path: str) -> None:
    """Copy a file, or find it with the same bytes."""
    create_same(to, path, bytes(source.load(path)))

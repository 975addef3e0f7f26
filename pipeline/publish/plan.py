"""What a publication will hold: which columns, under which claim, chosen how. Writes nothing but the claim."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from t2i_shards.extractors.records import BadRecord, Count, Positive, convert_record, decode_record
from t2i_shards.pipeline.dataset.columns import whole_column
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.dataset.duplicates import group_duplicates, mark_duplicates
from t2i_shards.pipeline.dataset.exclusion import Exclusion
from t2i_shards.pipeline.dataset.provenance import choose_published, read_provenance, sort_columns, without_paths
from t2i_shards.pipeline.dataset.tombstones import count_tombstone_tables, read_tombstones, settle
from t2i_shards.pipeline.errors import DamagedShard, IncompleteError, RequestError
from t2i_shards.pipeline.image.geometry import Geometry
from t2i_shards.pipeline.plain import list_counts
from t2i_shards.pipeline.publish.assignment import Choice
from t2i_shards.pipeline.publish.config import OPTIONAL, Publication, order_shares
from t2i_shards.pipeline.publish.pack import DALI, PICTURE, RECEIPTS, Pack, dali_folder
from t2i_shards.pipeline.publish.survey import Survey, SurveyResult, refuse_collisions, refuse_problems
from t2i_shards.pipeline.remedy import tell_damage
from t2i_shards.pipeline.shards.receipt import FORMAT, digest_json, to_json
from t2i_shards.pipeline.shards.receipt_table import ReceiptTable, digest_receipts
from t2i_shards.pipeline.shards.spread_store import SpreadStore, spread_path
from t2i_shards.pipeline.shards.store import Store

log = logging.getLogger(__name__)

CLAIM = "publish.json"
MANIFEST = "manifest.jsonl"
SUMS = "SHA256SUMS"
"""The last file of a publication, and the only sign that it is whole."""
MOST_TOGETHER = 2_500
"""Shards of a copy whose columns have a folder each: four files of images, of 10,000 that the Hub takes."""
SPREAD = 1_000
"""Shards in a folder of a copy of more."""


@dataclass(frozen=True)
class Claim:
    """What is read of a publish.json, whichever version wrote it; the rest of it is only compared."""

    source: Mapping[str, Any] = field(default_factory=dict)
    geometry: Geometry | None = None
    columns: Mapping[str, str] | None = None
    pictures: bool | None = None
    layout: str | None = None
    stones: Count | None = None
    dali: str | None = None
    spread: Positive | None = None


@dataclass(frozen=True)
class Plan:
    """columns: images first. shares: split -> its share, in the order that decides which sample goes where.
    receipts: column -> shard. claim: what publish.json says. tombstones: how many tables of them count in the
    choice; samples that were removed later leave their places empty.
    """

    dataset: Dataset
    to: Store
    asked: Publication
    columns: tuple[str, ...]
    shares: Mapping[str, float]
    receipts: Mapping[str, ReceiptTable]
    claim: Mapping[str, Any]
    tombstones: int

    @property
    def pictures(self) -> bool:
        return bool(self.claim["pictures"])

    @property
    def samples_only(self) -> bool:
        """Whether a copy of the columns leaves out the rows that became no sample, as earlier ones do not."""
        return "rows" in self.claim

    @property
    def spread(self) -> int | None:
        """How many shards a folder of the copy holds, where its columns are divided into several."""
        spread: int | None = self.claim.get("spread")
        return spread

    def place(self, path: str) -> str:
        """Where a file of the publication is, as others name it."""
        return spread_path(path, self.spread) if self.spread else path

    @property
    def recipe(self) -> str:
        """The digest that the receipts of all published shards carry."""
        return digest_json(self.claim)

    def survey(self) -> Survey:
        """The stage that looks at every sample."""
        marked = len(self.shares) > 1 or not self.asked.duplicates
        groups = group_duplicates(mark_duplicates(self.dataset)) if marked else {}
        removed = read_tombstones(self.dataset, last=self.tombstones)
        left_out = {} if self.asked.duplicates else groups
        exclusion = Exclusion(self.columns, removed, left_out, self.asked.licenses)
        return Survey(self.dataset, exclusion, self.shares, groups)

    def count_left_out(self, choice: Choice) -> dict[str, int]:
        """reason -> samples that are left out for it."""
        return choice.left_out(Exclusion(self.columns).reasons)

    def choose(self, surveyed: Mapping[int, SurveyResult]) -> Choice:
        """Which samples go where. RequestError for what cannot be published."""
        refuse_problems(surveyed)
        self._check_members(surveyed)
        refuse_collisions(self.dataset, surveyed)
        assignments = {shard: surveyed[shard].assignment for shard in self.dataset.shards}
        choice = Choice(assignments, list(self.shares), self.asked.shard_size, dali_folder(self.claim))
        if not choice.targets:
            lost = list_counts(self.count_left_out(choice))
            raise RequestError(
                f"{self.dataset.store.root}: no sample is left to publish ({lost or 'it has none'})"
            )
        return choice

    def _check_members(self, surveyed: Mapping[int, SurveyResult]) -> None:
        whose: dict[str, str] = {}
        for column in self.columns:
            found = {look.members[column] for look in surveyed.values() if column in look.members}
            if len(found) > 1:
                lists = " and ".join(sorted(", ".join(members) for members in found))
                raise RequestError(f"{column}: some shards hold {lists}; every sample must have the same members")
            for member in next(iter(found), ()):
                if whose.setdefault(member, column) != column:
                    raise RequestError(
                        f"{whose[member]} and {column} both hold {member}; publish one of them with --columns"
                    )

    def members(self, surveyed: Mapping[int, SurveyResult]) -> list[str]:
        """The members of every published sample, in their order."""
        found = [
            member
            for column in self.columns
            for member in next((look.members[column] for look in surveyed.values() if column in look.members), ())
        ]
        return [member for member in found if self.pictures or member != PICTURE]

    def pack(self, choice: Choice, gone: Mapping[int, Collection[str]]) -> Pack:
        """The stage that makes the shards. gone: shard of the dataset -> keys whose places stay empty."""
        return Pack(self.dataset, self.to, choice, self.columns, self.pictures, self.recipe, gone)

    def left(self, choice: Choice) -> list[int]:
        """The numbers of the targets that have no receipt yet: one listing, nothing is read."""
        done = set(self.to.names(RECEIPTS))
        return [i for i, target in enumerate(choice.targets) if f"{target.name}.json" not in done]

    def begin(self) -> None:
        """Claim the place. RequestError when another publication, or something else, is there."""
        begun = read_claim(self.to)
        if begun is None:
            strangers = [name for name in self.to.names("") if name != CLAIM]
            if strangers:
                raise RequestError(
                    f"{self.to.root} must be empty or hold this publication; it holds {strangers[0]}"
                )
            self.to.create_bytes(CLAIM, to_json(self.claim))
            begun = read_claim(self.to)
        refuse_difference(self.to.root, begun or {}, self.claim)
        self.settle(self.tombstones)

    def settle(self, tables: int) -> None:
        """Note in the dataset that this publication has left out what these tables removed.

        A dataset that may only be read is published all the same; the publication keeps to what it left out.
        """
        try:
            settle(self.dataset.store, tables)
        except (RequestError, IncompleteError, OSError) as error:
            log.warning("remove --undo will not know of this publication: %s", error)


def plan_publish(dataset: Dataset, asked: Publication, to: Store) -> Plan:
    """The plan of a publication, or of the rest of one that was begun at `to`.

    Raises RequestError for a column that is not there or lacks a shard, DamagedShard for one that was made from
    other pictures.
    """
    columns = choose_columns(dataset, asked.columns)
    images = whole_column(dataset, IMAGES)
    receipts = {c: images if c == IMAGES else whole_column(dataset, c, images=images) for c in columns}
    begun = read_claim(to)
    if begun is None:
        asked.check_split_names()
    stones = begun.get("stones") if begun else None
    stones = stones if isinstance(stones, int) else count_tombstone_tables(dataset.store)
    description = dataset.description
    shares = asked.shares()
    # Earlier versions kept no order in the claim, and dealt samples out in the order that was given.
    unordered = begun is not None and isinstance(begun.get("splits"), Mapping)
    if not unordered:
        shares = order_shares(shares)
    claim = {
        "format": FORMAT,
        "source": without_paths(description.source),
        "geometry": dict(description.geometry),
        "columns": {column: digest_receipts(receipts[column]) for column in columns},
        "pictures": asked.with_images or not description.is_crawl,
        "stones": stones,
        **_describe(asked),
        "licenses": _list_licences(asked.licenses),
        "splits": shares if unordered else list(shares.items()),
    }
    if asked.layout == "columns" and (begun is None or "rows" in begun):
        claim["rows"] = "samples"
    if asked.layout == "columns" and (spread := _choose_spread(begun, len(dataset.shards))):
        claim["spread"] = spread
        to = SpreadStore(to, spread)
    if asked.layout == "packed" and (begun is None or DALI in begun):
        claim[DALI] = DALI
    # As it comes back from JSON, so that the two can be compared.
    return Plan(dataset, to, asked, tuple(columns), shares, receipts, json.loads(to_json(claim)), stones)


def _list_licences(asked: Collection[str]) -> list[int | str]:
    """COCO's ids as numbers, as earlier versions wrote them, then the names."""
    names = set(map(str, asked))
    return [
        *sorted(int(name) for name in names if name.isdecimal()),
        *sorted(n for n in names if not n.isdecimal()),
    ]


def _describe(asked: Publication) -> dict[str, Any]:
    """The options as the claim has them; it says in its own way which columns, and whether with pictures."""
    options = asdict(asked)
    unsaid = {"columns", "with_images", *(name for name in OPTIONAL if not options[name])}
    return {name: value for name, value in options.items() if name not in unsaid}


def _choose_spread(begun: Mapping[str, Any] | None, shards: int) -> int | None:
    """Shards in a folder. A copy that was begun continues as it is."""
    if begun is not None:
        spread: int | None = begun.get("spread")
        return spread
    return SPREAD if shards > MOST_TOGETHER else None


def choose_columns(dataset: Dataset, asked: Sequence[str]) -> list[str]:
    """images, then the asked columns, or those that hold a condition; as the conditions are listed.

    Latents, which belong to one base network, are published only when named.
    """
    known = dataset.columns()
    for name in asked:
        if name not in known:
            raise dataset.no_column(name)
    return choose_published(sort_columns(read_provenance(dataset, name) for name in known), asked)


def read_claim(to: Store) -> Mapping[str, Any] | None:
    """What publish.json says; None when nothing was published there."""
    try:
        claim = decode_record(to.load(CLAIM), dict[str, Any])
        convert_record(claim, Claim)
    except FileNotFoundError:
        return None
    except BadRecord as error:
        raise DamagedShard(tell_damage(f"{to.root}/{CLAIM}", str(error))) from None
    return claim


def refuse_difference(root: str, had: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """RequestError that names the first entry in which two claims differ."""
    for name in sorted(had.keys() | wanted.keys()):
        if had.get(name) != wanted.get(name):
            raise RequestError(
                f"{root} was published with {name} {_short(had.get(name))}, this asks for "
                f"{_short(wanted.get(name))}; ask for the same, or use another --to"
            )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 200 else f"{text[:200]}…"

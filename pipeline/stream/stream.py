"""The stream: verified samples at the positions of an endless sequence, the same for every world."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from typing import Any

from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.shards.receipt import digest_json
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stream.block import BlockReader, Make, T
from t2i_shards.pipeline.stream.lanes import Lanes
from t2i_shards.pipeline.stream.order import Block, Order, SampleIndex
from t2i_shards.pipeline.stream.shards import ShardPrefetcher, ShardSource
from t2i_shards.pipeline.stream.share import check_ranks, read_share
from t2i_shards.pipeline.stream.verified import OpenedShard

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOut:
    """What a stream lacks of a dataset. root: where it lay. data: digest of its pictures, wherever they lie.

    samples: (shard, key) of each, in order.
    """

    root: str
    data: str
    samples: tuple[tuple[int, str], ...] = ()


@dataclass
class _OpenBlock:
    """A lane's block. following: shards of the lane's next block, once they are begun."""

    reader: BlockReader
    following: AbstractSet[int] = frozenset()


class Stream:
    """Samples that hold the members of all asked columns. Made by `open_stream`; can be pickled.

    Position p is sample p % len of epoch p // len. digest: of the receipts, so of every byte that can be handed
    out, and of what the order depends on apart from the seed. skip_damaged: so many shards may be skipped.
    short_side: of the pictures, in pixels, where they all have the same.
    """

    def __init__(
        self, shards: ShardSource, order: Order, skip_damaged: int = 0, short_side: int | None = None
    ) -> None:
        self._shards, self._order, self._quota = shards, order, skip_damaged
        self.short_side = short_side
        self._skipped = set[int]()
        self._blocks: dict[int, tuple[Block, ...]] = {}
        self._held_out: tuple[tuple[int, str], ...] = ()
        described = order.describe()
        self.digest = digest_json({"shards": shards.digest, **described}) if described else shards.digest

    def __len__(self) -> int:
        return len(self._order)

    @property
    def data(self) -> str:
        """The digest of the dataset's pictures."""
        return self._shards.data

    @property
    def removed(self) -> int:
        """Samples that have a place in the order but were removed since: the next of the block is handed out."""
        return sum(map(len, self._shards.removed.values()))

    @property
    def held_out(self) -> tuple[HeldOut, ...]:
        """Those that `hold_out` has held out and read, by dataset."""
        return (HeldOut(self._shards.root, self.data, self._held_out),)

    @property
    def lanes(self) -> Lanes:
        """What is divided among readers."""
        return self._order.lanes

    @property
    def batch(self) -> int:
        """Positions that belong together: t * batch, … (t + 1) * batch - 1 have one shape; 1 without buckets."""
        return self._order.batch

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_blocks": {}}

    def take(self, positions: Iterable[int], make: Make[T]) -> Generator[tuple[int, T], None, None]:
        """(position, make(sample, epoch, shape)) of each position; they ascend, and may leave others out.

        A position whose sample makes `make` raise, or lies in a skipped shard, gets the next good one of its
        block; see `BlockReader`. No sample of a block is handed out before all bytes of all its shards agree with
        their receipts; the next block's are verified ahead. Positions are asked for one by one.
        Raises DamagedShard for a shard that is damaged or gone, once `skip_damaged` of them were skipped;
        BrokenStage after 100 bad samples in a row; and what `make` raises of pipeline.errors.
        """
        # A caller that says where it ends has nothing opened for what comes after.
        end = positions[-1] if isinstance(positions, Sequence) and positions else math.inf
        lanes = self._order.lanes
        open_blocks: dict[int, _OpenBlock] = {}
        with ShardPrefetcher(self._shards.open) as prefetcher:
            for position in positions:
                lane, index = lanes.locate(position)
                if lane not in open_blocks or not open_blocks[lane].reader.block.holds(lane, index):
                    open_blocks[lane] = self._read(prefetcher, self.block(position), open_blocks)
                current = open_blocks[lane]
                block = current.reader.block
                following = lanes.position(lane, block.stop)
                if not current.following and following <= end and index >= (block.first + block.stop) / 2:
                    current.following = self._left(self.block(following).shards)
                    prefetcher.begin(sorted(current.following))
                yield position, current.reader.make(index, make)

    def samples(self, epoch: int, start: int = 0, *, rank: int = 0, ranks: int | None = None) -> Iterator[Sample]:
        """The samples of an epoch from its position `start` on. Raises DamagedShard.

        Of `ranks` processes each is given its own; without `ranks` RequestError is raised in one of several. The
        workers of a torch DataLoader divide these among themselves, batch by batch where there are buckets. So
        every sample comes once, whatever the numbers of ranks and workers.
        """
        return read_share(self, epoch, start, rank, check_ranks(rank, ranks))

    def hold_out(self, count: int) -> tuple[Stream, list[Sample]]:
        """A stream without the first `count` samples of epoch 0, lane after lane, and these samples.

        Which they are depends on the order alone: those that were removed, and those of a skipped shard, are
        held out unseen.
        """
        samples = list(islice(self._first_samples(), max(0, count)))
        order = self._order.without(frozenset(samples))
        if count < 0 or len(order) == 0:
            raise RequestError(f"of {len(self)} samples some must be left, and {count} are to be held out")
        with ShardPrefetcher(self._shards.open) as prefetcher:
            opened = self._open(prefetcher, {shard for shard, _ in samples})
            here = [(shard, index) for shard, index in samples if shard in opened and opened[shard].has(index)]
            found = [(shard, opened[shard][index]) for shard, index in here]
        stream = Stream(self._shards, order, self._quota, self.short_side)
        stream._skipped |= self._skipped
        stream._held_out = (*self._held_out, *((shard, sample.key) for shard, sample in found))
        return stream, [sample for _, sample in found]

    def find(self, wanted: Sequence[tuple[int, str]]) -> list[Sample]:
        """The samples with these shards and keys, in this order; without those that are not handed out."""
        with ShardPrefetcher(self._shards.open) as prefetcher:
            opened = self._open(prefetcher, {shard for shard, _ in wanted})
            found = {(shard, key): index for shard in opened for index, key in enumerate(opened[shard].keys)}
            here = [(opened[of[0]], found[of]) for of in wanted if of in found]
            return [samples[index] for samples, index in here if samples.has(index)]

    def block(self, position: int) -> Block:
        """The block that holds the position."""
        lane, index = self._order.lanes.locate(position)
        blocks = self._blocks.get(lane, ())
        for block in blocks:
            if block.holds(lane, index):
                return block
        block = self._order.block(position)
        self._blocks[lane] = (block, *blocks[:1])
        return block

    def _first_samples(self) -> Iterator[SampleIndex]:
        """Those of epoch 0. One lane after the other, so that a few of them are in a few shards."""
        lanes = self._order.lanes
        for lane in range(len(lanes)):
            index = 0
            while (position := lanes.position(lane, index)) < len(self):
                samples = self.block(position).samples
                yield from samples
                index += len(samples)

    def _left(self, shards: set[int]) -> set[int]:
        return shards - self._skipped

    def _read(self, prefetcher: ShardPrefetcher, block: Block, others: Mapping[int, _OpenBlock]) -> _OpenBlock:
        """The block, in place of its lane's last one. others: by lane, whose shards stay open."""
        kept = [of.reader.block.shards | of.following for lane, of in others.items() if lane != block.lane]
        return _OpenBlock(BlockReader(block, self._open(prefetcher, block.shards, set().union(*kept))))

    def _open(
        self, prefetcher: ShardPrefetcher, shards: set[int], others: AbstractSet[int] = frozenset()
    ) -> dict[int, OpenedShard]:
        """The samples by shard, without the shards that are skipped. others: stay open."""
        shards = self._left(shards)
        prefetcher.turn_to(shards, others)
        opened: dict[int, OpenedShard] = {}
        for shard in sorted(shards):
            try:
                opened[shard] = prefetcher.get(shard)
            except DamagedShard as error:
                self._skip(shard, error)
        return opened

    def _skip(self, shard: int, error: DamagedShard) -> None:
        if len(self._skipped) >= self._quota:
            if not self._quota:
                raise error
            raise DamagedShard(
                f"{error}; {number_of(self._quota, 'damaged shard')} skipped, and no more may be skipped"
            ) from None
        self._skipped.add(shard)
        log.warning("a damaged shard is skipped, %d of at most %d: %s", len(self._skipped), self._quota, error)

"""Reading a block: what a position gives, and what replaces a sample that cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import TypeVar

from t2i_shards.pipeline.errors import BrokenStage, IncompleteError, RequestError, describe_error
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.stages.stage import IN_A_ROW
from t2i_shards.pipeline.stream.order import Block, Shape
from t2i_shards.pipeline.stream.verified import OpenedShard

log = logging.getLogger(__name__)

T = TypeVar("T")
Make = Callable[[Sample, int, Shape | None], T]
"""What becomes of a sample at its visit in an epoch.

The last argument is (width, height) of all pictures of the position's batch; None where they may differ.
"""


class BlockReader:
    """A block whose shards are open. opened: the samples by shard; a shard that was skipped is not among them.

    A position whose sample was removed or cannot be used gets the next one of the block that can, wrapping round:
    of the same shape where batches have one. That depends on nothing but the block, so every world gives the same.
    """

    def __init__(self, block: Block, opened: Mapping[int, OpenedShard]) -> None:
        self.block = block
        self._opened = opened
        self._failed: dict[int, str] = {}

    def make(self, index: int, make: Make[T]) -> T:
        """What `make` makes for the position with this index in the block's lane.

        Raises BrokenStage after 100 bad ones in a row, or when all are.
        """
        own = index - self.block.first
        for tries, offset in enumerate(self._candidates(own)):
            if tries == IN_A_ROW:
                raise BrokenStage(
                    f"{IN_A_ROW} samples in a row could not be used, so not the samples are at fault; the last: "
                    + self._last()
                )
            if offset in self._failed:
                continue
            try:
                return make(self._sample(offset), self.block.epoch, self.block.shape(index))
            except (IncompleteError, RequestError, MemoryError):
                raise  # of the run, not of the sample; another world's process may have more memory
            except Exception as error:
                self._failed[offset] = f"{self._key(offset)}: {describe_error(error)}"
                log.warning("a sample could not be used, another replaces it: %s", self._failed[offset])
        if self._failed:
            why = f"; the last: {self._last()}"
        else:
            why = ": all were removed" if self._opened else ": all its shards were skipped"
        raise BrokenStage(f"no sample of a block of {len(self.block.samples)} could be used{why}")

    def _candidates(self, own: int) -> Iterator[int]:
        """The offset itself, if its sample is there, and then those that may replace it."""
        samples, shapes = self.block.samples, self.block.shapes
        for offset in chain(range(own, len(samples)), range(own)):
            shard, index = samples[offset]
            alike = shapes is None or shapes[offset] == shapes[own]
            if alike and shard in self._opened and self._opened[shard].has(index):
                yield offset

    def _sample(self, offset: int) -> Sample:
        shard, index = self.block.samples[offset]
        return self._opened[shard][index]

    def _key(self, offset: int) -> str:
        shard, index = self.block.samples[offset]
        return self._opened[shard].keys[index]

    def _last(self) -> str:
        return list(self._failed.values())[-1]

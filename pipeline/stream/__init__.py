"""The stream: verified shards of several columns, zipped, in an order that is a function of seed and epoch.

`open_stream` gives a `Stream`; `Stream.take` hands out the samples of any positions of an endless sequence.
"""

from t2i_shards.pipeline.stream.lanes import Lanes, choose_lanes, count_readers, divide_batch, find_better
from t2i_shards.pipeline.stream.mixture import Mixture, mix_streams
from t2i_shards.pipeline.stream.open import Extent, measure_extent, open_stream
from t2i_shards.pipeline.stream.order import BLOCK_SHARDS, permute
from t2i_shards.pipeline.stream.stream import HeldOut, Stream

__all__ = [
    "BLOCK_SHARDS",
    "Extent",
    "HeldOut",
    "Lanes",
    "Mixture",
    "Stream",
    "choose_lanes",
    "count_readers",
    "divide_batch",
    "find_better",
    "measure_extent",
    "mix_streams",
    "open_stream",
    "permute",
]

"""Tables of finished pieces of a dataset: one request tells what a thousand tables of rows say.

The files lie next to those of the index of names, and are made with them and named in the same way. rows.parquet,
of which they are made, stays the truth. Each can be deleted at any time.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from t2i_shards.pipeline.dataset.dataset import Dataset
from t2i_shards.pipeline.dataset.name_index import FOLDER, Piece
from t2i_shards.pipeline.errors import DamagedShard, describe_error
from t2i_shards.pipeline.shards.parquet import check_table, load_footer
from t2i_shards.pipeline.shards.receipt import shard_name
from t2i_shards.pipeline.shards.receipt_table import to_numbers
from t2i_shards.pipeline.shards.store import Store

log = logging.getLogger(__name__)

Tabulate = Callable[[Dataset, Iterable[int]], Iterator[tuple[int, pa.Table]]]
"""(shard, table) of each of these shards, from rows.parquet. Raises DamagedShard."""


@dataclass(frozen=True)
class PieceTables:
    """Files of one kind, of shards that have samples.

    kind: how their names begin, with a version, to be raised when what is stored changes. schema: has the column
    shard. together: shards in a row group. packed: with zstd; such a file is in memory whole while it is read.
    """

    kind: str
    schema: pa.Schema
    tabulate: Tabulate
    together: int = 1
    packed: bool = False

    def path(self, piece: Piece) -> str:
        """images/rollups/fingerprints-1-000000-000999.81bc….parquet"""
        first, last = shard_name(piece.shards[0]), shard_name(piece.shards[-1])
        return f"{FOLDER}/{self.kind}-{first}-{last}.{piece.state}.parquet"

    def list(self, store: Store) -> dict[Piece, str]:
        """The files that there are, of the present state and of earlier ones."""
        name = re.compile(self.kind + r"-(\d{6,})-(\d{6,})\.([0-9a-f]{64})\.parquet")
        matches = (name.fullmatch(found) for found in store.names_from(FOLDER, (f"{self.kind}-",)))
        return {Piece(range(int(m[1]), int(m[2]) + 1), m[3]): f"{FOLDER}/{m[0]}" for m in matches if m}

    def write(self, dataset: Dataset, piece: Piece) -> None:
        """Make the file of a piece, all of whose shards are done. Raises DamagedShard."""
        with dataset.store.scratch() as scratch:
            options = {
                "use_dictionary": False,
                "compression": "zstd" if self.packed else "none",
                "write_statistics": False,
                "write_page_checksum": True,
            }
            with pq.ParquetWriter(scratch / "table", self.schema, **options) as writer:
                tables = (table for _, table in self.tabulate(dataset, piece.shards) if len(table))
                while group := list(islice(tables, self.together)):
                    writer.write_table(pa.concat_tables(group))
            dataset.store.create(self.path(piece), scratch / "table")

    def read(self, store: Store, piece: Piece) -> Iterator[tuple[int, pa.Table]]:
        """(shard, table) of each shard that has samples. Raises DamagedShard, also after some of them."""
        path = self.path(piece)
        try:
            with store.open(path) as stream:
                load_footer(stream)
                if self.packed:
                    stream.seek(0)
                    check_table(stream.read())
                with pq.ParquetFile(stream, page_checksum_verification=True) as file:
                    for group in range(file.num_row_groups):
                        table = file.read_row_group(group, use_threads=False)
                        if table.schema != self.schema or table["shard"].null_count:
                            raise ValueError("not of these shards")
                        shards, firsts, counts = np.unique(to_numbers(table["shard"]), True, return_counts=True)
                        if not all(shard in piece.shards for shard in shards.tolist()):
                            raise ValueError("not of these shards")
                        for shard, first, count in zip(shards.tolist(), firsts, counts, strict=True):
                            yield shard, table.slice(first, count)
        except FileNotFoundError:
            raise DamagedShard(f"{path}: gone") from None
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DamagedShard(f"{path}: {describe_error(error)[:200]}") from None

    def read_all(
        self, dataset: Dataset, shards: range, pieces: Callable[[], Iterable[Piece]]
    ) -> Iterator[tuple[int, pa.Table]]:
        """(shard, table) of these shards in order, of which those without samples may be skipped: from the files
        of such of the pieces as have one, otherwise from rows.parquet. Raises DamagedShard."""
        there, next_shard = self.list(dataset.store), shards.start
        for piece in pieces() if there else ():
            if piece not in there:
                continue
            yield from self.tabulate(dataset, range(next_shard, piece.shards.start))
            next_shard = piece.shards.start
            try:
                for shard, table in self.read(dataset.store, piece):
                    yield shard, table
                    next_shard = shard + 1
            except DamagedShard as error:
                log.warning("the tables of its shards are read instead: %s", error)
                yield from self.tabulate(dataset, range(next_shard, piece.shards.stop))
            next_shard = piece.shards.stop
        yield from self.tabulate(dataset, range(next_shard, shards.stop))

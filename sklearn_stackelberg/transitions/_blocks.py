"""A table in parts: where they come from, and parts that hold whole episodes."""

from __future__ import annotations

import os
import sys
from collections.abc import Hashable, Iterable, Iterator, Sized
from typing import Any, Protocol, cast

import numpy as np

from ._ends import looks_like_an_end
from ._sources import check_known
from ._tables import (
    Frame,
    column_names,
    is_frame,
    stack,
    take_column,
    take_rows,
)

# Bytes of a table that are read at once, as float64, and the rows that this may be.
_BLOCK_BYTES, _FEWEST_ROWS, _MOST_ROWS = 2**24, 2**10, 2**18


class Blocks(Protocol):
    """A table in parts, such as one of a user's own."""

    def __len__(self) -> int: ...
    def read(self, i: int, /) -> Frame: ...


# Of a column of Parquet that are read at once.
_BUFFER_BYTES = 2**16

# Any: a dataset or a stream of Arrow, a Dask DataFrame, or DataFrames of any library.
Source = str | os.PathLike[str] | Blocks | Iterable[Frame] | Any


def read_blocks(source: Source, columns: list[Hashable]) -> Iterator[Frame]:
    """The parts of a table, in order, with these columns at least."""
    if isinstance(source, (str, os.PathLike)):
        source = open_dataset(os.fspath(source))
    if hasattr(source, "scanner") and hasattr(source, "schema"):
        yield from _scan(source, columns)
    elif hasattr(source, "npartitions") and hasattr(source, "get_partition"):
        for k in range(source.npartitions):
            yield source.get_partition(k).compute()
    elif isinstance(source, Sized) and hasattr(source, "read"):
        parts = cast(Blocks, source)
        for k in range(len(parts)):
            yield parts.read(k)
    elif hasattr(source, "__arrow_c_stream__") and not is_frame(source):
        import pyarrow as pa

        for batch in pa.RecordBatchReader.from_stream(source):
            yield pa.Table.from_batches([batch])
    elif isinstance(source, Iterable) and not is_frame(source):
        yield from cast(Iterable[Frame], source)
    else:
        raise TypeError(
            "The path of a Parquet file or of a folder of them, a dataset or a stream "
            "of Arrow, a Dask DataFrame, an iterable of DataFrames or an object with "
            f"len and read(i) was expected; got {type(source).__name__}. One table is "
            "read by Transitions.from_frame."
        )


def open_dataset(path: str) -> Any:
    """Parquet, in a file or in a folder of them."""
    try:
        import pyarrow.dataset as ds
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Reading Parquet in blocks needs pyarrow: python -m pip install pyarrow"
        ) from error
    return ds.dataset(path, partitioning="hive")


def _scan(dataset: Any, columns: list[Hashable]) -> Iterator[Frame]:
    import pyarrow as pa

    names = dataset.schema.names
    check_known(names, columns)
    # Ends that are not used are refused by their names.
    some = [n for n in names if n in columns or looks_like_an_end(n)]
    rows = _BLOCK_BYTES // (8 * len(some))
    at_once = min(max(rows, _FEWEST_ROWS), _MOST_ROWS)
    kind = getattr(dataset, "format", None)  # a union of datasets has none
    is_parquet = getattr(kind, "default_extname", "") == "parquet"
    # What was asked for of a dataset, such as a filter, its own scanner alone knows;
    # that reads up to a gigabyte ahead.
    if is_parquet and not getattr(dataset, "_scan_options", None):
        batches = _read_parquet(dataset, some, at_once)
    else:
        batches = dataset.to_batches(
            columns=some, batch_size=at_once, batch_readahead=1, fragment_readahead=1
        )
    held: list[Any] = []
    for batch in batches:
        held.append(batch)
        # Row groups may be small.
        if sum(map(len, held)) >= rows:
            yield pa.Table.from_batches(held)
            held = []
            release_unused()
    if held:
        yield pa.Table.from_batches(held)


def _read_parquet(dataset: Any, columns: list[str], at_once: int) -> Iterator[Any]:
    """Batches of all files, of which no more is read than the next one."""
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    schema = pa.schema([dataset.schema.field(name) for name in columns])
    for fragment in dataset.get_fragments():
        keys = ds.get_partition_keys(fragment.partition_expression)
        groups = [group.id for group in fragment.row_groups]
        # Else whole groups of rows are held.
        settings = {"pre_buffer": False, "buffer_size": _BUFFER_BYTES}
        with pq.ParquetFile(fragment.open(), **settings) as file:
            own = [name for name in columns if name in file.schema_arrow.names]
            for batch in file.iter_batches(at_once, groups, own):
                arrays = [
                    batch.column(field.name).cast(field.type)
                    if field.name in own
                    else pa.repeat(
                        pa.scalar(keys.get(field.name), field.type), len(batch)
                    )
                    for field in schema
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def release_unused() -> None:
    """Let go of what Arrow keeps for later, which may be more than what it uses."""
    # Of other sources it may not be there.
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()


def one_table(tables: list[Frame]) -> Frame:
    found = tables[0] if len(tables) == 1 else stack(tables)
    assert is_frame(found)
    return found


def whole_episodes(
    blocks: Iterable[Frame], episode: Hashable
) -> Iterator[tuple[int, Frame]]:
    """Parts that hold whole episodes: what a block leaves open goes into the next."""
    held: list[Frame] = []
    columns: list[Hashable] = []
    seen: set[Any] = set()
    k, reading = -1, iter(blocks)
    while True:
        k += 1
        try:
            block = next(reading, None)
        except Exception as error:
            # What Arrow cannot read is of a class of its own.
            if not isinstance(error, OSError) and "Arrow" not in type(error).__name__:
                raise
            raise OSError(f"Block {k} (from 0) could not be read: {error}") from error
        # Of what is no table `len` need not be.
        if block is not None and (not is_frame(block) or len(block)):
            columns = _refuse_other_columns(k, block, columns)
            held.append(block)
        if not held and block is None:
            return
        # Few rows say little of how a table is laid out, such as which way steps run.
        if block is not None and sum(map(len, held)) < _FEWEST_ROWS:
            continue
        table = one_table(held)
        names = np.asarray(take_column(table, episode))
        cut = len(names)
        if block is not None:
            # Of the last episode there may be more to come.
            different = np.flatnonzero(names != names[-1])
            cut = int(different[-1]) + 1 if len(different) else 0
        if cut:
            own = {*np.unique(names[:cut]).tolist()}
            if twice := seen & own:
                raise ValueError(
                    f"Episode {min(twice, key=str)!r} stands in block {k} (from 0) and "
                    "in one before it, with another in between. Rows of an episode "
                    "must stand together: sort the table by episode first."
                )
            seen |= own
            yield k, take_slice(table, slice(0, cut))
        if block is None:
            return
        held = [take_slice(table, slice(cut, len(names)))] if cut < len(names) else []


def _refuse_other_columns(
    k: int, block: object, first: list[Hashable]
) -> list[Hashable]:
    if not is_frame(block):
        raise TypeError(
            f"Block {k} (from 0) is a {type(block).__name__}; a DataFrame was expected."
        )
    columns = column_names(block)
    if first and {*columns} != {*first}:
        raise ValueError(
            f"Block {k} (from 0) has the columns {columns}, and the first block "
            f"{first}: give all blocks the same ones."
        )
    return first or columns


def take_slice(table: Frame, rows: slice) -> Frame:
    found = take_rows(table, rows)
    assert is_frame(found)
    return found

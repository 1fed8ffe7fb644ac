"""Logs that are read block by block, and whose states stay in a file."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Sized
from typing import Any, BinaryIO, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from .._stored_rows import StoredRows
from ._chains import NoTransitions
from ._ends import looks_like_an_end
from ._refusals import rows_text
from ._sources import check_known
from ._tables import (
    AnyArray,
    Frame,
    Index,
    Log,
    is_frame,
    shared_next_rows,
    stack,
    take_column,
    take_rows,
)
from ._words import refuse_words

L = TypeVar("L", bound=Log)

# Bytes of a table that are read at once, as float64, and the rows that this may be.
_BLOCK_BYTES, _FEWEST_ROWS, _MOST_ROWS = 2**25, 2**10, 2**18


class Blocks(Protocol):
    """A table in parts, such as one of a user's own."""

    def __len__(self) -> int: ...
    def read(self, i: int, /) -> Frame: ...


# Any: a dataset or a stream of Arrow, a Dask DataFrame, or DataFrames of any library.
Source = str | os.PathLike[str] | Blocks | Iterable[Frame] | Any


def read_blocks(source: Source, columns: list[Hashable]) -> Iterator[Frame]:
    """The parts of a table, in order, with these columns at least."""
    if isinstance(source, (str, os.PathLike)):
        source = _dataset(os.fspath(source))
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


def _dataset(path: str) -> Any:
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
    batches = dataset.to_batches(
        columns=some,
        batch_size=min(max(rows, _FEWEST_ROWS), _MOST_ROWS),
        # Read ahead by one: the default holds 64 of them.
        batch_readahead=1,
        fragment_readahead=1,
    )
    held: list[Any] = []
    for batch in batches:
        held.append(batch)
        # Row groups may be small.
        if sum(map(len, held)) >= rows:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)


def store_blocks(
    blocks: Iterable[Frame],
    make: Callable[[Frame], L],
    join: Callable[..., L],
    episode: Hashable,
    folder: str | os.PathLike[str] | None,
) -> L:
    """The log of a table in parts, its states in a file that goes with the log.

    ``make`` reads a part that holds whole episodes, ``join`` puts logs together.
    """
    own = tempfile.mkdtemp(prefix="sklearn_stackelberg_", dir=folder)
    try:
        with (
            open(os.path.join(own, "states"), "w+b") as states,
            tempfile.TemporaryFile(dir=own) as others,
        ):
            store = _Store(states, others)
            for log in _read_logs(_whole_episodes(blocks, episode), make):
                store.add(log)
            if not store.logs:
                raise ValueError("The blocks hold no rows.")
            return store.finish(own, join)
    except BaseException as error:
        shutil.rmtree(own, ignore_errors=True)
        if isinstance(error, OSError) and error.errno == 28:  # ENOSPC
            raise OSError(
                error.errno,
                f"The disk that holds {own} is full: the states of the log, without "
                "its other columns, are kept there. Give folder= one with more room",
            ) from error
        raise


def _read_logs(
    tables: Iterable[tuple[int, Frame]], make: Callable[[Frame], L]
) -> Iterator[L]:
    """Logs of tables one by one, one that has no transitions with another's."""
    waiting: Frame | None = None
    last: tuple[Frame, L] | None = None
    failure: NoTransitions | None = None
    for k, table in tables:
        table = table if waiting is None else _below(waiting, table)
        waiting = None
        try:
            log = make(table)
        except NoTransitions as error:
            if last is None:
                waiting, failure = table, error
                continue
            table = _below(last[0], table)
            last = table, make(table)
            continue
        except (ValueError, TypeError) as error:
            raise type(error)(f"In block {k} (from 0): {error}") from error
        if last is not None:
            yield last[1]
        last = table, log
    if last is not None:
        yield last[1]
    elif failure is not None:
        raise failure


def _below(table: Frame, other: Frame) -> Frame:
    found = stack([table, other])
    assert is_frame(found)
    return found


def _whole_episodes(
    blocks: Iterable[Frame], episode: Hashable
) -> Iterator[tuple[int, Frame]]:
    """Parts that hold whole episodes: what a block leaves open goes into the next."""
    held: list[Frame] = []
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
        if block is not None and len(block):
            held.append(block)
        if not held and block is None:
            return
        # Few rows say little of how a table is laid out, such as which way steps run.
        if block is not None and sum(map(len, held)) < _FEWEST_ROWS:
            continue
        table = held[0]
        for other in held[1:]:
            table = _below(table, other)
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
            yield k, _take(table, slice(0, cut))
        if block is None:
            return
        held = [_take(table, slice(cut, len(names)))] if cut < len(names) else []


def _take(table: Frame, rows: slice) -> Frame:
    found = take_rows(table, rows)
    assert is_frame(found)
    return found


class _Store:
    """Logs without their states, which are written to a file one below the other."""

    def __init__(self, states: BinaryIO, others: BinaryIO) -> None:
        self._states, self._others = states, others
        self.logs: list[Any] = []
        self._next: list[Index] = []
        self._names: list[AnyArray] = []
        self._n = self._n_others = 0
        self._dtype: np.dtype[Any] | None = None
        self._template: Frame | None = None

    def add(self, log: Log) -> None:
        states = [self._checked(log.state, "state")]
        states.append(self._checked(log.next_or_own_state(), "next_state"))
        state, following = states
        shared = shared_next_rows(state, following, log)
        ended = np.flatnonzero(log.terminated)
        shared[ended] = ended
        other = np.flatnonzero(shared < 0)
        index = shared + self._n
        # Behind all states, whose number is not known yet.
        index[other] = -1 - self._n_others - np.arange(len(other))
        self._states.write(state.tobytes())
        self._others.write(following[other].tobytes())
        self._n, self._n_others = self._n + len(log), self._n_others + len(other)
        self._next.append(index)
        assert log.episode is not None
        self._names.append(log.episode)
        small = copy.copy(log)
        small.state = small.next_state = np.empty((len(log), 0))
        self.logs.append(small)
        self._width = state.shape[1]
        if self._template is None and is_frame(log.state):
            self._template = _take(log.state, slice(0, 0))

    def _checked(self, states: Any, name: str) -> NDArray[np.floating]:
        refuse_words(states, name)
        # As precise as the first block is.
        dtype = [np.float64, np.float32] if self._dtype is None else self._dtype
        found = check_array(
            states, dtype=dtype, ensure_all_finite=False, input_name=name
        )
        bad = ~np.isfinite(found).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{name} is missing or infinite in "
                f"{rows_text(bad, self._n + np.arange(len(bad)))} of the log. States "
                "that are stored cannot be imputed later: impute them in the table, or "
                "leave those rows out."
            )
        self._dtype = found.dtype
        return np.ascontiguousarray(found)

    def finish(self, own: str, join: Callable[..., L]) -> L:
        self._others.seek(0)
        shutil.copyfileobj(self._others, self._states)
        self._states.flush()
        assert self._dtype is not None
        table = np.memmap(
            self._states.name,
            self._dtype,
            "r",
            shape=(self._n + self._n_others, self._width),
        )
        index = np.concatenate(self._next)
        index = np.where(index < 0, self._n - 1 - index, index)
        names = np.concatenate(self._names)
        log: Any = join(*self.logs)
        # Parts whose episodes were cut inside have numbers of their own.
        if len(np.unique(names)) == len(np.unique(log.episode)):
            log.episode = names
        file = _File(own)
        log.state = StoredRows(table, np.arange(self._n), file, self._template)
        log.next_state = log.state.at(index)
        found: L = log
        return found


class _File:
    """A folder that is removed when no rows of it are used any more."""

    def __init__(self, path: str) -> None:
        self.path = path
        weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)

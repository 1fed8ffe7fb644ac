"""Logs that are read block by block, and whose states stay in a file."""

from __future__ import annotations

import copy
import errno
import inspect
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, BinaryIO, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from .._stored_rows import StoredRows, free_memory
from ._blocks import (
    Source,
    one_table,
    read_blocks,
    release_unused,
    take_slice,
    whole_episodes,
)
from ._chains import NoTransitions
from ._refusals import rows_text
from ._tables import AnyArray, Frame, Index, Log, is_frame, listed, used_next_rows
from ._words import refuse_words

L = TypeVar("L", bound=Log)

# Where a file may be made; None is the system's place for such.
Folder = str | os.PathLike[str] | None


class FromBlocks:
    """The way from a table in parts to a log."""

    @classmethod
    def from_blocks(
        cls, blocks: Source, *, episode: str, folder: Folder = None, **columns: Any
    ) -> Self:
        """Make transitions from a table that is larger than memory.

        The table is read once, block by block. States, in the precision in which they
        are given, are kept in a file that goes with the log; all other columns, some
        100 bytes a row, in memory. What is learned is what `from_frame` would give.

        Parameters
        ----------
        blocks : str, dataset, stream, iterable of DataFrames, or object
            The path of a Parquet file, or of a folder of them with hive partitions; a
            ``pyarrow.dataset`` (partitioned or not); a stream of Arrow; a Dask
            DataFrame; DataFrames one by one; or an object with ``len`` and ``read(i)``
            that returns a DataFrame. Rows of an episode must stand together, and may go
            on in the next block.
        episode : str
            Column of the episode's name.
        folder : str, default=None
            Where the file of states is made: a subfolder, removed with the log. None is
            the system's folder for temporary files.
        **columns : str or list of str
            The other columns, as in `from_frame`; ``state``, ``action`` and ``reward``
            must be there.

        Returns
        -------
        Transitions
            In the order of the table, with states that are read where they are used.

        Raises
        ------
        ValueError
            As `from_frame`, with the number of the block; and if an episode goes on
            after another one has begun.
        OSError
            If a block cannot be read, or the disk is full. Nothing is left there.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_stackelberg.transitions import Transitions
        >>> df = pd.DataFrame({"patient": [*"aaabb"], "day": [1, 2, 3, 1, 2]})
        >>> df["pulse"] = [80, 75, 70, 90, 95]
        >>> df["dose"] = ["low", "high", None, "low", "low"]
        >>> df["gain"] = [0.0, 1.0, None, 0.0, -1.0]
        >>> names = {"state": "pulse", "action": "dose", "reward": "gain"}
        >>> halves = [df[:2], df[2:]]
        >>> Transitions.from_blocks(halves, episode="patient", step="day", **names)
        <Transitions: 3 rows, 1 state column, str actions; with episode, step>
        """
        log: Any = cls  # Transitions, which stands above
        if unknown := {*columns} - {*inspect.signature(log.from_frame).parameters}:
            raise TypeError(
                f"from_blocks takes the columns that from_frame takes, by the same "
                f"names; {', '.join(sorted(unknown))} is none of them."
            )
        if missing := {"state", "action", "reward"} - {*columns}:
            raise ValueError(
                f"from_blocks needs the columns of {', '.join(sorted(missing))}: give "
                "them by name, as to from_frame."
            )
        needed: list[Hashable] = [episode]
        for role, names in columns.items():
            # Of a mapping from actions to columns, the columns; a callable has none.
            names = [*names.values()] if isinstance(names, Mapping) else names
            if role != "step_unit" and names is not None and not callable(names):
                needed += listed(names)
        make = partial(log.from_frame, episode=episode, **columns)
        parts = read_blocks(blocks, needed)
        found: Self = _store_blocks(parts, make, log.concatenate, episode, folder)
        release_unused()
        free_memory()
        return found


def _store_blocks(
    blocks: Iterable[Frame],
    make: Callable[[Frame], L],
    join: Callable[..., L],
    episode: Hashable,
    folder: Folder,
) -> L:
    """The log of a table in parts, its states in a file that goes with the log.

    ``make`` reads a part that holds whole episodes, ``join`` puts logs together.
    """
    if folder is not None and not os.path.isdir(folder):
        raise NotADirectoryError(
            f"folder={os.fspath(folder)!r} is no folder. Make it first, or leave it "
            "out: then the system's place for temporary files is taken."
        )
    own = tempfile.mkdtemp(prefix="sklearn_stackelberg_", dir=folder)
    try:
        with (
            open(os.path.join(own, "states"), "w+b") as states,
            tempfile.TemporaryFile(dir=own) as others,
        ):
            store = _Store(states, others)
            for log in _read_logs(whole_episodes(blocks, episode), make):
                store.add(log)
            if not store.logs:
                raise ValueError("The blocks hold no rows.")
            return store.finish(own, join)
    except BaseException as error:
        shutil.rmtree(own, ignore_errors=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
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
        table = table if waiting is None else one_table([waiting, table])
        waiting = None
        try:
            log = make(table)
        except NoTransitions as error:
            if last is None:
                waiting, failure = table, error
                continue
            table = one_table([last[0], table])
            last = table, make(table)
            continue
        except (ValueError, TypeError) as error:
            # Some of their classes want more than a text.
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"In block {k} (from 0): {error}") from error
        if last is not None:
            yield last[1]
        last = table, log
    if last is not None:
        yield last[1]
    elif failure is not None:
        raise failure


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
        shared = used_next_rows(state, following, log)
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
            self._template = take_slice(log.state, slice(0, 0))

    def _checked(self, states: Any, name: str) -> NDArray[np.floating]:
        refuse_words(states, name)
        # Of what has no types of numpy scikit-learn makes double precision.
        plain = np.asarray(states)
        found = check_array(
            plain if plain.dtype.kind == "f" else states,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
            input_name=name,
        )
        if self._dtype is not None and found.dtype.itemsize > self._dtype.itemsize:
            raise ValueError(
                f"{name} is in double precision in a later block, and in single in the "
                "first, which would round it. Give all blocks the same types."
            )
        bad = ~np.isfinite(found).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{name} is missing or infinite in "
                f"{rows_text(bad, self._n + np.arange(len(bad)))} of the log. States "
                "that are stored cannot be imputed later: impute them in the table, or "
                "leave those rows out."
            )
        self._dtype = self._dtype or found.dtype
        return np.ascontiguousarray(found, self._dtype)

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

"""Rows of a table that lies in a file and is read where it is asked for."""

from __future__ import annotations

import ctypes
import math
import mmap
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

# Written out, so that what reads rows can stand low.
Index = NDArray[np.intp]
Floats = NDArray[np.floating]

# Bytes of a table that are held as float64 at once.
_BATCH_BYTES = 2**23


class StoredRows:
    """Rows of a table (N, d), as an array of which only what is asked for is read.

    ``rows[i]`` are rows i of those at ``index``; numpy reads all of them where it is
    given one. Rows of such rows are stored as well: a fold copies its index alone.
    """

    ndim = 2

    def __init__(
        self,
        table: Floats,
        index: Index,
        owner: object = None,
        template: object = None,
    ) -> None:
        self.table, self.index = table, index
        self.owner = owner  # keeps the file
        self.template = template  # a DataFrame without rows, if they are of one

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.index), self.table.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.table.dtype

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):
            rows, columns = key
            return np.asarray(self.table[self.index[rows], columns])
        # A slice that stands in one piece is one read.
        index = self.index[key]
        if isinstance(key, slice) and len(index) and _is_one_piece(index):
            found = np.array(self.table[index[0] : index[-1] + 1])
        else:
            found = np.asarray(self.table[index])
        _release_pages(self.table)
        return found

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        if copy is False:
            raise ValueError("Rows that are stored in a file can only be copied.")
        # A copy as it is.
        return np.asarray(self[:], dtype=dtype)

    def take(self, rows: Index | slice) -> StoredRows:
        return self.at(self.index[rows])

    def at(self, index: Index) -> StoredRows:
        """Other rows of the same table."""
        return StoredRows(self.table, index, self.owner, self.template)


class ComputedRows:
    """Rows of numbers (N, d), in double precision, that are made where they are read.

    ``read`` gives those at some places, (k, d). numpy reads all of them where it is
    given one.
    """

    ndim, dtype = 2, np.dtype(np.float64)

    def __init__(
        self, read: Callable[[Index], Floats], n_rows: int, n_columns: int
    ) -> None:
        self._read, self.shape = read, (n_rows, n_columns)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):
            some = self.at(np.arange(len(self))[key[0]])
            # Copies: of a view the other columns would be held.
            parts = [some[batch][:, key[1]].copy() for batch in row_batches(some)]
            return np.concatenate(parts)
        if isinstance(key, slice):
            key = np.arange(*key.indices(len(self)))
        elif key.dtype == bool:
            key = np.flatnonzero(key)
        return self._read(key)

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def at(self, index: Index) -> ComputedRows:
        """Rows at places among these."""
        return ComputedRows(
            lambda some: self._read(index[some]), len(index), self.shape[1]
        )

    def beside(self, columns: Floats) -> ComputedRows:
        """These with more columns, (N, c), behind them."""
        return ComputedRows(
            lambda some: np.hstack([self._read(some), columns[some]]),
            len(self),
            self.shape[1] + columns.shape[1],
        )


def folder_of(rows: object) -> str | None:
    """The folder of the file that rows are stored in, which goes with it."""
    return getattr(getattr(rows, "owner", None), "path", None)


def _release_pages(table: Floats) -> None:
    """Let go of a file's pages, which count as memory of the process once read."""
    mapped = getattr(table, "_mmap", None)
    # Not every system can be told so; and changes to a private map are nowhere else.
    private = getattr(table, "mode", None) == "c"
    if mapped is not None and not private and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def free_memory() -> None:
    """Give the system what glibc, if it is there, keeps of what threads let go of."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _is_one_piece(index: Index) -> bool:
    whole: bool = index[-1] - index[0] == len(index) - 1
    return whole and bool((np.diff(index) == 1).all())


def row_batches(rows: Floats | StoredRows | ComputedRows) -> Iterator[slice]:
    """Slices of rows, each of which may be held as float64 beside the rest."""
    width = math.prod(rows.shape[1:])
    at_once = max(1, _BATCH_BYTES // (8 * max(1, width)))
    # Of no rows scikit-learn 1.9 makes no batches, but an error.
    return gen_batches(len(rows), at_once) if len(rows) else iter(())

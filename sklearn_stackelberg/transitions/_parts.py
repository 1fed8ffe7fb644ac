"""Methods of states, for tables that are read part by part."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np

from .._stored_rows import StoredRows, row_batches
from ._blocks import one_table, open_dataset, read_blocks
from ._episodes import EpisodeView
from ._sources import check_known
from ._tables import column_names, is_frame, take_columns, take_rows
from ._transitions import Transitions

Method = TypeVar("Method", bound=Callable[..., Any])

# Rows that small parts are put together to.
_FEWEST_ROWS = 2**14


def by_parts(method: Method) -> Method:
    """Let a method of states X read them part by part, where they lie in files.

    What is given for each state is cut alike. Of a Dask DataFrame the result is a Dask
    array, computed where that is asked for.
    """

    # Any: whatever the method takes and returns.
    @wraps(method)
    def of_any(self: Any, X: Any, *args: Any, **given: Any) -> Any:
        names = getattr(self, "feature_names_in_", None)
        cut = [value for value in (*args, *given.values()) if _has_rows(value)]
        if hasattr(X, "map_partitions"):
            if cut:
                raise ValueError(
                    "X is a Dask DataFrame, and what is given for each of its rows is "
                    "not cut as its partitions are. Give a callable of states, or call "
                    f"{method.__name__} for each partition."
                )
            if names is not None:
                check_known([*X.columns], [*names])
                X = X[[*names]]
            return X.map_partitions(getattr(self, method.__name__), *args, **given)
        parts = _parts_of(X, names)
        if parts is None:
            return method(self, X, *args, **given)
        found, n = [], 0
        for part in parts:
            rows = slice(n, n + len(part))
            n = rows.stop
            own = [_cut(value, rows) for value in args]
            others = {name: _cut(value, rows) for name, value in given.items()}
            found.append(method(self, part, *own, **others))
        for value in cut:
            if len(value) != n:
                raise ValueError(
                    f"{len(value):,} rows were given beside {n:,} states; one for each "
                    "was expected."
                )
        if not found:
            raise ValueError("X holds no rows; at least one state was expected.")
        if isinstance(found[0], tuple):
            return tuple(map(np.concatenate, zip(*found, strict=True)))
        return np.concatenate(found)

    return cast(Method, of_any)


def _has_rows(value: object) -> bool:
    return is_frame(value) or isinstance(value, (np.ndarray, list, tuple))


def _cut(value: Any, rows: slice) -> Any:
    if not _has_rows(value):
        return value
    return take_rows(value, rows) if is_frame(value) else value[rows]


def _parts_of(X: Any, names: Sequence[Hashable] | None) -> Iterator[Any] | None:
    """Parts of states, or None where they are in memory."""
    log = X.transitions if isinstance(X, EpisodeView) else X
    if isinstance(log, Transitions):
        if not isinstance(log.state, StoredRows):
            return None
        return (log[np.arange(len(log))[some]] for some in row_batches(log.state))
    if isinstance(X, (str, os.PathLike)):
        X = open_dataset(os.fspath(X))
    elif hasattr(X, "__arrow_c_stream__") and not is_frame(X):
        import pyarrow as pa

        X = pa.RecordBatchReader.from_stream(X)
    elif not (hasattr(X, "scanner") and hasattr(X, "schema")):
        return None
    return _read(X, X.schema.names if names is None else names)


def _read(source: Any, names: Sequence[Hashable]) -> Iterator[Any]:
    wanted = [*names]
    held: list[Any] = []
    for part in read_blocks(source, wanted):
        check_known(column_names(part), wanted)
        held.append(take_columns(part, wanted))
        if sum(map(len, held)) >= _FEWEST_ROWS:
            yield one_table(held)
            held = []
    if held:
        yield one_table(held)

"""Where a table is read from: a DataFrame, a lazy one, or a Parquet file."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from ._tables import (
    Frame,
    collected,
    column_names,
    is_frame,
    lazy_frame,
    refuse_foreign,
)

# Any: a DataFrame or a lazy one of any library that narwhals knows.
Table = Frame | str | os.PathLike[str] | Any


class Source(NamedTuple):
    """A table that may not be read yet: its columns, and how to read some of them."""

    names: Sequence[Hashable]
    read: Callable[[list[Hashable]], Frame]
    is_file: bool = False  # which can be read again, where a query may give other rows


def open_table(df: Table) -> Source:
    """Look at the columns of a DataFrame, of a lazy one, or of a Parquet file."""
    if isinstance(df, (str, os.PathLike)):
        return _open_parquet(os.fspath(df))
    if (lazy := lazy_frame(df)) is not None:
        names = lazy.collect_schema().names()
        return Source(names, lambda some: collected(lazy.select(_once(some))))
    if is_frame(df):
        return Source(column_names(df), lambda _: df)
    if hasattr(df, "columns"):
        refuse_foreign(df, "df")
    raise TypeError(
        "A DataFrame (pandas, polars, Arrow, Modin, ...), or the path of a Parquet "
        f"file, was expected; got {type(df).__name__}. Make "
        "one of it, for example with pandas.DataFrame(...)."
    )


def _open_parquet(path: str) -> Source:
    """Open a Parquet file by polars, or else by pyarrow, whichever is installed."""
    try:
        import polars as pl

        lazy = pl.scan_parquet(path)
        names = lazy.collect_schema().names()
        return Source(names, lambda some: lazy.select(_once(some)).collect(), True)
    except ModuleNotFoundError:
        pass
    try:
        import pyarrow.dataset as ds
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Reading a Parquet file needs polars or pyarrow: python -m pip install "
            "polars"
        ) from error
    rows = ds.dataset(path)
    names = rows.schema.names
    return Source(names, lambda some: rows.to_table(columns=_once(some)), True)


def _once(names: list[Hashable]) -> list[Any]:
    # One column may have several roles, such as the step that is a state as well.
    return [*dict.fromkeys(names)]


def check_known(known: Sequence[Hashable], names: Sequence[Hashable]) -> None:
    """Refuse names that are not among the known ones, with the nearest of these."""
    # Near names are looked for in lower case: a wrong case is the commonest slip.
    by_text = {str(name).lower(): name for name in known}
    problems = []
    for name in dict.fromkeys(names):
        if name not in known:
            near = difflib.get_close_matches(str(name).lower(), by_text, n=3)
            hint = " or ".join(repr(by_text[text]) for text in near)
            problems.append(f"{name!r}" + f" (did you mean {hint}?)" * bool(near))
    if problems:
        shown = ", ".join(map(repr, known[:20])) + ", ..." * (len(known) > 20)
        raise ValueError(
            f"The table has no column {', nor '.join(problems)}. It has {shown}."
        )

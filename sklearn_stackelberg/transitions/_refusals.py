"""Refusals of values that numpy or pandas would read as others, without a word.

`rows` maps positions to the row numbers that the user knows, where the values are a
selection from a longer table.
"""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

AnyArray = NDArray[Any]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp] | None

# As floats, whole numbers from here on no longer differ from their neighbours.
EXACT = 2.0**53

_INT64 = np.iinfo(np.int64)


def is_time(type_: type) -> bool:
    # pandas' Timestamp and Timedelta are the standard library's; its Period is not.
    known = (datetime.date, datetime.time, datetime.timedelta, np.datetime64)
    return issubclass(type_, known) or type_.__name__ == "Period"


def rows_text(bad: Flags, rows: Rows = None, unit: str = "row") -> str:
    """Name the first of the rows where `bad` is true, and say how many there are."""
    where = np.flatnonzero(bad)
    named = where if rows is None else rows[where]
    # Five rows are enough to look at, and keep the message one that can be read.
    shown = ", ".join(str(row) for row in named[:5])
    if where.size == 1:
        return f"{unit} {shown}"
    more = f", ... ({where.size:,} in all)" if where.size > 5 else ""
    return f"{unit}s {shown}{more}"


def refuse_masked(values: object, name: str, rows: Rows = None) -> None:
    """Refuse the masked entries of a masked array; numpy alone would read them."""
    if isinstance(values, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(values)
        masked = np.any(mask.reshape(len(values), -1), axis=1)
        if masked.any():
            raise ValueError(
                f"{name} is masked at {rows_text(masked, rows)}. Leave these rows out, "
                "or fill them in with .filled(...)."
            )


def refuse_inexact(vector: AnyArray, name: str, rows: Rows) -> None:
    """Refuse whole numbers that 64-bit integers do not hold, or floats not exactly."""
    if vector.dtype.kind == "f":
        digits = np.finfo(vector.dtype).nmant + 1  # 53 of EXACT, 24 of float32
        bad = np.abs(vector) >= 2.0**digits
        why = f"{vector.dtype} from 2**{digits} on, where whole numbers may be merged"
    else:
        bad = np.array((vector < _INT64.min) | (vector > _INT64.max), dtype=bool)
        why = "beyond the range of 64-bit integers"
    if bad.any():
        raise ValueError(
            f"{name} holds numbers that cannot be kept apart at {rows_text(bad, rows)} "
            f"(for example {vector[np.argmax(bad)]}): they are {why}. Read names from "
            "their source as text (dtype=str), and count steps from 0 in each episode."
        )


def refuse_words_as_flags(vector: AnyArray, name: str, rows: Rows, unit: str) -> None:
    """Refuse text where True or False belongs, such as a patient's status."""
    words = np.array([isinstance(v, str) for v in vector], dtype=bool)
    if words.any():
        texts = np.unique(vector[words].astype(str)).tolist()
        shown = ", ".join(map(repr, texts[:5])) + ", ..." * (len(texts) > 5)
        raise ValueError(
            f"{name} is not a number at {rows_text(words, rows, unit)}, but text "
            f"({shown}); True or False (or 1 or 0) was expected. Say which of them "
            f"mean True, for example df[column].isin([{texts[-1]!r}])."
        )

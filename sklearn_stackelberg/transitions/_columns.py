"""A named column of a table, of whichever library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np

from ._refusals import AnyArray, Rows


class Column(NamedTuple):
    """One column of a table, or the several of an action, and its name in messages."""

    values: object  # a Series or DataFrame of any library, or an array
    name: str

    def read(self, check: Callable[..., AnyArray], rows: Rows = None) -> AnyArray:
        """Return these rows, or all, as `check` returns them."""
        values = self.values
        if rows is None:
            return check(values, self.name, rows)
        given: Any = as_narwhals_or_none(values)
        if given is None:
            given = values.iloc if hasattr(values, "iloc") else np.asarray(values)
        # Chosen before they are read: integers with holes would be read as floats.
        return check(given[rows], self.name, rows)

    @property
    def is_float(self) -> bool:
        """Whether it holds floats, which integers with holes become."""
        series = as_narwhals_or_none(self.values)
        if isinstance(series, nw.Series):
            return series.dtype.is_float()
        return getattr(self.values, "dtype", None) == np.float64


def as_narwhals_or_none(values: object) -> nw.Series[Any] | nw.DataFrame[Any] | None:
    """A column or table of a library other than pandas as narwhals sees it."""
    # Any: narwhals' own types tell libraries apart, and here any of them may come.
    given: Any = values
    if isinstance(given, (np.ndarray, list, tuple)) or hasattr(given, "iloc"):
        return None
    found = nw.from_native(given, pass_through=True, allow_series=True)
    return found if isinstance(found, (nw.Series, nw.DataFrame)) else None

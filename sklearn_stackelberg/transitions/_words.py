"""Text and dates where numbers are expected: refused by the names of their columns."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from ._refusals import is_time
from ._tables import States, as_narwhals, column_names, is_frame, is_pandas


def refuse_words(states: Any, name: str = "state") -> None:  # a table, or no such
    """Refuse text and dates among states, naming their columns, before they are read.

    Text that spells numbers is let through, as scikit-learn does.
    """
    is_array = isinstance(states, np.ndarray) and states.ndim == 2
    # What is no table is refused elsewhere, and most arrays are of numbers.
    if not is_frame(states) and not is_array:
        return
    if isinstance(states, np.ndarray) and states.dtype.kind in "biufc":
        return
    words, dates = [], []
    labels = column_names(states) if is_frame(states) else range(states.shape[1])
    for j, label in enumerate(labels):
        column = plain_column(states, j)
        kind = getattr(column.dtype, "kind", "O")
        if kind in "mM":
            dates.append(label)
        elif kind not in "biufc":
            odd = (value for value in np.asarray(column, dtype=object) if _odd(value))
            for value in islice(odd, 1):
                if isinstance(value, str):
                    words.append(f"{label!r} (for example {value!r})")
                else:
                    dates.append(label)
    if dates:
        raise ValueError(
            f"{name} holds dates or times in the columns {dates}; numbers were "
            "expected. Make them numbers, such as days since a date: "
            "(df[column] - start) / pandas.Timedelta(days=1)."
        )
    if words:
        raise ValueError(
            f"{name} holds text that is no number in the columns {', '.join(words)}; "
            "numbers were expected. Encode it first, for example by OneHotEncoder in a "
            "ColumnTransformer in front of the estimator (around a Transitions, "
            "OnStates(...))."
        )


def plain_column(states: States, place: int) -> Any:  # a Series, or an array
    if not is_frame(states):
        return states[:, place]
    if is_pandas(states):
        return states.iloc[:, place]
    return as_narwhals(states)[:, place].to_numpy()


def _odd(value: object) -> bool:
    """Whether a value is a date, or text that spells no number."""
    if not isinstance(value, str):
        return is_time(type(value))
    try:
        float(value)
    except ValueError:
        return True
    return False

"""What each field of a log must be.

A check of a field returns it as a numpy array (states may stay a DataFrame), or refuses
it in a sentence, which names the rows where some of them offend. `rows` maps positions
to the row numbers that the user knows, where the checked values are a selection from a
longer table.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import numpy as np
from scipy.sparse import issparse

FIELDS = (
    "state",
    "action",
    "reward",
    "next_state",
    "terminated",
    "is_initial",
    "episode",
    "step",
    "propensity",
)

# Type names, because pandas' own markers must be known without importing pandas.
_MISSING_TYPES = {"NoneType", "NAType", "NaTType"}

_KIND_NAMES = {"b": "bool", "i": "int", "u": "int", "f": "float", "U": "str"}


def rows_text(
    bad: np.ndarray, rows: np.ndarray | None = None, unit: str = "row"
) -> str:
    """Name the first of the rows where `bad` is true, and say how many there are."""
    where = np.flatnonzero(bad)
    named = where if rows is None else rows[where]
    shown = ", ".join(str(row) for row in named[:5])
    if where.size == 1:
        return f"{unit} {shown}"
    more = f", ... ({where.size:,} in all)" if where.size > 5 else ""
    return f"{unit}s {shown}{more}"


def is_frame(values: Any) -> bool:
    """Tell a pandas-like DataFrame from an array, without importing pandas."""
    return hasattr(values, "iloc") and hasattr(values, "columns")


def check_states(values: Any, name: str = "state") -> Any:
    """Return states as a 2-D array or DataFrame; missing values are let through."""
    if issparse(values):
        raise ValueError(
            f"{name} is a sparse matrix, and dense states were expected: call "
            ".toarray(), or have the transformer return dense columns (for example "
            "OneHotEncoder(sparse_output=False))."
        )
    if is_frame(values):
        complex_columns = [
            column
            for column, dtype in zip(values.columns, values.dtypes, strict=True)
            if getattr(dtype, "kind", "") == "c"
        ]
        if complex_columns:
            raise ValueError(
                f"Complex data not supported: columns {complex_columns} of {name} are "
                "complex. Pass their real and imaginary parts as two columns."
            )
        return values
    if hasattr(values, "columns"):
        raise ValueError(
            f"{name} is a {type(values).__module__}.{type(values).__name__}; a numpy "
            "array or a pandas DataFrame was expected: call .to_pandas() first."
        )
    # A memory map stays one: the rows may be larger than the memory.
    array = values if isinstance(values, np.memmap) else np.asarray(values)
    if array.dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: {name} has dtype {array.dtype}. Pass the "
            "real and imaginary parts as separate columns."
        )
    if array.ndim != 2:
        advice = (
            "reshape your data with .reshape(-1, 1) if it has a single column, or with "
            ".reshape(1, -1) if it is a single row"
            if array.ndim < 2
            else "flatten each row with .reshape(len(states), -1)"
        )
        raise ValueError(
            f"{name} has {array.ndim} dimension(s), shape {array.shape}; a 2-D table "
            f"with one row per transition was expected: {advice}."
        )
    return array


def check_same_columns(
    state: Any, other: Any, names: tuple[str, str] = ("state", "next_state")
) -> None:
    """Refuse two tables of states that do not have the same columns."""
    if is_frame(state) != is_frame(other):
        kinds = ["a DataFrame" if is_frame(t) else "an array" for t in (state, other)]
        raise ValueError(
            f"{names[0]} is {kinds[0]} and {names[1]} is {kinds[1]}; both must be of "
            "one kind: two DataFrames with the same columns, or two arrays."
        )
    if state.shape[1] != other.shape[1]:
        raise ValueError(
            f"{names[0]} has {state.shape[1]} columns and {names[1]} has "
            f"{other.shape[1]}; they must be the same columns."
        )
    if is_frame(state) and list(state.columns) != list(other.columns):
        different = [
            f"{a!r} against {b!r}"
            for a, b in zip(state.columns, other.columns, strict=True)
            if a != b
        ]
        raise ValueError(
            f"{names[0]} and {names[1]} must have the same columns in the same order; "
            f"they differ at {', '.join(different[:5])}. Reorder the second with "
            "second[first.columns]."
        )


def check_same_length(lengths: dict[str, int]) -> None:
    """Refuse fields of different lengths, and logs without a row."""
    if len(set(lengths.values())) > 1:
        text = ", ".join(f"{name} {n:,}" for name, n in lengths.items())
        raise ValueError(f"All fields must have one entry per transition; got {text}.")
    if not next(iter(lengths.values())):
        raise ValueError(
            "The log has no rows (0 samples); at least one transition is needed."
        )


def as_vector(values: Any, name: str) -> np.ndarray:
    """Return a column as a 1-D array, lists as one of objects."""
    # As objects first: numpy would turn the list [1, "a"] into strings without a word.
    if isinstance(values, (list, tuple)):
        vector = np.array(values, dtype=object)
    else:
        vector = np.asarray(values)
    if vector.dtype.kind == "T":
        vector = vector.astype(object)
    if vector.ndim != 1 or vector.dtype.names:
        advice = ": use .ravel()" if vector.ndim == 2 and vector.shape[1] == 1 else ""
        raise ValueError(
            f"{name} must be 1-D, one plain value per row; got shape {vector.shape} "
            f"and dtype {vector.dtype}{advice}."
        )
    return vector


def _missing(vector: np.ndarray) -> np.ndarray:
    """Where an array of objects holds None, NaN, NA or NaT."""
    if all(issubclass(type_, (str, int)) for type_ in set(map(type, vector))):
        return np.zeros(vector.size, dtype=bool)
    return np.fromiter(
        (
            type(v).__name__ in _MISSING_TYPES
            or (isinstance(v, numbers.Real) and math.isnan(v))
            for v in vector
        ),
        dtype=bool,
        count=vector.size,
    )


def missing(values: Any) -> np.ndarray:
    """Where a column, of pandas or numpy, holds None, NaN, NA or NaT."""
    if hasattr(values, "isna"):
        return values.isna().to_numpy()
    if values.dtype.kind == "O":
        return _missing(values)
    return (
        np.isnan(values) if values.dtype.kind in "fc" else np.zeros(len(values), bool)
    )


def kind_of(type_: type) -> str:
    """Name the kind of a plain value: bool, int, float, str, or else its type."""
    if issubclass(type_, (bool, np.bool_)):
        return "bool"
    if issubclass(type_, numbers.Integral):
        return "int"
    if issubclass(type_, numbers.Real):
        return "float"
    return "str" if issubclass(type_, str) else type_.__name__


def check_labels(
    values: Any,
    name: str,
    rows: np.ndarray | None = None,
    allowed: tuple[str, ...] = ("int", "str", "bool", "float"),
) -> np.ndarray:
    """Return integers, strings, booleans or floats as an array of one plain type."""
    vector = as_vector(values, name)
    if vector.dtype.kind == "O":
        missing = _missing(vector)
        if missing.any():
            raise ValueError(
                f"{name} is missing (None or NaN) at {rows_text(missing, rows)}; every "
                "transition needs one. Leave these rows out or fill them in."
            )
        kinds = {kind_of(type_) for type_ in set(map(type, vector))}
        if len(kinds) > 1 and kinds != {"int", "float"}:
            _refuse_mixed(kinds, name)
        if kinds <= set(_KIND_NAMES.values()):
            vector = np.array(vector.tolist())
        kind = _KIND_NAMES.get(vector.dtype.kind, " ".join(sorted(kinds)))
    else:
        kind = _KIND_NAMES.get(vector.dtype.kind, str(vector.dtype))
    if kind == "float":
        bad = ~np.isfinite(vector)
        if bad.any():
            raise ValueError(
                f"{name} is NaN or infinite at {rows_text(bad, rows)}; every "
                "transition needs a finite one. Leave these rows out or fill them in."
            )
        if "float" not in allowed and (vector == np.round(vector)).all():
            # Integers that a table with holes has turned into floats.
            return vector.astype(np.int64)
    if kind not in allowed:
        raise ValueError(
            f"{name} holds values of type {kind}; {' or '.join(allowed)} was expected. "
            "Convert it first, for example with .astype(str) for names or "
            ".astype(int) for whole numbers."
        )
    return vector


def _refuse_mixed(kinds: Iterable[str], name: str) -> None:
    raise ValueError(
        f"{name} mixes the types {' and '.join(sorted(kinds))}; all must be of one "
        "type. Convert them, for example with .astype(str)."
    )


def join_labels(parts: list[np.ndarray], name: str) -> np.ndarray:
    """Concatenate checked labels; numpy alone would turn ints into strings."""
    parts = [part for part in parts if part.size]
    kinds = {_KIND_NAMES[part.dtype.kind] for part in parts}
    if len(kinds) > 1 and kinds != {"int", "float"}:
        _refuse_mixed(kinds, name)
    widths = {part.shape[1:] for part in parts}
    if len(widths) > 1:
        counts = sorted(width[0] if width else 1 for width in widths)
        raise ValueError(
            f"{name} must have the same columns everywhere; there are some of "
            f"{' and of '.join(map(str, counts))} numbers."
        )
    return np.concatenate(parts)


def check_episodes(
    values: Any, rows: np.ndarray | None = None, name: str = "episode"
) -> np.ndarray:
    """Return episode names as integers or strings."""
    return check_labels(values, name, rows, allowed=("int", "str"))


def check_steps(
    values: Any, rows: np.ndarray | None = None, name: str = "step"
) -> np.ndarray:
    """Return steps as 64-bit integers."""
    vector = as_vector(values, name)
    if vector.dtype.kind in "mMUS":
        raise ValueError(
            f"{name} has dtype {vector.dtype}; whole numbers were expected, because "
            "the next state is looked for at step + 1. Number the steps within each "
            "episode first, for example sort by time and use "
            "df.groupby(episode).cumcount()."
        )
    vector = to_float(vector, name, rows) if vector.dtype.kind in "Of" else vector
    if vector.dtype.kind == "f":
        bad = ~(vector == np.round(vector)) | ~np.isfinite(vector)
        if bad.any():
            raise ValueError(
                f"{name} is not a whole number at {rows_text(bad, rows)}; integers "
                "were expected, because the next state is looked for at step + 1."
            )
    elif vector.dtype.kind not in "iu":
        raise ValueError(f"{name} has dtype {vector.dtype}; integers were expected.")
    return vector.astype(np.int64)


def to_float(vector: np.ndarray, name: str, rows: np.ndarray | None) -> np.ndarray:
    """Return numbers as float64 with NaN for what is missing; refuse the rest."""
    if vector.dtype.kind in "biuf":
        return vector.astype(np.float64)
    if vector.dtype.kind != "O":
        word = "Complex data not supported: " if vector.dtype.kind == "c" else ""
        raise ValueError(
            f"{word}{name} has dtype {vector.dtype}; real numbers were expected."
        )
    missing = _missing(vector)
    real = (numbers.Real, np.bool_, Decimal)
    strange = ~np.fromiter((isinstance(v, real) for v in vector), bool, vector.size)
    strange &= ~missing
    if strange.any():
        example = vector[np.argmax(strange)]
        raise ValueError(
            f"{name} is not a number at {rows_text(strange, rows)} (for example "
            f"{example!r}); real numbers were expected."
        )
    return np.where(missing, np.nan, vector).astype(np.float64)


def check_reals(values: Any, name: str, rows: np.ndarray | None = None) -> np.ndarray:
    """Return finite real numbers as float64."""
    vector = to_float(as_vector(values, name), name, rows)
    bad = ~np.isfinite(vector)
    if bad.any():
        raise ValueError(
            f"{name} is NaN or infinite at {rows_text(bad, rows)}; finite numbers were "
            "expected. Leave these rows out or fill them in."
        )
    return vector


def check_flags(
    values: Any, name: str, rows: np.ndarray | None = None, unit: str = "row"
) -> np.ndarray:
    """Return booleans, or zeros and ones, as an array of booleans."""
    vector = as_vector(values, name)
    if vector.dtype.kind == "b":
        return vector
    vector = to_float(vector, name, rows)
    bad = (vector != 0) & (vector != 1)
    if bad.any():
        raise ValueError(
            f"{name} must be True or False (or 1 or 0); it is "
            f"{vector[np.argmax(bad)]:g} at {rows_text(bad, rows, unit)}."
        )
    return vector.astype(bool)


def check_propensities(
    values: Any, rows: np.ndarray | None = None, name: str = "propensity"
) -> np.ndarray:
    """Return probabilities of logged actions, each in (0, 1]."""
    vector = check_reals(values, name, rows)
    bad = (vector <= 0) | (vector > 1)
    if bad.any():
        raise ValueError(
            f"{name} must lie in (0, 1]: it is the probability with which the logged "
            f"action was taken. It does not at {rows_text(bad, rows)}."
        )
    return vector

"""What each field of a log must be: checks that return it as a numpy array.

`rows` maps positions to the row numbers that the user knows, where the checked values
are a selection from a longer table.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from ._columns import as_narwhals_or_none
from ._refusals import (
    AnyArray,
    Flags,
    Rows,
    is_time,
    refuse_inexact,
    refuse_masked,
    refuse_words_as_flags,
    rows_text,
)

# Type names, because pandas' own markers must be known without importing pandas.
_MISSING_TYPES = {"NoneType", "NAType", "NaTType"}

_KIND_NAMES = {"b": "bool", "i": "int", "u": "int", "f": "float", "U": "str"}

Floats = NDArray[np.float64]


def check_same_length(lengths: dict[str, int]) -> None:
    """Refuse fields of different lengths, and logs without a row."""
    if len(set(lengths.values())) > 1:
        text = ", ".join(f"{name} {n:,}" for name, n in lengths.items())
        raise ValueError(f"All fields must have one entry per transition; got {text}.")
    if not next(iter(lengths.values())):
        raise ValueError("The log has no rows (0 samples); at least one is needed.")


def _as_objects(values: object) -> AnyArray:
    # numpy would make strings of the list [1, "a"] without a word.
    if isinstance(values, (list, tuple)):
        return np.array(values, dtype=object)
    given: Any = values
    series = nw.from_native(given, pass_through=True, allow_series=True)
    # Of pandas' nullable types numpy alone would make objects.
    known = isinstance(series, nw.Series)
    array = series.to_numpy() if known else np.asarray(values)
    # numpy's own variable-width strings: few of its functions take them so far.
    return array.astype(object) if array.dtype.kind == "T" else array


def _as_vector(values: object, name: str, rows: Rows = None) -> AnyArray:
    refuse_masked(values, name, rows)
    vector = _as_objects(values)
    if vector.ndim != 1 or vector.dtype.names:
        advice = ": use .ravel()" if vector.ndim == 2 and vector.shape[1] == 1 else ""
        raise ValueError(
            f"{name} must be 1-D, one plain value per row; got shape {vector.shape} "
            f"and dtype {vector.dtype}{advice}."
        )
    return vector


def missing(values: object) -> Flags:
    """Where a column or table holds None, NaN, NA or NaT."""
    if hasattr(values, "isna"):
        return values.isna().to_numpy()
    series = as_narwhals_or_none(values)
    if isinstance(series, nw.Series):
        null = series.is_null().to_numpy()
        # To others than pandas NaN is a number; to a log it is none.
        return null | np.isnan(series.to_numpy()) if series.dtype.is_float() else null
    if series is not None:
        return np.stack([missing(column) for column in series.iter_columns()], axis=1)
    array = np.asarray(values)
    if array.dtype.kind != "O":
        real = array.dtype.kind in "fc"
        return np.isnan(array) if real else np.zeros(array.shape, dtype=bool)
    flat = array.ravel()
    # A look at each type costs less than one at each value, and names are common.
    if all(issubclass(type_, (str, int)) for type_ in set(map(type, flat))):
        return np.zeros(array.shape, dtype=bool)
    absent = (
        type(v).__name__ in _MISSING_TYPES
        or (isinstance(v, numbers.Real) and math.isnan(v))
        for v in flat
    )
    return np.fromiter(absent, dtype=bool, count=flat.size).reshape(array.shape)


def _kind_of(type_: type) -> str:
    """Name the kind of a plain value: bool, int, float, str, or else its type."""
    # bool first: it is a subclass of int.
    if issubclass(type_, (bool, np.bool_)):
        return "bool"
    if issubclass(type_, numbers.Integral):
        return "int"
    if issubclass(type_, (numbers.Real, Decimal)):
        return "float"
    return "str" if issubclass(type_, str) else type_.__name__


def check_plain_values(
    values: object,
    name: str,
    rows: Rows = None,
    allowed: tuple[str, ...] = ("int", "str", "bool", "float"),
) -> AnyArray:
    """Return integers, strings, booleans or floats as an array of one plain type."""
    vector = _as_vector(values, name, rows)
    if vector.dtype.kind == "O":
        # Decimal is what databases return for numbers, and no type of numpy's.
        if Decimal in set(map(type, vector)):
            floats = [float(v) if isinstance(v, Decimal) else v for v in vector]
            vector = np.array(floats, dtype=object)
        absent = missing(vector)
        if absent.any():
            raise ValueError(
                f"{name} is missing (None or NaN) at {rows_text(absent, rows)}; leave "
                "these rows out or fill them in."
            )
        kinds = {_kind_of(type_) for type_ in set(map(type, vector))}
        _refuse_mixed(kinds, name)
        if kinds == {"int"}:
            refuse_inexact(vector, name, rows)
        # From objects to one plain type, of which comparisons are fast and sorted.
        if kinds <= set(_KIND_NAMES.values()):
            vector = np.array(vector.tolist())
        kind = _KIND_NAMES.get(vector.dtype.kind, " ".join(sorted(kinds)))
    else:
        kind = _KIND_NAMES.get(vector.dtype.kind, str(vector.dtype))
    if kind == "float":
        _refuse_infinite(~np.isfinite(vector), name, rows)
        if "float" not in allowed and (vector == np.round(vector)).all():
            # Integers that a table with holes has turned into floats.
            refuse_inexact(vector, name, rows)
            return vector.astype(np.int64)
    if kind not in allowed:
        raise ValueError(
            f"{name} holds values of type {kind}; {' or '.join(allowed)} was expected. "
            "Convert it first, for example with .astype(str) or .astype(int)."
        )
    return vector


def _refuse_infinite(bad: Flags, name: str, rows: Rows) -> None:
    if bad.any():
        raise ValueError(
            f"{name} is NaN or infinite at {rows_text(bad, rows)}; finite numbers were "
            "expected. Leave these rows out or fill them in."
        )


def _refuse_mixed(kinds: Iterable[str], name: str) -> None:
    kinds = {*kinds}
    # A column of whole numbers and of others is one of numbers.
    if len(kinds) > 1 and kinds != {"int", "float"}:
        raise ValueError(
            f"{name} mixes the types {' and '.join(sorted(kinds))}; all must be of one "
            "type. Convert them, for example with .astype(str)."
        )


def join_actions(parts: list[AnyArray], name: str) -> AnyArray:
    """Concatenate checked actions; numpy alone would make strings of ints."""
    # An empty one has a type by accident, and must not decide that of the others.
    parts = [part for part in parts if part.size]
    _refuse_mixed((_KIND_NAMES[part.dtype.kind] for part in parts), name)
    widths = {part.shape[1:] for part in parts}
    if len(widths) > 1:
        counts = sorted(width[0] if width else 1 for width in widths)
        raise ValueError(
            f"{name} must have the same columns everywhere; there are some of "
            f"{' and of '.join(map(str, counts))} numbers."
        )
    return np.concatenate(parts)


def check_episodes(
    values: object, name: str = "episode", rows: Rows = None
) -> AnyArray:
    """Return episode names as integers or strings."""
    names = check_plain_values(values, name, rows, allowed=("int", "str"))
    if names.dtype == np.uint64:
        refuse_inexact(names, name, rows)
    return names


def check_steps(
    values: object, name: str = "step", rows: Rows = None
) -> NDArray[np.int64]:
    """Return steps as 64-bit integers."""
    vector = _as_vector(values, name, rows)
    types = set(map(type, vector)) if vector.dtype.kind == "O" else set()
    times = [type_.__name__ for type_ in types if is_time(type_)]
    if vector.dtype.kind in "mMUS" or times:
        given = f"values of type {times[0]}" if times else f"dtype {vector.dtype}"
        raise ValueError(
            f"{name} has {given}; whole numbers were expected, because the next state "
            "is looked for at step + 1. Number the steps of an episode, for example "
            "sort by time and use df.groupby(episode).cumcount(), or say in what unit "
            "times count: Transitions.from_frame(..., step_unit='1D')."
        )
    if types and {*map(_kind_of, types)} == {"int"}:
        # Not by way of floats, which would merge large ones.
        refuse_inexact(vector, name, rows)
        return vector.astype(np.int64)
    vector = _to_float(vector, name, rows) if vector.dtype.kind == "O" else vector
    if vector.dtype.kind == "f":
        # Floats, because a table with holes has no integers.
        bad = ~(vector == np.round(vector)) | ~np.isfinite(vector)
        if bad.any():
            raise ValueError(
                f"{name} is not a whole number at {rows_text(bad, rows)}; integers "
                "were expected, because the next state is looked for at step + 1. Of "
                "times say the unit: Transitions.from_frame(..., step_unit=7), say."
            )
    elif vector.dtype.kind not in "iu":
        raise ValueError(f"{name} has dtype {vector.dtype}; integers were expected.")
    if vector.dtype.kind in "fu":
        refuse_inexact(vector, name, rows)
    return vector.astype(np.int64)


def _to_float(vector: AnyArray, name: str, rows: Rows) -> Floats:
    """Return numbers as float64 with NaN for what is missing; refuse the rest."""
    if vector.dtype.kind in "biuf":
        return vector.astype(np.float64)
    if vector.dtype.kind != "O":
        word = "Complex data not supported: " * (vector.dtype.kind == "c")
        raise ValueError(f"{word}{name} has dtype {vector.dtype}; real numbers needed.")
    absent = missing(vector)
    # Decimal is no numbers.Real, and is what databases return for amounts of money.
    real = (numbers.Real, np.bool_, Decimal)
    strange = ~np.fromiter((isinstance(v, real) for v in vector), bool, vector.size)
    strange &= ~absent
    if strange.any():
        raise ValueError(
            f"{name} is not a number at {rows_text(strange, rows)} (for example "
            f"{vector[np.argmax(strange)]!r}); real numbers were expected."
        )
    return np.where(absent, np.nan, vector).astype(np.float64)


def numbers_or_nan(values: object, name: str, rows: Rows = None) -> Floats:
    """Return real numbers as float64, NaN for what is missing."""
    return _to_float(_as_vector(values, name, rows), name, rows)


def check_reals(values: object, name: str, rows: Rows = None) -> Floats:
    """Return finite real numbers as float64."""
    vector = numbers_or_nan(values, name, rows)
    _refuse_infinite(~np.isfinite(vector), name, rows)
    return vector


def check_flags(
    values: object, name: str, rows: Rows = None, unit: str = "row"
) -> Flags:
    """Return booleans, or zeros and ones, as an array of booleans."""
    vector = _as_vector(values, name, rows)
    if vector.dtype.kind == "b":
        return vector
    if vector.dtype.kind in "OUS":
        refuse_words_as_flags(vector, name, rows, unit)
    vector = _to_float(vector, name, rows)
    bad = (vector != 0) & (vector != 1)
    if bad.any():
        raise ValueError(
            f"{name} must be True or False (or 1 or 0); it is "
            f"{vector[np.argmax(bad)]:g} at {rows_text(bad, rows, unit)}."
        )
    return vector.astype(bool)


def check_propensities(
    values: object, name: str = "propensity", rows: Rows = None
) -> Floats:
    """Return probabilities of logged actions, each in (0, 1]."""
    vector = check_reals(values, name, rows)
    # Not 0: an action that cannot be taken was taken, and estimates divide by it.
    bad = (vector <= 0) | (vector > 1)
    if bad.any():
        raise ValueError(
            f"{name} must lie in (0, 1], as the probability of the logged action; it "
            f"does not at {rows_text(bad, rows)}."
        )
    return vector


def check_durations(
    values: object, name: str = "duration", rows: Rows = None
) -> Floats:
    """Return times until the next state, each above 0."""
    vector = check_reals(values, name, rows)
    if (bad := vector <= 0).any():
        raise ValueError(
            f"{name} must be above 0, as the time until the next state; it is "
            f"{vector[np.argmax(bad)]:g} at {rows_text(bad, rows)}."
        )
    return vector


def check_weights(values: object, name: str = "weight", rows: Rows = None) -> Floats:
    """Return weights of rows, none negative and not all 0."""
    vector = check_reals(values, name, rows)
    if (bad := vector < 0).any():
        raise ValueError(
            f"{name} must not be negative; it is {vector[np.argmax(bad)]:g} at "
            f"{rows_text(bad, rows)}."
        )
    if vector.size and not vector.any():
        raise ValueError(f"{name} is 0 at every row, so that no row counts.")
    return vector


def check_actions(values: object, name: str = "action", rows: Rows = None) -> AnyArray:
    """Return plain values, (n,), or p >= 2 finite numbers a row, (n, p) of float64.

    A table of one column is that column.
    """
    refuse_masked(values, name, rows)
    frame = as_narwhals_or_none(values)
    # By column: each of a DataFrame's has a type of its own.
    if hasattr(values, "iloc") and hasattr(values, "columns"):
        columns = [values.iloc[:, j] for j in range(len(values.columns))]
    elif isinstance(frame, nw.DataFrame):
        columns = [*frame.iter_columns()]
    else:
        table = _as_objects(values)
        if table.ndim == 1 and table.dtype.kind == "O":
            _refuse_nested(table, name, rows)
        if table.ndim != 2:
            return check_plain_values(values, name, rows)
        columns = [*table.T]
    if not columns:
        raise ValueError(f"{name} has no columns; at least one number was expected.")
    if len(columns) == 1:
        return check_plain_values(columns[0], name, rows)
    vectors = np.stack([_numbers(column, name, rows) for column in columns], axis=1)
    _refuse_infinite(~np.all(np.isfinite(vectors), axis=1), name, rows)
    return vectors


def has_action(values: object, name: str) -> Flags:
    """Where a row has an action, (n,): all of its numbers, or none, are there."""
    refuse_masked(values, name)
    absent = missing(values)
    if absent.ndim == 1:
        return ~absent
    every = np.all(absent, axis=1)
    some = np.any(absent, axis=1) & ~every
    if some.any():
        raise ValueError(
            f"{name} has some of its numbers and lacks others at {rows_text(some)}; a "
            "row has all or, where it only holds a state, none. Fill them in, or leave "
            "these rows out."
        )
    return ~every


def _numbers(column: object, name: str, rows: Rows) -> Floats:
    vector = _as_vector(column, name)
    one_type = vector.dtype.kind != "O"
    types = {vector.dtype.type} if one_type else {type(v) for v in vector}
    # A bool would pass for a number, and a column of them is a choice between two.
    kinds = {_kind_of(type_) for type_ in types} & {"str", "bool"}
    if kinds:
        raise ValueError(
            f"{name} has several columns, and not all hold numbers (there are values "
            f"of type {' and '.join(sorted(kinds))}): join discrete ones into one, for "
            "example df['a'].astype(str) + '/' + df['b'].astype(str)."
        )
    return _to_float(vector, name, rows)


def _refuse_nested(vector: AnyArray, name: str, rows: Rows) -> None:
    nested = np.array([isinstance(v, (list, tuple, np.ndarray)) for v in vector], bool)
    if nested.any():
        raise ValueError(
            f"{name} holds a list or an array at {rows_text(nested, rows)}. Several "
            "numbers a row are a table with one column for each: use np.stack(...), or "
            "in from_frame a list of columns."
        )

"""Tables of states, numpy's or a DataFrame library's, and the fields of a log.

A table stays what the user gave. No library of DataFrames is imported: pandas' own
methods are called on what has them (Modin does), narwhals speaks to all others.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, Self, TypeVar, cast

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse

from .._stored_rows import StoredRows, row_batches

if TYPE_CHECKING:
    from typing_extensions import TypeIs  # of typing from Python 3.13 on

AnyArray = NDArray[Any]
Index = NDArray[np.intp]


class Frame(Protocol):
    """What is used of a DataFrame of any library."""

    @property
    def columns(self) -> Sequence[Any]: ...  # names, or of Arrow the columns themselves
    @property
    def shape(self) -> tuple[int, int]: ...
    def __array__(self) -> AnyArray: ...
    def __len__(self) -> int: ...


class PandasFrame(Frame, Protocol):
    """What is used of a pandas DataFrame, or of one with its methods."""

    @property
    def dtypes(self) -> Sequence[object]: ...
    @property
    def index(self) -> Sequence[Hashable]: ...
    @property
    def iloc(self) -> Mapping[object, Self]: ...
    def __getitem__(self, key: object, /) -> Self: ...
    def take(self, rows: Index, /) -> Self: ...
    def set_axis(self, index: object, /) -> Self: ...
    def isna(self) -> Self: ...
    def where(self, kept: NDArray[np.bool_], other: Self, /) -> Self: ...
    def to_numpy(self, *, dtype: object = ..., copy: bool = ...) -> AnyArray: ...


States = AnyArray | Frame
# From the rows of states and those of the next ones, (m,) each, to both.
ReadStates = Callable[[Index, Index], tuple[States, States]]
Names = Hashable | Sequence[Hashable]
T = TypeVar("T", AnyArray, States)


class Log(Protocol):
    """The fields of a log of n rows; `Transitions` says what each holds."""

    state: States  # (n, d)
    action: AnyArray  # (n,) or (n, p)
    reward: NDArray[np.float64]
    next_state: States
    terminated: NDArray[np.bool_]
    is_initial: NDArray[np.bool_]
    episode: AnyArray | None
    step: NDArray[np.int64] | None
    propensity: NDArray[np.float64] | None
    duration: NDArray[np.float64] | None
    weight: NDArray[np.float64] | None
    available: NDArray[np.bool_] | None  # (n, K)
    next_available: NDArray[np.bool_] | None
    available_actions: AnyArray | None  # (K,)
    available_rule: AvailableRule | None
    action_names: tuple[Hashable, ...] | None
    left_out: dict[str, int]

    @property
    def n_features(self) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: Index, /) -> Self: ...
    def action_columns(self) -> dict[Hashable, AnyArray]: ...
    def next_or_own_state(self) -> States: ...


# Of states (k, d), which actions are available there: (k, n_actions), or a DataFrame.
AvailableRule = Callable[[States], ArrayLike]

# How a mask's column is named beside a log's others, its action behind it.
AVAILABLE = "available_"

# Those of a row, in the order of the arguments of `Transitions`.
FIELDS = tuple(Log.__annotations__)[:13]


def is_pandas(values: object) -> TypeIs[PandasFrame]:
    """Tell what has pandas' methods from other tables, without importing pandas."""
    return hasattr(values, "iloc") and hasattr(values, "columns")


def is_frame(values: object) -> TypeIs[Frame]:
    """Tell a DataFrame (pandas, Modin, polars, Arrow, ...) from an array."""
    return is_pandas(values) or nw.dependencies.is_into_dataframe(values)


# Any: a lazy frame of any library.
def lazy_frame(values: Any) -> nw.LazyFrame[Any] | None:
    """A query that has not run yet (polars, DuckDB, Dask, ...), else None."""
    # Of its type, because polars warns of what a lazy frame's own costs.
    if is_pandas(values) or not hasattr(type(values), "columns"):
        return None
    found = nw.from_native(values, pass_through=True)
    return found if isinstance(found, nw.LazyFrame) else None


# Any: whatever the user gave comes back as it is, unless it is lazy.
def collected(values: Any) -> Any:
    """Return a table as it is, and a lazy one with its rows."""
    lazy = lazy_frame(values)
    return values if lazy is None else lazy.collect().to_native()


def as_narwhals(frame: Frame) -> nw.DataFrame[Any]:
    """A table of a library other than pandas, by the methods of narwhals."""
    given: Any = frame
    return nw.from_native(given, eager_only=True)


def column_names(frame: Frame) -> list[Hashable]:
    """The names of a table's columns."""
    return [*(frame if is_pandas(frame) else as_narwhals(frame)).columns]


def listed(names: Names) -> list[Hashable]:
    """Names as a list, of one or of several."""
    # A tuple is one name, of a table whose columns have several levels.
    if isinstance(names, (str, tuple)) or not isinstance(names, Iterable):
        return [names]
    return [*names]


def take_columns(frame: Frame, names: Sequence[Hashable]) -> Frame:
    """A table of some of the columns."""
    if is_pandas(frame):
        return frame[names]
    return as_narwhals(frame).select(*map(str, names)).to_native()


def take_column(frame: Frame, name: Hashable) -> object:
    """One column, as its library has it."""
    if is_pandas(frame):
        return frame[name]
    return as_narwhals(frame).get_column(str(name)).to_native()


def check_states(values: object, name: str = "state") -> States:
    """Return states as a 2-D array or DataFrame; missing values are let through."""
    # numpy would make of it an array of one object, and the message would be of that.
    if issparse(values):
        raise ValueError(
            f"{name} is a sparse matrix, and dense states were expected: call "
            ".toarray(), or set OneHotEncoder(sparse_output=False)."
        )
    values = collected(values)
    if is_pandas(values):
        kinds = zip(values.columns, values.dtypes, strict=True)
        named = [column for column, dtype in kinds if getattr(dtype, "kind", "") == "c"]
        if named:
            _refuse_complex(f"columns {named} of {name} are complex")
    if is_frame(values):
        return values
    # A table that narwhals does not know would be read as an array of objects.
    if hasattr(values, "columns"):
        refuse_foreign(values, name)
    _refuse_masked(values, name)
    _refuse_parts(values, name)
    # A memory map stays one: the rows may be larger than the memory.
    array = values if isinstance(values, np.memmap) else np.asarray(values)
    if array.dtype.kind == "c":
        _refuse_complex(f"{name} has dtype {array.dtype}")
    if array.ndim != 2:
        advice = "flatten each row with .reshape(len(states), -1)"
        if array.ndim < 2:
            advice = "reshape your data with .reshape(-1, 1), or (1, -1) if it is a row"
        raise ValueError(
            f"{name} has {array.ndim} dimension(s), shape {array.shape}; a 2-D table "
            f"with one row per transition was expected: {advice}."
        )
    return array


def _refuse_masked(values: object, name: str) -> None:
    if isinstance(values, np.ma.MaskedArray) and values.ndim:
        mask = np.ma.getmaskarray(values)
        rows = np.flatnonzero(np.any(mask.reshape(len(values), -1), axis=1))
        if rows.size:
            raise ValueError(
                f"{name} is masked in {rows.size:,} of its rows (the first is row "
                f"{rows[0]}). Leave these rows out, or fill them in: .filled(np.nan) "
                "is what an imputer looks for."
            )


def _refuse_parts(values: Any, name: str) -> None:
    """Refuse observations with parts by name, as of Gymnasium's Dict spaces."""
    first = values
    dtype = getattr(values, "dtype", None)
    if isinstance(values, (list, tuple)) or getattr(dtype, "kind", "") == "O":
        first = next(iter(values), None)
    if isinstance(first, Mapping):
        raise ValueError(
            f"{name} is of dictionaries with the keys {[*first]}; a 2-D table with one "
            "row per transition was expected. Put the parts side by side: "
            "np.column_stack([states[key] for key in keys]), or "
            "gymnasium.wrappers.FlattenObservation before logging."
        )


def refuse_foreign(values: object, name: str) -> NoReturn:
    """Refuse a table of a library that narwhals does not know."""
    raise ValueError(
        f"{name} is a {type(values).__module__}.{type(values).__name__}; an array or a "
        "DataFrame that narwhals reads (pandas, polars, Arrow, Modin, ...) was "
        "expected: call .to_pandas() first."
    )


def _refuse_complex(what: str) -> NoReturn:
    raise ValueError(
        f"Complex data not supported: {what}. Pass real and imaginary parts as "
        "separate columns."
    )


def check_same_columns(
    state: States, other: States, names: tuple[str, str] = ("state", "next_state")
) -> None:
    """Refuse two tables of states that do not have the same columns."""
    # One could be made the other, but then names that differ would not be noticed.
    if is_frame(state) != is_frame(other):
        kinds = ["a DataFrame" if is_frame(t) else "an array" for t in (state, other)]
        raise ValueError(
            f"{names[0]} is {kinds[0]} and {names[1]} is {kinds[1]}; both must be "
            "DataFrames with the same columns, or arrays."
        )
    if state.shape[1] != other.shape[1]:
        raise ValueError(
            f"{names[0]} has {state.shape[1]} columns and {names[1]} has "
            f"{other.shape[1]}; they must be the same columns."
        )
    if not is_frame(state) or not is_frame(other):
        return
    # By position: a policy that takes an array of states knows no names.
    pairs = zip(column_names(state), column_names(other), strict=True)
    different = [f"{a!r} against {b!r}" for a, b in pairs if a != b]
    if different:
        raise ValueError(
            f"{names[0]} and {names[1]} must have the same columns in the same order "
            f"(second[first.columns]); they differ at {', '.join(different[:5])}."
        )


def stack(parts: Sequence[T]) -> T:
    """Put tables of the same columns, or vectors, one below the other."""
    if is_pandas(parts[0]):
        # pandas or Modin, which is imported already, whichever it is.
        first: Any = parts[0]
        return nw.get_native_namespace(first).concat([*parts], ignore_index=True)
    if is_frame(parts[0]):
        frames = [as_narwhals(part) for part in parts if is_frame(part)]
        return nw.concat(_same_types(frames)).to_native()
    return np.concatenate(parts)


def _same_types(frames: list[nw.DataFrame[Any]]) -> list[nw.DataFrame[Any]]:
    """Tables whose numbers have the same type, as numpy would join them."""
    schemas = [frame.schema for frame in frames]
    casts = [
        nw.col(name).cast(nw.Float64)
        for name in schemas[0]
        if len({schema[name] for schema in schemas}) > 1
        and all(schema[name].is_numeric() for schema in schemas)
    ]
    return [frame.with_columns(*casts) for frame in frames] if casts else frames


def take_rows(table: T, rows: Index | slice) -> T:
    """Return the chosen rows of a table or vector."""
    if is_pandas(table):
        # Positions, whatever the index; take is the faster of the two.
        return table.iloc[rows] if isinstance(rows, slice) else table.take(rows)
    if isinstance(table, StoredRows):
        return cast(Any, table.take(rows))
    if not is_frame(table):
        return table[rows]
    # Arrow counts neither from the end nor backwards.
    if isinstance(rows, slice) or (rows.size and rows.min() < 0):
        rows = np.arange(len(table))[rows]
    return as_narwhals(table)[rows].to_native()


def take_states(table: States, rows: Index, next_rows: Index) -> tuple[States, States]:
    """States and next states of a log, from a table with a row for each of them."""
    if next_rows is rows and rows.size == len(table):
        # Episodes of one step: no copy of the table, and it is transformed once.
        return table, table
    now, after = take_rows(table, rows), take_rows(table, next_rows)
    return now, with_index_of(after, now)


def named(states: States) -> States:
    """Of states in a file a DataFrame with their names, if there are any; no copy."""
    template = getattr(states, "template", None)
    return states if template is None else template


def in_memory(states: Any) -> Any:
    """Of states in a file an array or a DataFrame; all others as they are."""
    if not isinstance(states, StoredRows):
        return states
    template, values = named(cast(Any, states)), np.asarray(states)
    return frame_like(template, values) if is_frame(template) else values


def with_column(table: States, name: str, values: AnyArray) -> States:
    """A table with one more column, the last."""
    if is_pandas(table):
        # Any: `assign` takes any name, which need not be one of Python's.
        given: Any = table
        return given.assign(**{name: values})
    if is_frame(table):
        frame = as_narwhals(table)
        column = nw.new_series(name, values, backend=frame.implementation)
        return frame.with_columns(column).to_native()
    return np.column_stack([table, values])


def beside(tables: Sequence[States]) -> Frame:
    """Put DataFrames of the same rows side by side."""
    parts = [as_narwhals(table) for table in tables if is_frame(table)]
    return nw.concat(parts, how="horizontal").to_native()


def with_index_of(table: States, other: States) -> States:
    """The table under another's index, where both are pandas'."""
    if is_pandas(table) and is_pandas(other):
        return table.set_axis(other.index)
    return table


def choose_rows(chosen: NDArray[np.bool_], table: States, other: States) -> States:
    """Rows of `other` where chosen, (n,), and of `table` elsewhere."""
    if is_pandas(table) and is_pandas(other):
        # pandas aligns by index, and the two tables may have different ones.
        kept = np.broadcast_to(~chosen[:, None], table.shape)
        return table.where(kept, other.set_axis(table.index))
    if is_frame(table) and is_frame(other):
        n = len(table)
        return take_rows(stack([table, other]), np.arange(n) + n * chosen)
    if isinstance(table, StoredRows) and isinstance(other, StoredRows):
        index = np.where(chosen, other.index, table.index)
        return cast(Any, table.at(index))
    return np.where(chosen[:, None], other, table)


def frame_like(template: Frame, values: AnyArray) -> Frame:
    """An array under the columns of a table, as one of its library."""
    if is_pandas(template):
        # Any: what makes one is not among the methods of the protocol.
        make: Any = type(template)
        return make(values, columns=template.columns)
    frame = as_narwhals(template)
    backend = frame.implementation
    return nw.from_numpy(values, schema=frame.columns, backend=backend).to_native()


def comparable(states: States) -> AnyArray:
    """Return a table of states as an array whose entries can be compared with ==."""
    if not is_frame(states):
        return states
    if not is_pandas(states):
        # Nulls are NaN among numbers and None among others, each told from the rest.
        return as_narwhals(states).to_numpy()
    if all(isinstance(d, np.dtype) and d.kind in "biuf" for d in states.dtypes):
        return np.asarray(states)
    values = states.to_numpy(dtype=object, copy=True)
    # pandas' own NA compares to NA, which is neither True nor False.
    values[states.isna().to_numpy()] = np.nan
    return values


def rows_equal(left: AnyArray, right: AnyArray) -> NDArray[np.bool_]:
    """Compare two (n, d) arrays row by row; missing equals missing."""
    # Only what is missing (NaN) differs from itself, in arrays of objects as well.
    missing = np.not_equal(left, left) & np.not_equal(right, right)
    equal = (left == right) | missing
    return np.all(equal.astype(bool), axis=1)


def shared_next_rows(
    state: States, next_state: States, log: Log | None = None
) -> Index:
    """Return i + 1 where row i + 1's state equals row i's next state, else -1, (n,).

    Of a ``log`` with masks, the same must be available there.
    """
    state, next_state = comparable(state), comparable(next_state)
    next_row = np.full(len(state), -1, dtype=np.intp)
    if isinstance(state, StoredRows) and isinstance(next_state, StoredRows):
        same = next_state.index[:-1] == state.index[1:]
    else:
        same = np.empty(max(0, len(state) - 1), dtype=bool)
        for some in row_batches(state[1:]):
            same[some] = rows_equal(next_state[:-1][some], state[1:][some])
    if log is not None and log.available is not None:
        assert log.next_available is not None
        same &= rows_equal(log.next_available[:-1], log.available[1:])
    chained = np.flatnonzero(same)
    next_row[chained] = chained + 1
    return next_row


def used_next_rows(state: AnyArray, next_state: AnyArray, log: Log) -> Index:
    """The same, and a terminated row itself in place of its next, which is not used."""
    next_row = shared_next_rows(state, next_state, log)
    ended = np.flatnonzero(log.terminated)
    next_row[ended] = ended
    return next_row

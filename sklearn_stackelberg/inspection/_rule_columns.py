"""Columns that rules can be written in, beside the log as a policy sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from .._typing import AnyArray, Flags, Floats
from .._validation import check_discount
from ..metrics._prepare import unwrap
from ..metrics._tabulate import AnyPolicy
from ..transitions._as_transitions import as_transitions
from ..transitions._tables import States, collected, column_names, is_frame
from ..transitions._transitions import Transitions
from ..transitions._weights import weighted_log
from ..transitions._words import plain_column

# Rules name words one by one; of a column of names or free text only the commonest.
_MOST_WORDS = 30


class RuleColumn(NamedTuple):
    """One column of numbers, and how a condition on it reads."""

    place: int  # of the column of states that it is of
    name: str
    word: str | None = None  # 1 where the column holds it
    is_missing: bool = False  # 1 where nothing is there
    filled: float | None = None  # what stands where nothing is there

    @property
    def is_number(self) -> bool:
        return self.word is None and not self.is_missing

    def condition(self, low: float, high: float) -> str:
        """What holds where low < value <= high."""
        if self.is_missing:
            return f"{self.name} is {'missing' if low >= 0 else 'not missing'}"
        if self.word is not None:
            return f"{self.name} is {'' if low >= 0 else 'not '}{self.word!r}"
        if np.isneginf(low):
            return f"{self.name} <= {high:.12g}"
        if np.isposinf(high):
            return f"{self.name} > {low:.12g}"
        return f"{low:.12g} < {self.name} <= {high:.12g}"


class RuleColumns(TransformerMixin, BaseEstimator):
    """The columns of states as people know them, made numbers.

    Text is one column for each word, missing numbers are the median, with a column that
    says where they were missing.
    """

    def fit(
        self, X: States, y: object = None, names: Sequence[str] | None = None
    ) -> Self:
        """Learn the words, the medians, and which columns may lack a value."""
        X = collected(X)
        validate_data(self, X, skip_check_array=True)
        d = self.n_features_in_
        own = column_names(X) if is_frame(X) else [f"x{j}" for j in range(d)]
        named = [*map(str, own if names is None else names)]
        if len(named) != d:
            raise ValueError(
                f"feature_names has {len(named)} names; one for each of the {d} "
                "columns of X was expected."
            )
        self.columns_: list[RuleColumn] = []
        for j, name in enumerate(named):
            self.columns_ += _described(table_column(X, j), j, name)
        return self

    def transform(self, X: States) -> Floats:
        """Numbers, (n, k)."""
        check_is_fitted(self)
        X = collected(X)
        validate_data(self, X, reset=False, skip_check_array=True)
        places = {column.place for column in self.columns_}
        values = {j: table_column(X, j) for j in places}
        return np.column_stack([_numbers(values[c.place], c) for c in self.columns_])

    def get_feature_names_out(self, input_features: object = None) -> AnyArray:
        """Names of the numbers, (k,)."""
        check_is_fitted(self)
        return np.array(
            [c.name if c.is_number else c.condition(0.5, 1.0) for c in self.columns_],
            dtype=object,
        )


def table_column(states: States, place: int) -> AnyArray:
    """Numbers, or what else there is as objects."""
    found: Any = plain_column(states, place)
    values = np.asarray(found)
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    if values.dtype.kind in "mM":
        # As scikit-learn would: a date is no number, and no word.
        raise ValueError(
            f"Column {place} of X holds dates or times, on which no rule can be made. "
            "Make them numbers, such as days since a date."
        )
    values = np.asarray(found, dtype=object)
    try:
        # Numbers that stand among objects, or a library's own missing value.
        return np.array([_or_missing(value) for value in values], dtype=np.float64)
    except (TypeError, ValueError):
        return values


def _or_missing(value: object) -> object:
    return np.nan if _is_missing(value) else value


def _is_missing(value: object) -> bool:
    # pandas' NA is neither equal to itself nor not, and says so by its type.
    return value is None or type(value).__name__ == "NAType" or value != value


def missing_in(values: AnyArray) -> Flags:
    if values.dtype.kind == "f":
        return np.isnan(values)
    return np.array([_is_missing(value) for value in values], dtype=bool)


def _described(values: AnyArray, place: int, name: str) -> list[RuleColumn]:
    missing = missing_in(values)
    lacks = [RuleColumn(place, name, is_missing=True)] if missing.any() else []
    if values.dtype.kind == "f":
        filled = float(np.median(values[~missing])) if not missing.all() else 0.0
        return [RuleColumn(place, name, filled=filled), *lacks]
    words, counts = np.unique(values[~missing].astype(str), return_counts=True)
    # Stable, so that words of equal number stand in the order of the alphabet.
    kept = np.sort(np.argsort(-counts, kind="stable")[:_MOST_WORDS])
    return [*(RuleColumn(place, name, word=str(words[j])) for j in kept), *lacks]


def _numbers(values: AnyArray, column: RuleColumn) -> Floats:
    missing = missing_in(values)
    if column.is_missing:
        return missing.astype(np.float64)
    if column.word is not None:
        same = np.array([str(value) == column.word for value in values])
        return (same & ~missing).astype(np.float64)
    if values.dtype.kind != "f":
        odd = next(value for value in values if isinstance(value, str))
        raise ValueError(
            f"Column {column.name!r} held numbers when the rules were made, and now "
            f"holds {odd!r}; numbers were expected."
        )
    out: Floats = np.where(missing, column.filled or 0.0, values)
    return out


class ByRow:
    """What stands beside each state of a log, found by the state."""

    def __init__(self, states: Floats, beside: Floats) -> None:
        # Zero has one sign.
        self._place = {row.tobytes(): i for i, row in enumerate(states + 0.0)}
        self._beside = beside

    def __call__(self, states: Any) -> Floats:  # a table of any library
        rows = np.ascontiguousarray(np.asarray(states, dtype=np.float64) + 0.0)
        return self._beside[[self._place[row.tobytes()] for row in rows]]


@dataclass(frozen=True, eq=False)
class ExplainedLog:
    """A log twice, row by row: as it was given, and as a policy's last step sees it."""

    policy: AnyPolicy  # the last step of a pipeline
    given: Transitions
    seen: Transitions
    columns: RuleColumns
    numbers: Floats  # columns of the states, (n, k)
    find: ByRow  # and of all states and next states, by those that the policy sees

    @classmethod
    def of(
        cls,
        policy: object,
        X: object,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> ExplainedLog:
        last, seen, seen_rows, n = unwrap(policy, X, y)
        seen, seen_rows = weighted_log(seen, seen_rows, n, sample_weight)
        table: Any = collected(X)
        given, rows = as_transitions(table, y, return_rows=True)
        # A step may leave rows out, such as those without a history.
        place = np.searchsorted(rows, seen_rows).clip(max=len(rows) - 1)
        if not np.array_equal(rows[place], seen_rows):
            raise ValueError(
                "The policy's pipeline makes rows that X does not have, so that no "
                "rule in the columns of X can be found. Transform X first, and explain "
                "the pipeline's last step."
            )
        given = given[place]
        after = given.next_or_own_state()
        if feature_names is None and not is_frame(given.state):
            known = getattr(policy, "feature_names_in_", None)
            if known is not None and len(known) == given.n_features:
                feature_names = [*known]
        columns = RuleColumns().fit(given.state, names=feature_names)
        numbers = columns.transform(given.state)
        states = np.vstack([seen.state, seen.next_or_own_state()]).astype(np.float64)
        find = ByRow(states, np.vstack([numbers, columns.transform(after)]))
        return cls(last, given, seen, columns, numbers, find)


def discount_of(policy: AnyPolicy, given: float | None) -> float:
    """As given, or the policy's own."""
    if given is None:
        given = getattr(policy, "discount", None)
    if given is None:
        raise ValueError(
            f"The policy, a {type(policy).__name__}, has no discount of its own. Give "
            "discount=, such as 0.95, or 0 where each row stands alone."
        )
    check_discount(given)
    return float(given)

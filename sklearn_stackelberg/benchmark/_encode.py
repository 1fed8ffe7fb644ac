"""A log as all methods take it: states of numbers, and pieces as episodes."""

from __future__ import annotations

from typing import cast

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from ..metrics._data import FEWEST_ROWS, time_blocks
from ..preprocessing._on_states import OnStates
from ..transitions._tables import FIELDS, column_names, is_frame, take_columns
from ..transitions._transitions import Transitions
from ..transitions._words import plain_column, refuse_words

# Names of more kinds than this are joined, the rarest as one.
_MOST_KINDS = 100


def encoded(log: Transitions) -> Transitions:
    """The log with states of numbers, as it is where they are that already.

    One-hot columns and medians are of all states, which hold no outcome.
    """
    state = log.state
    n_columns = log.n_features
    text = [j for j in range(n_columns) if _is_text(plain_column(state, j))]
    numbers = [j for j in range(n_columns) if j not in text]
    if is_frame(state):
        names = column_names(state)
        refuse_words(take_columns(state, [names[j] for j in numbers]))
    else:
        refuse_words(state[:, numbers])
    if not text and _is_finite(log):
        return log
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        sparse_output=False,
        max_categories=_MOST_KINDS,
    )
    columns = ColumnTransformer(
        [
            ("text", one_hot, text),
            ("numbers", SimpleImputer(strategy="median", add_indicator=True), numbers),
        ],
        sparse_threshold=0.0,
    )
    return cast(Transitions, OnStates(columns).fit_transform(log))


def _is_text(column: object) -> bool:
    """Whether a column holds names: of categories, or any that spell no number."""
    kind = getattr(getattr(column, "dtype", None), "kind", "O")
    if kind in "biufcmM":
        return False
    values = np.asarray(column, dtype=object)
    known = [v for v in values.tolist() if isinstance(v, str)]
    if getattr(column, "dtype", None) == "category":
        return True
    return bool(known) and not all(map(_is_number, known))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_finite(log: Transitions) -> bool:
    found = (
        np.asarray(states, dtype=np.float64)
        for states in (log.state, log.next_or_own_state())
    )
    return all(bool(np.isfinite(values).all()) for values in found)


def blocks_as_episodes(log: Transitions) -> Transitions:
    """A log of one long episode as one of blocks of time, which folds are made of.

    As many as `metrics` take as independent. Values are counted from the first state of
    each.
    """
    n = len(log)
    one = log.episode is not None and len(np.unique(log.episode)) == 1
    if not one or n < FEWEST_ROWS:
        return log
    block = time_blocks(log, lambda rows: max(1, round(np.sqrt(rows))))
    order = np.arange(n) if log.step is None else np.argsort(log.step, kind="stable")
    first = np.zeros(n, dtype=bool)
    first[order[np.unique(block[order], return_index=True)[1]]] = True
    fields = {name: getattr(log, name) for name in FIELDS}
    fields |= {"episode": block, "is_initial": first}
    more = ("available_actions", "available_rule", "action_names")
    fields |= {name: getattr(log, name) for name in more}
    return Transitions._from_checked({}, 0, fields)

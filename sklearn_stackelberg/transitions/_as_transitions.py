"""The one conversion of what a user gives to a log."""

from __future__ import annotations

import warnings
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_consistent_length

from . import _checks as checks
from ._decision_table import (
    chain_rows,
    find_columns,
    is_table,
    read_fields,
    take_states,
)
from ._episodes import EpisodeView, warn_of_gaps
from ._linking import comparable, next_rows_by_value
from ._transitions import Transitions


@overload
def as_transitions(
    X: Any, y: Any = None, *, return_rows: Literal[False] = False
) -> Transitions: ...


@overload
def as_transitions(
    X: Any, y: Any = None, *, return_rows: Literal[True]
) -> tuple[Transitions, NDArray[np.intp]]: ...


def as_transitions(
    X: Any, y: Any = None, *, return_rows: bool = False
) -> Transitions | tuple[Transitions, NDArray[np.intp]]:
    """Return the log that an estimator was given, in whichever way it was given.

    A *decision table* y says what was done in each state of X, row by row, by its
    columns ``action`` and ``reward`` and, where there are any, ``episode``, ``step``,
    ``terminated``, ``propensity`` and ``is_initial``. An action of several numbers has
    columns ``action_0``, ``action_1``, ... instead, or in a structured array may be one
    field with a shape, ``("action", float, (2,))``. It is read as
    `Transitions.from_frame` reads them: the next state of a row is that row of X whose
    y has the same episode and step + 1, wherever it stands; a row without an action
    (None or NaN) holds the state after the last step of a truncated episode; rows whose
    next state is not there are left out and counted in ``left_out``. Any index is
    ignored: row i of X belongs to row i of y.

    Without ``step`` the rows of each episode must stand together and in order, so that
    only whole episodes may be drawn (`EpisodeKFold`). Without ``episode`` each row is
    an episode of one step that ends there (a bandit).

    Parameters
    ----------
    X : Transitions, Transitions.episodes, or array-like or DataFrame of shape (n, d)
        A log, the episodes of one (all of them), or states.
    y : DataFrame or structured array of shape (n,), or 1-D array-like, default=None
        With states: a decision table; or the actions taken alone, each of which then
        counts as a success: reward 1 in an episode of one step. None with a log.
    return_rows : bool, default=False
        Whether to tell also where the transitions come from.

    Returns
    -------
    Transitions
    ndarray of int of shape (n_transitions,)
        The row of X that holds each transition's state. Only if `return_rows`.

    Warns
    -----
    UserWarning
        If actions came alone, because that asks for imitation. Once for each log, if
        its episodes are not whole, as in folds of its rows. Whenever rows of a table
        are left out because of gaps in the steps, always in the same words, so that
        ``warnings.simplefilter("once")`` shows them once in a search.

    Raises
    ------
    ValueError
        If y is missing or superfluous, if the lengths differ, if y has no ``action`` or
        no ``reward`` or a column that is one of the above but for its spelling, and as
        `Transitions.from_frame` does.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_stackelberg.transitions import as_transitions
    >>> pulse = [[80], [75], [70], [90]]
    >>> y = pd.DataFrame(
    ...     {
    ...         "action": ["low", "high", None, "low"],
    ...         "reward": [0.0, 1.0, None, 2.0],
    ...         "episode": ["a", "a", "a", "b"],
    ...         "step": [1, 2, 3, 1],
    ...         "terminated": [False, False, None, True],
    ...     }
    ... )
    >>> log, rows = as_transitions(pulse, y, return_rows=True)
    >>> log.next_state[~log.terminated].ravel(), rows
    (array([75, 70]), array([0, 1, 3]))
    """
    rows = None
    if isinstance(X, (Transitions, EpisodeView)):
        log = unwrap(X, y)
        log._warn_of_cuts(stacklevel=3)
    elif y is None:
        raise ValueError(
            "This estimator requires y to be passed, but the target y is None. X holds "
            "states alone: pass a Transitions as X (Transitions.from_frame makes one "
            "from a table of logged decisions), or a table of the decisions as y, with "
            "the columns action and reward, and episode and step where there are any."
        )
    else:
        state = checks.check_states(X, "X")
        check_consistent_length(state, y)
        if is_table(y):
            columns = find_columns(y)
            chain = chain_rows(columns, len(state))
            fields = read_fields(columns, chain) | take_states(state, chain)
            left_out, idle, rows = chain.left_out, chain.n_without_action, chain.rows
            log = Transitions._from_checked(left_out, idle, **fields)
            warn_of_gaps(left_out, stacklevel=3)
        else:
            log = _imitation(state, y)
    if not return_rows:
        return log
    return log, np.arange(len(log)) if rows is None else rows


def unwrap(X: Transitions | EpisodeView, y: Any = None) -> Transitions:
    """Return a log, or the log of a view, whether or not its episodes are whole."""
    if y is not None:
        raise ValueError(
            "y must be None with a Transitions, which holds its actions and "
            f"rewards itself; got a y of type {type(y).__name__}. Call fit(log)."
        )
    log = X.transitions if isinstance(X, EpisodeView) else X
    checks.check_same_length({"log": len(log)})
    return log


def _imitation(state: Any, y: Any) -> Transitions:
    """Take actions alone as successes, and say so."""
    if np.ndim(y) != 1:
        raise ValueError(
            f"y has {np.ndim(y)} dimensions and no names of columns. Expected were a "
            "decision table, that is a DataFrame or a structured array with the "
            "columns action and reward (pandas.DataFrame(y, columns=[...]) names "
            "them), or actions alone, 1-D (use .ravel() if this is a single column of "
            "them). cross_val_predict(method='predict_proba') turns a table into "
            "numbers before it gets here: give it a Transitions."
        )
    action = checks.check_labels(y, "y")
    ones = np.ones(len(action))
    log = Transitions(
        state,
        action,
        ones,
        state,
        ones,
        episode=np.arange(len(action)),
        step=np.zeros(len(action), dtype=np.int64),
    )
    warnings.warn(
        "y holds actions without rewards, so every logged action is taken as a success "
        "(reward 1, episodes of one step): this is pessimistic imitation. To learn "
        "from rewards, pass a Transitions, or a table with the columns action and "
        "reward as y.",
        UserWarning,
        stacklevel=4,
    )
    return log


def shared_next_rows(transitions: Transitions) -> np.ndarray:
    """Return the row whose state is each row's next state, where that is the next row.

    What is computed of a next state that is also a logged state need be computed once.

    Parameters
    ----------
    transitions : Transitions
        A log of n rows; rows of an episode that stand in order are recognised.

    Returns
    -------
    ndarray of shape (n,)
        i + 1 where the state of row i + 1 equals the next state of row i, missing
        values being equal to each other; else -1.

    Examples
    --------
    >>> from sklearn_stackelberg.transitions import Transitions, shared_next_rows
    >>> shared_next_rows(Transitions([[0], [1]], [3, 4], [0, 1], [[1], [2]]))
    array([ 1, -1])
    """
    return next_rows_by_value(
        comparable(transitions.state), comparable(transitions.next_state)
    )

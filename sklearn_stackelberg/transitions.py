"""Logged transitions, how they are read and written, and how estimators read theirs.

Importing this module does not import pandas: that happens where the user brings a
DataFrame or asks for one.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_consistent_length

from ._log import checks
from ._log.columns import find_columns, is_table
from ._log.cuts import warn_of_gaps
from ._log.decisions import chain_rows, read_fields, take_states
from ._log.joining import chain_episodes, join_logs
from ._log.linking import comparable, next_rows_by_value
from ._log.rows import LogRows
from ._log.tables import read_frame, write_frame
from ._log.views import EpisodeView


class Transitions(LogRows):
    """Logged decisions, each row whole: state, action, reward and next state.

    scikit-learn can index, split and resample a log by rows, and its episodes through
    `episodes`. Rows are counted from 0 in all messages.

    Parameters
    ----------
    state : array-like or DataFrame of shape (n, d)
        The state in which each action was taken. Kept as given, not copied. Missing
        values are allowed, for an imputer to fill.
    action : array-like of shape (n,), or array-like or DataFrame of shape (n, p)
        The actions taken: integers, strings, booleans or finite floats, of one type; or
        p finite numbers each, kept as float64. One column is taken as (n,).
    reward : array-like of shape (n,)
        The rewards that followed, finite, in any unit; larger is better.
    next_state : array-like or DataFrame of shape (n, d)
        The states that followed, with the same columns. Unused where terminated.
    terminated : array-like of bool of shape (n,), default=None
        Whether the episode ended there for good, so that no value follows. An episode
        that was merely cut (truncated) is not terminated. None means nowhere.
    is_initial : array-like of bool of shape (n,), default=None
        Whether an episode starts at the row. None means: the smallest step of each
        episode; without `step`, the first row of each run of equal `episode`; without
        `episode`, no row.
    episode : array-like of shape (n,), default=None
        Names of the episodes, integers or strings.
    step : array-like of int of shape (n,), default=None
        Position within the episode. Each (episode, step) names one row.
    propensity : array-like of shape (n,), default=None
        Probability in (0, 1] with which the logged action was taken.

    Attributes
    ----------
    state, action, reward, next_state, terminated, is_initial, episode, step, propensity
        The fields, 1-D ones as numpy arrays; the last three are None if not given.
    left_out : dict of str to int
        Rows that linking could not use, counted by reason.
    action_names : tuple of str or None
        Names of the columns of an action of several numbers, where they were given.

    Raises
    ------
    ValueError
        In a sentence that names the rows, if a field is not as described.

    See Also
    --------
    Transitions.from_frame : From a table with one row per visit or time step.
    Transitions.from_episodes : From lists of observations, actions and rewards.

    Examples
    --------
    >>> from sklearn_stackelberg.transitions import Transitions
    >>> log = Transitions(
    ...     state=[[0.0], [0.5], [1.0]],
    ...     action=["wait", "treat", "treat"],
    ...     reward=[0.0, 1.0, 0.0],
    ...     next_state=[[0.5], [1.0], [0.0]],
    ...     episode=[7, 7, 8],
    ... )
    >>> log
    <Transitions: 3 rows, 1 state column, str actions; with episode>
    >>> log[log.action == "treat"].reward
    array([1., 0.])
    >>> log.is_initial
    array([ True, False,  True])
    """

    @classmethod
    def from_frame(
        cls,
        df: Any,
        *,
        state: str | Sequence[str],
        action: str | Sequence[str],
        reward: str,
        episode: str,
        step: str | None = None,
        terminated: str | None = None,
        propensity: str | None = None,
        is_initial: str | None = None,
    ) -> Transitions:
        """Make transitions from a table with one row per decision.

        A row's next state is the state of the row of the same episode at step + 1,
        wherever it stands. A row without an action holds the state after the last step
        of a truncated episode. Rows whose next state is not there are left out and
        counted in `left_out`, unless they are terminated.

        Parameters
        ----------
        df : DataFrame
            The table. With `step`, the rows may stand in any order, but for one: where
            the steps of every episode fall from row to row, they may be a countdown, in
            which step + 1 is the row before. Such a table is refused, unless the ends
            of episodes show that it only stands newest first.
        state : str or list of str
            Columns that make up the state.
        action : str or list of str
            Column of the action, or the columns of one of several numbers. A row in
            which all of these are missing has no action.
        reward, episode : str
            Columns of the action's reward and the episode's name.
        step : str, default=None
            Column of whole numbers; None means that each episode's rows stand together
            and in order.
        terminated : str, default=None
            Column of booleans; None means that every end is a truncation.
        propensity : str, default=None
            Column of the logged actions' probabilities.
        is_initial : str, default=None
            Column of booleans; None means the smallest step of each episode.

        Returns
        -------
        Transitions
            In the order of the table, states as DataFrames.

        Raises
        ------
        ValueError
            If a column is not there, a value is not as `Transitions` asks, steps repeat
            or run backwards, an episode without steps stands in two places, or no row
            has a next state.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_stackelberg.transitions import Transitions
        >>> df = pd.DataFrame(
        ...     {
        ...         "patient": ["a", "a", "a", "b", "b"],
        ...         "visit": [1, 2, 3, 1, 2],
        ...         "pulse": [80, 75, 70, 90, 95],
        ...         "dose": ["low", "high", None, "low", "low"],
        ...         "outcome": [0.0, 1.0, None, 0.0, -1.0],
        ...     }
        ... )
        >>> log = Transitions.from_frame(
        ...     df,
        ...     state="pulse",
        ...     action="dose",
        ...     reward="outcome",
        ...     episode="patient",
        ...     step="visit",
        ... )
        >>> log.next_state["pulse"].tolist(), log.n_left_out
        ([75, 70, 95], 1)
        """
        left_out, n_without_action, fields = read_frame(
            df,
            state,
            {
                "action": action,
                "reward": reward,
                "episode": episode,
                "step": step,
                "terminated": terminated,
                "propensity": propensity,
                "is_initial": is_initial,
            },
        )
        return cls._from_checked(left_out, n_without_action, **fields)

    @classmethod
    def from_episodes(
        cls,
        observations: Sequence,
        actions: Sequence,
        rewards: Sequence,
        terminated: Sequence[bool],
    ) -> Transitions:
        """Make transitions from lists with one entry per episode.

        Parameters
        ----------
        observations : list of array-likes of shape (T + 1, d)
            The states of each episode: one more than its T actions, the last being the
            state in which it ended.
        actions : list of array-likes of shape (T,) or (T, p)
            The actions taken.
        rewards : list of array-likes of shape (T,)
            The rewards that followed.
        terminated : list of bool
            Whether each episode ended for good, not by a time limit.

        Returns
        -------
        Transitions
            With episodes numbered as listed, steps from 0.

        Raises
        ------
        ValueError
            If lengths do not fit or a value is not as `Transitions` asks.

        Examples
        --------
        >>> from sklearn_stackelberg.transitions import Transitions
        >>> log = Transitions.from_episodes(
        ...     observations=[[[0.0], [1.0], [2.0]], [[5.0], [6.0]]],
        ...     actions=[[0, 1], [1]],
        ...     rewards=[[0.0, 1.0], [0.5]],
        ...     terminated=[True, False],
        ... )
        >>> log.next_state.ravel(), log.terminated
        (array([1., 2., 6.]), array([False,  True, False]))
        """
        fields = chain_episodes(observations, actions, rewards, terminated)
        return cls(**fields)

    @classmethod
    def concatenate(cls, *logs: Transitions) -> Transitions:
        """Put logs one below the other, each one's episodes distinct from the others'.

        Parameters
        ----------
        *logs : Transitions
            Logs with the same state columns and the same fields.

        Returns
        -------
        Transitions
            With episodes renumbered 0, 1, ... in the order in which they appear.

        Raises
        ------
        ValueError
            If the logs differ in columns, in the type of their actions, or in whether
            they have `episode`, `step` and `propensity`.
        """
        left_out, fields = join_logs(logs)
        n_without_action = sum(log._n_without_action for log in logs)
        return cls._from_checked(left_out, n_without_action, **fields)

    def to_frame(self) -> Any:
        """Return the log as a table that `from_frame` reads back.

        The table has the state columns (``state_0``, ... for arrays), `action`,
        `reward`, `episode`, `step`, `terminated`, `is_initial` and, where there is one,
        `propensity`. An action of several numbers has its columns' names, or
        ``action_0``, ``action_1``, ... A row without an action closes each episode that
        does not go on, and each gap, to hold the last next state. Without `episode`,
        each transition becomes an episode.

        Returns
        -------
        DataFrame

        Raises
        ------
        ValueError
            If a state column bears one of these names, or if the next state of a row
            is not the state of the row at step + 1.

        Examples
        --------
        >>> from sklearn_stackelberg.transitions import Transitions
        >>> log = Transitions([[0], [1]], [3, 4], [0, 1], [[1], [2]], episode=[7, 7])
        >>> log.to_frame()[["state_0", "action", "episode", "step"]]
           state_0  action  episode  step
        0        0       3        7     0
        1        1       4        7     1
        2        2    <NA>        7     2
        """
        return write_frame(self)


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
        its episodes are not whole, as in folds of its rows. Whenever rows of a table are
        left out because of gaps in the steps, always in the same words, so that
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

"""The one conversion of what a user gives to a log."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length

from ._chains import GAP
from ._checks import check_plain_values, check_same_length
from ._decision_table import find_columns, is_table
from ._episodes import CUT_EPISODES_HARM, EpisodeView
from ._tables import States, check_states, collected, is_pandas, take_states
from ._transitions import Transitions
from ._weights import weighted

GivenLog = Transitions | EpisodeView[Transitions]
LogOrStates = GivenLog | ArrayLike


@overload
def as_transitions(
    X: LogOrStates, y: ArrayLike | None = None, *, return_rows: Literal[False] = False
) -> Transitions: ...


@overload
def as_transitions(
    X: LogOrStates, y: ArrayLike | None = None, *, return_rows: Literal[True]
) -> tuple[Transitions, NDArray[np.intp]]: ...


def as_transitions(
    X: LogOrStates, y: ArrayLike | None = None, *, return_rows: bool = False
) -> Transitions | tuple[Transitions, NDArray[np.intp]]:
    """Return the log that an estimator was given, in whichever way it was given.

    A *decision table* y says what was done in each state of X, row by row (where both
    have an index, they must be the same), by its columns ``action`` and ``reward`` and,
    where there are any, ``episode``, ``step``, ``terminated``, ``truncated``,
    ``propensity``, ``is_initial``, ``duration``, ``sample_weight`` (a log's `weight`)
    and ``censored`` (True at decisions whose outcome is not known, see
    `preprocessing.censoring_weights`). An action of several numbers has columns
    ``action_0``, ``action_1``, ..., or is one field of a structured array, ``("action",
    float, (2,))``. Columns named by an action behind ``available_``, such as
    ``available_low``, say where it can be taken. Rows are linked as by
    `Transitions.from_frame`; ``truncated`` may bear another library's name
    (``timeouts``, ``truncations``, ``TimeLimit.truncated``, or ``done`` beside
    ``terminated``). Without ``step`` each episode's rows must stand together
    and in order, so that only whole episodes may be drawn (`EpisodeKFold`). Without
    ``episode`` each row is an episode of one step that ends there (a bandit).

    Parameters
    ----------
    X : Transitions, Transitions.episodes, or array-like or DataFrame of shape (n, d)
        A log, the episodes of one (all of them), or states.
    y : DataFrame or structured array of shape (n,), or 1-D array-like, default=None
        With states: a decision table; or the actions taken alone, each of which then
        counts as a success: reward 1 in an episode of one step. None with a log.
    return_rows : bool, default=False
        Whether to return also where the transitions come from.

    Returns
    -------
    Transitions
    ndarray of int of shape (n_transitions,)
        The row of X that holds each transition's state. Only if `return_rows`.

    Raises
    ------
    ValueError
        If y is missing or superfluous, of another length, or lacks or misspells a
        column, and as `Transitions.from_frame` does.

    Warns
    -----
    UserWarning
        If actions came alone, because that is imitation. Once for each log, if its
        episodes are not whole. Whenever gaps in the steps leave rows of a table out, in
        the same words, so that ``warnings.simplefilter("once")`` shows them once.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_stackelberg.transitions import as_transitions
    >>> pulse = [[80], [75], [70], [90]]
    >>> y = pd.DataFrame({"episode": [*"aaab"], "step": [1, 2, 3, 1]})
    >>> y["action"] = ["low", "high", None, "low"]
    >>> y["reward"] = [0.0, 1.0, None, 2.0]
    >>> y["terminated"] = [False, False, None, True]
    >>> log, rows = as_transitions(pulse, y, return_rows=True)
    >>> log.next_state[~log.terminated].ravel(), rows
    (array([75, 70]), array([0, 1, 3]))
    """
    if isinstance(X, (Transitions, EpisodeView)):
        log = given_log(X, y)
        rows = np.arange(len(log))
        log._warn_of_cut_episodes(stacklevel=3)
    elif y is None:
        raise ValueError(
            "This estimator requires y to be passed, but the target y is None. X holds "
            "states alone: pass a Transitions as X (see Transitions.from_frame), or a "
            "table as y with the columns action, reward and, if any, episode and step."
        )
    else:
        state, y = check_states(X, "X"), collected(y)
        # scikit-learn's own check, and so its own words, which its tests look for.
        check_consistent_length(state, y)
        _refuse_other_index(state, y)
        if is_table(y):
            log, rows = Transitions._from_columns(
                partial(take_states, state), find_columns(y)
            )
            _warn_of_gaps(log.left_out, stacklevel=3)
        else:
            log = _imitation(state, y)
            rows = np.arange(len(log))
    return (log, rows) if return_rows else log


def weighted_log_of(
    X: LogOrStates, y: ArrayLike | None, sample_weight: ArrayLike | None
) -> Transitions:
    """The log that an estimator was given, each row with what it counts."""
    found = as_transitions(X, y, return_rows=True)
    return weighted(*found, X, y, sample_weight)


def _refuse_other_index(state: States, y: object) -> None:
    """Refuse a table or series whose index says that its rows are in another order."""
    if not is_pandas(state) or not hasattr(y, "iloc"):
        return
    own: Any = state.index
    theirs: Any = y.index  # type: ignore[attr-defined]
    if own.equals(theirs):
        return
    # A transformer may number its rows anew; not the labels of y in another order.
    numbered = np.array_equal(np.asarray(own), np.arange(len(state)))
    if numbered and not theirs.isin(own).all():
        return
    row = int(np.argmax(np.asarray(own != theirs)))
    raise ValueError(
        "X and y have different indexes, and rows are taken by their place: at row "
        f"{row} X has {own[row]!r} and y {theirs[row]!r}. If the index says which rows "
        "belong together, give y.loc[X.index]; if their place does, "
        "y.set_axis(X.index)."
    )


def given_log(X: GivenLog, y: object = None) -> Transitions:
    """Return a log, or the log of a view, whether or not its episodes are whole."""
    if y is not None:
        raise ValueError(
            "y must be None with a Transitions, which holds its actions and "
            f"rewards itself; got a y of type {type(y).__name__}. Call fit(log)."
        )
    # All of the view: what is drawn from one is a log at once, and no view.
    log = X.transitions if isinstance(X, EpisodeView) else X
    check_same_length({"log": len(log)})
    return log


def _imitation(state: States, y: ArrayLike) -> Transitions:
    """Take actions alone as successes, with a warning."""
    if (n_dimensions := np.asarray(y).ndim) != 1:
        raise ValueError(
            f"y has {n_dimensions} dimensions and no names of columns. Expected were a "
            "decision table (DataFrame or structured array) with action and reward "
            "(pandas.DataFrame(y, columns=[...]) names them), or actions alone, 1-D "
            "(.ravel() makes them so). cross_val_predict(method='predict_proba') "
            "converts a table into numbers before it gets here: give it a Transitions."
        )
    # A reward of 1 for what was done, in episodes of one step: the Q-function is 1 on
    # the logged actions, and pessimism keeps the policy to them.
    action = check_plain_values(y, "y")
    ones, episode = np.ones(len(action)), np.arange(len(action))
    step = np.zeros(len(action), dtype=np.int64)
    log = Transitions(state, action, ones, state, ones, episode=episode, step=step)
    warnings.warn(
        "y holds actions without rewards, so every logged action is taken as a success "
        "(reward 1, episodes of one step): this is pessimistic imitation. To learn "
        "from rewards, pass a Transitions, or a table with action and reward as y. "
        "[pitfalls: no-rewards]",
        UserWarning,
        stacklevel=4,
    )
    return log


def _warn_of_gaps(left_out: dict[str, int], stacklevel: int) -> None:
    """Warn of steps that are missing in a decision table."""
    # At each reading: folds of a table do not know the table. The text has no numbers,
    # so that it is the same for all of them, and simplefilter("once") shows it once.
    if GAP not in left_out:
        return
    warnings.warn(
        "Gaps in the steps: rows of y with an action are left out, because no row is "
        "at step + 1 although their episode goes on (as_transitions(X, y).left_out "
        "counts them). Either decisions are missing in the table, or rows were drawn "
        "one by one (KFold, train_test_split, resample). "
        f"Then the same {CUT_EPISODES_HARM} Split by episodes: cv=EpisodeKFold(5). "
        "(BlockKFold leaves such gaps in a table by intention; it leaves none in a "
        "Transitions.) [pitfalls: gaps]",
        UserWarning,
        stacklevel=stacklevel + 1,
    )

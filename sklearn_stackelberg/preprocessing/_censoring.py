"""Weights that stand in for episodes that were lost to follow-up."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from .._typing import AnyArray, Flags, Floats, Index, RandomStateLike
from .._validation import check_rules, integer, positive
from ..transitions._actions import action_type
from ..transitions._as_transitions import LogOrStates
from ..transitions._chains import chain_rows
from ..transitions._checks import (
    check_actions,
    check_flags,
    check_same_length,
    rows_text,
)
from ..transitions._decision_table import find_columns, is_table
from ..transitions._linking import Places, places_in_time
from ..transitions._tables import (
    States,
    check_states,
    column_names,
    is_frame,
    take_rows,
    with_column,
)
from ..transitions._transitions import Transitions
from ..transitions._words import plain_column, refuse_words

# A probability of staying is raised to this: no row shall stand for a hundred.
_SMALLEST = 0.01


def censoring_weights(
    X: LogOrStates,
    y: ArrayLike | None = None,
    *,
    censored: ArrayLike | None = None,
    classifier: object = None,
    stabilized: bool = False,
    clip: float | None = None,
    n_folds: int | None = None,
    random_state: RandomStateLike = 0,
) -> Floats:
    """Weights by the inverse probability of not having been lost to follow-up.

    Where who is lost depends on the state, those who stay are others than those who
    began. With P(stay) by a classifier of the rows at risk, a row at step t weighs

        w_t = Π_u 1 / P(stay_u | s_u, a_u),    u = 0, ..., t.

    With these as ``sample_weight`` a log stands for all who began [1]_, if what drives
    the loss is in the states and actions.

    Parameters
    ----------
    X : Transitions, or array-like or DataFrame of shape (n, d)
        A log, or states.
    y : DataFrame or structured array of shape (n,), default=None
        With states: the decision table, with a column ``censored``, True at decisions
        whose outcome is not known because the episode was lost there.
    censored : array-like of bool of shape (n,), default=None
        With a log: whether the episode was lost behind a row, which itself is whole.
        The product is then over u < t, and staying is foretold by the row's next state
        as well.
    classifier : classifier, default=None
        Foretells who stays, from the states, beside the action (one column for each of
        discrete actions). None is a logistic regression on standardised columns. Beside
        states in a DataFrame the action is in columns ``action_0``, ..., and the next
        state in ``next_`` and their names, so that a pipeline can encode its columns:
        ``make_column_transformer((OneHotEncoder(), ["sex"]), remainder="passthrough")``
        at its head.
    stabilized : bool, default=False
        Whether to multiply by the share of all rows at risk at step u that stayed: less
        spread between early and late steps. Late rows then count for too little beside
        episodes that have ended, so that it is not for `importance_sampling_value`.
    clip : float, default=None
        Largest weight. Smaller has less spread and more bias.
    n_folds : int, default=None
        Each row's P(stay) is foretold from the episodes of the other folds, which
        flexible classifiers need. None fits the classifier to all.
    random_state : int, RandomState instance or None, default=0
        Draws the folds.

    Returns
    -------
    ndarray of shape (n,)
        A weight for each row of X: 0 where it is censored in a table, and 1 at rows
        that hold a state alone.

    Raises
    ------
    ValueError
        If nothing says who was lost, if that contradicts the rows, or if states are not
        numbers and no classifier is given.

    References
    ----------
    .. [1] J. Robins, D. Finkelstein. "Correcting for noncompliance and dependent
       censoring in an AIDS clinical trial with inverse probability of censoring
       weighted (IPCW) log-rank tests", Biometrics 56, 2000.

    Examples
    --------
    Of two who are ill (1) one is lost; the other stands for both.

    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from sklearn_stackelberg.preprocessing import censoring_weights
    >>> X = np.array([[0], [0], [1], [1]])
    >>> y = pd.DataFrame({"action": [0, 0, 0, 0], "reward": [1.0, 1.0, 0.0, np.nan]})
    >>> y["censored"] = [False, False, False, True]
    >>> tree = DecisionTreeClassifier()
    >>> censoring_weights(X, y, classifier=tree)
    array([1., 1., 2., 0.])
    """
    rules = {"clip": positive(None), "n_folds": integer(2, None)}
    check_rules({"clip": clip, "n_folds": n_folds}, rules)
    if isinstance(X, Transitions):
        risks = _of_log(X, y, censored)
    else:
        risks = _of_table(X, y, censored)
    rows = np.flatnonzero(risks.at_risk)
    stayed, place = ~risks.lost[rows], risks.places.place[rows]
    ratio = np.ones(len(risks.lost))
    if not stayed.all():
        folds = _folds(risks.places.episode[rows], n_folds, random_state)
        given = take_rows(risks.given, rows)
        if classifier is None:
            refuse_words(given, "X")
        ratio[rows] = 1.0 / _foretold(classifier, given, stayed, folds)
    if stabilized:
        share = np.bincount(place, stayed) / np.maximum(np.bincount(place), 1)
        # Where nobody stayed there is no row that this would be a weight of.
        ratio[rows] *= np.where(share > 0.0, share, 1.0)[place]
    weight = _product(ratio, risks.places)
    if risks.whole:
        weight /= ratio
    else:
        weight[risks.lost] = 0.0
        weight[~risks.at_risk] = 1.0
    return weight if clip is None else np.minimum(weight, clip)


class _Risks(NamedTuple):
    """Who could be lost at which of the n rows, and who was."""

    at_risk: Flags  # (n,)
    lost: Flags  # (n,)
    given: States  # what staying is foretold from, (n, k)
    places: Places
    whole: bool  # whether a row is known where its episode is lost


def _of_log(log: Transitions, y: object, censored: ArrayLike | None) -> _Risks:
    if y is not None or censored is None:
        raise ValueError(
            "With a Transitions, say by censored=, one flag for each row, behind which "
            "rows episodes were lost, and leave y out. (A decision table has a column "
            "'censored', and is given as y beside its states.)"
        )
    lost = check_flags(censored, "censored")
    check_same_length({"X": len(log), "censored": len(lost)})
    places = places_in_time(len(log), log.episode, log.step)
    last = places.place == places.size[places.episode] - 1
    bad = lost & (~last | log.terminated)
    if bad.any():
        raise ValueError(
            f"censored is True at {rows_text(bad)}, which are not the last of an "
            "episode that goes on: behind them nothing was lost."
        )
    given = _beside(log.state, _action_columns(log.action), log.next_or_own_state())
    # Who is cut without being lost, as by the end of a study, was at no risk there.
    return _Risks(~log.terminated & (~last | lost), lost, given, places, True)


def _of_table(X: ArrayLike, y: object, censored: ArrayLike | None) -> _Risks:
    if censored is not None or not is_table(y):
        raise ValueError(
            "With states, give the decision table y, whose column 'censored' says "
            "which decisions have no known outcome, and leave censored= out."
        )
    columns = find_columns(y)
    if "censored" not in columns:
        raise ValueError(
            "y has no column 'censored', which is True at decisions whose outcome is "
            "not known because the episode was lost there."
        )
    states = check_states(X, "X")
    check_same_length({"X": len(states), "y": len(y)})
    chain = chain_rows(columns)
    at_risk = chain.censored.copy()
    at_risk[chain.rows] = True
    rows = np.flatnonzero(at_risk)
    taken = _action_columns(columns["action"].read(check_actions, rows))
    actions = np.zeros((len(states), taken.shape[1]))
    actions[rows] = taken
    given = _beside(states, actions)
    places = places_in_time(len(states), chain.episode, chain.step)
    return _Risks(at_risk, chain.censored, given, places, False)


def _beside(states: States, actions: Floats, after: States | None = None) -> States:
    """States with more columns behind them, in a table if they are in one."""
    known = column_names(states) if is_frame(states) else range(states.shape[1])
    others: dict[str, AnyArray] = {}
    if after is not None:
        for j, name in enumerate(known):
            others[f"next_{name}"] = np.asarray(plain_column(after, j))
    others |= {f"action_{j}": column for j, column in enumerate(actions.T)}
    if not is_frame(states):
        # Of text numpy would make text of the numbers beside it.
        text = states.dtype.kind in "US"
        states = states.astype(object) if text else states
        return np.column_stack([states, *others.values()])
    if clash := [name for name in known if name in others]:
        raise ValueError(
            f"X has the columns {clash}, whose names are those of columns that staying "
            "is foretold from as well. Rename them."
        )
    for name, values in others.items():
        states = with_column(states, name, values)
    return states


def _action_columns(action: AnyArray) -> Floats:
    """A column for each of discrete actions, or the numbers of continuous ones."""
    if action_type(action)[0] == "discrete":
        return (action[:, None] == np.unique(action)[1:]).astype(float)
    return action.reshape(len(action), -1).astype(float)


def _folds(
    episode: Index, n_folds: int | None, random_state: RandomStateLike
) -> Index | None:
    """The fold of each row, (n,), whole episodes; None to foretell from all."""
    if n_folds is None:
        return None
    _, code = np.unique(episode, return_inverse=True)
    drawn = check_random_state(random_state).permutation(code.max() + 1)
    return (drawn % n_folds)[code]


def _foretold(
    classifier: Any, given: States, stayed: Flags, folds: Index | None
) -> Floats:
    """P(stay) of the rows at risk, (k,)."""
    if classifier is None:
        # Weak shrinkage: what is left out of the odds is bias of the weights.
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=10.0))
    out = np.empty(len(stayed))
    every = np.full(len(stayed), True)
    parts = [(every, every)]
    if folds is not None:
        parts = [(folds == k, folds != k) for k in np.unique(folds)]
    for held, rest in parts:
        if stayed[rest].all():
            out[held] = 1.0
            continue
        inside, outside = np.flatnonzero(held), np.flatnonzero(rest)
        fitted = clone(classifier).fit(take_rows(given, outside), stayed[rest])
        found = fitted.predict_proba(take_rows(given, inside))
        found = found @ fitted.classes_.astype(float)
        out[held] = np.maximum(found, _SMALLEST)
    return out


def _product(ratio: Floats, places: Places) -> Floats:
    """Products of the rows of an episode up to each of them, (n,)."""
    order = np.lexsort((places.place, places.episode))
    total = np.cumsum(np.log(ratio[order]))
    ends = np.cumsum(places.size)
    before = np.concatenate([[0.0], total[ends[:-1] - 1]])
    out = np.empty(len(ratio))
    out[order] = np.exp(total - np.repeat(before, places.size))
    return out

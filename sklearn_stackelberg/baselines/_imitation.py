"""Policies that look at no outcome of the future, or at none at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, RegressorMixin, clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .._typing import Floats, RandomStateLike
from ..transitions._actions import given_mask
from ..transitions._as_transitions import LogOrStates
from ..transitions._transitions import Transitions
from ._base import ContinuousBaseline, DiscreteBaseline, Rows, seed_of, weights_for
from ._features import StandardisedNystroem


class BehaviourCloning(DiscreteBaseline):
    """What the logger does in each state, by a classifier of its actions.

    `predict_proba` are the classifier's probabilities, so that the policy is worth
    about what was logged; `predict` takes the most probable action.

    Parameters
    ----------
    classifier : classifier, default=None
        Of the states, with ``predict_proba``. None is multinomial logistic regression
        of the standardised states.

    Attributes
    ----------
    classes_ : ndarray of shape (n_actions,)
    classifier_ : classifier
        As fitted to the places of actions in ``classes_``.

    Examples
    --------
    >>> from sklearn_stackelberg import Transitions
    >>> from sklearn_stackelberg.baselines import BehaviourCloning
    >>> state, action = [[0], [0], [1], [1]] * 9, [0, 1, 1, 1] * 9
    >>> log = Transitions(state, action, action, state, terminated=[True] * 36)
    >>> BehaviourCloning().fit(log).predict_proba([[0], [1]]).round(1)
    array([[0.5, 0.5],
           [0. , 1. ]])
    """

    def __init__(self, classifier: ClassifierMixin | None = None) -> None:
        self.classifier = classifier

    def _learn_rows(self, rows: Rows) -> None:
        classifier = self.classifier
        if classifier is None:
            model = LogisticRegression(max_iter=1_000)
            classifier = make_pipeline(StandardScaler(), model)
        given = weights_for(classifier, rows.weight)
        # By their codes: numbers that are not whole are classes here, if not elsewhere.
        self.classifier_ = clone(classifier).fit(rows.state, rows.code, **given)

    def predict_proba(
        self, X: LogOrStates, available: ArrayLike | None = None
    ) -> Floats:
        """Probability of every action in each state, as the classifier has it.

        Parameters
        ----------
        X, available
            As in `predict`; what is not available has probability 0.

        Returns
        -------
        ndarray of shape (n, n_actions)
        """
        states = self._states(X)
        mask = given_mask(X, available, self.classes_)
        found: Floats = self.classifier_.predict_proba(states)
        if mask is None:
            return found
        # Where the classifier knows of nothing that is available, all is as likely.
        found = np.where(mask, np.maximum(found, np.finfo(float).tiny), 0.0)
        return found / found.sum(axis=1, keepdims=True)


class ContinuousBehaviourCloning(ContinuousBaseline):
    """The mean of what the logger does in each state, by a regressor of its actions.

    Parameters
    ----------
    regressor : regressor, default=None
        Of the states, for as many columns as an action has. None is ridge regression on
        the standardised states.

    Attributes
    ----------
    regressor_ : regressor
        As fitted.

    Examples
    --------
    >>> from sklearn_stackelberg import Transitions
    >>> from sklearn_stackelberg.baselines import ContinuousBehaviourCloning
    >>> state = [[0.0], [1.0], [2.0]]
    >>> log = Transitions(state, [0.0, 0.5, 1.0], [0, 0, 1], state, [True] * 3)
    >>> ContinuousBehaviourCloning().fit(log).predict([[1.0]])
    array([0.5])
    """

    def __init__(self, regressor: RegressorMixin | None = None) -> None:
        self.regressor = regressor

    def _learn(
        self, log: Transitions, state: Floats, after: Floats, discount: float
    ) -> None:
        regressor = self.regressor
        if regressor is None:
            regressor = make_pipeline(StandardScaler(), Ridge())
        action = np.asarray(log.action, dtype=np.float64)
        given = weights_for(regressor, log.weight)
        self.regressor_ = clone(regressor).fit(state, action, **given)
        # No mean of logged actions is beyond them, whatever the regressor says.
        self._bounds = action.min(axis=0), action.max(axis=0)

    def predict(self, X: LogOrStates) -> NDArray[np.float64]:
        """The action of each state.

        Parameters
        ----------
        X : Transitions, or array-like or DataFrame of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n,) or (n, n_action_columns)
        """
        found = self.regressor_.predict(self._states(X))
        return np.clip(found, *self._bounds)


class BestSingleAction(DiscreteBaseline):
    """The one action that is worth most if it is taken in every state.

    The value of each is that of its own rows, by LSTD on kernel features: a regression
    of the rewards where nothing follows. Where it is not available, the next best is
    taken.

    Parameters
    ----------
    discount : float, default=0.99
        γ, in [0, 1].
    n_components : int, default=100
        Landmarks of the features.
    random_state : int, RandomState instance or None, default=None
        Draws the landmarks.

    Attributes
    ----------
    classes_ : ndarray of shape (n_actions,)
    values_ : ndarray of shape (n_actions,)
        What each is worth from the initial states, in units of discounted return.

    Examples
    --------
    >>> from sklearn_stackelberg import Transitions
    >>> from sklearn_stackelberg.baselines import BestSingleAction
    >>> state, action = [[0], [0], [1], [1]] * 9, [0, 1] * 18
    >>> log = Transitions(state, action, action, state, terminated=[True] * 36)
    >>> BestSingleAction().fit(log).predict([[0], [1]])
    array([1, 1])
    """

    def __init__(
        self,
        *,
        discount: float = 0.99,
        n_components: int = 100,
        random_state: RandomStateLike = None,
    ) -> None:
        self.discount = discount
        self.n_components = n_components
        self.random_state = random_state

    def _learn_rows(self, rows: Rows) -> None:
        seed = seed_of(self.random_state)
        z_of = StandardisedNystroem(rows.state, self.n_components, 1.0, seed)
        now, after = z_of(rows.state), z_of(rows.next_state)
        weight = np.ones(len(now)) if rows.weight is None else rows.weight
        start = np.average(now[rows.initial], axis=0, weights=weight[rows.initial])
        anchor = rows.mean_return
        # Rewards are measured from it: an action of few rows is worth about as much.
        reward = rows.reward - (1.0 - rows.carried) * anchor
        values = []
        for action in range(rows.n_actions):
            own = rows.code == action
            left = now[own] * weight[own, None]
            difference = now[own] - rows.carried[own, None] * after[own]
            # A row for each direction.
            matrix = left.T @ difference + np.eye(now.shape[1])
            values.append(start @ np.linalg.solve(matrix, left.T @ reward[own]))
        self.values_ = np.array(values) + anchor

    def _scores(self, states: Floats) -> Floats:
        return np.broadcast_to(self.values_, (len(states), len(self.values_)))

"""What all baselines share: the rows of a log as arrays, and a greedy policy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .._typing import AnyArray, Flags, Floats, Index, RandomStateLike
from .._validation import check_discount
from ..transitions._actions import action_type, given_mask, masks_of
from ..transitions._as_transitions import LogOrStates, weighted_log_of
from ..transitions._discounting import carried
from ..transitions._linking import places_in_time
from ..transitions._time import refuse_endless
from ..transitions._transitions import Transitions
from ..transitions._words import refuse_words

# What is further away weighs a hundredth of the first reward.
_NEGLIGIBLE = 0.01


@dataclass(frozen=True, eq=False)
class Rows:
    """A log of discrete actions as arrays, one entry a row."""

    state: Floats  # (n, d)
    code: Index  # of classes
    classes: AnyArray  # (A,)
    reward: Floats
    next_state: Floats  # a terminated row's own
    carried: Floats  # γ^d (1 − terminated)
    going: Floats  # (1 − terminated) γ^d / γ
    weight: Floats | None
    initial: Flags
    longest: int | None  # rows of an episode, where every one ends for good
    available: Flags | None  # (n, A)
    next_available: Flags | None

    @property
    def n_actions(self) -> int:
        return len(self.classes)

    @property
    def mean_return(self) -> float:
        """Of the mean reward at every step."""
        weight = self.weight
        left = 1.0 - np.average(self.carried, weights=weight)
        return float(np.average(self.reward, weights=weight) / left)

    def best_next(self, q: Floats) -> Floats:
        """Largest Q, (n, A), of what is available in the next states, (n,)."""
        if self.next_available is not None:
            q = np.where(self.next_available, q, -np.inf)
        return q.max(axis=1)


class Baseline(BaseEstimator):
    """A policy that is learned from a log, as scikit-learn's estimators are."""

    def fit(
        self,
        X: LogOrStates,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn the policy.

        Parameters
        ----------
        X : Transitions, or array-like or DataFrame of shape (n, n_features)
            A log, or states.
        y : DataFrame or structured array of shape (n,), default=None
            With states: the decision table, as in `StackelbergPolicyEstimator.fit`.
        sample_weight : array-like of shape (n,), default=None
            How often each row of X counts.

        Returns
        -------
        Baseline
            Itself, fitted.
        """
        log = weighted_log_of(X, y, sample_weight)
        discount = getattr(self, "discount", 0.0)
        check_discount(discount)
        refuse_endless(log, discount)
        refuse_words(log.state)
        state = validate_data(self, log.state, dtype=np.float64)
        after = validate_data(
            self, log.next_or_own_state(), dtype=np.float64, reset=False
        )
        self._learn(log, state, after, discount)
        return self

    def _learn(
        self, log: Transitions, state: Floats, after: Floats, discount: float
    ) -> None:
        raise NotImplementedError

    def _states(self, X: LogOrStates) -> Floats:
        check_is_fitted(self)
        states: Any = X.state if isinstance(X, Transitions) else X
        refuse_words(states, "X")
        checked: Floats = validate_data(self, states, dtype=np.float64, reset=False)
        return checked


class DiscreteBaseline(Baseline):
    """A policy over discrete actions that takes the one of the highest score."""

    classes_: AnyArray

    def _learn(
        self, log: Transitions, state: Floats, after: Floats, discount: float
    ) -> None:
        if action_type(log.action)[0] == "continuous" and log.action.ndim == 2:
            raise ValueError(
                f"{type(self).__name__} chooses among discrete actions, and the logged "
                f"ones have {log.action.shape[1]} numbers each. Number their "
                "combinations, or use a method for continuous actions."
            )
        classes, code = np.unique(log.action, return_inverse=True)
        follows = carried(log, discount)
        masks = masks_of(log, classes)
        rows = Rows(
            state=state,
            code=code.ravel(),
            classes=classes,
            reward=log.reward,
            next_state=after,
            carried=follows,
            going=follows / discount if discount else 1.0 - log.terminated,
            weight=log.weight,
            initial=log.is_initial if log.is_initial.any() else np.ones(len(log), bool),
            longest=_longest_episode(log),
            available=masks[0] if masks else None,
            next_available=masks[1] if masks else None,
        )
        self._learn_rows(rows)
        self.classes_ = classes

    def _learn_rows(self, rows: Rows) -> None:
        raise NotImplementedError

    def _scores(self, states: Floats) -> Floats:
        """A score for each action, (k, A), the highest of which is taken."""
        raise NotImplementedError

    def predict(self, X: LogOrStates, available: ArrayLike | None = None) -> AnyArray:
        """The most probable action in each state.

        Parameters
        ----------
        X : Transitions, or array-like or DataFrame of shape (n, n_features)
        available : array-like or DataFrame of bool of shape (n, n_actions), \
                default=None
            Which actions can be taken, in the order of ``classes_`` or named by them.
            None takes the masks of a log; without any, all can.

        Returns
        -------
        ndarray of shape (n,)
        """
        found: AnyArray = self.classes_[self.predict_proba(X, available).argmax(axis=1)]
        return found

    def predict_proba(
        self, X: LogOrStates, available: ArrayLike | None = None
    ) -> Floats:
        """Probability of every action in each state: 1 for what `predict` returns.

        Parameters
        ----------
        X, available
            As in `predict`.

        Returns
        -------
        ndarray of shape (n, n_actions)
        """
        scores = self._scores(self._states(X))
        mask = given_mask(X, available, self.classes_)
        if mask is not None:
            scores = np.where(mask, scores, -np.inf)
        return np.eye(len(self.classes_))[scores.argmax(axis=1)]


class ContinuousBaseline(Baseline):
    """A policy over continuous actions that takes one in each state."""

    def predict(self, X: LogOrStates) -> Floats:
        """The action of each state, (n,) or (n, n_action_columns)."""
        raise NotImplementedError

    def action_nodes(self, X: LogOrStates) -> tuple[Floats, Floats]:
        """The action of each state as a mixture of one, which `metrics` read.

        Parameters
        ----------
        X : Transitions, or array-like or DataFrame of shape (n, n_features)

        Returns
        -------
        actions : ndarray of shape (n, 1, n_action_columns)
        weights : ndarray of shape (n, 1)
        """
        action = self.predict(X)
        return action.reshape(len(action), 1, -1), np.ones((len(action), 1))


def _longest_episode(log: Transitions) -> int | None:
    """Rows of the longest episode; None where one may go on behind its last."""
    if log.terminated.all():
        return 1
    if log.episode is None:
        return None
    places = places_in_time(len(log), log.episode, log.step)
    last = places.place == places.size[places.episode] - 1
    return int(places.size.max()) if log.terminated[last].all() else None


def n_looks_ahead(discount: float, rows: Rows, most: int) -> int:
    """How often Q is regressed until nothing that matters follows."""
    if discount == 0.0:
        return 1
    if rows.longest is not None:
        # Backward induction: behind so many steps no episode goes on.
        most = min(most, rows.longest)
    if discount == 1.0:
        return most
    return min(most, int(np.ceil(np.log(_NEGLIGIBLE) / np.log(discount))))


def seed_of(random_state: RandomStateLike) -> int:
    """A number that seeds what is drawn; of a RandomState, drawn from it."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**16))


def weights_for(
    model: ClassifierMixin | RegressorMixin, weight: Floats | None
) -> dict[str, Floats]:
    """Arguments of `fit` that give each row its weight, of a pipeline's last step."""
    if weight is None:
        return {}
    steps: Iterable[tuple[str, object]] = getattr(model, "steps", ())
    names = [name for name, _ in steps]
    return {f"{names[-1]}__sample_weight" if names else "sample_weight": weight}

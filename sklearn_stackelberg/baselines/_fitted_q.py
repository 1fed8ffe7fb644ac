"""Fitted Q iteration, by any regressor and in kernel features, and LSPI."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.linalg import LinAlgError
from scipy.linalg import cho_factor, cho_solve
from sklearn.base import RegressorMixin, clone
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning

from .._typing import Floats, RandomStateLike
from .._validation import check_rules, check_table_size, integer, non_negative, positive
from ._base import DiscreteBaseline, Rows, n_looks_ahead, seed_of, weights_for
from ._features import StandardisedNystroem

_QFunction = Callable[[Floats], Floats]

# A Q so many times larger than rewards allow has no digit of them left: regressions
# that reach beyond their rows multiply their errors from one to the next.
_DIVERGED = 1_000.0

# Squares of what is larger are infinite, and regressors compute such.
_OVERFLOWS = 1e150


class FittedQIteration(DiscreteBaseline):
    """Fitted Q iteration by a regressor, and the greedy policy.

    r + γ max_a Q(s', a) is regressed on state and action again and again [1]_.

    Parameters
    ----------
    regressor : regressor, default=None
        Of states and one-hot actions. None is extra trees, 50 of them, with nodes that
        are not split below five rows.
    discount : float, default=0.99
        γ, in [0, 1].
    n_iterations : int, default=50
        Most regressions, each of which looks one step further; there are fewer where
        what is further away weighs less than a hundredth, or all episodes have ended.
    per_action : bool, default=False
        A regressor of the states for each action, or one for all.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    classes_ : ndarray of shape (n_actions,)

    References
    ----------
    .. [1] D. Ernst, P. Geurts, L. Wehenkel, "Tree-based batch mode reinforcement
       learning", 2005.

    Examples
    --------
    >>> from sklearn_stackelberg import Transitions
    >>> from sklearn_stackelberg.baselines import FittedQIteration
    >>> state, action = [[0], [0], [1], [1]] * 9, [0, 1] * 18
    >>> reward = [float(s[0] == a) for s, a in zip(state, action)]
    >>> log = Transitions(state, action, reward, state, terminated=[True] * 36)
    >>> FittedQIteration(random_state=0).fit(log).predict([[0], [1]])
    array([0, 1])
    """

    def __init__(
        self,
        regressor: RegressorMixin | None = None,
        *,
        discount: float = 0.99,
        n_iterations: int = 50,
        per_action: bool = False,
        random_state: RandomStateLike = None,
    ) -> None:
        self.regressor = regressor
        self.discount = discount
        self.n_iterations = n_iterations
        self.per_action = per_action
        self.random_state = random_state

    def _learn_rows(self, rows: Rows) -> None:
        rule = {"n_iterations": integer(1)}
        check_rules({"n_iterations": self.n_iterations}, rule)
        seed = seed_of(self.random_state)
        regressor = self.regressor
        if regressor is None:
            regressor = ExtraTreesRegressor(n_estimators=50, min_samples_split=5)
        regress = _per_action if self.per_action else _joint
        n = n_looks_ahead(self.discount, rows, self.n_iterations)
        # Trees anew each time: the noise of one shall not be that of the next.
        q = regress(_seeded(regressor, seed * 1_000), rows, rows.reward)
        for iteration in range(1, n):
            target = rows.reward + rows.carried * rows.best_next(q(rows.next_state))
            _refuse_divergence(target, iteration, "another regressor")
            q = regress(_seeded(regressor, seed * 1_000 + iteration), rows, target)
        self._q = q

    def _scores(self, states: Floats) -> Floats:
        return self._q(states)


def _refuse_divergence(target: Floats, step: int, remedy: str) -> None:
    # NaN compares as False.
    if not np.abs(target).max() < _OVERFLOWS:
        raise ValueError(
            f"Fitted Q iteration diverged: after {step} regressions Q has passed "
            f"{_OVERFLOWS:g}. Set {remedy} or a smaller discount."
        )


def _warn_of_divergence(target: Floats, rows: Rows, step: int, remedy: str) -> None:
    """Warn of targets of a regression that no rewards of so many steps add up to."""
    largest, size = float(np.abs(rows.reward).max()), float(np.abs(target).max())
    if size > _DIVERGED * (step + 1) * largest:
        warnings.warn(
            f"Fitted Q iteration diverged: after {step} regressions Q is as large as "
            f"{size:.2g}, and rewards are no larger than {largest:.2g}. Set {remedy} "
            "or a smaller discount. [pitfalls: fitted-q-diverged]",
            ConvergenceWarning,
            stacklevel=6,  # the line that called `fit`
        )


def _seeded(regressor: RegressorMixin, seed: int) -> RegressorMixin:
    one = clone(regressor)
    names = one.get_params()
    # Of a pipeline every step that draws.
    drawn = [n for n in names if n == "random_state" or n.endswith("__random_state")]
    one.set_params(**dict.fromkeys(drawn, seed))
    return one


def _joint(regressor: RegressorMixin, rows: Rows, target: Floats) -> _QFunction:
    """One regressor of states and one-hot actions."""
    every = np.eye(rows.n_actions)
    joint = np.hstack([rows.state, every[rows.code]])
    given = weights_for(regressor, rows.weight)
    fitted = regressor.fit(joint, target, **given)

    def q(states: Floats) -> Floats:
        each = np.repeat(every, len(states), axis=0)
        stacked = np.hstack([np.tile(states, (len(every), 1)), each])
        return fitted.predict(stacked).reshape(len(every), len(states)).T

    return q


def _per_action(regressor: RegressorMixin, rows: Rows, target: Floats) -> _QFunction:
    """A regressor of the states for each action."""
    fitted = []
    for action in range(rows.n_actions):
        own = rows.code == action
        weight = None if rows.weight is None else rows.weight[own]
        given = weights_for(regressor, weight)
        fitted.append(clone(regressor).fit(rows.state[own], target[own], **given))
    return lambda states: np.column_stack([one.predict(states) for one in fitted])


class DirectMethod(FittedQIteration):
    """The action of the highest regressed reward: for decisions of one step.

    A regression of the reward on the state for each action, or one with the action
    among its inputs. What an action brings later is not looked at.

    Parameters
    ----------
    regressor : regressor, default=None
        None is extra trees, 50 of them, with nodes that are not split below five rows.
    per_action : bool, default=True
        A regressor of the states for each action, or one for all.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    classes_ : ndarray of shape (n_actions,)

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn_stackelberg import Transitions
    >>> from sklearn_stackelberg.baselines import DirectMethod
    >>> state, action = [[0], [0], [1], [1]] * 9, [0, 1] * 18
    >>> reward = [float(s[0] == a) for s, a in zip(state, action)]
    >>> log = Transitions(state, action, reward, state, terminated=[True] * 36)
    >>> DirectMethod(Ridge()).fit(log).predict([[0], [1]])
    array([0, 1])
    """

    # What it inherits, and does not have as parameters.
    discount = 0.0
    n_iterations = 1

    def __init__(
        self,
        regressor: RegressorMixin | None = None,
        *,
        per_action: bool = True,
        random_state: RandomStateLike = None,
    ) -> None:
        self.regressor = regressor
        self.per_action = per_action
        self.random_state = random_state


class _KernelBaseline(DiscreteBaseline):
    """Q in landmark features, as many for each action."""

    n_components: int
    bandwidth: float
    ridge: float
    n_iterations: int
    random_state: RandomStateLike

    def _learn_rows(self, rows: Rows) -> None:
        rules = {"n_components": integer(1), "n_iterations": integer(1)}
        rules |= {"bandwidth": positive(), "ridge": non_negative()}
        check_rules(vars(self), rules)
        seed = seed_of(self.random_state)
        self._features = StandardisedNystroem(
            rows.state, self.n_components, self.bandwidth, seed
        )
        now = self._features(rows.state)
        after = self._features(rows.next_state)
        # Rows that count k times: both sides of the equations by the root of k.
        root = np.ones(len(now)) if rows.weight is None else np.sqrt(rows.weight)
        try:
            self._weights = self._solve(rows, now, after, root)
        except LinAlgError as error:
            raise ValueError(
                f"The log does not determine Q with ridge={self.ridge:g}: a matrix is "
                "singular. Set a larger ridge, such as 1e-5, or fewer n_components."
            ) from error

    def _solve(self, rows: Rows, now: Floats, after: Floats, root: Floats) -> Floats:
        raise NotImplementedError

    def _scores(self, states: Floats) -> Floats:
        return self._features(states) @ self._weights


class KernelFittedQIteration(_KernelBaseline):
    """Fitted Q iteration by ridge regression on kernel features, one for each action.

    Parameters
    ----------
    discount : float, default=0.99
        γ, in [0, 1].
    n_components : int, default=200
        Landmarks of the Nyström features of the standardised states.
    bandwidth : float, default=1.0
        In medians of the distances between the standardised states.
    ridge : float, default=1e-5
        >= 0, per row of the log, so that one serves logs of any length.
    n_iterations : int, default=400
        Most regressions; they end where Q stays.
    random_state : int, RandomState instance or None, default=None
        Draws the landmarks.

    Attributes
    ----------
    classes_ : ndarray of shape (n_actions,)

    Examples
    --------
    >>> from sklearn_stackelberg import Transitions
    >>> from sklearn_stackelberg.baselines import KernelFittedQIteration
    >>> state, action = [[0], [0], [1], [1]] * 9, [0, 1] * 18
    >>> reward = [float(s[0] == a) for s, a in zip(state, action)]
    >>> log = Transitions(state, action, reward, state, terminated=[True] * 36)
    >>> KernelFittedQIteration(n_components=2).fit(log).predict([[0], [1]])
    array([0, 1])
    """

    def __init__(
        self,
        *,
        discount: float = 0.99,
        n_components: int = 200,
        bandwidth: float = 1.0,
        ridge: float = 1e-5,
        n_iterations: int = 400,
        random_state: RandomStateLike = None,
    ) -> None:
        self.discount = discount
        self.n_components = n_components
        self.bandwidth = bandwidth
        self.ridge = ridge
        self.n_iterations = n_iterations
        self.random_state = random_state

    def _solve(self, rows: Rows, now: Floats, after: Floats, root: Floats) -> Floats:
        own = [np.flatnonzero(rows.code == a) for a in range(rows.n_actions)]
        logged = [now[r] * root[r, None] for r in own]
        penalty = self.ridge * (root @ root) * np.eye(now.shape[1])
        factors = [cho_factor(block.T @ block + penalty) for block in logged]
        weights = np.zeros((now.shape[1], rows.n_actions))
        remedy = f"a larger ridge than {self.ridge:g}, a larger bandwidth"
        for iteration in range(self.n_iterations):
            target = rows.reward + rows.carried * rows.best_next(after @ weights)
            _refuse_divergence(target, iteration, remedy)
            updated = np.column_stack(
                [
                    cho_solve(factor, block.T @ (root[r] * target[r]))
                    for factor, block, r in zip(factors, logged, own, strict=True)
                ]
            )
            change = np.abs(updated - weights).max()
            weights = updated
            if change < 1e-6 * max(1.0, np.abs(weights).max()):
                break
        _warn_of_divergence(target, rows, iteration, remedy)
        return weights


class LSPI(_KernelBaseline):
    """Least-squares policy iteration [1]_ on kernel features.

    Parameters
    ----------
    discount : float, default=0.99
        γ, in [0, 1].
    n_components : int, default=200
        Landmarks of the Nyström features of the standardised states.
    bandwidth : float, default=1.0
        In medians of the distances between the standardised states.
    ridge : float, default=1e-5
        >= 0, per row of the log, on the diagonal of the LSTD-Q matrix.
    n_iterations : int, default=30
        Most policies; they end where the greedy one stays.
    random_state : int, RandomState instance or None, default=None
        Draws the landmarks.

    Attributes
    ----------
    classes_ : ndarray of shape (n_actions,)

    References
    ----------
    .. [1] M. Lagoudakis, R. Parr, "Least-squares policy iteration", 2003.

    Examples
    --------
    >>> from sklearn_stackelberg import Transitions
    >>> from sklearn_stackelberg.baselines import LSPI
    >>> state, action = [[0], [0], [1], [1]] * 9, [0, 1] * 18
    >>> reward = [float(s[0] == a) for s, a in zip(state, action)]
    >>> log = Transitions(state, action, reward, state, terminated=[True] * 36)
    >>> LSPI(n_components=2).fit(log).predict([[0], [1]])
    array([0, 1])
    """

    def __init__(
        self,
        *,
        discount: float = 0.99,
        n_components: int = 200,
        bandwidth: float = 1.0,
        ridge: float = 1e-5,
        n_iterations: int = 30,
        random_state: RandomStateLike = None,
    ) -> None:
        self.discount = discount
        self.n_components = n_components
        self.bandwidth = bandwidth
        self.ridge = ridge
        self.n_iterations = n_iterations
        self.random_state = random_state

    def _solve(self, rows: Rows, now: Floats, after: Floats, root: Floats) -> Floats:
        n_actions, m = rows.n_actions, now.shape[1]
        check_table_size(n_actions, m)
        now, later = now * root[:, None], after * (rows.carried * root)[:, None]
        base = self.ridge * (root @ root) * np.eye(n_actions * m)
        target = np.zeros(n_actions * m)
        for a in range(n_actions):
            own, block = rows.code == a, slice(a * m, (a + 1) * m)
            base[block, block] += now[own].T @ now[own]
            target[block] = now[own].T @ (root * rows.reward)[own]
        # The first policy is the greedy one of the rewards alone.
        weights = np.linalg.solve(base, target).reshape(n_actions, m).T
        chosen = np.full(len(now), -1)
        for _ in range(self.n_iterations):
            greedy = _argmax(after @ weights, rows)
            if np.array_equal(greedy, chosen):
                break
            chosen = greedy
            matrix = base.copy()
            for a in range(n_actions):
                for b in range(n_actions):
                    both = (rows.code == a) & (chosen == b)
                    matrix[a * m : (a + 1) * m, b * m : (b + 1) * m] -= (
                        now[both].T @ later[both]
                    )
            weights = np.linalg.solve(matrix, target).reshape(n_actions, m).T
        return weights


def _argmax(q: Floats, rows: Rows) -> Floats:
    if rows.next_available is not None:
        q = np.where(rows.next_available, q, -np.inf)
    return q.argmax(axis=1)

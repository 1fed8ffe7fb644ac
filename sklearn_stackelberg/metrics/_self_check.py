"""Features for Q, chosen by what they foretell of held-out episodes."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist
from sklearn.utils import check_random_state

from .._action_scale import ActionScale
from .._linalg import held_out_errors
from .._stored_rows import ComputedRows
from .._typing import Floats, Index
from ..kernels._columns import (
    center_and_spread,
    distinct_rows,
    length_scales,
    which_row,
)
from ..kernels._nystroem import LandmarkFeatures
from ..kernels._state_action import StateActionFeatures
from ._data import EvaluationData
from ._estimate import spread
from ._fitted_q import FittedQSystem

# So many columns of states and actions have all their products as columns; more, which
# would be hundreds, their squares alone.
_MOST_COLUMNS = 8


class ProductMatern:
    """A Matérn kernel of the states times one of the actions, ν = 3/2 or 5/2.

    A product, so that the nodes of a policy cost a Gram matrix of actions alone.
    """

    def __init__(
        self, smoothness: float, lengths: Floats, n_state_columns: int
    ) -> None:
        self.smoothness, self.lengths = smoothness, lengths
        self.n_state_columns = n_state_columns

    def __call__(self, X: Floats, Y: Floats) -> Floats:
        d = self.n_state_columns
        return self.of_states(X[:, :d], Y) * self.of_actions(X[:, d:], Y)

    def of_states(self, states: Floats, pairs: Floats) -> Floats:
        return self._factor(states, pairs, slice(None, self.n_state_columns))

    def of_actions(self, actions: Floats, pairs: Floats) -> Floats:
        return self._factor(actions, pairs, slice(self.n_state_columns, None))

    def _factor(self, points: Floats, pairs: Floats, columns: slice) -> Floats:
        lengths = self.lengths[columns]
        # Eq. (4.17) of Rasmussen and Williams (2006).
        distance = cdist(points / lengths, pairs[:, columns] / lengths)
        distance *= np.sqrt(2.0 * self.smoothness)
        # In place: these are the largest arrays that an evaluation makes.
        polynomial = distance + 1.0
        if self.smoothness == 2.5:
            polynomial = distance / 3.0
            polynomial += 1.0
            polynomial *= distance
            polynomial += 1.0
        np.negative(distance, out=distance)
        polynomial *= np.exp(distance, out=distance)
        return polynomial


# Standard deviations of p columns of logged actions, for one row, by n^(-1/(p + 2)):
# bias over error is as n^(-1/(p + 2)) then, and the rows in reach as n^(2/(p + 2)).
# Chosen by the table of docs/evaluation.md.
_REACH = 4.0


class PairFeatures(StateActionFeatures):
    """Features of (s, a) by a Laplacian or Matérn kernel, and quadratic columns.

    Value functions of costs are nearly quadratic, which a kernel of bounded reach draws
    to the anchor where the log is thin: a bias that no ridge removes. ``smoothness`` is
    ν of the Matérn kernel, None the Laplacian one; ``multiple`` is of the bandwidth,
    unless that is lengths; ``log`` takes logarithms of amounts that span less than
    decades, too.
    """

    def __init__(
        self,
        smoothness: float | None,
        multiple: float,
        bandwidth: ArrayLike,
        n_components: int | None,
        random_state: RandomState,
        log: bool = False,
    ) -> None:
        lengths = np.ndim(bandwidth) == 1
        if not lengths:
            given = 1.0 if isinstance(bandwidth, str) else float(np.asarray(bandwidth))
            bandwidth = multiple * given
        super().__init__(
            "laplacian",
            bandwidth=bandwidth,
            n_components=n_components,
            random_state=random_state,
        )
        self.smoothness, self.log = smoothness, log
        self.ridge_share = 1.0  # of a ridge, by `least_share`

    def fit(self, states: Floats, actions: Floats) -> PairFeatures:
        if self.smoothness is None:
            super().fit(states, actions)
        else:
            self.n_state_columns_ = states.shape[1]
            has_lengths = np.shape(self.bandwidth) == (
                states.shape[1] + actions.shape[1],
            )
            none = ActionScale(np.zeros(actions.shape[1]))
            self.action_scale_ = none if has_lengths else self._scale_of(actions)
            pairs = self._pairs(states, actions)
            rng = check_random_state(self.random_state)
            lengths = length_scales(pairs, self.bandwidth, "euclidean", rng)
            if len(lengths) < pairs.shape[1]:
                # Lengths of the states say nothing of the actions.
                median = length_scales(pairs, "median", "euclidean", rng)
                lengths = np.concatenate([lengths, median[len(lengths) :]])
            # The lengths are the kernel's own: the features add none.
            self.kernel = ProductMatern(self.smoothness, lengths, states.shape[1])
            self.bandwidth = "median"
            self._fit(pairs, states.shape[1])
        pairs = self._pairs(states, actions)
        self.place_, self.spread_ = center_and_spread(pairs)
        width = self._quadratic(pairs[:1]).shape[1]
        raw = ComputedRows(lambda i: self._quadratic(pairs[i]), len(pairs), width)
        self.means_, self.scales_ = center_and_spread(cast(Floats, raw))
        self.n_features_out_ += 1 + width
        return self

    def policy_reach(self, n_rows: float) -> Floats:
        """How far, on the scale of the actions, a `PolicyColumn` reaches, (p,)."""
        spread: Floats = self.spread_[self.n_state_columns_ :]
        return _REACH * n_rows ** (-1.0 / (len(spread) + 2.0)) * spread

    @property
    def is_product(self) -> bool:
        return True

    def _scale_of(self, actions: Floats) -> ActionScale:
        if self.log:
            return ActionScale.of(actions, _SPAN)
        return super()._scale_of(actions)

    def state_gram(self, states: Floats) -> Floats:
        if isinstance(self.kernel_, ProductMatern):
            return self.kernel_.of_states(states, self.landmarks_)
        return super().state_gram(states)

    def action_gram(self, actions: Floats) -> Floats:
        if isinstance(self.kernel_, ProductMatern):
            actions = self.action_scale_.transform(actions)
            return self.kernel_.of_actions(actions, self.landmarks_)
        return super().action_gram(actions)

    def _quadratic(self, pairs: Floats) -> Floats:
        z = (pairs - self.place_) / self.spread_
        if z.shape[1] > _MOST_COLUMNS:
            return np.hstack([z, z**2])
        left, right = np.triu_indices(z.shape[1])
        return np.hstack([z, z[:, left] * z[:, right]])

    def terms(self, states: Floats, actions: Floats) -> Floats:
        """A one and the quadratic columns, standardised."""
        columns = self._quadratic(self._pairs(states, actions))
        one = np.ones((len(columns), 1))
        return np.hstack([one, (columns - self.means_) / self.scales_])

    def transform(self, states: Floats, actions: Floats) -> Floats:
        local = super().transform(states, actions)
        return np.hstack([local, self.terms(states, actions)])


# Of few states, a kernel that knows which are alike must foretell so much better than
# one that does not: codes without an order are as alike as their numbers are near.
_BETTER = 0.75

# And the policy must take pairs of a state and an action that the log does not hold,
# for which alone it is needed. On a ring with all pairs logged the other one foretold
# better as well, and doubly robust intervals then held the truth in 72 %, against 95 %.
# Of two queues 1.4 % and more are not logged; of rings, chains and lakes none.
_NEVER_LOGGED = 0.002


def states_are_alike(
    data: EvaluationData,
    discount: float,
    ridge: float,
    apart: LandmarkFeatures,
    alike: LandmarkFeatures,
) -> bool:
    """Whether features of similar states foretell held-out pieces far better.

    Than those of states that are equal or not, Eq. (71) with discrete actions: where
    many pairs of a state and an action have a row or none, these know nothing of them.
    """
    if data.n_pieces < _FOLDS or _share_never_logged(data) < _NEVER_LOGGED:
        return False
    before, after = _held_out(data, discount, ridge, apart, alike)
    return bool(np.all(after < _BETTER * before))


# Linear terms make errors larger, where the log is thin to many times as large. Of
# three sequential problems that they were chosen by whose values go with a column far
# beyond the landmarks the ratio is 0.5 to 0.8, of eight others 0.87 to 1.05.
_FAR_BETTER = 0.8

# A rough kernel foretells noise, lines and bends with errors that are 1.05 to 1.4 times
# as large, and steps with 0.86 to 0.98.
_ROUGH_BETTER = 0.99


def features_that_suit(
    data: EvaluationData,
    discount: float,
    ridge: float,
    smooth: LandmarkFeatures,
    rough: LandmarkFeatures,
) -> LandmarkFeatures:
    """Smooth features, or rough ones, or with linear terms, of many states.

    By Eq. (71) with discrete actions. Rough are those of values that break off, which
    smooth ones round at the edges, just where a policy changes what it does; they have
    to foretell both V₀ better. A kernel of bounded reach draws values to the anchor
    where the log is thin, and linear terms do not; they have to foretell far better.
    """
    episodes = _some_episodes(data)
    if len(episodes) < _FOLDS:
        return smooth
    few = data.take(np.flatnonzero(np.isin(data.episode, episodes)))
    before, after = _held_out(few, discount, ridge, smooth, rough)
    if np.all(after < _ROUGH_BETTER * before):
        return rough
    line = smooth.with_linear_terms(data.state)
    before, after = _held_out(few, discount, ridge, smooth, line)
    return line if np.prod(after) < np.prod(_FAR_BETTER * before) else smooth


def _held_out(
    data: EvaluationData,
    discount: float,
    ridge: float,
    one: LandmarkFeatures,
    other: LandmarkFeatures,
) -> tuple[Floats, Floats]:
    """Held-out errors of two kinds of features, of each one's V₀, (2,) each."""
    fold = np.random.default_rng(0).permutation(data.n_pieces)[data.pieces] % _FOLDS
    # Neither is to be helped by what it foretells itself: V₀ is of each in turn.
    both = one, other
    targets = [_one_step_ahead(data, discount, ridge, z) for z in both]
    given = np.stack(targets, axis=1)
    before, after = (_error_of_states(data, z, given, fold, ridge) for z in both)
    return before, after


def _share_never_logged(data: EvaluationData) -> float:
    """Probability that the policy takes a pair without a row, where rows lead to."""
    states = cast(Floats, data.states)
    known = distinct_rows(states)
    assert known is not None
    place = which_row(known, states)
    logged = np.zeros((len(known), data.n_actions), dtype=bool)
    logged[place[data.state_index], data.codes] = True
    reached = data.weight * ~data.log.terminated
    if not reached.any():
        return 0.0
    never = (data.probabilities * ~logged[place])[data.next_index].sum(axis=1)
    return float(reached @ never / reached.sum())


def _one_step_ahead(
    data: EvaluationData, discount: float, ridge: float, features: LandmarkFeatures
) -> Floats:
    """r + γ V₀(s') of the rows, less the anchor, (n,), V₀ by some features."""
    system = FittedQSystem.from_kernel(data, discount, features, ridge)
    value = np.clip(system.solve().state_values, *data.q_range(discount))
    after = value[data.next_index] - system.anchor
    return system.reward + system.carried * after


def _error_of_states(
    data: EvaluationData,
    features: LandmarkFeatures,
    targets: Floats,
    fold: Index,
    ridge: float,
) -> Floats:
    """Held-out squares of a regression for each action, of each target, (c,)."""
    total = np.zeros(targets.shape[1])
    root = np.sqrt(data.row_weight)[:, None]
    for action in range(data.n_actions):
        rows = np.flatnonzero(data.codes == action)
        z = root[rows] * features.transform(data.state[rows])
        y = root[rows] * targets[rows]
        total += held_out_errors(z, y, fold[rows], [ridge])[0]
    return total


class Choice(NamedTuple):
    """ν of a Matérn kernel (None: Laplacian), multiples of its lengths and ridge.

    And whether amounts are compared by their logarithms.
    """

    smoothness: float | None = None
    multiple: float = 1.0
    ridge: float = 3.0
    log: bool = False


# Of amounts whose larger ones are so many times the smaller ones, logarithms are tried.
_SPAN = 4.0


# From rough to smooth: the first is of the reference fit.
_KERNELS = (Choice(), Choice(1.5), Choice(2.5), Choice(2.5, 0.5))
# Less than predicts best: of a value that is read off, bias is the worse error.
_RIDGES = (1.0, 3.0)

# Rows by which one is chosen, in whole episodes, and folds of those.
_ROWS, _FOLDS = 2_500, 3


def choose_features(
    data: EvaluationData,
    discount: float,
    ridge: float,
    bandwidth: ArrayLike,
    n_components: int | None,
) -> Choice:
    """The kernel, bandwidth and ridge that foretell held-out episodes best.

    Eq. (71) of docs/game.md: foretold is y = r + γ V₀(s'), V₀ of a reference fit. The
    held-out square error of that regression has nothing of the double sampling in that
    of a Bellman residual: V₀ is the same for all that are compared.
    """
    episodes = _some_episodes(data)
    rows = np.flatnonzero(np.isin(data.episode, episodes))
    if len(episodes) < _FOLDS:
        return Choice()
    fold = np.searchsorted(episodes, data.episode[rows]) % _FOLDS
    state, action = data.state[rows], data.actions[rows]
    errors: dict[Choice, float] = {}
    target: Floats | None = None
    kernels = [*_KERNELS]
    usual, often = ActionScale.of(action), ActionScale.of(action, _SPAN)
    if (usual.is_log != often.is_log).any():
        kernels += [kernel._replace(log=True) for kernel in _KERNELS]
    for kernel in kernels:
        features = PairFeatures(
            kernel.smoothness,
            kernel.multiple,
            bandwidth,
            n_components,
            RandomState(0),
            kernel.log,
        ).fit(state, action)
        z = features.transform(state, action)
        if target is None:
            after = _mean_features(data, features, data.next_index[rows])
            target = _reference(data, rows, discount, z, after, ridge * kernel.ridge)
        found = held_out_errors(z, target, fold, [ridge * k for k in _RIDGES])
        for multiple, error in zip(_RIDGES, found, strict=True):
            errors[kernel._replace(ridge=multiple)] = float(error)
    return min(errors, key=errors.__getitem__)


# Shares of a ridge, the largest first, and by how much the error may grow with one.
_SHARES, _GROWTH = (0.3, 0.1, 0.03, 0.01), 1.02


def least_share(system: FittedQSystem) -> float:
    """The least share of the ridge with which the standard error is hardly larger.

    What foretells best smooths too much for a value that is read off: its bias is as
    large as its error. Where a smaller ridge costs no error, it costs nothing.
    """
    # Eq. (86) of docs/evaluation.md.
    least, most = 1.0, _GROWTH * spread(system.solve().left_out)
    for share in _SHARES:
        smaller = system.with_ridge(share * system.ridge)
        if not spread(smaller.solve().left_out) <= most:
            break
        least = share
    return least


def _some_episodes(data: EvaluationData) -> Index:
    """Codes of episodes drawn at random, of about so many rows."""
    order = np.random.default_rng(0).permutation(data.n_episodes)
    length = np.bincount(data.episode, minlength=data.n_episodes)[order]
    most = max(_FOLDS, int(np.searchsorted(length.cumsum(), _ROWS)) + 1)
    return np.sort(order[:most])


def _mean_features(
    data: EvaluationData, features: PairFeatures, places: Index
) -> Floats:
    """Σ_a π(a|s) z(s, a) of some states, (k, M)."""
    out = np.zeros((len(places), features.n_features_out_))
    weights, states = data.probabilities[places], data.states[places]
    for j in range(data.n_actions):
        z = features.transform(states, data.nodes[places, j])
        out += weights[:, j, None] * z
    return out


def _reference(
    data: EvaluationData,
    rows: Index,
    discount: float,
    z: Floats,
    after: Floats,
    ridge: float,
) -> Floats:
    """r + γ V₀(s') of rows, less the anchor, (k,): as `FittedQSystem` fits V₀."""
    anchor = data.mean_return(discount)
    carried = data.carried(discount)[rows]
    reward = data.reward[rows] - (1.0 - carried) * anchor
    left = z.T @ (z - carried[:, None] * after) + ridge * np.eye(z.shape[1])
    w = np.linalg.solve(left, z.T @ reward)
    # Outside what rewards allow a reference would be of no use.
    low, high = (end - anchor for end in data.q_range(discount))
    return reward + carried * np.clip(after @ w, low, high)

"""Values of policies that were each learned without a fold, on the fold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np

from .._typing import Index, RandomStateLike
from ..transitions._transitions import Transitions
from ._doubly_robust import (
    CrossFitted,
    density_estimate,
    fit_without,
    with_second_order,
)
from ._estimate import Figures, OffPolicyEstimate, spread
from ._fitted_q import FittedQSystem
from ._fitted_q_value import fitted_q_value
from ._importance_weights import episode_folds
from ._prepare import reported
from ._settings import QSettings, choose_and_fit_features
from ._tabulate import AnyPolicy, tabulate_policy
from ._unsupported import bias_bound, unsupported_actions

# Of Q: the doubly robust estimate's own.
_RIDGE = 0.1

# As many weights of Q: a landmark more for each of many actions costs their cube, and
# each method is evaluated as often as there are folds.
_WEIGHTS, _LANDMARKS, _FEWEST = 2_000, 200, 20


class Splitter(Protocol):
    """scikit-learn's, of logs."""

    def split(self, X: Transitions, /) -> Iterable[tuple[Index, Index]]: ...


class CrossFittedEvaluation:
    """One evaluator for all methods: the same folds, features and ridge.

    Parameters
    ----------
    log : Transitions
        With states of numbers.
    discount : float
        γ, in [0, 1].
    cv : int or splitter
        Folds of whole pieces, as many as there are pieces at most; or what has
        ``split(log)``, whose test parts hold each row once.
    first : policy
        Any policy of the log's actions; features are chosen by it.
    confidence_level : float
        Of the estimates, in (0, 1).
    random_state : int, RandomState instance or None
        Draws the folds and the landmarks.
    """

    def __init__(
        self,
        log: Transitions,
        discount: float,
        cv: int | Splitter,
        first: AnyPolicy,
        confidence_level: float = 0.95,
        random_state: RandomStateLike = 0,
    ) -> None:
        self.log, self.discount = log, discount
        self.confidence_level, self.random_state = confidence_level, random_state
        self.data = tabulate_policy(first, log)
        self._splits: list[tuple[Index, Index]] = []
        if isinstance(cv, int | np.integer):
            n_folds = min(int(cv), max(2, self.data.n_distinct_pieces))
            self.fold: Index = episode_folds(self.data, n_folds, random_state)
        else:
            self._splits = [*cv.split(log)]
            self.fold = _fold_of_rows([test for _, test in self._splits], len(log))
        self.n_folds = int(self.fold.max()) + 1
        copies = 1 if self.data.is_continuous else self.data.n_actions
        most = min(_LANDMARKS, max(_FEWEST, _WEIGHTS // copies))
        self._settings = QSettings(
            n_components=most, ridge=_RIDGE, random_state=random_state
        )
        features, ridge = choose_and_fit_features(self.data, discount, self._settings)
        self._whole = FittedQSystem.from_kernel(self.data, discount, features, ridge)
        # Of continuous actions they are a policy's own.
        self._unsupported = (
            None if self.data.is_continuous else unsupported_actions(self._whole)
        )

    def training_rows(self, number: int) -> Index:
        """Rows that the policy of a fold may be learned from."""
        if self._splits:
            return self._splits[number][0]
        return np.flatnonzero(self.fold != number)

    def doubly_robust(self, policies: Sequence[AnyPolicy]) -> OffPolicyEstimate:
        """Mean doubly robust value of the policies of all folds.

        Q and the density ratios of each are fitted on the rows that it was learned
        from, and applied to those of its fold: Eq. (55) of docs/game.md. Where all are
        one policy it is `doubly_robust_value` in as many folds.
        """
        data, found = self.data, CrossFitted(*np.empty((3, len(self.data))))
        systems = []
        for number, policy in enumerate(policies):
            held = np.flatnonzero(self.fold == number)
            system = self._whole.on(tabulate_policy(policy, self.log))
            found.take(held, fit_without(system, held))
            systems.append(system)
        value, psi, size = density_estimate(
            data, found, self.discount, weighted=True, clip=None
        )
        psi = with_second_order(psi, systems[0].solve())
        bias = np.mean([bias_bound(one, self._unsupported) for one in systems])
        figures = Figures(
            value,
            spread(psi),
            size,
            f"Doubly robust evaluation (density ratios; {self.n_folds} policies, each "
            "learned without the fold that it is evaluated on)",
            f"the influence function over {data.counted}",
            contributions=psi,
            bias_bound=float(bias),
            limits=data.return_range(self.discount),
        )
        return reported(figures, data, self.confidence_level)

    def fitted_q(self, policies: Sequence[AnyPolicy]) -> OffPolicyEstimate:
        """Mean fitted-Q value of the policies, each by the rows of its fold alone."""
        data = self.data
        if data.has_blocks:
            raise ValueError(
                "Fitted-Q estimates of folds cannot be joined where the log is one "
                "trajectory. Set estimator='doubly_robust'."
            )
        psi = np.zeros(data.n_pieces)
        value = size = bias = 0.0
        for number, policy in enumerate(policies):
            held = np.flatnonzero(self.fold == number)
            found = fitted_q_value(
                policy,
                self.log[held],
                discount=self.discount,
                n_components=self._settings.n_components,
                random_state=self.random_state,
            )
            first = np.isin(data.initial, held)
            share = float(data.initial_weight[first].sum())
            assert found.contributions is not None
            # Codes follow the order of appearance, which a part of the log keeps.
            psi[np.unique(data.pieces[held])] = share * found.contributions
            value += share * found.value
            bias += share * found.bias_bound
            size += found.effective_sample_size
        figures = Figures(
            value,
            spread(psi),
            size,
            f"Fitted-Q evaluation ({self.n_folds} policies, each on the fold that it "
            "was learned without)",
            f"the influence function over {data.counted}",
            contributions=psi,
            bias_bound=bias,
            limits=data.return_range(self.discount),
        )
        return reported(figures, data, self.confidence_level)


def _fold_of_rows(tests: list[Index], n: int) -> Index:
    """The fold that tests each row, (n,)."""
    fold, count = np.full(n, -1), np.zeros(n, dtype=int)
    for number, rows in enumerate(tests):
        fold[rows] = number
        count[rows] += 1
    if len(tests) < 2 or (count != 1).any():
        raise ValueError(
            f"cv makes {len(tests)} test part{'s' * (len(tests) != 1)}, in which "
            f"{(count == 0).sum():,} of {n:,} rows are in none and "
            f"{(count > 1).sum():,} in more than one; two parts at least and each row "
            "in one of them were expected. Use EpisodeKFold, or a number of folds."
        )
    return fold


# By the names that `value_difference` has for them.
ESTIMATORS: dict[
    str, Callable[[CrossFittedEvaluation, Sequence[AnyPolicy]], OffPolicyEstimate]
] = {
    "doubly_robust": CrossFittedEvaluation.doubly_robust,
    "fitted_q": CrossFittedEvaluation.fitted_q,
}

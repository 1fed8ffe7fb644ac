"""Values of policies that were each learned without a fold, on the fold alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from .._typing import Index, RandomStateLike
from ..transitions._transitions import Transitions
from ._differences import METRICS
from ._doubly_robust import (
    CrossFitted,
    density_estimate,
    fit_without,
    with_second_order,
)
from ._estimate import Figures, OffPolicyEstimate, effective_size, spread
from ._importance_weights import episode_folds
from ._prepare import reported
from ._settings import QSettings, choose_system
from ._tabulate import AnyPolicy, tabulate_policy
from ._unsupported import bias_bound, unsupported_actions

# No more than so many weights of Q: of many actions a landmark more for each costs
# their cube, and each method is evaluated some twenty times.
_WEIGHTS, _LANDMARKS, _FEWEST = 1_000, 200, 20

# Of each fold, that Q and the density ratios of doubly robust estimates are fitted
# without: half as many fits as ten, which is the default on a whole log.
_INNER_FOLDS = 5


class Splitter(Protocol):
    """scikit-learn's, of logs."""

    def split(self, X: Transitions, /) -> Iterable[tuple[ArrayLike, ArrayLike]]: ...


class HeldOutEvaluation:
    """One evaluator for all methods: the same folds and the same settings.

    Nothing that evaluates a policy has seen a row that it was learned from. Where Q and
    the ratios were fitted on those rows, and applied to the fold, policies that follow
    noise were worth what the noise was: of 600 rewards that nothing explained, in five
    columns, trees and kernels alike were two standard errors better than the logger.

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
        Any policy of the log's actions.
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
        self.data = data = tabulate_policy(first, log)
        if isinstance(cv, int | np.integer):
            n_folds = min(int(cv), max(2, data.n_distinct_pieces))
            fold = episode_folds(data, n_folds, random_state)
            self.splits: list[tuple[Index, Index]] = [
                (np.flatnonzero(fold != k), np.flatnonzero(fold == k))
                for k in range(n_folds)
            ]
        else:
            self.splits = [(np.asarray(a), np.asarray(b)) for a, b in cv.split(log)]
            _check_parts(data.pieces, [test for _, test in self.splits])
        copies = 1 if data.is_continuous else data.n_actions
        self._n_components = min(_LANDMARKS, max(_FEWEST, _WEIGHTS // copies))

    @property
    def n_folds(self) -> int:
        return len(self.splits)

    def outcomes(self, policies: Sequence[AnyPolicy]) -> float:
        """How many rows of a reward that is not the commonest speak of the policies.

        As many of equal weight, by the policies' probability of what was done over its
        share in the log. A spread is known by so many outcomes: that of none is zero,
        whatever chance there was of one. Infinite where actions are continuous.
        """
        if self.data.is_continuous:
            return float("inf")
        kinds, counts = np.unique(self.log.reward, return_counts=True)
        rare = self.log.reward != kinds[counts.argmax()]
        codes = self.data.codes
        ratio = 1.0 / (np.bincount(codes) / len(codes))[codes]
        for policy, (_, held) in zip(policies, self.splits, strict=True):
            own = tabulate_policy(policy, self.log[held])
            ratio[held] *= own.logged_probability
        return effective_size(ratio[rare])

    def value(self, policies: Sequence[AnyPolicy], estimator: str) -> OffPolicyEstimate:
        """Mean value of one policy for each fold, with contributions of all pieces."""
        data = self.data
        settings: dict[str, Any] = {
            "discount": self.discount,
            "n_components": self._n_components,
            "random_state": self.random_state,
        }
        psi = np.zeros(data.n_pieces)
        value = size = bias = 0.0
        for policy, (_, held) in zip(policies, self.splits, strict=True):
            own = np.unique(data.pieces[held])
            if estimator == "doubly_robust":
                settings["n_folds"] = max(2, min(_INNER_FOLDS, len(own)))
            found = METRICS[estimator](policy, self.log[held], **settings)
            share = float(data.initial_weight[np.isin(data.initial, held)].sum())
            assert found.contributions is not None
            # Codes follow the order of appearance, which a part of the log keeps.
            psi[own] = share * _as_wide_as(found)
            value += share * found.value
            bias += share * found.bias_bound
            size += found.effective_sample_size
        figures = Figures(
            value,
            spread(psi),
            size,
            f"{found.method}, of {self.n_folds} policies, each on the fold that it was "
            "learned without",
            f"the influence function over {data.counted}",
            found.effective_unit,
            contributions=psi,
            bias_bound=bias,
            limits=data.return_range(self.discount),
        )
        return reported(figures, data, self.confidence_level)


# Of Q, as `doubly_robust_value` has it.
_RIDGE = 0.1


class SharedEvaluation(HeldOutEvaluation):
    """The same folds, but Q and density ratios are fitted on all other folds' rows.

    A fold alone says little of policies, and of what a policy loses beside another. For
    policies that owe little to the rewards of the rows that they were made from, such
    as trees that imitate a policy of another log: those that were learned from these
    rows have values here that are too high.
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
        super().__init__(log, discount, cv, first, confidence_level, random_state)
        self._first = self.data.by_steps(discount)
        settings = QSettings(
            n_components=self._n_components, ridge=_RIDGE, random_state=random_state
        )
        self._system = choose_system(self._first, discount, settings)
        # Where actions are continuous it depends on the policy.
        self._unsupported = (
            None if self.data.is_continuous else unsupported_actions(self._system)
        )

    def value(
        self, policies: Sequence[AnyPolicy], estimator: str = "doubly_robust"
    ) -> OffPolicyEstimate:
        """Mean doubly robust value of one policy for each fold."""
        data, discount = self._first, self.discount
        found = CrossFitted(*np.empty((3, len(data))))
        systems = []
        for policy, (_, held) in zip(policies, self.splits, strict=True):
            own = tabulate_policy(policy, self.log).by_steps(discount, data.steps)
            system = self._system.on(own)
            found.take(held, fit_without(system, held))
            systems.append(system)
        value, psi, size = density_estimate(
            data, found, discount, weighted=True, clip=None
        )
        whole = systems[0].solve()
        bias = [bias_bound(system, self._unsupported) for system in systems]
        psi = with_second_order(psi, whole)
        figures = Figures(
            value,
            spread(psi),
            size,
            f"Doubly robust evaluation, Q in {self.n_folds} folds",
            f"the influence function over {data.counted}",
            contributions=psi,
            left_out=whole.contributions,
            bias_bound=float(np.mean(bias)),
            limits=data.return_range(discount),
        )
        return reported(figures, self.data, self.confidence_level)


def _as_wide_as(found: OffPolicyEstimate) -> Any:
    """Contributions about their mean, as large as the standard error says."""
    psi = found.contributions
    assert psi is not None
    centred, error = psi - psi.mean(), spread(psi)
    # An estimate that was brought back to its limits has the excess in its error.
    return centred * (found.standard_error / error if error > 0 else 1.0)


def _check_parts(pieces: Index, tests: list[Index]) -> None:
    """Refuse test parts that are not folds of whole episodes."""
    count = np.zeros(len(pieces), dtype=int)
    for rows in tests:
        count[rows] += 1
    if len(tests) < 2 or (count != 1).any():
        raise ValueError(
            f"cv makes {len(tests)} test part{'s' * (len(tests) != 1)}, in which "
            f"{(count == 0).sum():,} of {len(count):,} rows are in none and "
            f"{(count > 1).sum():,} in more than one; two parts at least and each row "
            "in one of them were expected. Use EpisodeKFold, or a number of folds."
        )
    cut = sum(len(np.unique(pieces[rows])) for rows in tests) - pieces.max() - 1
    if cut:
        raise ValueError(
            f"cv cuts {cut:,} of {pieces.max() + 1:,} episodes: their rows are in more "
            "than one test part. Use EpisodeKFold, or a number of folds."
        )

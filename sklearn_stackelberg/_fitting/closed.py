"""The fit over labels whose follower answers in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._evaluation.learned import LearnedEvaluation, learn_evaluation
from .._parameters import check_table_size
from ..equilibrium import Equilibrium, measure_equilibrium
from ..followers import LinearQ
from ..leaders import SoftmaxPolicy
from ..solvers import ClosedFormSolver, Rows, RowSums
from ..solvers.result import Observer
from ..solvers.rows import feature_rows
from .acting import DiscreteActing, LinearSeat
from .actions import Labels
from .inputs import state_features
from .logged_game import LoggedGame
from .outcome import Outcome


@dataclass(frozen=True, eq=False)
class KeptPolicy:
    """What a later climb goes on from: the actions, the features, and θ."""

    actions: Any
    features: Any
    theta: Tensor
    units: tuple[float, float]


class DiscreteClosedForm:
    """Labels as actions, k((s, a), (s', a')) = k(s, s')·1[a = a'].

    Parameters
    ----------
    params : dict
        The estimator's hyperparameters.
    game : LoggedGame
    labels : Labels
    kept : KeptPolicy, default=None
        Where to go on from.
    """

    def __init__(
        self,
        params: dict[str, Any],
        game: LoggedGame,
        labels: Labels,
        kept: KeptPolicy | None = None,
    ) -> None:
        self.params, self.game, self.actions = params, game, labels
        n_actions = len(labels.classes)
        self.features = (
            kept.features
            if kept
            else state_features(params["q_function"], params, game.state)
        )
        n_features = self.features.n_features_out_
        check_table_size(n_actions, n_features)
        rows = Rows(
            feature_rows(self.features.transform, game.states, n_features),
            game.state_index,
            game.next_index,
            labels.read(game.log),
            game.reward,
            game.terminated,
            game.initial,
            n_actions,
        )
        self.sums = RowSums(rows, game.discount, params["ridge"])
        uniform = torch.zeros(n_features, n_actions, dtype=torch.float64)
        self.start = kept.theta if kept else uniform

    def solve(self, lam: float, observe: Observer | None = None) -> Outcome:
        """Climb at one λ.

        Parameters
        ----------
        lam : float
        observe : callable, default=None
            Hears of each evaluation.

        Returns
        -------
        Outcome
        """
        solver, sums = closed_form_solver(self.params, lam, observe), self.sums
        result = solver.solve(sums, [self.start])
        units = self.game.anchor, self.game.scale
        acting, attributes = self.players(result.theta, result.w)
        return Outcome(
            acting=acting,
            attributes=attributes,
            value=result.value,
            pessimism=result.pessimism,
            history=result.history,
            n_iter=result.n_iter,
            shortfall=result.shortfall,
            equilibrium=lambda: measure_equilibrium(solver, sums, result.theta),
            kept=KeptPolicy(self.actions, self.features, result.theta, units),
        )

    def evaluate(self, acting: DiscreteActing) -> LearnedEvaluation | None:
        """What `score` starts from; see `learned_on`."""
        return learned_on(acting, self.game)

    def equilibrium(self, lam: float) -> Equilibrium:
        """The conditions at the policy that is gone on from."""
        solver = closed_form_solver(self.params, lam, None)
        return measure_equilibrium(solver, self.sums, self.start)

    def players(self, theta: Tensor, w: Tensor) -> tuple[DiscreteActing, dict]:
        """The players on states, and what the estimator shows of them."""
        policy, q_function = SoftmaxPolicy(theta), LinearQ(w * self.game.scale)
        acting = DiscreteActing(
            self.actions.classes,
            LinearSeat(self.features, policy),
            LinearSeat(self.features, q_function),
            self.game.anchor,
            self.params["dtype"],
        )
        return acting, {
            "classes_": self.actions.classes,
            "features_": self.features,
            "bandwidth_": self.features.bandwidth_,
            "policy_": policy,
            "q_function_": q_function,
        }


def learned_on(acting: Any, game: LoggedGame) -> LearnedEvaluation | None:
    """Q of a policy and its density ratios on the log that it was learned from.

    Parameters
    ----------
    acting : DiscreteActing or ContinuousActing
    game : LoggedGame

    Returns
    -------
    LearnedEvaluation or None
        None where the log, a part of one, lacks labels that the policy takes.
    """
    classes = getattr(acting, "classes_", None)
    if classes is not None and len(np.setdiff1d(classes, game.log.action)):
        return None
    return learn_evaluation(acting, game.log, game.discount)


def closed_form_solver(
    params: dict[str, Any], lam: float, observe: Observer | None
) -> ClosedFormSolver:
    """The solver that hyperparameters ask for.

    Parameters
    ----------
    params : dict
    lam : float
    observe : callable or None

    Returns
    -------
    ClosedFormSolver
    """
    return ClosedFormSolver(
        lam,
        params["beta"],
        leader_gradient=params["leader_gradient"],
        mirror_steps=params["mirror_steps"],
        max_iter=params["max_iter"],
        tol=params["tol"],
        observe=observe,
    )

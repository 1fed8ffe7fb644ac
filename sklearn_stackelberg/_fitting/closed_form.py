"""A fit whose follower answers in closed form: what labels and amounts share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor

from .._problem.action_space import (
    LINEAR_IN_AMOUNTS,
    ContinuousActions,
    DiscreteActions,
)
from .._problem.dataset import OfflineProblem
from .._problem.rows import Rows, feature_rows
from .._typing import Floats
from .._validation import check_table_size
from ..equilibrium import Equilibrium, measure_equilibrium
from ..kernels._state_action import CandidateGram, StateActionFeatures
from ..policies._candidates import CandidateSoftmax, choose_candidates
from ..policies._gaussian import SquashedGaussian
from ..policies._softmax import SoftmaxPolicy
from ..q_functions import LinearQ
from ..solvers._base import Observer
from ..solvers._best_response import LSTDSystem
from ..solvers._closed_form import ClosedFormSolver
from ..solvers._continuous_policies import CandidatePolicyModel, GaussianPolicyModel
from ..solvers._lstd_continuous import ContinuousLSTD, ContinuousRows
from ..solvers._lstd_discrete import DiscreteLSTD
from .fitted_policy import (
    CandidateDistribution,
    ContinuousPolicy,
    DiscretePolicy,
    GaussianDistribution,
    LinearFunction,
)
from .players import kernel_settings, state_features
from .result import FitResult

FittedPolicy = DiscretePolicy | ContinuousPolicy


@dataclass(frozen=True, eq=False)
class ClosedFormState:
    """What a later climb goes on from: the actions, what is read of states, and θ."""

    actions: Any
    reads: Any
    theta: Tensor
    units: tuple[float, float]


class ClosedForm(ABC):
    """Q linear in its weights, and a policy that reaches it through M and b alone.

    Parameters
    ----------
    params : dict
        The estimator's hyperparameters.
    game : OfflineProblem
    actions : Labels or Amounts
    reads : object
        What is read of states: features, or a leader that has them.
    sums : DiscreteLSTD or ContinuousLSTD
    start : Tensor
        θ to climb from.
    """

    def __init__(
        self,
        params: dict[str, Any],
        game: OfflineProblem,
        actions: Any,
        reads: Any,
        sums: LSTDSystem,
        start: Tensor,
    ) -> None:
        self.params, self.game, self.actions = params, game, actions
        self.reads, self.sums, self.start = reads, sums, start

    def solve(self, lam: float, observe: Observer | None = None) -> FitResult:
        """Climb at one λ.

        Parameters
        ----------
        lam : float
        observe : callable, default=None
            Hears of each evaluation.

        Returns
        -------
        FitResult
        """
        solver, sums = closed_form_solver(self.params, lam, observe), self.sums
        result = solver.solve(sums, [self.start])
        fitted_policy, attributes = self.players(result.theta, result.w)
        return FitResult(
            fitted_policy=fitted_policy,
            attributes=attributes,
            value=result.value,
            pessimism=result.pessimism,
            history=result.history,
            n_iter=result.n_iter,
            shortfall=result.shortfall,
            equilibrium=lambda: measure_equilibrium(solver, sums, result.theta),
            kept=ClosedFormState(
                self.actions, self.reads, result.theta, self.game.units
            ),
        )

    def equilibrium(self, lam: float) -> Equilibrium:
        """The conditions at the policy that is gone on from."""
        solver = closed_form_solver(self.params, lam, None)
        return measure_equilibrium(solver, self.sums, self.start)

    @abstractmethod
    def players(self, theta: Tensor, w: Tensor) -> tuple[FittedPolicy, dict[str, Any]]:
        """The players on states, and what the estimator shows of them."""


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


class DiscreteClosedForm(ClosedForm):
    """Labels as actions, k((s, a), (s', a')) = k(s, s')·1[a = a'].

    Parameters
    ----------
    params : dict
        The estimator's hyperparameters.
    game : OfflineProblem
    labels : Labels
    kept : ClosedFormState, default=None
        Where to go on from.
    """

    def __init__(
        self,
        params: dict[str, Any],
        game: OfflineProblem,
        labels: DiscreteActions,
        kept: ClosedFormState | None = None,
    ) -> None:
        n_actions = len(labels.classes)
        features = (
            kept.reads
            if kept
            else state_features(params["q_function"], params, game.state)
        )
        n_features = features.n_features_out_
        check_table_size(n_actions, n_features)
        rows = Rows(
            feature_rows(features.transform, game.states, n_features),
            game.state_index,
            game.next_index,
            labels.read(game.log),
            game.reward,
            game.terminated,
            game.initial,
            n_actions,
        )
        sums = DiscreteLSTD(rows, game.discount, params["ridge"])
        uniform = torch.zeros(n_features, n_actions, dtype=torch.float64)
        start = kept.theta if kept else uniform
        super().__init__(params, game, labels, features, sums, start)

    def players(self, theta: Tensor, w: Tensor) -> tuple[DiscretePolicy, dict]:
        """The players on states, and what the estimator shows of them."""
        policy, q_function = SoftmaxPolicy(theta), LinearQ(w * self.game.scale)
        fitted_policy = DiscretePolicy(
            self.actions.classes,
            LinearFunction(self.reads, policy),
            LinearFunction(self.reads, q_function),
            self.game.anchor,
            self.params["dtype"],
        )
        return fitted_policy, {
            "classes_": self.actions.classes,
            "features_": self.reads,
            "bandwidth_": self.reads.bandwidth_,
            "policy_": policy,
            "q_function_": q_function,
        }


class ContinuousClosedForm(ClosedForm):
    """Amounts as actions, and a kernel on state and action together.

    Parameters
    ----------
    params : dict
        The estimator's hyperparameters.
    game : OfflineProblem
    amounts : Amounts
    kept : ClosedFormState, default=None
        Where to go on from.
    """

    def __init__(
        self,
        params: dict[str, Any],
        game: OfflineProblem,
        amounts: ContinuousActions,
        kept: ClosedFormState | None = None,
    ) -> None:
        if params["q_function"] == "linear":
            raise ValueError(LINEAR_IN_AMOUNTS)
        action = amounts.read(game.log)
        leader = (
            kept.reads if kept else make_leader(params, game.state, action, amounts)
        )
        check_table_size(1, leader.features.n_features_out_)
        rows = ContinuousRows(
            game.states,
            game.state_index,
            game.next_index,
            action,
            game.reward,
            game.terminated,
            game.initial,
        )
        sums = ContinuousLSTD(rows, leader, game.discount, params["ridge"])
        start = kept.theta if kept else leader.start()
        super().__init__(params, game, amounts, leader, sums, start)

    def players(self, theta: Tensor, w: Tensor) -> tuple[ContinuousPolicy, dict]:
        """The players on states, and what the estimator shows of them."""
        leader, features = self.reads, self.reads.features
        attributes = {
            "action_bounds_": (self.actions.low, self.actions.high),
            "action_names_": self.actions.names,
            "features_": features,
            "bandwidth_": features.bandwidth_,
        }
        q_function = LinearQ(w * self.game.scale)
        landmark_weights = features.landmark_weights(q_function.weight.numpy())
        if isinstance(leader, CandidatePolicyModel):
            candidates = leader.gram.candidates.astype(np.float64)
            candidates = np.clip(candidates, self.actions.low, self.actions.high)
            policy = CandidateSoftmax(theta, torch.from_numpy(candidates))
            distribution = CandidateDistribution(
                KernelScores(leader.gram, features.landmark_weights(theta.numpy())),
                candidates,
            )
            attributes["candidates_"] = candidates
        else:
            policy = SquashedGaussian(
                theta.to(leader.policy.low.dtype), self.actions.low, self.actions.high
            )
            distribution = GaussianDistribution(leader.inputs.transform, policy)
        fitted_policy = ContinuousPolicy(
            self.actions,
            distribution,
            KernelValues(features, landmark_weights),
            self.game.anchor,
            self.params["dtype"],
        )
        return fitted_policy, attributes | {
            "policy_": policy,
            "q_function_": q_function,
        }


class KernelScores:
    """Logits φ(s, a_j)ᵀu of the candidates, in any state.

    Parameters
    ----------
    gram : CandidateGram
    landmark_weights : array of shape (n_landmarks, 1)
        u on the landmarks.
    """

    def __init__(self, gram: CandidateGram, landmark_weights: Floats) -> None:
        self.gram, self.landmark_weights = gram, torch.from_numpy(landmark_weights)

    def __call__(self, states: Floats) -> Floats:
        """Scores, (n, C)."""
        rows = self.gram.read(states)
        return self.gram.values(rows, self.landmark_weights.to(rows.dtype))[
            ..., 0
        ].numpy()


class KernelValues:
    """q(s, a) = φ(s, a)ᵀw of pairs.

    Parameters
    ----------
    features : StateActionFeatures
    landmark_weights : array of shape (n_landmarks, 1)
        w on the landmarks.
    """

    def __init__(self, features: StateActionFeatures, landmark_weights: Floats) -> None:
        self.features, self.landmark_weights = features, landmark_weights

    def __call__(self, states: Floats, amounts: Floats) -> Floats:
        """Values, (n,)."""
        return self.features.project(states, amounts, self.landmark_weights)[:, 0]


def make_leader(
    params: dict[str, Any], state: Floats, action: Floats, amounts: ContinuousActions
) -> CandidatePolicyModel | GaussianPolicyModel:
    """The leader that the hyperparameters ask for, in features of the log.

    Parameters
    ----------
    params : dict
    state : array of shape (n, d)
    action : array of shape (n, p)
    amounts : Amounts

    Returns
    -------
    CandidatePolicyModel or GaussianPolicyModel
    """
    rng = check_random_state(params["random_state"])
    features = StateActionFeatures(
        params["kernel"], random_state=rng, **kernel_settings(params)
    ).fit(state, action)
    if params["action_distribution"] == "gaussian":
        policy = SquashedGaussian(torch.zeros(1, 1), amounts.low, amounts.high)
        inputs = state_features(params["policy"], params, state, len(amounts.low))
        return GaussianPolicyModel(features, inputs, policy)
    candidates = choose_candidates(
        action, amounts.low, amounts.high, params["candidates"], rng
    )
    return CandidatePolicyModel(features, candidates)

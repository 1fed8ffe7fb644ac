"""The fit over amounts whose follower answers in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from torch import Tensor

from .._parameters import check_table_size
from ..followers import LinearQ
from ..kernels import CandidateGram, JointFeatures
from ..leaders import CandidateSoftmax, SquashedGaussian, choose_candidates
from ..solvers import CandidateLeader, GaussianLeader, JointRows, JointSums
from .acting_amounts import CandidateChooser, ContinuousActing, GaussianChooser
from .actions import LINEAR_IN_AMOUNTS, Amounts
from .closed import ClosedForm, KeptPolicy
from .inputs import kernel_settings, state_features
from .logged_game import LoggedGame

Floats = NDArray[np.floating]


class ContinuousClosedForm(ClosedForm):
    """Amounts as actions, and a kernel on state and action together.

    Parameters
    ----------
    params : dict
        The estimator's hyperparameters.
    game : LoggedGame
    amounts : Amounts
    kept : KeptPolicy, default=None
        Where to go on from.
    """

    def __init__(
        self,
        params: dict[str, Any],
        game: LoggedGame,
        amounts: Amounts,
        kept: KeptPolicy | None = None,
    ) -> None:
        if params["q_function"] == "linear":
            raise ValueError(LINEAR_IN_AMOUNTS)
        action = amounts.read(game.log)
        leader = (
            kept.reads if kept else make_leader(params, game.state, action, amounts)
        )
        check_table_size(1, leader.features.n_features_out_)
        rows = JointRows(
            game.states,
            game.state_index,
            game.next_index,
            action,
            game.reward,
            game.terminated,
            game.initial,
        )
        sums = JointSums(rows, leader, game.discount, params["ridge"])
        start = kept.theta if kept else leader.start()
        super().__init__(params, game, amounts, leader, sums, start)

    def players(self, theta: Tensor, w: Tensor) -> tuple[ContinuousActing, dict]:
        """The players on states, and what the estimator shows of them."""
        leader, features = self.reads, self.reads.features
        attributes = {
            "action_bounds_": (self.actions.low, self.actions.high),
            "action_names_": self.actions.names,
            "features_": features,
            "bandwidth_": features.bandwidth_,
        }
        q_function = LinearQ(w * self.game.scale)
        folded = features.fold(q_function.weight.numpy())
        if isinstance(leader, CandidateLeader):
            candidates = leader.gram.candidates.astype(np.float64)
            candidates = np.clip(candidates, self.actions.low, self.actions.high)
            policy = CandidateSoftmax(theta, torch.from_numpy(candidates))
            chooser = CandidateChooser(
                KernelScores(leader.gram, features.fold(theta.numpy())), candidates
            )
            attributes["candidates_"] = candidates
        else:
            policy = SquashedGaussian(
                theta.to(leader.policy.low.dtype), self.actions.low, self.actions.high
            )
            chooser = GaussianChooser(leader.inputs.transform, policy)
        acting = ContinuousActing(
            self.actions,
            chooser,
            KernelValues(features, folded),
            self.game.anchor,
            self.params["dtype"],
        )
        return acting, attributes | {"policy_": policy, "q_function_": q_function}


class KernelScores:
    """Logits φ(s, a_j)ᵀu of the candidates, in any state.

    Parameters
    ----------
    gram : CandidateGram
    folded : array of shape (n_landmarks, 1)
        u on the landmarks.
    """

    def __init__(self, gram: CandidateGram, folded: Floats) -> None:
        self.gram, self.folded = gram, torch.from_numpy(folded)

    def __call__(self, states: Floats) -> Floats:
        """Scores, (n, C)."""
        rows = self.gram.read(states)
        return self.gram.values(rows, self.folded.to(rows.dtype))[..., 0].numpy()


class KernelValues:
    """q(s, a) = φ(s, a)ᵀw of pairs.

    Parameters
    ----------
    features : JointFeatures
    folded : array of shape (n_landmarks, 1)
        w on the landmarks.
    """

    def __init__(self, features: JointFeatures, folded: Floats) -> None:
        self.features, self.folded = features, folded

    def __call__(self, states: Floats, amounts: Floats) -> Floats:
        """Values, (n,)."""
        return self.features.project(states, amounts, self.folded)[:, 0]


def make_leader(
    params: dict[str, Any], state: Floats, action: Floats, amounts: Amounts
) -> CandidateLeader | GaussianLeader:
    """The leader that the hyperparameters ask for, in features of the log.

    Parameters
    ----------
    params : dict
    state : array of shape (n, d)
    action : array of shape (n, p)
    amounts : Amounts

    Returns
    -------
    CandidateLeader or GaussianLeader
    """
    rng = check_random_state(params["random_state"])
    features = JointFeatures(
        params["kernel"], random_state=rng, **kernel_settings(params)
    ).fit(state, action)
    if params["action_distribution"] == "gaussian":
        policy = SquashedGaussian(torch.zeros(1, 1), amounts.low, amounts.high)
        inputs = state_features(params["policy"], params, state, len(amounts.low))
        return GaussianLeader(features, inputs, policy)
    candidates = choose_candidates(
        action, amounts.low, amounts.high, params["candidates"], rng
    )
    return CandidateLeader(features, candidates)

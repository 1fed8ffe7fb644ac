"""The fit over labels whose follower answers in closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._parameters import check_table_size
from ..followers import LinearQ
from ..leaders import SoftmaxPolicy
from ..solvers import Rows, RowSums
from ..solvers.rows import feature_rows
from .acting import DiscreteActing, LinearSeat
from .actions import Labels
from .closed import ClosedForm, KeptPolicy
from .inputs import state_features
from .logged_game import LoggedGame


class DiscreteClosedForm(ClosedForm):
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
        sums = RowSums(rows, game.discount, params["ridge"])
        uniform = torch.zeros(n_features, n_actions, dtype=torch.float64)
        start = kept.theta if kept else uniform
        super().__init__(params, game, labels, features, sums, start)

    def players(self, theta: Tensor, w: Tensor) -> tuple[DiscreteActing, dict]:
        """The players on states, and what the estimator shows of them."""
        policy, q_function = SoftmaxPolicy(theta), LinearQ(w * self.game.scale)
        acting = DiscreteActing(
            self.actions.classes,
            LinearSeat(self.reads, policy),
            LinearSeat(self.reads, q_function),
            self.game.anchor,
            self.params["dtype"],
        )
        return acting, {
            "classes_": self.actions.classes,
            "features_": self.reads,
            "bandwidth_": self.reads.bandwidth_,
            "policy_": policy,
            "q_function_": q_function,
        }

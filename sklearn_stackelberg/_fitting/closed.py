"""The fit whose follower answers in closed form: Q and policy in the same features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from .._parameters import check_table_size
from ..equilibrium import measure_equilibrium
from ..followers import LinearQ
from ..kernels import LandmarkFeatures
from ..leaders import SoftmaxPolicy
from ..solvers import ClosedFormSolver, Rows, RowSums
from ..solvers.rows import feature_rows
from .acting import DiscreteActing, Seat
from .logged_game import LoggedGame
from .outcome import Outcome

# Steps along the derivative, where the user names no number.
_MAX_ITER = 50


class DiscreteClosedForm:
    """Labels as actions, k((s, a), (s', a')) = k(s, s')·1[a = a'].

    Parameters
    ----------
    params : dict
        The estimator's hyperparameters.
    game : LoggedGame
    """

    def __init__(self, params: dict[str, Any], game: LoggedGame) -> None:
        self.params, self.game = params, game
        self.classes, codes = encode_actions(game.log.action)
        self.features = LandmarkFeatures(
            params["kernel"],
            bandwidth=params["bandwidth"],
            kernel_params=params["kernel_params"],
            n_components=params["n_components"],
            dtype=params["dtype"],
            random_state=check_random_state(params["random_state"]),
        ).fit(game.state)
        n_features = self.features.n_features_out_
        check_table_size(len(self.classes), n_features)
        rows = Rows(
            feature_rows(self.features.transform, game.states, n_features),
            game.state_index,
            game.next_index,
            codes,
            game.reward,
            game.terminated,
            game.initial,
            len(self.classes),
        )
        self.sums = RowSums(rows, game.discount, params["ridge"])

    def solve(self, lam: float) -> Outcome:
        """Climb at one λ.

        Parameters
        ----------
        lam : float

        Returns
        -------
        Outcome
        """
        params, sums = self.params, self.sums
        solver = ClosedFormSolver(
            lam,
            params["beta"],
            leader_gradient=params["leader_gradient"],
            mirror_steps=params["mirror_steps"],
            max_iter=_MAX_ITER if params["max_iter"] is None else params["max_iter"],
            tol=params["tol"],
        )
        uniform = torch.zeros(sums.n_features, sums.n_actions, dtype=torch.float64)
        result = solver.solve(sums, [uniform])
        policy = SoftmaxPolicy(result.theta)
        q_function = LinearQ(result.w * self.game.scale)
        return Outcome(
            policy=policy,
            q_function=q_function,
            acting=DiscreteActing(
                self.classes,
                Seat(self.features, policy),
                Seat(self.features, q_function),
                self.game.anchor,
            ),
            value=result.value,
            pessimism=result.pessimism,
            history=result.history,
            n_iter=result.n_iter,
            shortfall=result.shortfall,
            equilibrium=lambda: measure_equilibrium(solver, sums, result.theta),
        )


def encode_actions(
    action: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Labels, sorted, and the code of each logged action.

    Raises
    ------
    ValueError
        If there is one label: nothing to choose from.
    """
    classes, codes = np.unique(action, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"The log holds one class of action, {classes.tolist()[0]!r}, in all "
            f"of its {len(action)} rows; a policy needs at least two to choose from. "
            "Log another action too, or leave the decision as it is."
        )
    return classes, codes

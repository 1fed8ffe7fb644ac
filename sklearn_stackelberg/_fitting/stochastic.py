"""The fit by gradient steps of both players: any Q-function, any policy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from .._problem.action_space import (
    LINEAR_IN_AMOUNTS,
    ContinuousActions,
    DiscreteActions,
)
from .._problem.dataset import OfflineProblem
from .._problem.rows import FeatureRows, feature_rows
from .._typing import Floats, Index
from ..equilibrium import Equilibrium, measure_stochastic_equilibrium
from ..networks import MLP
from ..policies._gaussian import SquashedGaussian
from ..q_functions import LinearQ
from ..solvers._base import Observer, SolverState
from ..solvers._minibatch_game import MinibatchGame, MinibatchRows, discrete_embedding
from ..solvers._stochastic import StochasticSolver
from .fitted_policy import (
    CandidateDistribution,
    ContinuousPolicy,
    DiscretePolicy,
    GaussianDistribution,
    LinearFunction,
    NetworkFunction,
)
from .hyperparameters import is_network
from .players import PlayerInputs, build_player_inputs, init_policy, init_q_function
from .result import FitResult

# Products that a solution may take. A linear Q has few weights, whose game is to be
# that of the closed form; for a network fewer are faster, and blur the foresight.
LINEAR_CG_STEPS, CG_STEPS = 100, 20

# States that a network is tried on.
_EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class StochasticState:
    """What a later play goes on from: actions, inputs, and where the solver stands."""

    actions: DiscreteActions | ContinuousActions
    player_inputs: PlayerInputs
    state: SolverState
    units: tuple[float, float]
    players: tuple[nn.Module, nn.Module]
    made_by: tuple[str, str]


class StochasticFit:
    """Both players by gradient steps on minibatches.

    Parameters
    ----------
    params : dict
        The estimator's hyperparameters.
    game : OfflineProblem
    actions : Labels or Amounts
    kept : StochasticState, default=None
        Where to go on from.
    """

    def __init__(
        self,
        params: dict[str, Any],
        game: OfflineProblem,
        actions: DiscreteActions | ContinuousActions,
        kept: StochasticState | None = None,
    ) -> None:
        self.params, self.game, self.actions, self.kept = params, game, actions, kept
        self._is_linear = not is_network(params["q_function"])
        if isinstance(actions, ContinuousActions) and params["q_function"] == "linear":
            raise ValueError(LINEAR_IN_AMOUNTS)
        if params["ridge"] and not self._is_linear:
            raise ValueError(
                f"ridge={params['ridge']!r} is for a Q-function that is linear in "
                "features, and q_function is a network. Set ridge=0.0; beta keeps a "
                "network's weights small."
            )
        if kept and kept.made_by != self._classes_of_functions():
            raise ValueError(
                "The players that are gone on with were made by "
                f"{' and '.join(kept.made_by)} (Q-function and policy), and "
                f"{' and '.join(self._classes_of_functions())} are asked for now. Set "
                "warm_start=False and call fit to begin anew."
            )
        self.player_inputs = (
            kept.player_inputs if kept else build_player_inputs(params, game, actions)
        )
        self.max_iter, self.tol = params["max_iter"], params["tol"]
        self.sampled = MinibatchGame(
            self._rows(),
            game.discount,
            ridge=params["ridge"],
            dtype=getattr(torch, params["dtype"]),
            device=choose_device(params["device"]),
        )

    def play_one_pass(self) -> None:
        """Let `solve` take the turns that go once over the rows."""
        n = len(self.game.state_index)
        drawn = min(n, self.params["batch_size"]) * self.params["follower_steps"]
        self.max_iter, self.tol = -(-n // drawn), 0.0

    def solve(self, lam: float, observe: Observer | None = None) -> FitResult:
        """Play at one λ.

        Parameters
        ----------
        lam : float
        observe : callable, default=None
            Hears of each evaluation.

        Returns
        -------
        FitResult
        """
        params, solver = self.params, self._solver(lam)
        if self.kept:
            start: dict[str, Any] = {"state": self.kept.state}
        else:
            few = self.game.states[:_EXAMPLES]
            start = {
                "leader": init_policy(params, self.player_inputs, self.actions, few),
                "follower": init_q_function(
                    params, self.player_inputs, self.actions, few
                ),
            }
        result = solver.solve(self.sampled, **start, observe=observe)
        fitted_policy, attributes = self.players(result.leader, result.follower)
        return FitResult(
            fitted_policy=fitted_policy,
            attributes=attributes,
            value=result.value,
            pessimism=result.pessimism,
            history=result.history,
            n_iter=result.n_iter,
            shortfall=result.shortfall,
            diverged=result.diverged,
            # It would take longer than the play: `equilibrium` is for who asks.
            equilibrium=None,
            kept=StochasticState(
                self.actions,
                self.player_inputs,
                result.state,
                self.game.units,
                (result.leader, result.follower),
                self._classes_of_functions(),
            ),
        )

    def _solver(self, lam: float) -> StochasticSolver:
        """The solver that the hyperparameters ask for."""
        params = self.params
        return StochasticSolver(
            lam,
            params["beta"],
            leader_gradient=params["leader_gradient"],
            mirror_steps=params["mirror_steps"],
            max_iter=self.max_iter,
            tol=self.tol,
            batch_size=params["batch_size"],
            learning_rate=params["learning_rate"],
            leader_learning_rate=params["leader_learning_rate"],
            follower_steps=params["follower_steps"],
            leader_steps=params["leader_steps"],
            optimizer=params["optimizer"],
            cg_steps=LINEAR_CG_STEPS if self._is_linear else CG_STEPS,
            seed=self.player_inputs.seed,
        )

    def equilibrium(self, lam: float) -> Equilibrium:
        """The conditions at the players that are gone on from."""
        return measure_stochastic_equilibrium(
            self._solver(lam), self.sampled, *self.kept.players
        )

    def _classes_of_functions(self) -> tuple[str, str]:
        """What the players were made by, in words that can be compared."""
        names = ("q_function", "policy")
        return tuple(
            repr(value)
            if isinstance(value, str | MLP)
            else getattr(value, "__qualname__", type(value).__name__)
            for value in (self.params[name] for name in names)
        )

    def players(self, leader: nn.Module, follower: nn.Module) -> tuple[Any, dict]:
        """The players on states, and what the estimator shows of them."""
        player_inputs, actions, game = self.player_inputs, self.actions, self.game
        q_function = follower.module
        if self._is_linear:
            q_function = LinearQ(follower.module.weight.detach() * game.scale)
        attributes = {
            "features_": player_inputs.embedded,
            "bandwidth_": getattr(player_inputs.embedded, "bandwidth_", None),
            "policy_": leader,
            "q_function_": q_function,
        }
        dtype = self.params["dtype"]
        if isinstance(actions, DiscreteActions):
            logits = (
                NetworkFunction(player_inputs.leader, leader.logits)
                if is_network(self.params["policy"])
                else LinearFunction(player_inputs.leader, leader)
            )
            values = (
                LinearFunction(player_inputs.follower, q_function)
                if self._is_linear
                else NetworkFunction(player_inputs.follower, q_function, game.scale)
            )
            fitted_policy = DiscretePolicy(
                actions.classes, logits, values, game.anchor, dtype
            )
            return fitted_policy, attributes | {"classes_": actions.classes}
        attributes["action_bounds_"] = (actions.low, actions.high)
        attributes["action_names_"] = actions.names
        if isinstance(leader, SquashedGaussian):
            distribution = GaussianDistribution(player_inputs.leader.transform, leader)
        else:
            scores = NetworkFunction(player_inputs.leader, leader.logits)
            distribution = CandidateDistribution(scores, player_inputs.candidates)
            attributes["candidates_"] = player_inputs.candidates
        q = NetworkValues(player_inputs.follower, follower, game.scale)
        fitted_policy = ContinuousPolicy(actions, distribution, q, game.anchor, dtype)
        return fitted_policy, attributes

    def _rows(self) -> MinibatchRows:
        game, player_inputs = self.game, self.player_inputs
        action = self.actions.read(game.log)

        @cache
        def table(inputs: Any) -> FeatureRows:
            """One for each way to read states, whoever reads so."""
            width = inputs.n_features_out_
            return feature_rows(inputs.transform, game.states, width)

        if isinstance(self.actions, DiscreteActions):
            embedding = discrete_embedding(
                table(player_inputs.embedded),
                game.state_index,
                action,
                len(self.actions.classes),
            )
        else:

            def embedding(index: Index) -> torch.Tensor:
                state = game.states[game.state_index[index]]
                return torch.from_numpy(
                    player_inputs.embedded.transform(state, action[index])
                )

        return MinibatchRows(
            leader_inputs=table(player_inputs.leader),
            follower_inputs=table(player_inputs.follower),
            embedding=embedding,
            state=game.state_index,
            next_state=game.next_index,
            action=action,
            reward=game.reward,
            terminated=game.terminated,
            initial=game.initial,
        )


class NetworkValues:
    """q(s, a) of pairs, by a module.

    Parameters
    ----------
    inputs : object
        With ``transform``.
    follower : ContinuousQ
    scale : float
    """

    def __init__(self, inputs: Any, follower: nn.Module, scale: float) -> None:
        self.inputs, self.follower, self.scale = inputs, follower, scale

    def __call__(self, states: Floats, amounts: Floats) -> Floats:
        """Values, (n,)."""
        x = torch.from_numpy(self.inputs.transform(states))
        with torch.no_grad():
            found = self.follower(x, torch.from_numpy(np.array(amounts)).to(x))
        return self.scale * found.numpy()


def choose_device(asked: str) -> str:
    """The device that ``device="auto"`` stands for, or the one asked for.

    Parameters
    ----------
    asked : {"auto", "cpu", "cuda"}

    Returns
    -------
    {"cpu", "cuda"}

    Raises
    ------
    ValueError
        If there is no such device.
    """
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise ValueError(
            "device='cuda' was asked for, and torch finds no GPU here. Set "
            "device='auto' or 'cpu', or install a build of torch for your GPU."
        )
    return "cuda" if there and asked != "cpu" else "cpu"

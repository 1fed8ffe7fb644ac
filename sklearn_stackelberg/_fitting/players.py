"""The two players of the stochastic solver: what each reads, and what it starts as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor, nn

from .._problem.action_space import ContinuousActions, DiscreteActions
from .._problem.dataset import OfflineProblem
from .._typing import Floats
from .._validation import check_table_size
from ..kernels._nystroem import LandmarkFeatures
from ..kernels._state_action import StateActionFeatures
from ..networks import MLP, NetworkSoftmax, build_network
from ..policies._candidates import CandidateSoftmax, choose_candidates
from ..policies._gaussian import SquashedGaussian
from ..policies._softmax import SoftmaxPolicy
from ..q_functions import ContinuousQ, DiscreteQ, LinearQ
from .hyperparameters import is_network


@dataclass(frozen=True, eq=False)
class PlayerInputs:
    """What the players read of states, and the kernel's features of logged rows.

    Parameters
    ----------
    leader, follower : object
        With ``transform``, states (k, d) to inputs.
    embedded : LandmarkFeatures, LinearColumns or StateActionFeatures
        Of the kernel that the Bellman error is measured by.
    candidates : array of shape (C, p) or None
    seed : int
        Of the first weights and of the minibatches.
    """

    leader: Any
    follower: Any
    embedded: Any
    candidates: Floats | None
    seed: int


def build_player_inputs(
    params: dict[str, Any],
    game: OfflineProblem,
    actions: DiscreteActions | ContinuousActions,
) -> PlayerInputs:
    """What the hyperparameters ask for, fitted on the log.

    Parameters
    ----------
    params : dict
        The estimator's hyperparameters.
    game : OfflineProblem
    actions : Labels or Amounts

    Returns
    -------
    PlayerInputs
    """
    rng = check_random_state(params["random_state"])
    settled = params | {"random_state": rng}
    state = game.state
    n_amounts = 0 if isinstance(actions, DiscreteActions) else len(actions.low)
    made: dict[str, Any] = {}

    def inputs(function_class: Any) -> Any:
        """One object for both players, where they read the same."""
        if is_network(function_class):
            standardise = function_class == "mlp" or isinstance(function_class, MLP)
            key = f"columns {standardise}"
            make: Callable[[], Any] = StateColumns(params["dtype"], standardise).fit
        else:
            key = function_class

            def make(states: Floats) -> Any:
                return state_features(function_class, settled, states, n_amounts)

        if key not in made:
            made[key] = make(state)
        return made[key]

    candidates = None
    if isinstance(actions, DiscreteActions):
        linear_q = not is_network(params["q_function"])
        follower = inputs(params["q_function"])
        embedded = follower if linear_q else inputs("kernel")
        check_table_size(len(actions.classes), embedded.n_features_out_)
    else:
        amounts = actions.read(game.log)
        embedded = StateActionFeatures(
            params["kernel"], random_state=rng, **kernel_settings(params)
        ).fit(state, amounts)
        follower = StateColumns(params["dtype"], standardise=False).fit(state)
        if is_network(params["q_function"]):
            follower = inputs(params["q_function"])
        if params["action_distribution"] == "candidates":
            candidates = choose_candidates(
                amounts, actions.low, actions.high, params["candidates"], rng
            )
    leader = inputs(params["policy"])
    return PlayerInputs(
        leader, follower, embedded, candidates, int(rng.randint(2**31 - 1))
    )


def init_q_function(
    params: dict[str, Any],
    player_inputs: PlayerInputs,
    actions: DiscreteActions | ContinuousActions,
    states: Floats,
) -> nn.Module:
    """The follower before the first step: zero where it is linear.

    Parameters
    ----------
    params : dict
    player_inputs : PlayerInputs
    actions : Labels or Amounts
    states : array of shape (k, d)
        Some, that a network is tried on.

    Returns
    -------
    DiscreteQ or ContinuousQ
    """
    dtype, function_class = getattr(torch, params["dtype"]), params["q_function"]
    examples = torch.from_numpy(player_inputs.follower.transform(states))
    if isinstance(actions, DiscreteActions):
        n_actions = len(actions.classes)
        if is_network(function_class):
            return DiscreteQ(
                _network(
                    "q_function",
                    function_class,
                    n_actions,
                    examples,
                    player_inputs.seed,
                )
            )
        shape = (player_inputs.follower.n_features_out_, n_actions)
        return DiscreteQ(_trainable(LinearQ(torch.zeros(shape, dtype=dtype))))
    if is_network(function_class):
        pair = StateActionColumns(actions)
        middle = torch.from_numpy(0.5 * (actions.low + actions.high)).to(dtype)
        examples = pair(examples, middle.expand(len(examples), -1))
        module = _network("q_function", function_class, 1, examples, player_inputs.seed)
        return ContinuousQ(module, pair)
    player_inputs.embedded.check_differentiable()
    weight = torch.zeros(player_inputs.embedded.n_features_out_, 1, dtype=dtype)
    return ContinuousQ(
        _trainable(LinearQ(weight)), DifferentiableFeatures(player_inputs.embedded)
    )


def init_policy(
    params: dict[str, Any],
    player_inputs: PlayerInputs,
    actions: DiscreteActions | ContinuousActions,
    states: Floats,
) -> nn.Module:
    """The leader before the first step: uniform, or nearly.

    Parameters
    ----------
    params : dict
    player_inputs : PlayerInputs
    actions : Labels or Amounts
    states : array of shape (k, d)
        Some, that a network is tried on.

    Returns
    -------
    Module
        Inputs to a choice.
    """
    dtype, function_class = getattr(torch, params["dtype"]), params["policy"]
    if isinstance(actions, DiscreteActions):
        n_outputs = len(actions.classes)
    elif player_inputs.candidates is not None:
        n_outputs = len(player_inputs.candidates)
    else:
        n_outputs = 2 * len(actions.low)
    examples = torch.from_numpy(player_inputs.leader.transform(states))
    if is_network(function_class):
        seed = player_inputs.seed + 1
        head = _network("policy", function_class, n_outputs, examples, seed)
    else:
        weight = torch.zeros(examples.shape[1], n_outputs, dtype=dtype)
        if isinstance(actions, DiscreteActions):
            return _trainable(SoftmaxPolicy(weight))
        head = _trainable(LinearQ(weight))  # outputs linear in features
    if isinstance(actions, DiscreteActions):
        return NetworkSoftmax(head)
    if player_inputs.candidates is not None:
        return CandidateSoftmax(head, torch.from_numpy(player_inputs.candidates))
    return SquashedGaussian(head, actions.low, actions.high)


class StateActionColumns:
    """Columns of the state beside amounts in units of half their range.

    Parameters
    ----------
    amounts : Amounts
    """

    def __init__(self, amounts: ContinuousActions) -> None:
        self.center = 0.5 * (amounts.low + amounts.high)
        self.half = 0.5 * (amounts.high - amounts.low)

    def __call__(self, x: Tensor, action: Tensor) -> Tensor:
        """(k, d) and (k, p) to (k, d + p)."""
        center, half = (
            torch.from_numpy(part).to(x) for part in (self.center, self.half)
        )
        return torch.cat([x, (action.to(x) - center) / half], dim=1)


class DifferentiableFeatures:
    """Kernel features of state and amount, differentiable in the amount.

    Parameters
    ----------
    features : StateActionFeatures
    """

    def __init__(self, features: StateActionFeatures) -> None:
        self.features = features

    def __call__(self, x: Tensor, action: Tensor) -> Tensor:
        """(k, d) and (k, p) to (k, m)."""
        gram = self.features.torch_gram(torch.cat([x, action.to(x)], dim=1))
        return gram @ torch.from_numpy(self.features.projection_).to(x)


def _network(
    name: str, function_class: Any, n_outputs: int, examples: Tensor, seed: int
) -> nn.Module:
    factory = MLP() if function_class == "mlp" else function_class
    return build_network(
        factory,
        examples.shape[1],
        n_outputs,
        name=name,
        dtype=examples.dtype,
        seed=seed,
        examples=examples,
    )


def _trainable(module: nn.Module) -> nn.Module:
    return module.requires_grad_()


class StateColumns:
    """The columns of the states, for a network.

    Parameters
    ----------
    dtype : str
    standardise : bool
        Whether each column is to have mean 0 and standard deviation 1 in the log.
    """

    def __init__(self, dtype: str, standardise: bool) -> None:
        self.dtype, self.standardise = dtype, standardise

    def fit(self, states: Floats) -> StateColumns:
        """Learn means and standard deviations.

        Parameters
        ----------
        states : array of shape (n, d)

        Returns
        -------
        StateColumns
            Itself.
        """
        self.n_features_out_ = states.shape[1]
        self.center_ = np.zeros(states.shape[1])
        self.scale_ = np.ones(states.shape[1])
        if self.standardise:
            self.center_ = states.mean(axis=0, dtype=np.float64)
            spread = states.std(axis=0, dtype=np.float64)
            self.scale_ = np.where(spread > 0, spread, 1.0)
        return self

    def transform(self, states: Floats) -> Floats:
        """The columns, (n, n_features_out_)."""
        if not self.standardise:
            return states.astype(self.dtype, copy=False)
        return ((states - self.center_) / self.scale_).astype(self.dtype)


class LinearColumns(StateColumns):
    """Standardised columns and a one: features of functions linear in the states.

    Parameters
    ----------
    dtype : str

    Examples
    --------
    >>> columns = LinearColumns("float64").fit(np.array([[1.0], [3.0]]))
    >>> columns.transform(np.array([[1.0], [2.0]]))
    array([[ 1., -1.],
           [ 1.,  0.]])
    """

    bandwidth_ = None

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype, standardise=True)

    def fit(self, states: Floats) -> LinearColumns:
        """Learn means and standard deviations.

        Parameters
        ----------
        states : array of shape (n, d)

        Returns
        -------
        LinearColumns
            Itself.
        """
        super().fit(states)
        self.n_features_out_ += 1
        return self

    def transform(self, states: Floats) -> Floats:
        """The columns behind a one, (n, d + 1)."""
        one = np.ones((len(states), 1), dtype=self.dtype)
        return np.hstack([one, super().transform(states)])

    def landmark_weights(self, weight: Floats) -> Floats:
        """Weights on the columns themselves; see `LandmarkFeatures.fold`."""
        return weight

    def project(self, states: Floats, landmark_weights: Floats) -> Floats:
        """The columns times weights, (n, c)."""
        return self.transform(states) @ landmark_weights.astype(self.dtype, copy=False)


def state_features(
    function_class: str, params: dict[str, Any], states: Floats, n_amounts: int = 0
) -> LandmarkFeatures | LinearColumns:
    """Features of states that a kernel or a linear player is linear in.

    Parameters
    ----------
    function_class : {"kernel", "linear"}
    params : dict
        The estimator's hyperparameters.
    states : array of shape (n, d)
    n_amounts : int, default=0
        Columns of the amounts, which a bandwidth may have lengths for too.

    Returns
    -------
    LandmarkFeatures or LinearColumns
    """
    if function_class == "linear":
        return LinearColumns(params["dtype"]).fit(states)
    settings = kernel_settings(params)
    if n_amounts and np.shape(settings["bandwidth"]) == (states.shape[1] + n_amounts,):
        settings["bandwidth"] = np.asarray(settings["bandwidth"])[: states.shape[1]]
    return LandmarkFeatures(
        params["kernel"],
        random_state=check_random_state(params["random_state"]),
        **settings,
    ).fit(states)


def kernel_settings(params: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a kernel's features."""
    names = ("bandwidth", "kernel_params", "n_components", "dtype")
    return {name: params[name] for name in names}

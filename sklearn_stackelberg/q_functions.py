"""Q-functions of discrete and of continuous actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from ._numpy_state import NumpyModule
from .game import expected_value
from .policies._quadrature import Nodes

ChoiceT = TypeVar("ChoiceT", contravariant=True)


class QFunction(Protocol[ChoiceT]):
    """What solvers need of a Q-function, a `torch.nn.Module` besides.

    x are the inputs (k, d) of k states, and a choice is what a policy gives for them:
    probabilities (k, n_actions) of discrete actions, `Nodes` of S continuous ones.
    """

    def logged(self, x: Tensor, action: Tensor) -> Tensor:
        """q(s, a) of logged actions, (k,)."""
        ...

    def expected(self, x: Tensor, choice: ChoiceT) -> Tensor:
        """q(s, π), (k,)."""
        ...

    def each(self, x: Tensor, choice: ChoiceT) -> Tensor:
        """q(s, a) of every action that is chosen from, (k, n_actions) or (k, S)."""
        ...


class LinearQ(NumpyModule):
    """q_w(s, a) = φ(s)ᵀw_a: linear in features, a column of weights per action.

    With landmark features of a kernel k this is a function of the kernel's space; the
    kernel of state and action is k(s, s')·1[a = a'].

    Parameters
    ----------
    weight : Tensor of shape (n_features, n_actions)

    Examples
    --------
    >>> import torch
    >>> q = LinearQ(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> q(torch.eye(2)).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """Q-values of all actions, (n, n_actions), of features (n, n_features)."""
        return features @ self.weight


class DiscreteQ(NumpyModule):
    """q(s, ·), every action at once, by a module of the state's inputs.

    Parameters
    ----------
    module : Module
        (k, d) to (k, n_actions): a network of states, or a `LinearQ` of features.

    Examples
    --------
    >>> import torch
    >>> q, x = DiscreteQ(LinearQ(torch.tensor([[1.0, 2.0]]))), torch.ones(1, 1)
    >>> q.logged(x, torch.tensor([1])).item()
    2.0
    >>> q.expected(x, torch.tensor([[0.5, 0.5]])).item()
    1.5
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Q-values of all actions, (k, n_actions)."""
        return self.module(x)

    def logged(self, x: Tensor, action: Tensor) -> Tensor:
        """q(s, a), (k,), of action codes (k,)."""
        # The module gives all actions at once, of which one a row was taken.
        return self.module(x).gather(1, action[:, None])[:, 0]

    def expected(self, x: Tensor, choice: Tensor) -> Tensor:
        """q(s, π), (k,), of probabilities (k, n_actions)."""
        return expected_value(self.module(x), choice)

    def each(self, x: Tensor, choice: Tensor) -> Tensor:
        """q(s, a) of every action that is chosen from, (k, n_actions)."""
        return self.module(x)


def side_by_side(x: Tensor, action: Tensor) -> Tensor:
    """(s, a) as one row, (k, d + p)."""
    return torch.cat([x, action], dim=1)


class ContinuousQ(NumpyModule):
    """q(s, a) of continuous actions, by a module of features of both.

    Parameters
    ----------
    module : Module
        (k, m) to (k, 1).
    features : callable, default=side_by_side
        ``features(x, action)``, (k, d) and (k, p) to (k, m): s and a side by side for
        a network, the landmark features of a kernel on (s, a) for a `LinearQ`.

    Examples
    --------
    >>> import torch
    >>> q = ContinuousQ(LinearQ(torch.tensor([[1.0], [2.0]])))
    >>> q(torch.tensor([[3.0]]), torch.tensor([[0.5]])).item()
    4.0
    """

    def __init__(
        self,
        module: nn.Module,
        features: Callable[[Tensor, Tensor], Tensor] = side_by_side,
    ) -> None:
        super().__init__()
        self.module, self.features = module, features

    def forward(self, x: Tensor, action: Tensor) -> Tensor:
        """q(s, a), (k,), of actions (k, p)."""
        return self.module(self.features(x, action))[:, 0]

    def logged(self, x: Tensor, action: Tensor) -> Tensor:
        """q(s, a), (k,), of actions (k, p)."""
        return self(x, action)

    def expected(self, x: Tensor, choice: Nodes) -> Tensor:
        """q(s, π) = Σ_j weight_j q(s, action_j), (k,), of nodes (k, S, p), (k, S)."""
        return expected_value(self.each(x, choice), choice[1])

    def each(self, x: Tensor, choice: Nodes) -> Tensor:
        """q(s, action_j) of every node, (k, S)."""
        # One call of the module for all pairs, k S rows.
        actions = choice[0]
        k, S, p = actions.shape
        repeated = x[:, None, :].expand(k, S, x.shape[1]).reshape(k * S, -1)
        return self(repeated, actions.reshape(k * S, p)).reshape(k, S)

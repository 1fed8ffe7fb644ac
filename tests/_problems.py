"""Small games with every quantity in reach: rows, matrices, the equations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS, rbf_kernel
from torch import Tensor

from sklearn_stackelberg import game
from sklearn_stackelberg._problem.rows import Rows
from sklearn_stackelberg.networks import MLP, build_network
from sklearn_stackelberg.policies import NetworkSoftmax
from sklearn_stackelberg.q_functions import DiscreteQ
from sklearn_stackelberg.solvers import ClosedForm, SolverState
from sklearn_stackelberg.solvers._best_response import BestResponse, LSTDSystem
from sklearn_stackelberg.solvers._gauss_newton import BatchObjectives
from sklearn_stackelberg.solvers._lstd_discrete import DiscreteLSTD
from sklearn_stackelberg.solvers._minibatch_game import (
    Batch,
    MinibatchGame,
    MinibatchInputs,
    Players,
    discrete_embedding,
)

INDEFINITE = {"sigmoid", "additive_chi2"}
NAMED_KERNELS = sorted({*PAIRWISE_KERNEL_FUNCTIONS} - INDEFINITE)


def callable_kernel(X, Y):
    return rbf_kernel(X, Y, gamma=0.7)


GAUSSIAN_PROCESS_KERNEL = ConstantKernel(2.0) * Matern(nu=1.5) + RBF(0.5)
KERNELS = [*NAMED_KERNELS, "delta", callable_kernel, GAUSSIAN_PROCESS_KERNEL]


def kernel_id(kernel) -> str:
    return kernel if isinstance(kernel, str) else type(kernel).__name__


def kernel_states(kernel, rng, n=12, d=2):
    """States that the kernel takes: not negative for chi2, on a grid for delta."""
    if isinstance(kernel, str) and kernel == "delta":
        return rng.integers(3, size=(n, d)).astype(float)
    return rng.random((n, d)) if kernel == "chi2" else rng.normal(size=(n, d))


class TableRows(NamedTuple):
    """Rows of discrete actions, and the features of their states."""

    features: Callable
    state: np.ndarray
    next_state: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    initial: np.ndarray
    n_actions: int

    @property
    def rows(self) -> Rows:
        return Rows(*self[1:-1])


def lstd(table: TableRows, *args, **kwargs) -> DiscreteLSTD:
    return DiscreteLSTD(table.rows, table.features, table.n_actions, *args, **kwargs)


def sampled(table: TableRows, *args, **kwargs) -> MinibatchGame:
    """The same rows on samples, for a Q linear in the features of its kernel."""
    rows, features = table.rows, table.features
    embedding = discrete_embedding(features, rows, table.n_actions)
    inputs = MinibatchInputs(features, features, embedding)
    return MinibatchGame(rows, inputs, *args, **kwargs)


@dataclass
class AtWeights:
    """A closed form at one λ and β: what it makes of θ, and where it goes from it."""

    lam: float
    beta: float
    settings: dict

    def evaluate(self, system: LSTDSystem, theta: Tensor) -> BestResponse:
        return BestResponse(system, theta, self.lam, self.beta)

    def solve(self, system: LSTDSystem, theta: Tensor, observe=None):
        return ClosedForm(**self.settings).solve(
            system, SolverState(theta), lam=self.lam, beta=self.beta, observe=observe
        )


def closed_form(lam: float = 2.0, beta: float = 0.1, **settings) -> AtWeights:
    return AtWeights(lam, beta, {"max_iter": 50, **settings})


def random_rows(
    seed=0,
    *,
    n=80,
    n_states=40,
    n_features=4,
    n_actions=3,
    n_initial=7,
    end=0.2,
    table=None,
    dtype=torch.float64,
) -> TableRows:
    """Rows over a table of features, random if none is given."""
    rng = np.random.default_rng(seed)
    if table is None:
        table = rng.normal(size=(n_states, n_features))
    table = torch.as_tensor(table).to(dtype)
    return TableRows(
        lambda index: table[torch.from_numpy(index)],
        rng.integers(len(table), size=n),
        rng.integers(len(table), size=n),
        rng.integers(n_actions, size=n),
        rng.normal(size=n),
        (rng.random(n) < end).astype(float),
        rng.integers(len(table), size=n_initial),
        n_actions,
    )


def random_theta(sums: DiscreteLSTD, seed=0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (sums.n_features, sums.n_actions)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def uniform_theta(sums: DiscreteLSTD) -> Tensor:
    return torch.zeros(sums.n_features, sums.n_actions, dtype=torch.float64)


@dataclass(frozen=True)
class DenseGame:
    """The game on the same rows, written with game.py on whole matrices.

    w is flat with an action's features together, as in `BestResponse.flat_w`; θ is flat
    as ``theta.ravel()`` is.
    """

    rows: TableRows
    discount: float
    lam: float
    beta: float
    ridge: float = 0.0

    @property
    def solver(self) -> AtWeights:
        return closed_form(self.lam, self.beta)

    @property
    def sums(self) -> DiscreteLSTD:
        return lstd(self.rows, self.discount, self.ridge)

    def of(self, index) -> Tensor:
        return self.rows.features(index).double()

    def policy(self, features: Tensor, theta: Tensor) -> Tensor:
        weight = theta.reshape(features.shape[1], self.rows.n_actions)
        return torch.softmax(features @ weight, dim=1)

    @property
    def Z(self) -> Tensor:
        """Features of the logged (s, a), (n, A m)."""
        phi = self.of(self.rows.state)
        one_hot = torch.eye(self.rows.n_actions, dtype=phi.dtype)
        return joint(phi, one_hot[torch.from_numpy(self.rows.action)])

    def residual(self, w: Tensor, theta: Tensor) -> Tensor:
        after = self.of(self.rows.next_state)
        return game.td_residual(
            self.Z @ w,
            joint(after, self.policy(after, theta)) @ w,
            torch.from_numpy(self.rows.reward),
            torch.from_numpy(self.rows.terminated),
            self.discount,
        )

    def error(self, w: Tensor, theta: Tensor) -> Tensor:
        return game.bellman_error(self.residual(w, theta), self.Z, w, self.ridge)

    def v(self, w: Tensor, theta: Tensor) -> Tensor:
        first = self.of(self.rows.initial)
        q_values = first @ w.reshape(self.rows.n_actions, -1).T
        value = game.expected_value(q_values, self.policy(first, theta))
        return game.leader_objective(value, self.discount)

    def F(self, w: Tensor, theta: Tensor) -> Tensor:
        n = len(self.rows.action)
        value, error = self.v(w, theta), self.error(w, theta)
        return game.follower_objective(value, error, w, n, self.lam, self.beta)


def joint(features: Tensor, share: Tensor) -> Tensor:
    """φ(s, π) = π ⊗ φ(s), (n, A m)."""
    return (share[:, :, None] * features[:, None, :]).flatten(1)


@dataclass(frozen=True)
class NetworkGame:
    """The game of two small networks on random rows, of flat w and θ."""

    seed: int = 0
    activation: str = "tanh"
    n: int = 40
    lam: float = 0.5
    beta: float = 0.1
    discount: float = 0.9
    width: int = 4

    @cached_property
    def sampled(self) -> MinibatchGame:
        rng = np.random.default_rng(self.seed)
        inputs = torch.from_numpy(rng.normal(size=(2 * self.n, 2)))
        embedding = torch.from_numpy(rng.normal(size=(self.n, 5)))
        rows = Rows(
            np.arange(self.n),
            self.n + np.arange(self.n),
            rng.integers(3, size=self.n),
            rng.normal(size=self.n),
            (rng.random(self.n) < 0.2).astype(float),
            np.arange(0, self.n, 4),
        )
        of_tables = MinibatchInputs(
            lambda index: inputs[torch.from_numpy(index)],
            lambda index: inputs[torch.from_numpy(index)],
            lambda index: embedding[torch.from_numpy(index)],
        )
        return MinibatchGame(rows, of_tables, self.discount)

    @cached_property
    def players(self) -> Players:
        mlp = MLP((self.width,), self.activation)
        return Players(
            NetworkSoftmax(build_network(mlp, 2, 3, seed=self.seed)),
            DiscreteQ(build_network(mlp, 2, 3, seed=self.seed + 1)),
            self.discount,
        )

    @property
    def modules(self) -> tuple[torch.nn.Module, torch.nn.Module]:
        return self.players.policy, self.players.q_function

    @property
    def batch(self) -> Batch:
        n, n_initial = self.sampled.n, self.sampled.n_initial
        return self.sampled.batch(np.arange(n), np.arange(n_initial))

    def v(self, w: Tensor, theta: Tensor) -> Tensor:
        return self.sampled.value(self.players.at(self.batch, w, theta))

    def F(self, w: Tensor, theta: Tensor) -> Tensor:
        found = self.players.at(self.batch, w, theta)
        batches = BatchObjectives(self.sampled, self.players, self.lam, self.beta)
        return batches.unbiased_objective(found, self.batch, w)

    def mean(self, w: Tensor, theta: Tensor) -> Tensor:
        found = self.players.at(self.batch, w, theta)
        return self.sampled.embedded(found, self.batch, w)

    def response(self, theta: Tensor, w: Tensor, steps: int = 100) -> Tensor:
        """A minimum of F by damped Newton steps from w."""
        damping = 1e-6
        for _ in range(steps):
            gradient = autograd(lambda w: self.F(w, theta), w)
            hessian = torch.autograd.functional.hessian(lambda w: self.F(w, theta), w)
            values, rotation = torch.linalg.eigh(hessian)
            inverse = (rotation / (values.abs() + damping)) @ rotation.T
            tried = w - inverse @ gradient
            if self.F(tried, theta) < self.F(w, theta):
                w, damping = tried, damping / 10
            else:
                damping = 10 * damping
            if gradient.norm() < 1e-10:
                break
        return w


def finite_differences(
    f: Callable[[Tensor], Tensor], x: Tensor, step: float = 2e-3
) -> Tensor:
    """Central differences of fourth order, a coordinate at a time."""
    out = torch.zeros_like(x)
    for number in range(x.numel()):
        ahead = torch.zeros(x.numel(), dtype=x.dtype)
        ahead[number] = step
        ahead = ahead.reshape(x.shape)
        near = f(x + ahead) - f(x - ahead)
        far = f(x + 2 * ahead) - f(x - 2 * ahead)
        out.view(-1)[number] = (8 * near - far) / (12 * step)
    return out


def autograd(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(f(x), x)[0]


def relative_error(found: Tensor, true: Tensor) -> float:
    return float((found - true).norm() / true.norm())

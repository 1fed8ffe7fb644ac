"""Policies that are known: those that log, and those that are evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Nodes and weights of a standard normal variable: exact for polynomials of degree 17.
_NODES, _MASS = np.polynomial.hermite_e.hermegauss(9)


class Policy(Protocol):
    """What can be evaluated; has ``predict_proba`` or ``action_nodes``, too."""

    def predict(self, states: Any) -> NDArray[Any]:
        """The most probable action of each state, (n,)."""


class Probabilities:
    """A policy over the actions 0 ... n_actions - 1.

    Parameters
    ----------
    weigh : callable
        Weights >= 0 of the actions in each state, (n, n_actions), scaled to sum to 1.
    n_actions : int
    """

    def __init__(self, weigh: Callable[[Array], Array], n_actions: int) -> None:
        self._weigh, self.classes_ = weigh, np.arange(n_actions)

    def predict_proba(self, states: Any) -> Array:
        """π(a | s), (n, n_actions)."""
        weight = self._weigh(np.asarray(states, dtype=float))
        return weight / weight.sum(axis=1, keepdims=True)

    def predict(self, states: Any) -> NDArray[np.intp]:
        """The most probable action of each state."""
        return self.predict_proba(states).argmax(axis=1)


def uniform(n_actions: int) -> Probabilities:
    """Every action as often, in every state."""
    return Probabilities(lambda s: np.ones((len(s), n_actions)), n_actions)


def softmax(logits: Callable[[Array], Array], n_actions: int) -> Probabilities:
    """The softmax of logits, (n, n_actions)."""

    def weigh(states: Array) -> Array:
        found = logits(states)
        return np.exp(found - found.max(axis=1, keepdims=True))

    return Probabilities(weigh, n_actions)


def tabular(table: Array, codes: Array) -> Probabilities:
    """Rows of a (n_states, n_actions) table, by the codes of the states."""

    def weigh(states: Array) -> Array:
        distance = ((states[:, None, :] - codes[None]) ** 2).sum(axis=2)
        return table[distance.argmin(axis=1)]

    return Probabilities(weigh, table.shape[1])


@dataclass(frozen=True)
class Gaussian:
    """One continuous action, normal around a function of the state, clipped.

    Parameters
    ----------
    mean : callable
        Of the states, (n, d) to (n,).
    deviation : float
    bounds : (float, float)
    """

    mean: Callable[[Array], Array]
    deviation: float
    bounds: tuple[float, float] = (-np.inf, np.inf)

    def predict(self, states: Any) -> Array:
        """The median of each state."""
        return np.clip(self.mean(np.asarray(states, dtype=float)), *self.bounds)

    def action_nodes(self, states: Any) -> tuple[Array, Array]:
        """Actions, (n, S, 1), and their weights, (n, S), that stand for the policy."""
        mean = self.mean(np.asarray(states, dtype=float))
        nodes = np.clip(mean[:, None] + self.deviation * _NODES, *self.bounds)
        return nodes[:, :, None], np.tile(_MASS / _MASS.sum(), (len(nodes), 1))

    def sample(self, states: Any, random_state: int) -> Array:
        """One action of each state."""
        rng = np.random.default_rng(random_state)
        return self.draw(np.asarray(states, dtype=float), rng)

    def draw(self, states: Array, rng: np.random.Generator) -> Array:
        """One action of each state, by a generator."""
        noise = self.deviation * rng.normal(size=len(states))
        return np.clip(self.mean(states) + noise, *self.bounds)

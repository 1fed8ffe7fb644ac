"""Policies over labels, and the Q-functions that answer them, as asked on states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import gen_batches
from torch import nn

from .._problem.action_space import ContinuousActions
from .._typing import Floats
from ..policies._gaussian import SquashedGaussian
from ..transitions._actions import check_action_names, check_bounds

# States that a network is asked about at once.
_BATCH_ROWS = 10_000


class Features(Protocol):
    """Features that weights can be folded into: of a kernel, or linear columns."""

    dtype: str

    def landmark_weights(self, weight: Floats) -> Floats: ...

    def project(self, states: Floats, landmark_weights: Floats) -> Floats: ...


@dataclass(frozen=True, eq=False)
class LinearFunction:
    """A player that is linear in features of the states.

    Parameters
    ----------
    inputs : LandmarkFeatures or LinearColumns
    module : nn.Module
        With a ``weight`` of shape (n_features, n_outputs).
    """

    inputs: Features
    module: nn.Module

    def __call__(self, states: Floats) -> Floats:
        """Logits or values, (n, n_outputs)."""
        # k(s, L) times the weights folded onto the landmarks.
        weight = self.module.weight.detach().numpy()
        return self.inputs.project(states, self.inputs.landmark_weights(weight))


@dataclass(frozen=True, eq=False)
class NetworkFunction:
    """A player that is a network of columns of the states.

    Parameters
    ----------
    inputs : StateColumns or features
    module : callable
        Tensors (k, d) to logits or values, (k, n_outputs).
    scale : float, default=1.0
        What the outputs are multiplied by.
    """

    inputs: Any
    module: Callable[[torch.Tensor], torch.Tensor]
    scale: float = 1.0

    def __call__(self, states: Floats) -> Floats:
        """Logits or values, (n, n_outputs)."""
        found = []
        with torch.no_grad():
            for batch in gen_batches(len(states), _BATCH_ROWS):
                columns = torch.from_numpy(self.inputs.transform(states[batch]))
                found.append(self.module(columns).numpy())
        return self.scale * np.concatenate(found)


@dataclass(frozen=True, eq=False)
class DiscretePolicy:
    """A policy over labels and the Q-function that answers it.

    Parameters
    ----------
    classes_ : array of shape (n_actions,)
        The labels, sorted.
    leader, follower : callable
        States (n, d) to logits and to values less the anchor, (n, n_actions) each.
    anchor : float
    dtype : str
        Of the states that are asked about.
    """

    classes_: NDArray[Any]
    leader: Callable[[Floats], Floats]
    follower: Callable[[Floats], Floats]
    anchor: float
    dtype: str

    def predict(self, states: Any) -> NDArray[Any]:
        """The most probable label of each state, (n,)."""
        return self.classes_[self.leader(self._floats(states)).argmax(axis=1)]

    def predict_proba(self, states: Any) -> Floats:
        """Probability of every label in each state, (n, n_actions)."""
        logits = torch.from_numpy(self.leader(self._floats(states)))
        return torch.softmax(logits, dim=1).numpy()

    def sample(self, states: Any, rng: np.random.RandomState) -> NDArray[Any]:
        """Labels drawn as the policy would, (n,)."""
        return self.classes_[draw_codes(self.predict_proba(states), rng)]

    def q_values(self, states: Any, action: Any = None) -> Floats:
        """Q of every label, (n, n_actions), or of given ones, (n,)."""
        values = self.anchor + self.follower(self._floats(states))
        if action is None:
            return values
        given = np.asarray(action)
        unknown = np.setdiff1d(given, self.classes_)
        if len(unknown) or given.shape != (len(values),):
            raise ValueError(
                f"action must be one label of {self.classes_.tolist()} for each of "
                f"the {len(values)} states; got shape {given.shape}, with the unknown "
                f"labels {unknown[:5].tolist()}."
            )
        return values[np.arange(len(values)), np.searchsorted(self.classes_, given)]

    def _floats(self, states: Any) -> Floats:
        return np.asarray(states, dtype=self.dtype)


# States that are asked about at once: what a kernel or a network holds of them, times
# the candidates, stays a few dozen megabytes.
_CONTINUOUS_BATCH_ROWS = 2_000


class ActionDistribution(Protocol):
    """How a policy over amounts is asked."""

    def nodes(self, states: Floats) -> tuple[Floats, Floats]:
        """Amounts (n, S, p), and their weights (n, S)."""
        ...

    def mode(self, states: Floats) -> Floats:
        """The amounts to recommend, (n, p)."""
        ...

    def draw(self, states: Floats, rng: np.random.RandomState) -> Floats:
        """Amounts drawn as the policy would, (n, p)."""
        ...


@dataclass(frozen=True, eq=False)
class CandidateDistribution:
    """A softmax over candidates.

    Parameters
    ----------
    logits : callable
        States (k, d) to scores, (k, C).
    candidates : array of shape (C, p)
    """

    logits: Callable[[Floats], Floats]
    candidates: Floats

    def probabilities(self, states: Floats) -> Floats:
        """Probabilities of the candidates, (n, C)."""
        out = np.empty((len(states), len(self.candidates)))
        for batch in _batches(states):
            scores = torch.from_numpy(self.logits(states[batch])).double()
            out[batch] = torch.softmax(scores, dim=1).numpy()
        return out

    def nodes(self, states: Floats) -> tuple[Floats, Floats]:
        """The candidates in every state, and their probabilities."""
        probabilities = self.probabilities(states)
        shape = (len(probabilities), *self.candidates.shape)
        return np.broadcast_to(self.candidates, shape), probabilities

    def mode(self, states: Floats) -> Floats:
        """The most probable candidates."""
        return self.candidates[self.probabilities(states).argmax(axis=1)]

    def draw(self, states: Floats, rng: np.random.RandomState) -> Floats:
        """Candidates drawn."""
        return self.candidates[draw_codes(self.probabilities(states), rng)]


@dataclass(frozen=True, eq=False)
class GaussianDistribution:
    """A squashed Gaussian.

    Parameters
    ----------
    inputs : callable
        States (k, d) to what the policy's module reads.
    module : SquashedGaussian
    """

    inputs: Callable[[Floats], Floats]
    module: SquashedGaussian

    def nodes(self, states: Floats) -> tuple[Floats, Floats]:
        """The quadrature's nodes, and their weights."""
        found = [self.module(x) for x in self._read(states)]
        actions, weights = (
            torch.cat(part).double().numpy() for part in zip(*found, strict=True)
        )
        return actions, weights

    def mode(self, states: Floats) -> Floats:
        """The medians."""
        found = [self.module.median(x) for x in self._read(states)]
        return torch.cat(found).double().numpy()

    def draw(self, states: Floats, rng: np.random.RandomState) -> Floats:
        """Amounts drawn from the Gaussian, not from its nodes."""
        noise = rng.standard_normal((len(states), len(self.module.low)))
        drawn, start = [], 0
        for x in self._read(states):
            part = torch.from_numpy(noise[start : start + len(x)]).to(x.dtype)
            drawn.append(self.module.sample(x, part))
            start += len(x)
        return torch.cat(drawn).double().numpy()

    def _read(self, states: Floats) -> Iterator[torch.Tensor]:
        for batch in _batches(states):
            yield torch.from_numpy(self.inputs(states[batch]))


@dataclass(frozen=True, eq=False)
class ContinuousPolicy:
    """A policy over amounts and the Q-function that answers it.

    Parameters
    ----------
    amounts : Amounts
    distribution : ActionDistribution
    q : callable
        States (k, d) and amounts (k, p) to values less the anchor, (k,).
    anchor : float
    dtype : str
        Of the states that are asked about.
    """

    amounts: ContinuousActions
    distribution: ActionDistribution
    q: Callable[[Floats, Floats], Floats]
    anchor: float
    dtype: str

    @property
    def action_bounds_(self) -> tuple[Floats, Floats]:
        """(low, high), (p,) each."""
        return self.amounts.low, self.amounts.high

    def action_nodes(self, states: Any) -> tuple[Floats, Floats]:
        """The policy as a finite mixture: amounts (n, S, p), and weights (n, S)."""
        with torch.no_grad():
            actions, weights = self.distribution.nodes(self._floats(states))
        return actions, weights

    def predict(self, states: Any) -> Floats:
        """The amounts to recommend, in the shape of the log's."""
        with torch.no_grad():
            return self.amounts.given(self.distribution.mode(self._floats(states)))

    def predict_proba(self, states: Any) -> Floats:
        """Probability of every candidate in each state, (n, C).

        Raises
        ------
        ValueError
            If the policy is a Gaussian, which gives no amount a probability.
        """
        if not isinstance(self.distribution, CandidateDistribution):
            raise ValueError(
                "A Gaussian policy over amounts gives no single amount a probability. "
                "Use predict for the amount to recommend, sample for a draw, "
                "action_nodes for the distribution, or fit with "
                "action_distribution='candidates'."
            )
        return self.distribution.probabilities(self._floats(states))

    def sample(self, states: Any, rng: np.random.RandomState) -> Floats:
        """Amounts drawn as the policy would, in the shape of the log's."""
        with torch.no_grad():
            return self.amounts.given(self.distribution.draw(self._floats(states), rng))

    def q_values(self, states: Any, action: Any = None) -> Floats:
        """Q of given amounts, (n,); without any, of every candidate, (n, C)."""
        states = self._floats(states)
        if action is not None:
            return self._values(states, read_amounts(action, len(states), self.amounts))
        if not isinstance(self.distribution, CandidateDistribution):
            raise ValueError(
                "A Gaussian policy has no candidates whose Q-values could be listed: "
                "give the amounts, q_values(X, action)."
            )
        columns = [
            self._values(states, np.broadcast_to(one, (len(states), len(one))))
            for one in self.distribution.candidates
        ]
        return np.stack(columns, axis=1)

    def _values(self, states: Floats, amounts: Floats) -> Floats:
        out = np.empty(len(states))
        with torch.no_grad():
            for batch in _batches(states):
                out[batch] = self.q(states[batch], amounts[batch])
        return self.anchor + out

    def _floats(self, states: Any) -> Floats:
        return np.asarray(states, dtype=self.dtype)


def read_amounts(action: Any, n: int, amounts: ContinuousActions) -> Floats:
    """Amounts that a user gives for n states, (n, p)."""
    check_action_names(amounts.names, tuple(getattr(action, "columns", ())))
    try:
        given = np.asarray(action, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"action must be numbers, one row for each of the {n} states; got "
            f"{action!r:.80}."
        ) from None
    if given.ndim <= 1 and len(amounts.low) == 1:
        given = given.reshape(-1, 1)
    if given.ndim != 2 or given.shape != (n, len(amounts.low)):
        raise ValueError(
            f"action has shape {np.shape(action)}; one row of {len(amounts.low)} "
            f"numbers for each of the {n} states was expected."
        )
    if not np.isfinite(given).all():
        rows = np.flatnonzero(~np.isfinite(given).all(axis=1))[:5].tolist()
        raise ValueError(f"action is NaN or infinite in rows {rows}; give numbers.")
    check_bounds(given, (amounts.low, amounts.high))
    return given


def draw_codes(probabilities: Floats, rng: np.random.RandomState) -> NDArray[np.intp]:
    """A column for each row of probabilities, (n,)."""
    cumulative = probabilities.astype(np.float64).cumsum(axis=1)
    drawn = rng.uniform(size=(len(cumulative), 1))
    return (cumulative < drawn * cumulative[:, -1:]).sum(axis=1)


def _batches(states: Floats) -> Iterator[slice]:
    return gen_batches(len(states), _CONTINUOUS_BATCH_ROWS)

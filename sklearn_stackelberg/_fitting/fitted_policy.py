"""A policy and the Q-function that is its best response, as functions of states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import gen_batches
from torch import nn

from .._problem.action_space import ContinuousActions, DiscreteActions
from .._problem.state_anchor import StateAnchor
from .._typing import AnyArray, Flags, Floats, Index
from ..kernels._state_action import CandidateGram, StateActionFeatures
from ..policies._base import NEVER
from ..policies._base import ContinuousPolicy as ContinuousPolicyModule
from ..q_functions import ContinuousQ
from ..transitions._actions import of_classes, read_mask, refuse_masks
from ..transitions._tables import AvailableRule, Log, check_states
from .support import ActionRange, ActionSupport, action_prior

# States at once, of one action and of several: what a kernel or a network holds of
# them, times the candidates, stays a few dozen megabytes.
_BATCH_ROWS, _CONTINUOUS_BATCH_ROWS = 10_000, 2_000

StateFunction = Callable[[Floats], Floats]


def as_states(states: ArrayLike) -> Floats:
    """States in full precision, whatever that of the features."""
    return np.asarray(states, dtype=np.float64)


class StateInputs(Protocol):
    """Inputs (k, n_features_out_) of states (k, d)."""

    n_features_out_: int

    def transform(self, states: Floats) -> Floats: ...


class Features(Protocol):
    """Features that weights can be moved from to landmarks: a kernel's, or columns."""

    def landmark_weights(self, weight: Floats) -> Floats: ...

    def project(self, states: Floats, landmark_weights: Floats) -> Floats: ...


@dataclass(frozen=True, eq=False)
class LinearFunction:
    """Logits or values, (n, n_outputs), linear in features of the states."""

    inputs: Features
    module: nn.Module  # with a ``weight`` of shape (n_features, n_outputs)

    def __call__(self, states: Floats) -> Floats:
        # k(s, L) times weights on the landmarks: the features are never formed.
        weight = self.module.get_parameter("weight").detach().numpy()
        return self.inputs.project(states, self.inputs.landmark_weights(weight))


@dataclass(frozen=True, eq=False)
class NetworkFunction:
    """Logits or values, (n, n_outputs), by a module of inputs of the states."""

    inputs: StateInputs
    module: Callable[[torch.Tensor], torch.Tensor]
    scale: float = 1.0  # what the outputs are multiplied by

    def __call__(self, states: Floats) -> Floats:
        found = []
        with torch.no_grad():
            for batch in gen_batches(len(states), _BATCH_ROWS):
                columns = torch.from_numpy(self.inputs.transform(states[batch]))
                found.append(self.module(columns).numpy())
        return self.scale * np.concatenate(found)


@dataclass(frozen=True, eq=False)
class SupportedLogits:
    """Logits, (n, n_outputs), of the actions that a log supports; the others never."""

    logits: StateFunction
    support: ActionSupport

    def __call__(self, states: Floats) -> Floats:
        found = self.logits(states)
        return found + self.support.log_prior(states).astype(found.dtype)


@dataclass(frozen=True, eq=False)
class RangedOutputs:
    """Outputs, (n, n_outputs), and behind them the range that a log supports."""

    outputs: StateFunction
    range: ActionRange

    def __call__(self, states: Floats) -> Floats:
        found = self.outputs(states)
        return np.hstack([found, self.range(states).astype(found.dtype)])


@dataclass(frozen=True, eq=False)
class KernelScores:
    """Logits φ(s, a_j)ᵀu of the candidates, (n, C), with u on the landmarks."""

    gram: CandidateGram
    landmark_weights: Floats  # (n_landmarks, 1)

    def __call__(self, states: Floats) -> Floats:
        rows = self.gram.read(states)
        weights = torch.from_numpy(self.landmark_weights).to(rows.dtype)
        return self.gram.values(rows, weights)[..., 0].numpy()


@dataclass(frozen=True, eq=False)
class KernelValues:
    """q(s, a) = φ(s, a)ᵀw, (n,), with w on the landmarks."""

    features: StateActionFeatures
    landmark_weights: Floats  # (n_landmarks, 1)

    def __call__(self, states: Floats, action: Floats) -> Floats:
        return self.features.project(states, action, self.landmark_weights)[:, 0]


@dataclass(frozen=True, eq=False)
class NetworkValues:
    """q(s, a), (n,), by a module."""

    inputs: StateInputs
    q_function: ContinuousQ
    scale: float

    def __call__(self, states: Floats, action: Floats) -> Floats:
        x = torch.from_numpy(self.inputs.transform(states))
        with torch.no_grad():
            # A copy: what is broadcast cannot be written to, which torch warns of.
            found = self.q_function(x, torch.from_numpy(np.array(action)).to(x))
        return self.scale * found.numpy()


@dataclass(frozen=True, eq=False)
class DiscretePolicy:
    """Of discrete actions: logits, and values less the anchor, (n, n_actions) each."""

    actions: DiscreteActions
    logits: StateFunction
    values: StateFunction
    anchor: StateAnchor
    deterministic: bool
    support: ActionSupport | None = None
    # Of the log's masks: the actions of their columns, and what they are computed by.
    labels: AnyArray | None = None
    rule: AvailableRule | None = None

    @property
    def classes_(self) -> NDArray[Any]:
        return self.actions.classes

    def predict(
        self, states: ArrayLike, available: Flags | None = None
    ) -> NDArray[Any]:
        return self.classes_[self._logits(states, available).argmax(axis=1)]

    def predict_proba(
        self, states: ArrayLike, available: Flags | None = None
    ) -> Floats:
        logits = self._logits(states, available)
        if self.deterministic:
            return one_hot(logits)
        return torch.softmax(torch.from_numpy(logits), dim=1).numpy()

    def sample(
        self, states: ArrayLike, rng: RandomState, available: Flags | None = None
    ) -> NDArray[Any]:
        return self.classes_[_draw_codes(self.predict_proba(states, available), rng)]

    def available(
        self, states: Any, log: Log | None, given: ArrayLike | AvailableRule | None
    ) -> Flags | None:
        """Which actions are available in states, (n, A); None if all are.

        What is given goes before the masks of the log that the states are of, if any,
        and these before the rule of the log that was learned from.
        """
        labels = self.classes_
        if given is None:
            if log is not None and log.available is not None:
                assert log.available_actions is not None
                own = log.available, log.available_actions
                return of_classes(*own, labels, "available")
            if self.labels is None:
                return None
            if self.rule is None:
                raise ValueError(
                    "The policy was learned from a log with masks of available "
                    "actions, and these states have none. Give available=, a column "
                    f"for each of {labels[:20].tolist()}, or a Transitions that has "
                    "it; or learn from a log whose available is a callable of states."
                )
            given, labels = self.rule, self.labels
        if callable(given):
            given = given(check_states(states))
        mask, labels = read_mask(given, labels)
        if len(mask) != len(states):
            raise ValueError(
                f"available has {len(mask)} rows for {len(states)} states; one for "
                "each was expected."
            )
        return of_classes(mask, labels, self.classes_, "available")

    def supported(self, states: Floats, available: Flags | None = None) -> Flags:
        """Actions that the log supports and that are available, (n, A)."""
        prior = action_prior(self.support, states, available)
        if prior is None:
            return np.ones((len(states), len(self.classes_)), dtype=bool)
        return prior > NEVER / 2

    def _logits(self, states: ArrayLike, available: Flags | None) -> Floats:
        states = as_states(states)
        logits = self.logits(states)
        prior = action_prior(self.support, states, available)
        return logits if prior is None else logits + prior.astype(logits.dtype)

    def q_values(self, states: ArrayLike, action: ArrayLike | None = None) -> Floats:
        # Q less its anchor is what was learned, see OfflineProblem.
        states = as_states(states)
        values = self.values(states)
        values = self.anchor(states).astype(values.dtype)[:, None] + values
        if action is None:
            return values
        codes = self.actions.codes(action, len(values))
        return values[np.arange(len(values)), codes]


@dataclass(frozen=True, eq=False)
class ActionDistribution:
    """A policy over continuous actions, and its outputs of states, (n, n_outputs)."""

    outputs: StateFunction
    policy: ContinuousPolicyModule

    def nodes(self, states: Floats) -> tuple[Floats, Floats]:
        """Actions (n, S, p), and their weights (n, S)."""
        found = [self.policy.predicted_nodes(some) for some in self._read(states)]
        weights = torch.cat([nodes.weights for nodes in found]).numpy()
        if self.policy.has_moving_actions:
            return torch.cat([nodes.actions for nodes in found]).numpy(), weights
        # The same in every state: kept once.
        fixed = found[0].actions[0].numpy()
        return np.broadcast_to(fixed, (len(weights), *fixed.shape)), weights

    def mode(self, states: Floats) -> Floats:
        return torch.cat([*map(self.policy.mode, self._read(states))]).numpy()

    def draw(self, states: Floats, rng: RandomState) -> Floats:
        drawn = [self.policy.draw(some, rng) for some in self._read(states)]
        return torch.cat(drawn).numpy()

    def _read(self, states: Floats) -> Iterator[torch.Tensor]:
        for batch in gen_batches(len(states), _CONTINUOUS_BATCH_ROWS):
            yield torch.from_numpy(self.outputs(states[batch]))


@dataclass(frozen=True, eq=False)
class ContinuousPolicy:
    """Of continuous actions: a distribution, and values less the anchor, (n,)."""

    actions: ContinuousActions
    distribution: ActionDistribution
    values: Callable[[Floats, Floats], Floats]
    anchor: StateAnchor
    deterministic: bool

    @property
    def action_bounds_(self) -> tuple[Floats, Floats]:
        return self.actions.bounds

    def available(self, states: object, log: Log | None, given: object) -> None:
        """None: nothing but the bounds limits continuous actions."""
        own = None if log is None else log.available
        refuse_masks(own if given is None else given, "policy's")

    def supported(self, states: Floats) -> Flags:
        """Candidates that the log supports, (n, C)."""
        outputs = self.distribution.outputs
        if isinstance(outputs, SupportedLogits):
            return outputs.support.log_prior(states) > NEVER / 2
        return np.ones(self.candidates(states)[1].shape, dtype=bool)

    def action_nodes(self, states: ArrayLike) -> tuple[Floats, Floats]:
        """The policy as a finite mixture: actions (n, S, p), and weights (n, S)."""
        with torch.no_grad():
            if not self.deterministic:
                return self.distribution.nodes(as_states(states))
            chosen = self.distribution.mode(as_states(states))
        return chosen[:, None, :], np.ones((len(chosen), 1), dtype=chosen.dtype)

    def predict(self, states: ArrayLike) -> Floats:
        with torch.no_grad():
            return self.actions.as_logged(self.distribution.mode(as_states(states)))

    def predict_proba(self, states: ArrayLike) -> Floats:
        """Probability of every candidate in each state, (n, C)."""
        if self.distribution.policy.has_moving_actions:
            raise ValueError(
                "A Gaussian policy gives no single action a probability. Use predict, "
                "sample or action_nodes, or fit with action_distribution='candidates'."
            )
        weights = self.candidates(states)[1]
        return one_hot(weights) if self.deterministic else weights

    def sample(self, states: ArrayLike, rng: RandomState) -> Floats:
        if self.deterministic:
            return self.predict(states)
        with torch.no_grad():
            drawn = self.distribution.draw(as_states(states), rng)
        return self.actions.as_logged(drawn)

    def q_values(self, states: ArrayLike, action: ArrayLike | None = None) -> Floats:
        """Q of given actions, (n,); without any, of every candidate, (n, C)."""
        states = as_states(states)
        if action is not None:
            return self._values(states, self.actions.measurements(action, len(states)))
        if self.distribution.policy.has_moving_actions:
            raise ValueError(
                "A Gaussian policy has no candidates whose Q-values could be listed: "
                "give the actions, q_values(X, action)."
            )
        # One candidate at a time, so that memory does not grow with their number.
        columns = [
            self._values(states, np.broadcast_to(one, (len(states), len(one))))
            for one in self.candidates(states[:1])[0][0]
        ]
        return np.stack(columns, axis=1)

    def candidates(self, states: ArrayLike) -> tuple[Floats, Floats]:
        with torch.no_grad():
            return self.distribution.nodes(as_states(states))

    def _values(self, states: Floats, action: Floats) -> Floats:
        out = np.empty(len(states))
        with torch.no_grad():
            for batch in gen_batches(len(states), _CONTINUOUS_BATCH_ROWS):
                out[batch] = self.values(states[batch], action[batch])
        return self.anchor(states) + out


FittedPolicy = DiscretePolicy | ContinuousPolicy


class Fitted(NamedTuple):
    """Policy and Q-function on states, and the estimator's attributes of the two."""

    policy: FittedPolicy
    attributes: dict[str, object]  # policy_, features_, ...


def one_hot(logits: Floats) -> Floats:
    """All probability on the first of the largest of each row."""
    return np.eye(logits.shape[1], dtype=logits.dtype)[logits.argmax(axis=1)]


def _draw_codes(probabilities: Floats, rng: RandomState) -> Index:
    """A column for each row of probabilities, (n,)."""
    cumulative = probabilities.astype(np.float64).cumsum(axis=1)
    drawn = rng.uniform(size=(len(cumulative), 1))
    # Rounding leaves the last sum a little off 1, which a draw must not pass.
    return (cumulative < drawn * cumulative[:, -1:]).sum(axis=1)

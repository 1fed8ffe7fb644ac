"""Logs on which a search selects, and the true value of each policy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.problems import (
    CONTROL,
    DISCOUNT,
    ControlProblem,
    FrozenLakeProblem,
    frozen_lake,
)
from sklearn_stackelberg import OnStates, StackelbergPolicyEstimator, Transitions

LAMS = (1.0, 10.0, 100.0)
BETAS = (1e-5, 1e-3, 1e-1)
# In medians of the distances between prepared states.
BANDWIDTHS = (0.5, 1.0, 2.0)
N_ROLLOUTS = 50
N_COMPONENTS = 100


class Drawn:
    """A policy whose actions are drawn by its probabilities, seeded."""

    def __init__(self, policy: Any) -> None:
        self.policy, self._rng = policy, np.random.default_rng(0)

    def predict(self, states: Any) -> Any:
        """One action for each state."""
        reached = self.policy.predict_proba(states).cumsum(axis=1)
        drawn = self._rng.random((len(reached), 1)) * reached[:, -1:]
        return self.policy.classes_[(reached < drawn).sum(axis=1)]


@dataclass(frozen=True)
class TuningProblem:
    """A problem with a log for each seed and a known truth.

    Parameters
    ----------
    name : str
    discount : float
    """

    name: str
    discount: float

    def log(self, seed: int) -> Transitions:
        """Log the transitions of a seed."""
        raise NotImplementedError

    def truth(self, policy: Any, greedy: bool) -> float:
        """True value of the policy, or of its most probable actions."""
        raise NotImplementedError

    @cached_property
    def preparation(self) -> Any:
        """Transformer of the states."""
        return "passthrough"

    def pipeline(self, random_state: int = 0) -> Pipeline:
        """The policy to be tuned."""
        return Pipeline(
            [
                ("states", OnStates(self.preparation)),
                (
                    "policy",
                    StackelbergPolicyEstimator(
                        discount=self.discount,
                        n_components=N_COMPONENTS,
                        random_state=random_state,
                    ),
                ),
            ]
        )

    def grid(self) -> dict[str, list[float]]:
        """The 27 candidates: λ, β, and bandwidths around the median."""
        return {
            "policy__lam": list(LAMS),
            "policy__beta": list(BETAS),
            "policy__bandwidth": list(BANDWIDTHS),
        }


@dataclass(frozen=True)
class FrozenLakeTuning(TuningProblem):
    """FrozenLake with one-hot states; truth is the exact discounted value."""

    problem: FrozenLakeProblem

    def log(self, seed: int) -> Transitions:
        """Log the transitions of a seed."""
        return self.problem.log(seed, encode="one-hot")

    def truth(self, policy: Any, greedy: bool) -> float:
        """Exact discounted value from the start."""
        mdp = frozen_lake(self.problem.map_name, "one-hot")
        probabilities = policy.predict_proba(np.asarray(mdp.states()))
        if greedy:
            probabilities = np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)]
        return float(mdp.policy_value(probabilities, self.discount))


@dataclass(frozen=True)
class CartPoleTuning(TuningProblem):
    """CartPole; truth is the mean discounted return."""

    problem: ControlProblem

    @cached_property
    def preparation(self) -> Any:
        """Columns in units of their spread."""
        return StandardScaler()

    def log(self, seed: int) -> Transitions:
        """Log the transitions of a seed."""
        return self.problem.log(seed)

    def truth(self, policy: Any, greedy: bool) -> float:
        """Mean over the same episodes for every policy."""
        steps = self.problem.returns(policy if greedy else Drawn(policy), N_ROLLOUTS)
        # Each step earns 1.
        return float(np.mean((1 - self.discount**steps) / (1 - self.discount)))


@dataclass(frozen=True)
class GlucoseTuning(TuningProblem):
    """The glucose log: missing values, a text column; truth is the share in range."""

    @cached_property
    def preparation(self) -> Any:
        """What a user would do: impute, scale, encode."""
        from benchmarks.glucose.simulator import STATE

        numbers = [name for name in STATE if name != "meal"]
        return make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
            (OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["meal"]),
        )

    def log(self, seed: int) -> Transitions:
        """Log 105 days; seed 0 would be the log that the package ships."""
        from benchmarks.glucose.simulator import STATE, make_log

        return Transitions.from_frame(
            make_log(105, seed=seed + 1),
            state=STATE,
            action="dose",
            reward="in_range",
            episode="day",
            step="step",
            propensity="propensity",
        )

    def truth(self, policy: Any, greedy: bool) -> float:
        """Mean share of the time in range over the same days for every policy."""
        from benchmarks.glucose.simulator import rollout

        player = policy if greedy else Drawn(policy)
        return float(rollout(player, n_days=N_ROLLOUTS).mean())


PROBLEMS: tuple[TuningProblem, ...] = (
    FrozenLakeTuning(
        "FrozenLake 4x4, 3,000",
        DISCOUNT,
        FrozenLakeProblem("4x4 mediocre 3,000", "4x4", "mediocre", 3_000),
    ),
    FrozenLakeTuning(
        "FrozenLake 8x8, 10,000",
        DISCOUNT,
        FrozenLakeProblem("8x8 mediocre 10,000", "8x8", "mediocre", 10_000),
    ),
    CartPoleTuning("CartPole random, 10,000", DISCOUNT, CONTROL[0]),
    GlucoseTuning("glucose, 5,040", 0.95),
)

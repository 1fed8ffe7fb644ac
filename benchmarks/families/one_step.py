"""Decisions that nothing follows, valued without the noise of their outcomes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.families.problem import Actor, Array, Simulated


class OneStep(Simulated):
    """One decision each; a subclass gives the mean outcome and its deviation."""

    discount = 0.0
    deviation: ClassVar[float]
    # Values are of the same states whatever the seed, so that no luck is in them.
    value_episodes = 20_000

    @abstractmethod
    def mean(self, state: Array, action: NDArray[Any]) -> Array:
        """Mean outcome of each action in its state."""

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        noise = rng.normal(0.0, self.deviation, len(state))
        return state, self.mean(state, action) + noise, np.ones(len(state), dtype=bool)

    def fresh(self) -> Array:
        """The states that policies are valued in."""
        # No log has this seed.
        return self.start(np.random.default_rng(2**31), self.value_episodes)

    def _mean(self, actor: Actor, seed: int) -> float:
        states = self.fresh()
        return float(self.mean(states, actor(states, np.random.default_rng(0))).mean())

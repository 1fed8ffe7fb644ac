"""ICU-Sepsis as the other problems are: measurements of the patients, no masks."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.families.problem import Finite, Problem
from sklearn_stackelberg import Transitions
from sklearn_stackelberg.datasets import FiniteMDP, load_icu_sepsis


class IcuSepsis(Problem):
    """Survival of patients whose 47 measurements are the state; 25 treatments.

    A treatment that the data never saw in a state leads to where those that were seen
    lead on average, as the authors' environment has it.
    """

    name, discount, n_transitions = "ICU-Sepsis", 0.99, 10_000

    @cached_property
    def _process(self) -> Finite:
        # Made when it is asked for: the arrays take 300 MB.
        icu = load_icu_sepsis()
        mdp, seen = icu.mdp, icu.mdp.available
        share = seen / np.maximum(seen.sum(axis=1, keepdims=True), 1)
        mean = np.einsum("sa,sat->st", share, mdp.transition)
        transition = np.where(seen[:, :, None], mdp.transition, mean[:, None])
        # Rewards depend on where a treatment leads, and so does the end.
        ends = mdp.termination.any(axis=(0, 1))
        reward = np.broadcast_to(mdp.reward.max(axis=(0, 1)), transition.shape)
        process = FiniteMDP(transition, reward, mdp.initial, ends)
        return Finite(
            self.name,
            self.discount,
            process,
            icu.state_vectors,
            icu.clinicians,
            self.n_transitions,
            20,
        )

    def log(self, seed: int) -> Transitions:
        return self._process.log(seed)

    def value(self, policy: Any, seed: int = 0) -> float:
        return self._process.value(policy)

    def value_stochastic(self, policy: Any, seed: int = 0) -> float:
        return self._process.value_stochastic(policy)

    @cached_property
    def logger_value(self) -> float:
        return self._process.logger_value

    @cached_property
    def optimum(self) -> float:  # type: ignore[override]
        return self._process.optimum

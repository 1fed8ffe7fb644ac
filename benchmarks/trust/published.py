"""The example of polle's vignette `policy_eval`: the same log, drawn as R draws it.

Nordland and Holst, "Policy Learning with the polle package", arXiv 2212.02335. Version
1.6 of the vignette evaluates "always treat" on ``sim_two_stage(n = 2e3, seed = 1)``,
doubly robust, with generalised linear models.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from benchmarks.trust.policies import Array
from sklearn_stackelberg import Transitions

N_PATIENTS = 2_000


class Published(NamedTuple):
    """What the vignette prints, and the true value."""

    value: float
    standard_error: float
    truth: float


# coef() and the root of vcov() of policy A = 1; E[L + C + L + C + L] = E[A] = 1.
TREAT_ALL = Published(0.8213233, 0.01244225**0.5, 1.0)
# What policy_data() counts at the two stages, and its average utility.
TREATED, MEAN_UTILITY = (983, 1181), 0.84


class RStream:
    """R's default generator: ``set.seed(seed)``, Mersenne Twister, inversion."""

    def __init__(self, seed: int) -> None:
        words = np.empty(625, dtype=np.uint64)
        state = seed
        # Scrambled 50 times, then a word each: the position, which R overwrites, and
        # the 624 of the twister.
        for step in range(50 + len(words)):
            state = (69_069 * state + 1) % 2**32
            if step >= 50:
                words[step - 50] = state
        self._twister = np.random.MT19937()
        given = self._twister.state
        given["state"] = {"key": words[1:].astype(np.uint32), "pos": 624}
        self._twister.state = given

    def uniform(self, n: int) -> Array:
        """``runif(n)``."""
        return self._twister.random_raw(n) * 2.3283064365386963e-10

    def normal(self, n: int) -> Array:
        """``rnorm(n)``: two uniforms make one of 53 bits or so."""
        high, low = self.uniform(2 * n).reshape(n, 2).T
        return ndtri((np.floor(2.0**27 * high) + low) / 2.0**27)

    def sample(self, size: int, n: int) -> NDArray[np.intp]:
        """``sample(size, n, replace = TRUE) - 1``, for at most four: by rejection."""
        found: list[int] = []
        while len(found) < n:
            drawn = int(65_536 * self.uniform(1)[0]) & (1 if size <= 2 else 3)
            if drawn < size:
                found.append(drawn)
        return np.array(found)

    def bernoulli(self, chance: Array) -> NDArray[np.intp]:
        """``rbinom(n, 1, chance)``: the rarer outcome has the upper uniforms."""
        rarer = np.minimum(chance, 1.0 - chance)
        rare = self.uniform(len(chance)) >= 1.0 - rarer
        return np.where(chance > 0.5, ~rare, rare).astype(np.intp)


class Trial(NamedTuple):
    """Columns of ``sim_two_stage``, (n,) each."""

    baseline: Array
    group: NDArray[np.intp]
    luck: tuple[Array, Array, Array]
    severity: tuple[Array, Array]
    treated: tuple[NDArray[np.intp], NDArray[np.intp]]

    @property
    def utility(self) -> Array:
        """What each patient's rewards add up to."""
        paid = [a * c for a, c in zip(self.treated, self.severity, strict=True)]
        return sum(self.luck) + sum(paid)

    @property
    def log(self) -> Transitions:
        """Two rows a patient: stage, B, both groups but one, L, C, and the L before."""
        n = len(self.baseline)
        first, second, third = self.luck
        zero = np.zeros(n)
        groups = np.eye(3)[self.group][:, 1:]

        def state(stage: int, *columns: Array) -> Array:
            return np.column_stack([np.full(n, stage), self.baseline, groups, *columns])

        states = (
            state(0, first, self.severity[0], zero),
            state(1, second, self.severity[1], first),
            state(2, zero, zero, zero),
        )
        rewards = (
            first + self.treated[0] * self.severity[0] + second,
            self.treated[1] * self.severity[1] + third,
        )

        def by_patient(parts: tuple[NDArray, NDArray]) -> NDArray:
            return np.stack(parts, axis=1).reshape(2 * n, *parts[0].shape[1:])

        step = np.tile([0, 1], n)
        return Transitions(
            by_patient(states[:2]),
            by_patient(self.treated),
            by_patient(rewards),
            by_patient(states[1:]),
            step == 1,
            is_initial=step == 0,
            episode=np.repeat(np.arange(n), 2),
            step=step,
        )


def sim_two_stage(n: int, seed: int) -> Trial:
    """polle's ``sim_two_stage(n, seed = seed)``, number by number."""
    stream = RStream(seed)
    baseline, group = stream.normal(n), stream.sample(3, n)
    first = stream.normal(n)
    before = first + stream.normal(n)
    treated = stream.bernoulli(expit(before))
    second = stream.normal(n)
    after = 0.5 * first + treated + stream.normal(n)
    again = stream.bernoulli(expit(after))
    return Trial(
        baseline,
        group,
        (first, second, stream.normal(n)),
        (before, after),
        (treated, again),
    )

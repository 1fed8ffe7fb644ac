"""The anchor of Q as states show it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import KFold, cross_val_predict

from .._forest import Forest
from .._sampling import fixed_sample
from .._typing import Floats

# Trees, and rows that they are grown on: what there is to learn is a function of the
# step, which is a column of the states or is not.
_TREES, _ROWS = 20, 20_000

# Of the variance of q₀ in rows held out, below which states show nothing of it.
_LEAST_SHOWN = 0.1


@dataclass(frozen=True, eq=False)
class StateAnchor:
    """q₀ of states: a number, or the mean of q₀(t) over the steps of such states."""

    mean: float
    # q₀(t) − mean of states: None where q₀ is one number, 0.0 where none show it.
    departure: Forest | float | None = None

    @classmethod
    def of_steps(
        cls, states: Floats, anchor: Floats, mean: float, weight: Floats | None
    ) -> StateAnchor:
        """From the logged states, q₀ of their steps and their weights, (n,) each."""
        chosen = fixed_sample(len(states), _ROWS)
        leaf = max(5, round(np.sqrt(len(chosen))))
        forest = RandomForestRegressor(_TREES, min_samples_leaf=leaf, random_state=0)
        given, departure = states[chosen], anchor[chosen] - mean
        own = None if weight is None else weight[chosen]
        halves = KFold(2, shuffle=True, random_state=0)
        left = departure - cross_val_predict(forest, given, departure, cv=halves)
        if np.mean(left**2) > (1.0 - _LEAST_SHOWN) * np.var(departure):
            # Columns that do not show the step would move the level of Q at random.
            return cls(mean, 0.0)
        forest.fit(given, departure, sample_weight=own)
        return cls(mean, Forest(forest.estimators_))

    def of_shaped(self, states: Floats) -> Floats:
        """What Q of shaped rewards, see `StepAnchor`, lacks in states, (n,)."""
        return np.zeros(len(states)) if self.departure is None else self(states)

    def __call__(self, states: Floats) -> Floats:
        """Of states, (n,)."""
        if not isinstance(self.departure, Forest):
            return np.full(len(states), self.mean)
        # In the precision of trees, where the largest numbers are infinite.
        with np.errstate(over="ignore"):
            columns = states.astype(np.float32)
        return self.mean + self.departure.predict(columns)[:, 0]
